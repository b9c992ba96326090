/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "engine/batch.h"

#include "util/memory.h"

void batch_clear(Batch *batch)
{
	for (size_t i = 0; i < batch->n; i++)
		replacement_free(batch->items[i]);
	free(batch->items);
	*batch = (Batch){0};
}

int batch_add(Batch *batch, const ReplacementContext *context, Replacement *replacement)
{
	int r = array_grow(&batch->items, &batch->allocated, batch->n + 1, sizeof(*batch->items));

	if (r < 0)
		return r;
	batch->items[batch->n++] = replacement;
	batch->space += replacement_space(context, replacement);
	batch->journal += journal_entry_size(&replacement->entry);
	return 0;
}

int batch_move(Batch *from, ReplacementState state, Batch *to, const ReplacementContext *context)
{
	size_t kept = 0;
	int r = 0;

	for (size_t i = 0; i < from->n; i++) {
		Replacement *item = from->items[i];

		if (r >= 0 && item->state == state)
			r = batch_add(to, context, item);
		if (r < 0 || item->state != state)
			from->items[kept++] = item;
	}
	from->n = kept;
	return r;
}

void batch_drop_unmade(Batch *batch)
{
	size_t kept = 0;

	for (size_t i = 0; i < batch->n; i++) {
		Replacement *item = batch->items[i];

		if (item->state == REPLACEMENT_FAILED && !item->made)
			replacement_free(item);
		else
			batch->items[kept++] = item;
	}
	batch->n = kept;
}

static int compare_places(const void *a, const void *b)
{
	const Replacement *const *left = a, *const *right = b;
	ino_t one = (*left)->source.st_ino, other = (*right)->source.st_ino;

	return (one > other) - (one < other);
}

void batch_sort(Batch *batch)
{
	for (size_t from = 0, to; from < batch->n; from = to) {
		for (to = from + 1; to < batch->n; to++)
			if (batch->items[to]->directory != batch->items[from]->directory)
				break;
		qsort(batch->items + from, to - from, sizeof(*batch->items), compare_places);
	}
}
