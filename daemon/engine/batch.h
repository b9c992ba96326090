/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The files that take their steps together: between two barriers. */

#include "engine/replacement.h"

typedef struct Batch {
	Replacement **items;
	size_t n, allocated;
	uint64_t space; /* bytes of its new files, in clusters */
	size_t journal; /* bytes of its entries */
} Batch;

/* Frees its items, and what they hold open. */
void batch_clear(Batch *batch);

/* Takes the replacement over; -ENOMEM, and it is still the caller's. */
int batch_add(Batch *batch, const ReplacementContext *context, Replacement *replacement);

/* Takes the items of one state out of a batch, keeping their order. */
int batch_move(Batch *from, ReplacementState state, Batch *to, const ReplacementContext *context);

/* Frees the failed items that made no new file, or whose new file is not theirs any more. */
void batch_drop_unmade(Batch *batch);

/* Folders list their files in whatever order; by inode number they mostly lie on the medium one behind the
 * other. That saves a stick most of the seeking when sources are read and scrubbed. */
void batch_sort(Batch *batch);
