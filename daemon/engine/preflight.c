/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "engine/preflight.h"

#include "engine/journal.h"
#include "util/memory.h"

#include <errno.h>

#define PROGRESS_STEP 64 /* files between two looks at the observer */

uint64_t preflight_reserve(const Run *run, uint64_t files)
{
	return (uint64_t)16 * run->context.cluster + files * PREFLIGHT_ENTRY_SPACE + run->journal_space;
}

static uint64_t in_clusters(const Run *run, uint64_t size)
{
	return (size + run->context.cluster - 1) / run->context.cluster * run->context.cluster;
}

/* Adds one planned file to the sums; names it where it alone is too large for what is free. */
static void weigh(
	Run *run, const Replacement *replacement, uint64_t free_space, Preflight *preflight, int64_t *growth)
{
	uint64_t space = replacement_space(&run->context, replacement);

	if (space > free_space) {
		preflight->missing = MAX(preflight->missing, space - free_space);
		preflight->blocked = true;
		run_report(run, replacement->entry.path, REASON_NO_SPACE, 0);
		return;
	}
	preflight->files++;
	preflight->bytes += run->context.encrypting ? replacement->entry.size : replacement->entry.new_size;
	preflight->largest = MAX(preflight->largest, space);
	*growth += (int64_t)space - (int64_t)in_clusters(run, replacement->entry.size);
}

static int look_at_all(Run *run, Walk *walk, uint64_t free_space, Preflight *preflight)
{
	Workspace workspace;
	int64_t growth = 0;
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
			weigh(run, replacement, free_space, preflight, &growth);
		if (++seen % PROGRESS_STEP == 0)
			run_set_totals(run, preflight->files, preflight->bytes);
	}
	workspace_clear(&workspace);
	preflight->growth = (uint64_t)MAX(growth, (int64_t)0);
	return r;
}

Outcome preflight_run(Run *run, Preflight *ret)
{
	const Volume *volume = run->volume;
	_cleanup_walk_ Walk *walk = NULL;
	uint64_t free_space, reserve;
	struct statvfs fs;
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
	reserve = preflight_reserve(run, 0);
	free_space -= MIN(free_space, reserve);
	r = look_at_all(run, walk, free_space, ret);
	if (r < 0)
		return run_outcome(run, r);
	run->counted = true;
	run_set_totals(run, ret->files, ret->bytes);

	/* Every file fits by itself; the last ones must still do so when all others have grown. */
	if (ret->files > 0 && ret->largest + ret->growth + ret->files * PREFLIGHT_ENTRY_SPACE > free_space)
		ret->missing = MAX(ret->missing,
			ret->largest + ret->growth + ret->files * PREFLIGHT_ENTRY_SPACE - free_space);
	run->result->counts[COUNT_BYTES_MISSING] = ret->missing;
	if (run->options->skip_unfit)
		return OUTCOME_DONE;
	if (ret->missing > 0)
		return OUTCOME_NO_SPACE;
	return ret->blocked ? OUTCOME_UNFIT_FILES : OUTCOME_DONE;
}
