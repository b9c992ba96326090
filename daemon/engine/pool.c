/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "engine/pool.h"

#include "util/memory.h"

#include <errno.h>
#include <signal.h>

#define POOL_THREADS_MAX 64
#define HELPERS_MAX      8
#define STACK_SIZE       (256 * 1024)

typedef struct PoolThread {
	Pool *pool;
	pthread_t thread;
	Workspace workspace;
} PoolThread;

struct Pool {
	pthread_mutex_t lock;
	pthread_cond_t wake, done;
	PoolThread threads[POOL_THREADS_MAX];
	unsigned n_threads;
	bool stopping;
	/* the run that is under way */
	PoolTask task;
	void *userdata;
	size_t n, next, finished;
};

int workspace_init(Workspace *workspace)
{
	*workspace = (Workspace){0};
	workspace->sealed_size =
		(cipherfile_head_size_max + SEGMENT_SEALED + 3 * DIRECT_ALIGN) / DIRECT_ALIGN * DIRECT_ALIGN;
	workspace->plain = aligned_alloc(DIRECT_ALIGN, SEGMENT_PLAIN + 2 * DIRECT_ALIGN);
	workspace->sealed = aligned_alloc(DIRECT_ALIGN, workspace->sealed_size);
	if (!workspace->plain || !workspace->sealed) {
		workspace_clear(workspace);
		return -ENOMEM;
	}
	return 0;
}

void workspace_clear(Workspace *workspace)
{
	if (workspace->plain)
		secret_wipe(workspace->plain, SEGMENT_PLAIN + 2 * DIRECT_ALIGN);
	workspace->plain = mfree(workspace->plain);
	workspace->sealed = mfree(workspace->sealed);
}

/* Threads take no signals: those are the main thread's. */
static int thread_start(pthread_t *thread, void *(*function)(void *), void *userdata)
{
	sigset_t all, saved;
	pthread_attr_t attr;
	int r;

	r = pthread_attr_init(&attr);
	if (r != 0)
		return -r;
	(void)pthread_attr_setstacksize(&attr, STACK_SIZE);
	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &saved);
	r = pthread_create(thread, &attr, function, userdata);
	(void)pthread_sigmask(SIG_SETMASK, &saved, NULL);
	(void)pthread_attr_destroy(&attr);
	return -r;
}

static void *pool_thread(void *userdata)
{
	PoolThread *self = userdata;
	Pool *pool = self->pool;

	pthread_mutex_lock(&pool->lock);
	for (;;) {
		size_t i;

		while (!pool->stopping && pool->next >= pool->n)
			pthread_cond_wait(&pool->wake, &pool->lock);
		if (pool->stopping)
			break;
		i = pool->next++;
		pthread_mutex_unlock(&pool->lock);
		pool->task(pool->userdata, i, self->workspace.plain ? &self->workspace : NULL);
		pthread_mutex_lock(&pool->lock);
		if (++pool->finished == pool->n)
			pthread_cond_signal(&pool->done);
	}
	pthread_mutex_unlock(&pool->lock);
	return NULL;
}

int pool_new(unsigned threads, bool workspaces, Pool **ret_pool)
{
	_cleanup_pool_ Pool *pool = new0(Pool, 1);
	int r;

	if (!pool)
		return -ENOMEM;
	pthread_mutex_init(&pool->lock, NULL);
	pthread_cond_init(&pool->wake, NULL);
	pthread_cond_init(&pool->done, NULL);
	threads = MAX(1U, MIN(threads, (unsigned)POOL_THREADS_MAX));
	for (unsigned i = 0; i < threads; i++) {
		PoolThread *thread = &pool->threads[i];

		thread->pool = pool;
		r = workspaces ? workspace_init(&thread->workspace) : 0;
		if (r >= 0)
			r = thread_start(&thread->thread, pool_thread, thread);
		if (r < 0) {
			workspace_clear(&thread->workspace);
			return r;
		}
		pool->n_threads++;
	}
	*ret_pool = TAKE_PTR(pool);
	return 0;
}

Pool *pool_free(Pool *pool)
{
	if (!pool)
		return NULL;
	pthread_mutex_lock(&pool->lock);
	pool->stopping = true;
	pthread_cond_broadcast(&pool->wake);
	pthread_mutex_unlock(&pool->lock);
	for (unsigned i = 0; i < pool->n_threads; i++) {
		pthread_join(pool->threads[i].thread, NULL);
		workspace_clear(&pool->threads[i].workspace);
	}
	pthread_cond_destroy(&pool->done);
	pthread_cond_destroy(&pool->wake);
	pthread_mutex_destroy(&pool->lock);
	return mfree(pool);
}

void pool_run(Pool *pool, size_t n, PoolTask task, void *userdata)
{
	if (n == 0)
		return;
	pthread_mutex_lock(&pool->lock);
	pool->task = task;
	pool->userdata = userdata;
	pool->n = n;
	pool->next = pool->finished = 0;
	pthread_cond_broadcast(&pool->wake);
	while (pool->finished < n)
		pthread_cond_wait(&pool->done, &pool->lock);
	pool->n = pool->next = 0;
	pthread_mutex_unlock(&pool->lock);
}

typedef struct SegmentRun {
	const Segments *segments;
	pthread_mutex_t lock;
	pthread_cond_t turn_changed;
	uint64_t n, next, turn;
	int result;
} SegmentRun;

static void segment_work(SegmentRun *run, Workspace *workspace)
{
	const Segments *segments = run->segments;

	pthread_mutex_lock(&run->lock);
	while (run->result == 0 && run->next < run->n) {
		uint64_t i = run->next++;
		int r;

		pthread_mutex_unlock(&run->lock);
		r = segments->compute(segments->userdata, i, workspace);
		pthread_mutex_lock(&run->lock);
		if (r >= 0 && segments->commit) {
			while (run->result == 0 && run->turn != i)
				pthread_cond_wait(&run->turn_changed, &run->lock);
			if (run->result < 0)
				break;
			/* Only the turn's owner gets here, so the lock need not be held while it writes. */
			pthread_mutex_unlock(&run->lock);
			r = segments->commit(segments->userdata, i, workspace);
			pthread_mutex_lock(&run->lock);
			run->turn++;
		}
		if (r < 0 && run->result == 0)
			run->result = r;
		pthread_cond_broadcast(&run->turn_changed);
	}
	pthread_mutex_unlock(&run->lock);
}

static void *segment_thread(void *userdata)
{
	Workspace workspace;

	/* Without memory for this helper the others do its share. */
	if (workspace_init(&workspace) >= 0)
		segment_work(userdata, &workspace);
	workspace_clear(&workspace);
	return NULL;
}

int segments_run(const Segments *segments, uint64_t n, unsigned helpers, Workspace *workspace)
{
	SegmentRun run = {.segments = segments, .n = n};
	pthread_t threads[HELPERS_MAX] = {0};
	unsigned started = 0;

	pthread_mutex_init(&run.lock, NULL);
	pthread_cond_init(&run.turn_changed, NULL);
	helpers = n < LARGE_SEGMENTS ? 0 : MIN(helpers, (unsigned)HELPERS_MAX);
	while (started < helpers && thread_start(&threads[started], segment_thread, &run) >= 0)
		started++;
	segment_work(&run, workspace);
	for (unsigned i = 0; i < started; i++)
		pthread_join(threads[i], NULL);
	pthread_cond_destroy(&run.turn_changed);
	pthread_mutex_destroy(&run.lock);
	return run.result;
}
