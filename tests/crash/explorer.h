/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What explore.c, judge.c, company.c and replay.c share: the scenario that is gone through, and the steps. */

#include "events.h"
#include "explore.h"

#define EXPLORER_PATH_MAX 256

typedef struct Explorer {
	World world;          /* as it is judged */
	TransactionKind kind; /* what its scenario says; after it another may follow */
	char name[80];
	const Limits *limits;
	bool stop_at_first, stop;
	bool verbose;
	Way ways[2];     /* that the run went, and the recovery that is looked into */
	bool owed;       /* the recovery that is looked into has a run to finish, or to take back */
	size_t ended[2]; /* their logs' entries from which on it had told that nothing is pending; or SIZE_MAX
			  */
	unsigned shown;
	Sum *sum;
	uint64_t *seen; /* hashes of the states that were judged */
	size_t n_seen;
	Execution executions[2]; /* by depth */
	Execution recovery, again;
	Window windows[2], spare;
	Disk states[2];
} Explorer;

Explorer *explorer_new(const Scenario *scenario, const Limits *limits, Sum *sum);
void explorer_free(Explorer *explorer);

/* Counts and shows a violation. */
void explorer_violated(Explorer *explorer, const char *path, const char *what);

void show_disk(const Disk *disk);
void show_execution(const Explorer *explorer, const char *what, const Execution *execution);
void show_window(const Window *window);

/* False: this state was judged before. */
bool explorer_add_seen(Explorer *explorer, uint64_t hash);

/* It says of itself that nothing is pending. */
bool execution_is_closed(const Execution *execution);

/* What a drive that is plugged in says of itself. */
bool disk_is_pending(const Disk *state);

/* Where the log goes on after the last barrier of what says that nothing is pending; or SIZE_MAX. */
size_t execution_find_end(const Execution *execution);

/* What was durable when a run was killed, valid until the next call; and what was not. */
const Disk *explorer_split(Explorer *explorer, const Execution *run, Log *ret_pending);

/* A state: what is durable, and what a mere kill left in the caches. What comes in between while it is
 * recovered may be NULL. `deep`: the recovery's own crash states too. False: that could not happen. */
bool judge(Explorer *explorer, const Disk *base, const Log *pending, Events *events, unsigned depth,
	const char *path, bool deep);

/* Others of the same state: somebody edits; the medium damages what has another form, or has none; others
 * come in while the recovery runs; a sector of the journal cannot be read; the recovery is killed. */
void judge_edits(Explorer *explorer, const Disk *state, const char *path);
void judge_rot(Explorer *explorer, const Disk *state, uint64_t where, const char *path);
void judge_told(Explorer *explorer, const Disk *state, uint64_t where, const char *path);
void judge_company(Explorer *explorer, const Disk *state, uint64_t where, const char *path);

/* Whether a valid record says that something is pending. */
bool judge_is_owed(const Explorer *explorer, const Disk *state);
void judge_unreadable(Explorer *explorer, const Disk *state, const char *path);
void judge_kills(Explorer *explorer, const Disk *state, const char *path);

/* A state after which a run is to begin, behind a recovery; where nothing had begun also with a bystander
 * that has made its second file before them. `deep`: that run's own crash states too. */
void judge_run(Explorer *explorer, const Disk *base, const Log *pending, unsigned depth, const char *path,
	bool deep);

/* A recovery, and in the same mount the transaction from the start. */
void explorer_run_again(
	Explorer *explorer, const Disk *base, const Log *pending, Execution *run, Outcome *ret_recovered);

/* A process was killed when it had written that nothing is pending, and that was not durable yet. */
bool ends_unsaid(const Execution *run, const Disk *durable);

/* After a kill, and the recovery that found nothing to do (or without one): the transaction the other way,
 * which explorer->world is made to be about. */
void explorer_run_next(
	Explorer *explorer, const Disk *killed, const Log *killed_log, bool recover, Execution *run);
void explore_next(
	Explorer *explorer, const Disk *killed, const Log *killed_log, unsigned depth, const char *way);

/* The crash states of a run or recovery. */
void explore_log(Explorer *explorer, const Execution *execution, unsigned depth, const char *path);

bool explorer_run_way(Explorer *explorer, const char *text, Execution *execution);
