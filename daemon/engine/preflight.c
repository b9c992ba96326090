/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "engine/preflight.h"

#include "engine/journal.h"
#include "util/memory.h"

#include <errno.h>

#define PROGRESS_STEP 64 /* files between two looks at the observer */

uint64_t preflight_reserve(const Run *run)
{
	return (uint64_t)16 * run->context.cluster + run->journal_space;
}

static uint64_t in_clusters(const Run *run, uint64_t size)
{
	return (size + run->context.cluster - 1) / run->context.cluster * run->context.cluster;
}

/* What all files together need, those included that are too large for what is free now. */
typedef struct Need {
	uint64_t files, largest; /* bytes of the largest new file, in whole clusters */
	int64_t growth;          /* bytes by which all new files together exceed their sources */
} Need;

/* Adds one planned file to the sums; names it where it alone is too large for what is free. */
static void weigh(
	Run *run, const Replacement *replacement, uint64_t free_space, Preflight *preflight, Need *need)
{
	uint64_t space = replacement_space(&run->context, replacement);

	need->files++;
	need->largest = MAX(need->largest, space);
	need->growth += (int64_t)space - (int64_t)in_clusters(run, replacement->entry.size);
	if (space + PREFLIGHT_ENTRY_SPACE > free_space) {
		preflight->blocked = true;
		run_report(run, replacement->entry.path, REASON_NO_SPACE, 0);
		return;
	}
	preflight->files++;
	preflight->bytes += run->context.encrypting ? replacement->entry.size : replacement->entry.new_size;
}

/* Every file has to fit by itself, the last ones still when all others have grown. */
static uint64_t what_lacks(const Need *need, uint64_t free_space, uint64_t reserve)
{
	uint64_t space = reserve + need->largest + (uint64_t)MAX(need->growth, (int64_t)0) +
			 need->files * PREFLIGHT_ENTRY_SPACE;

	return need->files > 0 && space > free_space ? space - free_space : 0;
}

static int look_at_all(Run *run, Walk *walk, uint64_t free_space, Preflight *preflight, Need *need)
{
	Workspace workspace;
	uint64_t seen = 0;
	int r;

	r = workspace_init(&workspace);
	if (r < 0)
		return r;
	for (;;) {
		_cleanup_replacement_ Replacement *replacement = NULL;
		WalkEntry entry;
		bool blocks;

		r = walk_next(walk, &entry);
		if (r <= 0)
			break;
		if (run_cancelled(run)) {
			r = -ECANCELED;
			break;
		}
		if ((entry.kind == ENTRY_CIPHER && run->context.encrypting) ||
			(entry.kind == ENTRY_PLAIN && !run->context.encrypting))
			run_count(run, COUNT_ALREADY, 1);
		r = run_plan(run, &entry, &workspace, &replacement, &blocks);
		if (r < 0)
			break;
		preflight->blocked |= blocks;
		if (r == 1)
			weigh(run, replacement, free_space, preflight, need);
		if (++seen % PROGRESS_STEP == 0)
			run_set_totals(run, preflight->files, preflight->bytes);
	}
	workspace_clear(&workspace);
	return r;
}

Outcome preflight_run(Run *run, Preflight *ret)
{
	const Volume *volume = run->volume;
	_cleanup_walk_ Walk *walk = NULL;
	uint64_t free_space, reserve;
	struct statvfs fs;
	Need need = {0};
	int r;

	*ret = (Preflight){0};
	run_set_phase(run, PHASE_PREFLIGHT);
	r = volume->vfs->fstatvfs(volume->vfs, volume->root_fd, &fs);
	if (r >= 0 && fs.f_flag & ST_RDONLY)
		r = -EROFS;
	if (r >= 0)
		r = run_free_space(run, &free_space);
	if (r >= 0)
		r = walk_new(volume->vfs, volume->root_fd, run->options->paths, run->options->n_paths, &walk);
	if (r < 0)
		return run_outcome(run, r);
	reserve = preflight_reserve(run);
	r = look_at_all(run, walk, free_space - MIN(free_space, reserve), ret, &need);
	if (r < 0)
		return run_outcome(run, r);
	run->counted = true;
	run_set_totals(run, ret->files, ret->bytes);
	ret->missing = what_lacks(&need, free_space, reserve);
	run->result->counts[COUNT_BYTES_MISSING] = ret->missing;
	if (run->options->skip_unfit)
		return OUTCOME_DONE;
	if (ret->missing > 0)
		return OUTCOME_NO_SPACE;
	return ret->blocked ? OUTCOME_UNFIT_FILES : OUTCOME_DONE;
}
