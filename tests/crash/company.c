/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Who comes in between a crash and its recovery, or into the recovery itself. */

#include "explorer.h"

#include "engine/journal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define UNREADABLE_RECOVERIES 3   /* each after a new mount */
#define GRABS_MAX             8   /* times that a recovery is looked for to give clusters back */
#define RECOVERY_CALLS_MAX    400 /* system calls of a recovery that others come in at */

/* After a kill, and the recovery that found nothing to do ("next" in a path), or without one ("again"): the
 * transaction the other way, which explorer->world is made to be about. */
void explorer_run_next(
	Explorer *explorer, const Disk *killed, const Log *killed_log, bool recover, Execution *run)
{
	TransactionKind *kind = &explorer->world.scenario.kind;
	Disk *durable = calloc(1, sizeof(*durable));
	Log log = {0};

	if (!durable)
		abort();
	execution_begin(run, &explorer->world, killed, killed_log);
	if (recover)
		execution_recovery(run);
	show_execution(explorer, "after the kill", run);
	*durable = *explorer_split(explorer, run, &log);
	execution_end(run);

	*kind = *kind == TRANSACTION_ENCRYPT ? TRANSACTION_DECRYPT : TRANSACTION_ENCRYPT;
	execution_begin(run, &explorer->world, durable, &log);
	execution_transaction(run);
	show_execution(explorer, "the next transaction", run);
	log_clear(&log);
	free(durable);
}

/* ---- kills ---- */

/* What the killed process said last, that nothing is pending, may not be durable yet. */
void explore_next(
	Explorer *explorer, const Disk *killed, const Log *killed_log, unsigned depth, const char *way)
{
	Scenario *scenario = &explorer->world.scenario;
	TransactionKind kind = scenario->kind;
	Execution *run = calloc(1, sizeof(*run));
	char path[EXPLORER_PATH_MAX + 16];

	if (!run)
		abort();
	for (int recover = 0; recover <= 1; recover++) {
		(void)snprintf(path, sizeof(path), "%s/%s", way, recover ? "next" : "again");
		explorer_run_next(explorer, killed, killed_log, recover, run);
		if (run->outcome == OUTCOME_DONE)
			explore_log(explorer, run, depth, path);
		scenario->kind = kind;
		execution_end(run);
	}
	free(run);
}

bool ends_unsaid(const Execution *run, const Disk *durable)
{
	return !disk_is_pending(&run->disk) && disk_is_pending(durable);
}

/* A recovery that is killed itself. */
void judge_kills(Explorer *explorer, const Disk *state, const char *path)
{
	Execution *run = calloc(1, sizeof(*run));
	Disk *durable = calloc(1, sizeof(*durable));
	bool killed = true;

	if (!run || !durable)
		abort();
	for (unsigned at = 0; killed && !explorer->stop; at++) {
		char event[32], next[EXPLORER_PATH_MAX + 32];
		Events events;
		unsigned length;
		Log log = {0};
		Way way;

		(void)snprintf(event, sizeof(event), "kill@%u", at);
		if (!events_parse(&explorer->world, event, &events, &length))
			abort();
		execution_begin(run, &explorer->world, state, NULL);
		events_begin(&events, run);
		execution_recovery(run);
		(void)events_end(&events, run, &way);
		killed = events.items[0].happened;
		*durable = *explorer_split(explorer, run, &log);
		(void)snprintf(next, sizeof(next), "%s/%s", path, event);
		if (killed && at % explorer->limits->kills_every == 0)
			(void)judge(explorer, durable, &log, NULL, 0, next, false);
		if (killed && ends_unsaid(run, durable))
			explore_next(explorer, durable, &log, 1, next);
		log_clear(&log);
		execution_end(run);
	}
	free(durable);
	free(run);
}

/* ---- a run that begins anew ---- */

void explorer_run_again(
	Explorer *explorer, const Disk *base, const Log *pending, Execution *run, Outcome *ret_recovered)
{
	execution_begin(run, &explorer->world, base, pending);
	execution_recovery(run);
	show_execution(explorer, "recovery", run);
	*ret_recovered = run->outcome;
	if (run->outcome != OUTCOME_DONE)
		return;
	execution_transaction(run);
	show_execution(explorer, "the run", run);
}

/* What was made is found again. */
static const char *judge_end_of_run(Explorer *explorer, const Execution *run, bool damaged)
{
	Execution *again = &explorer->again;
	const char *what = oracle_end(&explorer->world, run, true, damaged);

	if (what)
		return what;
	execution_begin(again, &explorer->world, &run->disk, NULL);
	execution_transaction(again);
	show_execution(explorer, "once more", again);
	if (again->outcome != OUTCOME_DONE || disk_hash(&again->disk) != disk_hash(&run->disk))
		what = "a run that has nothing to do changes something";
	execution_end(again);
	return what;
}

void judge_run(
	Explorer *explorer, const Disk *base, const Log *pending, unsigned depth, const char *path, bool deep)
{
	bool second = explorer->world.second, begun = !pending && disk_is_pending(base);
	Execution *run = calloc(1, sizeof(*run));
	Disk *state = calloc(1, sizeof(*state));

	if (!run || !state)
		abort();
	for (int company = 0; company < (pending || begun ? 1 : 2) && !explorer->stop; company++) {
		char next[EXPLORER_PATH_MAX + 16];
		const char *what = NULL;
		Outcome recovered;
		bool whole;

		*state = *base;
		(void)snprintf(next, sizeof(next), "%s%s/run", path, company ? "/b" : "");
		if (company && !bystander_state(&explorer->world, state))
			break;
		explorer->world.second |= company;
		explorer->sum->states++;
		explorer_run_again(explorer, state, pending, run, &recovered);
		whole = recovered == OUTCOME_DONE && run->outcome == OUTCOME_DONE;
		if (whole)
			what = judge_end_of_run(explorer, run, strstr(path, ":g"));
		else if (!begun) /* else a torn chain may be in the way, and judge() looks at that */
			what = outcome_name(run->outcome);
		if (what)
			explorer_violated(explorer, next, what);
		else if (deep)
			explore_log(explorer, run, depth + 1, next);
		execution_end(run);
		explorer->world.second = second;
	}
	free(state);
	free(run);
}

/* ---- users who come in between ---- */

void judge_edits(Explorer *explorer, const Disk *state, const char *path)
{
	for (unsigned i = 0; i < explorer->world.n_files && !explorer->stop; i++) {
		static Disk edited;
		static File file;
		char next[EXPLORER_PATH_MAX + 16];
		bool lenient = explorer->ways[0].lenient;

		file = explorer->world.files[i];
		edited = *state;
		if (edit_state(&explorer->world, &edited, i)) {
			(void)snprintf(next, sizeof(next), "%s/e%u", path, i);
			explorer->ways[0].lenient = true;
			(void)judge(explorer, &edited, NULL, NULL, 0, next, false);
			explorer->ways[0].lenient = lenient;
		}
		explorer->world.files[i] = file;
	}
}

/* A medium that damages one form of a file whose other one is whole. */
void judge_rot(Explorer *explorer, const Disk *state, uint64_t where, const char *path)
{
	bool lenient = explorer->ways[0].lenient;

	explorer->ways[0].lenient = true;
	for (unsigned i = 0; i < 2 * explorer->world.n_files && !explorer->stop; i++) {
		static Disk rotten;
		char next[EXPLORER_PATH_MAX + 32];

		rotten = *state;
		if (!rot_state(&explorer->world, &rotten, i / 2, i % 2, where))
			continue;
		(void)snprintf(next, sizeof(next), "%s/m%u.%u", path, i, (unsigned)(where % 64));
		(void)judge(explorer, &rotten, NULL, NULL, 0, next, false);
	}
	explorer->ways[0].lenient = lenient;
}

/* The newest record, where it says that something is pending. */
static JournalRecord *read_pending(const World *world, const Disk *state)
{
	_cleanup_journal_record_ JournalRecord *latest = NULL;
	_cleanup_journal_ Journal *journal = NULL;
	static Disk disk;
	static Fs fs;

	disk = *state;
	fs_mount(&fs, &disk, NULL, POLICY_NEXT_FIT, 0);
	if (journal_open(&fs.vfs, fs_root(), world->volume.journal_mac, world->volume.drive_id, &journal) <
			0 ||
		journal_read(journal, 0, &latest) <= 0 || latest->flags & JOURNAL_CLOSED)
		return NULL;
	return TAKE_PTR(latest);
}

bool judge_is_owed(const Explorer *explorer, const Disk *state)
{
	_cleanup_journal_record_ JournalRecord *latest = read_pending(&explorer->world, state);

	return latest;
}

/* Whether the newest record says that this file's new form is all there is, or will be. */
static bool is_listed_as_done(const World *world, const Disk *state, const File *file)
{
	static const JournalList lists[] = {JOURNAL_SCRUBBING, JOURNAL_RETIRED};
	_cleanup_journal_record_ JournalRecord *latest = read_pending(world, state);
	bool listed = false;

	for (size_t l = 0; latest && l < ELEMENTSOF(lists); l++)
		for (size_t i = 0; i < latest->n[lists[l]]; i++)
			listed |= strcmp(latest->lists[lists[l]][i].path, file->path) == 0;
	return listed;
}

/* What the medium lost when nothing else was left of a file is lost; but its owner is told. */
void judge_told(Explorer *explorer, const Disk *state, uint64_t where, const char *path)
{
	const World *world = &explorer->world;
	Execution *execution = &explorer->executions[0];

	if (world->scenario.kind != TRANSACTION_ENCRYPT)
		return;
	for (unsigned i = 0; i < world->n_files && !explorer->stop; i++) {
		static Disk rotten;
		char next[EXPLORER_PATH_MAX + 32];

		rotten = *state;
		if (!rot_last_state(world, &rotten, i, where) ||
			!is_listed_as_done(world, state, &world->files[i]))
			continue;
		(void)snprintf(next, sizeof(next), "%s/n%u.%u", path, i, (unsigned)(where % 64));
		explorer->sum->states++;
		execution_begin(execution, world, &rotten, NULL);
		execution_recovery(execution);
		show_execution(explorer, "recovery", execution);
		if (execution->outcome != OUTCOME_FILESYSTEM_DAMAGED &&
			!execution_named(execution, world->files[i].path))
			explorer_violated(explorer, next, "nobody is told what the medium damaged");
		execution_end(execution);
	}
}

/* A record that cannot be read may be the newest one: what is recovered by the one before it must not lose
 * anything. What the newest listed alone stays behind, and nobody can tell. */
void judge_unreadable(Explorer *explorer, const Disk *state, const char *path)
{
	Execution *execution = &explorer->executions[0];

	for (int which = 0; which < 4 && !explorer->stop; which++) {
		static Disk disk;
		char next[EXPLORER_PATH_MAX + 16];
		const char *what = NULL;

		disk = *state;
		if (!unreadable_state(&disk, which / 2, which % 2))
			continue;
		(void)snprintf(next, sizeof(next), "%s/u%d", path, which);
		explorer->sum->states++;
		for (int i = 0; i < UNREADABLE_RECOVERIES && !what; i++) {
			execution_begin(execution, &explorer->world, &disk, NULL);
			execution_recovery(execution);
			show_execution(explorer, "recovery", execution);
			what = oracle_end(&explorer->world, execution, false, true);
			disk = execution->disk;
			execution_end(execution);
		}
		if (what)
			explorer_violated(explorer, next, what);
	}
}

/* What comes in between while the recovery runs. False: it does not get there. */
static bool judge_event(Explorer *explorer, const Disk *state, const char *event, const char *path, bool deep)
{
	static File files[FILES_MAX];
	char next[EXPLORER_PATH_MAX + 64];
	Events events;
	unsigned length;
	bool happened;

	memcpy(files, explorer->world.files, sizeof(files));
	if (!events_parse(&explorer->world, event, &events, &length))
		abort();
	events.recovering = true;
	(void)snprintf(next, sizeof(next), "%s/%s", path, event);
	happened = judge(explorer, state, NULL, &events, 0, next, deep);
	memcpy(explorer->world.files, files, sizeof(files));
	return happened;
}

void judge_company(Explorer *explorer, const Disk *state, uint64_t where, const char *path)
{
	const Limits *limits = explorer->limits;
	char event[32];

	for (unsigned n = 0; n < GRABS_MAX && !explorer->world.second && !explorer->stop; n++) {
		(void)snprintf(event, sizeof(event), "grab@%u", n);
		if (!judge_event(explorer, state, event, path, true))
			break;
	}
	for (unsigned i = 0; i < explorer->world.n_files; i++)
		for (unsigned at = (unsigned)(where % limits->recovery_calls_every);
			at < RECOVERY_CALLS_MAX && !explorer->stop; at += limits->recovery_calls_every) {
			(void)snprintf(event, sizeof(event), "edit%u@%u", i, at);
			(void)judge_event(explorer, state, event, path, false);
		}
}
