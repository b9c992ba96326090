/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* One run over the files of a drive: what its parts share. Progress, reports and counts are safe from any
 * thread. */

#include "engine/replacement.h"

typedef struct Run {
	Volume *volume;
	const TransactionOptions *options;
	const Observer *observer;
	TransactionResult *result;
	ReplacementContext context;
	Secret *tag_key;
	uint64_t next_serial;
	uint64_t journal_space; /* bytes that making the journal will take; 0 once there is one */
	bool counted;           /* links and the like were counted by the preflight */
	bool doubtful;          /* recovery: the record it goes by may not be the newest one */
	bool may_decrypt;       /* recovery: the request was authorised to move towards plaintext */
	pthread_mutex_t lock;
	Progress progress;
	/* hashes of the paths that were reported: each is reported once */
	uint64_t *reported;
	size_t n_reported, reported_size; /* a power of two, or 0 */
	uint8_t report_key[16];
	/* the last folder that was asked about, and whether files can be made and removed there */
	Directory *asked;
	bool asked_writable;
} Run;

/* Prepares a run of one kind over a volume: contents tags' key, file system facts, the way to read from the
 * medium. The result is zeroed. OUTCOME_UNVERIFIED_MEDIUM: there is no such way, and the options do not allow
 * to go without. */
Outcome run_init(Run *run, TransactionKind kind, Volume *volume, const TransactionOptions *options,
	const Observer *observer, TransactionResult *result);
void run_clear(Run *run);

/* Takes over the identity of an earlier run, and with it the key of its content tags. */
int run_adopt(Run *run, const uint8_t id[RUN_ID_SIZE]);

void run_set_phase(Run *run, Phase phase);
void run_set_totals(Run *run, uint64_t files, uint64_t bytes);
void run_advance(Run *run, uint64_t files, uint64_t bytes);
void run_count(Run *run, Count count, uint64_t n);
bool run_cancelled(const Run *run);

/* Names a file that was left out, unless it was named before. MOVED and ATTRIBUTES are remarks: they do not
 * count as failed. */
void run_report(Run *run, const char *path, Reason reason, int error);

/* Counts what is nobody's failure (links, special files, mounts), and reports what is. True: `entry` is an
 * ordinary file for the run to look at. */
bool run_sort_out(Run *run, const WalkEntry *entry);

/* Plans `entry` when it is to be replaced and nothing speaks against it. 1: *ret is it; 0: it is not, and was
 * counted or reported; -ENOMEM. *ret_blocks is set to true where the preflight should stop because of it. */
int run_plan(Run *run, const WalkEntry *entry, Workspace *workspace, Replacement **ret, bool *ret_blocks);

/* Free bytes of the filesystem, for whoever runs this. */
int run_free_space(const Run *run, uint64_t *ret_free);

/* An errno's outcome, asking first whether the drive is still there. */
Outcome run_outcome(const Run *run, int error);

/* Looks whether the filesystem's allocation can be relied on. FILESYSTEM_DAMAGED: it is worse than
 * `tolerated`, behind barriers too; CANCELLED. */
Outcome run_check_volume(Run *run, VolumeQuestion question, VolumeState tolerated);

/* DONE, or PARTIAL where files were left out or moved. */
Outcome run_final_outcome(const Run *run);
