/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Threads for the files of a batch, and for the segments of one large file. Every thread has a workspace of
 * its own, so that memory is bounded by the number of threads, whatever the files' sizes.
 */

#include "engine/cipherfile.h"

#include <pthread.h>

#define SEGMENT_CHUNKS 8
#define SEGMENT_PLAIN  (SEGMENT_CHUNKS * CHUNK_SIZE)
#define SEGMENT_SEALED (SEGMENT_CHUNKS * CHUNK_SEALED_SIZE)
#define DIRECT_ALIGN                                                                                         \
	4096 /* of offset, length and memory for O_DIRECT; a multiple of every logical block size */

/* Buffers of one thread, aligned to DIRECT_ALIGN, wiped when freed. */
typedef struct Workspace {
	uint8_t *plain;  /* SEGMENT_PLAIN + 2 * DIRECT_ALIGN bytes */
	uint8_t *sealed; /* cipherfile_head_size_max + SEGMENT_SEALED + 2 * DIRECT_ALIGN bytes */
	size_t sealed_size;
} Workspace;

int workspace_init(Workspace *workspace);
void workspace_clear(Workspace *workspace);

typedef struct Pool Pool;

/* Without workspaces tasks get NULL: for tasks that only wait. */
int pool_new(unsigned threads, bool workspaces, Pool **ret_pool);
Pool *pool_free(Pool *pool);
DEFINE_CLEANUP(Pool *, pool_free)
#define _cleanup_pool_ _cleanup_(pool_freep)

/* Calls task(userdata, i, workspace) for every i in 0..n-1, in that order of starting, on all threads;
 * returns when the last has ended. One run at a time. */
typedef void (*PoolTask)(void *userdata, size_t i, Workspace *workspace);
void pool_run(Pool *pool, size_t n, PoolTask task, void *userdata);

/* Runs n segments: compute() on several threads at once, commit() strictly in order, one at a time, on the
 * thread that computed. The first negative return of either ends it and is returned. With helpers == 0, or
 * fewer than LARGE_SEGMENTS, everything happens in the caller's thread and workspace. */
#define LARGE_SEGMENTS 32 /* 16 MiB: what is smaller has its thread of the pool, beside others */
typedef struct Segments {
	void *userdata;
	int (*compute)(void *userdata, uint64_t segment, Workspace *workspace);
	int (*commit)(void *userdata, uint64_t segment, Workspace *workspace); /* may be NULL */
} Segments;
int segments_run(const Segments *segments, uint64_t n, unsigned helpers, Workspace *workspace);
