/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * engine/pool.h without threads: everything happens in its caller's, in order, so that a run is the same
 * every time, and no state costs the starting of 33 threads. Takes the place of engine/pool.c in the crash
 * tests; that one's order of starting is the same, and what runs at once there touches different files.
 */

#include "engine/pool.h"

#include "util/memory.h"

#include <errno.h>

struct Pool {
	bool workspaces;
};

static Workspace spare[8];
static unsigned n_spare;

int workspace_init(Workspace *workspace)
{
	if (n_spare > 0) {
		*workspace = spare[--n_spare];
		return 0;
	}
	*workspace = (Workspace){0};
	workspace->sealed_size =
		(cipherfile_head_size_max + SEGMENT_SEALED + 3 * DIRECT_ALIGN) / DIRECT_ALIGN * DIRECT_ALIGN;
	workspace->plain = aligned_alloc(DIRECT_ALIGN, SEGMENT_PLAIN + 2 * DIRECT_ALIGN);
	workspace->sealed = aligned_alloc(DIRECT_ALIGN, workspace->sealed_size);
	return workspace->plain && workspace->sealed ? 0 : -ENOMEM;
}

void workspace_clear(Workspace *workspace)
{
	if (workspace->plain && n_spare < ELEMENTSOF(spare)) {
		spare[n_spare++] = *workspace;
	} else {
		free(workspace->plain);
		free(workspace->sealed);
	}
	*workspace = (Workspace){0};
}

int pool_new(unsigned threads _unused_, bool workspaces, Pool **ret_pool)
{
	Pool *pool = new0(Pool, 1);

	if (!pool)
		return -ENOMEM;
	pool->workspaces = workspaces;
	*ret_pool = pool;
	return 0;
}

Pool *pool_free(Pool *pool)
{
	return mfree(pool);
}

void pool_run(Pool *pool, size_t n, PoolTask task, void *userdata)
{
	Workspace workspace = {0};

	if (pool->workspaces && workspace_init(&workspace) < 0)
		abort();
	for (size_t i = 0; i < n; i++)
		task(userdata, i, pool->workspaces ? &workspace : NULL);
	workspace_clear(&workspace);
}

int segments_run(const Segments *segments, uint64_t n, unsigned helpers _unused_, Workspace *workspace)
{
	for (uint64_t i = 0; i < n; i++) {
		int r = segments->compute(segments->userdata, i, workspace);

		if (r >= 0 && segments->commit)
			r = segments->commit(segments->userdata, i, workspace);
		if (r < 0)
			return r;
	}
	return 0;
}
