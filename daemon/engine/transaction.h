/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * What can be done to the files of a drive. Every function here runs to its end in its caller's thread (using
 * threads of its own), reports through an observer, and leaves the drive in a state from which recovery_run()
 * can go on (TRANSACTIONS.md: invariants, protocol, recovery table).
 */

#include "engine/drive.h"
#include "util/outcome.h"
#include "util/report.h"

/* A mounted, enrolled drive and the keys to it, as a job got them. */
typedef struct Volume {
	const Vfs *vfs;
	int root_fd;
	char type[32]; /* as in mountinfo: "vfat", "exfat", "ext4", "btrfs", "fuseblk", … */
	uint8_t drive_id[DRIVE_ID_SIZE];
	Suite suite;
	uint32_t epoch;
	uint8_t metadata_digest[32];
	const Secret *file_root;   /* NULL for a survey */
	const Secret *journal_mac; /* NULL for a survey and for a decrypt to elsewhere */
	const Secret *scrub_root;
	bool privileged; /* may set owners */
} Volume;

typedef struct Progress {
	Phase phase;
	uint64_t files_total, files_done, files_failed;
	uint64_t bytes_total, bytes_done;
} Progress;

typedef struct Observer {
	void *userdata;
	/* Called from any thread, one call at a time. `path` is relative to the root, `error` a positive
	 * errno or 0. */
	void (*progress)(void *userdata, const Progress *progress);
	void (*failure)(void *userdata, const char *path, Reason reason, int error);
	/* Asked often, from any thread. True: stop soon, leave a clean mixed state. */
	bool (*cancelled)(void *userdata);
} Observer;

typedef struct TransactionOptions {
	const char *const *paths; /* relative to the root; none: the whole drive */
	size_t n_paths;
	bool scrub; /* encrypt: overwrite the plaintext before it is unlinked (I9) */
	bool skip_unfit;
	bool dry_run;            /* the preflight alone */
	bool unverified_medium;  /* go on where nothing can be read back from the medium */
	const uint8_t *only_run; /* decrypt: only what the run with this id (RUN_ID_SIZE bytes) encrypted;
				    NULL: all */
	const uint8_t
		*resumed; /* the run's identity, where it goes on with an earlier one's work; may be NULL */
	int target_fd; /* decrypt: write below this directory of the host and leave the drive untouched; -1:
			  in place */
	unsigned threads;     /* 0: choose */
	unsigned batch_files; /* files of a batch at most; 0: choose */
} TransactionOptions;

typedef struct TransactionResult {
	uint64_t counts[COUNT_MAX];
	TransactionKind
		pending; /* what is left interrupted: ENCRYPT, DECRYPT, or TRANSACTION_INVALID for nothing */
} TransactionResult;

Outcome transaction_survey(
	Volume *volume, const TransactionOptions *options, const Observer *observer, TransactionResult *ret);
Outcome transaction_encrypt(
	Volume *volume, const TransactionOptions *options, const Observer *observer, TransactionResult *ret);
Outcome transaction_decrypt(
	Volume *volume, const TransactionOptions *options, const Observer *observer, TransactionResult *ret);
Outcome transaction_verify(
	Volume *volume, const TransactionOptions *options, const Observer *observer, TransactionResult *ret);

/* Settles what an interrupted run left, then resumes or goes the other way, or (RECOVERY_SETTLE) neither. Of
 * the options only dry_run, unverified_medium, threads and batch_files count: the rest is what the
 * interrupted run asked for. `may_decrypt` says that the request was authorised to decrypt; without it
 * nothing is moved towards plaintext (I5): OUTCOME_NOT_AUTHORIZED where that was asked for.
 * OUTCOME_INTERRUPTED: some files, each reported, could not be settled; the drive stays pending. */
Outcome recovery_run(Volume *volume, RecoveryMode mode, bool may_decrypt, const TransactionOptions *options,
	const Observer *observer, TransactionResult *ret);

/* What the journal says is pending, without its key: a hint. TRANSACTION_INVALID: nothing, or no journal. */
TransactionKind recovery_hint(const Vfs *vfs, int root_fd);
