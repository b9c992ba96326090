/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * One round, and who does its steps (TRANSACTIONS.md says why in this order):
 *
 *   a. write the new files of batch k                 round_write()     replacement_write(), in the pool
 *   b. read batch k-1's new files back                round_write()     replacement_verify(), in the pool
 *   c. scrub the sources of batch k-1                 round_scrub()     replacement_scrub(), in the pool
 *   d. unlink the sources of batch k-2, fds held      round_unlink()    replacement_unlink(), in the pool
 *   e. write record k                                 round_record()
 *   f. barrier                                        round_record()
 *   g. close the fds of batch k-2                     round_retire()
 *
 * A batch moves through the four places of Rounds:
 *
 *   next --> sealed (written) --> scrubbing (verified, scrubbed) --> retired (unlinked) --> gone
 *
 * A file that fails leaves its batch: its new file is taken away again and held in `aborted` until that is
 * durable.
 */

#include "engine/rounds.h"

#include "engine/batch.h"
#include "engine/preflight.h"
#include "util/memory.h"

#include <errno.h>
#include <sodium.h>
#include <sys/resource.h>

#define BATCH_FILES    1024
#define BATCH_BYTES    ((uint64_t)64 * 1024 * 1024)
#define BATCH_SECONDS  3
#define POOL_THREADS   4
#define CLOSE_THREADS  32 /* each only waits */
#define FDS_PER_FILE   8  /* three batches with a source and a folder each, and what is being written */
#define FDS_RESERVED   64
#define IN_FLIGHT_BITS 65536

typedef struct Rounds {
	Run *run;
	Journal *journal;
	JournalRecord head;
	Walk *walk;
	bool walked; /* the walk has ended */
	Pool *pool, *closers;
	Workspace planning;
	Batch next, sealed, scrubbing, retired;
	Batch returned;                          /* planned, but not reached in their round */
	Batch aborted;                           /* of this round */
	uint64_t in_flight[IN_FLIGHT_BITS / 64]; /* a clear bit: no path of this hash is under way */
	size_t files_max;
	struct timespec deadline; /* of the files that are not begun yet */
	Outcome stop;             /* not DONE: nothing new is begun */
	bool fatal;               /* the drive failed: everything stays as it is */
} Rounds;

static void rounds_stop(Rounds *rounds, Outcome why)
{
	if (rounds->stop == OUTCOME_DONE)
		rounds->stop = why;
}

/* ---- planning ---- */

static size_t hash_path(const char *path)
{
	uint32_t hash = 2166136261U; /* FNV-1a */

	while (*path)
		hash = (hash ^ (uint8_t)*path++) * 16777619U;
	return (hash ^ hash >> 16) % IN_FLIGHT_BITS;
}

/* Notes what is under way, so that most paths need not be compared with thousands of others. */
static void note_in_flight(Rounds *rounds)
{
	const Batch *batches[] = {&rounds->sealed, &rounds->scrubbing, &rounds->retired};

	memset(rounds->in_flight, 0, sizeof(rounds->in_flight));
	for (size_t b = 0; b < ELEMENTSOF(batches); b++)
		for (size_t i = 0; i < batches[b]->n; i++) {
			size_t bit = hash_path(batches[b]->items[i]->entry.path);

			rounds->in_flight[bit / 64] |= UINT64_C(1) << bit % 64;
		}
}

static bool is_in_flight(const Rounds *rounds, const char *path)
{
	const Batch *batches[] = {&rounds->sealed, &rounds->scrubbing, &rounds->retired};
	size_t bit = hash_path(path);

	if (!(rounds->in_flight[bit / 64] & UINT64_C(1) << bit % 64))
		return false;
	for (size_t b = 0; b < ELEMENTSOF(batches); b++)
		for (size_t i = 0; i < batches[b]->n; i++)
			if (strcmp(batches[b]->items[i]->entry.path, path) == 0)
				return true;
	return false;
}

/* The next file to be replaced. 1, 0 at the end, or a negative errno. */
static int take_file(Rounds *rounds, Replacement **ret)
{
	if (rounds->returned.n > 0) {
		*ret = rounds->returned.items[0];
		rounds->returned.n--;
		memmove(rounds->returned.items, rounds->returned.items + 1,
			rounds->returned.n * sizeof(*ret));
		return 1;
	}
	while (!rounds->walked) {
		WalkEntry entry;
		bool blocks;
		int r = walk_next(rounds->walk, &entry);

		if (r < 0)
			return r;
		if (r == 0) {
			rounds->walked = true;
			break;
		}
		/* Some filesystems list a file twice when its folder changes meanwhile. */
		if ((entry.kind == ENTRY_PLAIN || entry.kind == ENTRY_CIPHER) &&
			is_in_flight(rounds, entry.path))
			continue;
		r = run_plan(rounds->run, &entry, &rounds->planning, ret, &blocks);
		if (r != 0)
			return r;
	}
	return 0;
}

static int give_back(Rounds *rounds, Replacement *replacement)
{
	Batch *returned = &rounds->returned;
	int r = array_grow(&returned->items, &returned->allocated, returned->n + 1, sizeof(*returned->items));

	if (r < 0)
		return r;
	memmove(returned->items + 1, returned->items, returned->n * sizeof(*returned->items));
	returned->items[0] = replacement;
	returned->n++;
	return 0;
}

/* Fills rounds->next as far as the caps and the free space allow. It may stay empty while batches under way
 * will still free space. */
static int fill_batch(Rounds *rounds)
{
	const ReplacementContext *context = &rounds->run->context;
	bool idle = rounds->sealed.n == 0 && rounds->scrubbing.n == 0 && rounds->retired.n == 0 &&
		    rounds->aborted.n == 0;
	size_t room = journal_room(rounds->journal) / (JOURNAL_LIST_MAX + 1);
	uint64_t free_space, reserve = preflight_reserve(rounds->run);
	int r;

	r = run_free_space(rounds->run, &free_space);
	if (r < 0)
		return r;
	free_space -= MIN(free_space, reserve);
	note_in_flight(rounds);
	while (rounds->stop == OUTCOME_DONE && rounds->next.n < rounds->files_max) {
		Replacement *file = NULL;
		uint64_t space;

		if (run_cancelled(rounds->run)) {
			rounds_stop(rounds, OUTCOME_CANCELLED);
			break;
		}
		r = take_file(rounds, &file);
		if (r <= 0)
			return r;
		space = replacement_space(context, file) + PREFLIGHT_ENTRY_SPACE;
		if (space > free_space && rounds->next.n == 0 && idle) {
			run_report(rounds->run, file->entry.path, REASON_NO_SPACE, 0);
			replacement_free(file);
			continue;
		}
		/* Three batches are under way before the first source is freed. */
		if (space > free_space ||
			(rounds->next.n > 0 &&
				(rounds->next.space + space > MIN(BATCH_BYTES, free_space / 3) ||
					rounds->next.journal + journal_entry_size(&file->entry) > room)))
			return give_back(rounds, file);
		r = batch_add(&rounds->next, context, file);
		if (r < 0) {
			replacement_free(file);
			return r;
		}
	}
	return 0;
}

static int plan_batch(Rounds *rounds)
{
	int r = fill_batch(rounds);

	batch_sort(&rounds->next);
	return r;
}

/* ---- the steps ---- */

static void task_write(void *userdata, size_t i, Workspace *workspace)
{
	Rounds *rounds = userdata;
	const ReplacementContext *context = &rounds->run->context;

	if (i < rounds->sealed.n) {
		struct timespec now;

		context->volume->vfs->now(context->volume->vfs, CLOCK_MONOTONIC, &now);
		if (i == 0 || now.tv_sec < rounds->deadline.tv_sec)
			replacement_write(context, rounds->sealed.items[i], workspace);
		if (rounds->sealed.items[i]->state == REPLACEMENT_WRITTEN)
			run_advance(rounds->run, 1, 0);
	} else {
		replacement_verify(context, rounds->scrubbing.items[i - rounds->sealed.n], workspace);
	}
}

static void task_close(void *userdata, size_t i, Workspace *workspace _unused_)
{
	Rounds *rounds = userdata;

	replacement_close(&rounds->run->context, rounds->sealed.items[i]);
}

/* Its file is gone, its clusters are free from here on. */
static void task_close_source(void *userdata, size_t i, Workspace *workspace _unused_)
{
	Replacement *item = ((Batch *)userdata)->items[i];
	const Vfs *vfs = item->directory->vfs;

	if (item->state != REPLACEMENT_UNLINKED || item->source_fd < 0)
		return;
	vfs->close(vfs, item->source_fd);
	item->source_fd = -1;
}

static void task_scrub(void *userdata, size_t i, Workspace *workspace)
{
	Rounds *rounds = userdata;

	replacement_scrub(&rounds->run->context, rounds->scrubbing.items[i], workspace);
}

static void task_sync_source(void *userdata, size_t i, Workspace *workspace _unused_)
{
	Rounds *rounds = userdata;

	replacement_sync_source(&rounds->run->context, rounds->scrubbing.items[i]);
}

/* Files that failed in `batch`: named, their new files taken away, held until that is durable. */
static int settle_failures(Rounds *rounds, Batch *batch)
{
	Run *run = rounds->run;

	for (size_t i = 0; i < batch->n; i++) {
		Replacement *item = batch->items[i];

		if (item->state != REPLACEMENT_FAILED)
			continue;
		if (item->reason != REASON_INVALID)
			run_report(run, item->entry.path, item->reason, item->error);
		if (item->reason == REASON_MEDIUM_FAILED)
			rounds_stop(rounds, OUTCOME_MEDIUM_FAILED);
		rounds->fatal |= item->fatal;
	}
	if (rounds->fatal)
		return 0;
	for (size_t i = 0; i < batch->n; i++)
		if (batch->items[i]->state == REPLACEMENT_FAILED)
			rounds->fatal |= replacement_abandon(&run->context, batch->items[i]) < 0;
	/* What is listed as aborted a recovery takes for the run's own. */
	batch_drop_unmade(batch);
	return batch_move(batch, REPLACEMENT_FAILED, &rounds->aborted, &run->context);
}

/* Steps a and b. */
static int round_write(Rounds *rounds)
{
	ReplacementContext *context = &rounds->run->context;
	const Vfs *vfs = context->volume->vfs;
	int r;

	if (context->verify && rounds->scrubbing.n > 0) {
		r = vfs->read_medium(vfs, context->volume->root_fd);
		if (r < 0)
			return r;
		context->medium_flags = r;
	}
	vfs->now(vfs, CLOCK_MONOTONIC, &rounds->deadline);
	rounds->deadline.tv_sec += BATCH_SECONDS;
	pool_run(rounds->pool, rounds->sealed.n + rounds->scrubbing.n, task_write, rounds);
	if (context->close_later)
		pool_run(rounds->closers, rounds->sealed.n, task_close, rounds);

	r = batch_move(&rounds->sealed, REPLACEMENT_PLANNED, &rounds->returned, context);
	if (r >= 0 && (rounds->stop != OUTCOME_DONE || run_cancelled(rounds->run))) {
		/* Planned, never begun. */
		for (size_t i = 0; i < rounds->returned.n; i++)
			rounds->returned.items[i]->state = REPLACEMENT_FAILED;
		r = settle_failures(rounds, &rounds->returned);
	}
	if (r >= 0)
		r = settle_failures(rounds, &rounds->sealed);
	if (r >= 0)
		r = settle_failures(rounds, &rounds->scrubbing);
	return r;
}

/* Step c. */
static int round_scrub(Rounds *rounds)
{
	if (!rounds->run->context.scrub)
		return 0;
	pool_run(rounds->pool, rounds->scrubbing.n, task_scrub, rounds);
	if (rounds->run->context.sync_each)
		pool_run(rounds->pool, rounds->scrubbing.n, task_sync_source, rounds);
	return settle_failures(rounds, &rounds->scrubbing);
}

/* A source that changed before it was overwritten stays, and its new file goes; one that another file took
 * the place of has its new file kept. */
static void task_unlink(void *userdata, size_t i, Workspace *workspace _unused_)
{
	Rounds *rounds = userdata;
	Replacement *item = rounds->retired.items[i];
	bool scrubbed = item->state == REPLACEMENT_SCRUBBED;

	replacement_unlink(&rounds->run->context, item);
	if (item->state == REPLACEMENT_FAILED && (scrubbed || item->reason == REASON_EDITED))
		item->made = false; /* the only whole form there is: not to be abandoned */
}

/* Step d. */
static int round_unlink(Rounds *rounds)
{
	Run *run = rounds->run;

	pool_run(rounds->pool, rounds->retired.n, task_unlink, rounds);
	for (size_t i = 0; i < rounds->retired.n; i++) {
		const Replacement *item = rounds->retired.items[i];

		if (item->state != REPLACEMENT_UNLINKED)
			continue;
		run_count(run, run->context.encrypting ? COUNT_ENCRYPTED : COUNT_DECRYPTED, 1);
		if (item->moved)
			run_report(run, item->entry.path, REASON_MOVED, 0);
		if (item->attributes_lost)
			run_report(run, item->entry.path, REASON_ATTRIBUTES, 0);
	}
	return settle_failures(rounds, &rounds->retired);
}

static int record_list(Rounds *rounds, JournalList list, const Batch *batch)
{
	for (size_t i = 0; i < batch->n; i++) {
		int r = journal_add(rounds->journal, list, &batch->items[i]->entry);

		if (r < 0)
			return r;
	}
	return 0;
}

/* Steps e and f. */
static int round_record(Rounds *rounds)
{
	const Volume *volume = rounds->run->volume;
	int r;

	r = journal_begin(rounds->journal, &rounds->head);
	if (r >= 0)
		r = record_list(rounds, JOURNAL_RETIRED, &rounds->retired);
	if (r >= 0)
		r = record_list(rounds, JOURNAL_SCRUBBING, &rounds->scrubbing);
	if (r >= 0)
		r = record_list(rounds, JOURNAL_SEALED, &rounds->sealed);
	if (r >= 0)
		r = record_list(rounds, JOURNAL_INTENT, &rounds->next);
	if (r >= 0)
		r = record_list(rounds, JOURNAL_ABORTED, &rounds->aborted);
	if (r >= 0)
		r = journal_write(rounds->journal);
	if (r >= 0)
		r = volume->vfs->barrier(volume->vfs, volume->root_fd);
	/* A record that the medium lost would leave new files that nobody knows of. */
	if (r >= 0 && rounds->run->context.verify)
		r = volume->vfs->read_medium(volume->vfs, volume->root_fd);
	if (r >= 0 && rounds->run->context.verify)
		r = journal_check(rounds->journal, r);
	return r;
}

/* Step g, and every batch moves on. */
static void round_retire(Rounds *rounds)
{
	/* Their deletion is durable now. */
	for (size_t i = 0; i < rounds->aborted.n; i++)
		replacement_close(&rounds->run->context, rounds->aborted.items[i]);
	batch_clear(&rounds->aborted);
	/* They were written to when they were scrubbed: each close waits as long as that of a new file. */
	if (rounds->run->context.close_later && rounds->run->context.scrub)
		pool_run(rounds->closers, rounds->retired.n, task_close_source, &rounds->retired);
	else
		pool_run(rounds->pool, rounds->retired.n, task_close_source, &rounds->retired);
	batch_clear(&rounds->retired);
	rounds->retired = rounds->scrubbing;
	rounds->scrubbing = rounds->sealed;
	rounds->sealed = rounds->next;
	rounds->next = (Batch){0};
}

static bool is_idle(const Rounds *rounds)
{
	return rounds->sealed.n == 0 && rounds->scrubbing.n == 0 && rounds->retired.n == 0;
}

static int round_run(Rounds *rounds)
{
	int r;

	if (rounds->stop != OUTCOME_DONE)
		run_set_phase(rounds->run, PHASE_FINISHING);
	r = round_write(rounds);
	if (r >= 0 && !rounds->fatal)
		r = round_scrub(rounds);
	if (r >= 0 && !rounds->fatal)
		r = round_unlink(rounds);
	if (r >= 0 && !rounds->fatal && run_cancelled(rounds->run))
		rounds_stop(rounds, OUTCOME_CANCELLED);
	if (r >= 0 && !rounds->fatal)
		r = plan_batch(rounds);
	if (r >= 0 && !rounds->fatal)
		r = round_record(rounds);
	if (r < 0 || rounds->fatal)
		return r;
	round_retire(rounds);
	return 0;
}

static int rounds_close(Rounds *rounds)
{
	const Volume *volume = rounds->run->volume;
	int r;

	rounds->head.flags |= JOURNAL_CLOSED;
	r = journal_begin(rounds->journal, &rounds->head);
	if (r >= 0)
		r = journal_write(rounds->journal);
	/* Not needed for any file's sake, but a drive that is pulled now has nothing pending. */
	if (r >= 0)
		r = volume->vfs->barrier(volume->vfs, volume->root_fd);
	return r;
}

static int rounds_init(Rounds *rounds)
{
	const Run *run = rounds->run;
	struct rlimit limit;
	int r;

	rounds->head = (JournalRecord){
		.operation = run->context.encrypting ? TRANSACTION_ENCRYPT : TRANSACTION_DECRYPT,
		.flags = (run->context.scrub ? JOURNAL_SCRUB : 0) |
			 (run->context.only_run ? JOURNAL_ONLY_RUN : 0),
		.n_scope = run->options->n_paths,
	};
	memcpy(rounds->head.run, run->context.run, RUN_ID_SIZE);
	memcpy(rounds->head.metadata_digest, run->volume->metadata_digest, JOURNAL_HASH_SIZE);
	rounds->head.scope = new0(char *, MAX(run->options->n_paths, (size_t)1));
	if (!rounds->head.scope)
		return -ENOMEM;
	for (size_t i = 0; i < run->options->n_paths; i++) {
		rounds->head.scope[i] = strdup(run->options->paths[i]);
		if (!rounds->head.scope[i])
			return -ENOMEM;
	}
	rounds->files_max = run->options->batch_files ? run->options->batch_files : BATCH_FILES;
	if (getrlimit(RLIMIT_NOFILE, &limit) >= 0 &&
		limit.rlim_cur < rounds->files_max * FDS_PER_FILE + FDS_RESERVED)
		rounds->files_max = limit.rlim_cur > FDS_RESERVED + FDS_PER_FILE
					    ? (size_t)(limit.rlim_cur - FDS_RESERVED) / FDS_PER_FILE
					    : 1;
	r = workspace_init(&rounds->planning);
	if (r >= 0)
		r = pool_new(
			run->options->threads ? run->options->threads : POOL_THREADS, true, &rounds->pool);
	if (r >= 0 && run->context.close_later)
		r = pool_new(CLOSE_THREADS, false, &rounds->closers);
	return r;
}

static void rounds_clear(Rounds *rounds)
{
	pool_free(rounds->pool);
	pool_free(rounds->closers);
	workspace_clear(&rounds->planning);
	batch_clear(&rounds->next);
	batch_clear(&rounds->sealed);
	batch_clear(&rounds->scrubbing);
	batch_clear(&rounds->retired);
	batch_clear(&rounds->returned);
	batch_clear(&rounds->aborted);
	for (size_t i = 0; rounds->head.scope && i < rounds->head.n_scope; i++)
		free(rounds->head.scope[i]);
	free(rounds->head.scope);
}

/* The drive failed or left: what the journal says stays true, and recovery goes on from there. */
static Outcome interrupted(const Run *run, int error)
{
	Outcome outcome = run_outcome(run, error);

	run->result->pending = run->context.encrypting ? TRANSACTION_ENCRYPT : TRANSACTION_DECRYPT;
	return outcome == OUTCOME_DRIVE_GONE ? outcome : OUTCOME_INTERRUPTED;
}

Outcome rounds_run(Run *run, Journal *journal, Walk *walk)
{
	Rounds rounds = {.run = run, .journal = journal, .walk = walk, .stop = OUTCOME_DONE};
	Outcome outcome = OUTCOME_DONE;
	bool begun = false;
	int r;

	run_set_phase(run, PHASE_RUNNING);
	r = rounds_init(&rounds);
	if (r >= 0)
		r = plan_batch(&rounds);
	if (r < 0) {
		outcome = run_outcome(run, r);
		rounds_clear(&rounds);
		return outcome;
	}
	while (r >= 0 && !rounds.fatal && rounds.next.n > 0) {
		r = round_record(&rounds); /* R0: the first intent */
		if (r >= 0)
			round_retire(&rounds);
		while (r >= 0 && !rounds.fatal && !is_idle(&rounds))
			r = round_run(&rounds);
		begun = true;
		/* On a tight drive nothing more was planned until everything had been freed. */
		if (r >= 0 && !rounds.fatal)
			r = plan_batch(&rounds);
	}
	/* A journal that no record was written to would not be found again. */
	if (r >= 0 && !rounds.fatal && (begun || journal_is_new(journal)))
		r = rounds_close(&rounds);
	if (r < 0 || rounds.fatal)
		outcome = interrupted(run, r);
	if (outcome == OUTCOME_DONE)
		outcome = rounds.stop != OUTCOME_DONE ? rounds.stop : run_final_outcome(run);
	rounds_clear(&rounds);
	return outcome;
}
