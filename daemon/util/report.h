/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * What the engine reports and the bus shows: kinds of transactions, their phases, what is counted. Names are
 * stable; numbers are the wire's between daemon and worker, and TransactionKind's are the journal's too.
 */

#include "util/macro.h"

typedef enum TransactionKind {
	TRANSACTION_SURVEY = 1,
	TRANSACTION_ENCRYPT = 2,
	TRANSACTION_DECRYPT = 3,
	TRANSACTION_VERIFY = 4,
	TRANSACTION_RECOVER = 5,
	TRANSACTION_MAX,
	TRANSACTION_INVALID = -1,
} TransactionKind;

typedef enum Phase {
	PHASE_STARTING,
	PHASE_PREFLIGHT,  /* counting, and looking for what cannot be done; nothing is changed yet */
	PHASE_RECOVERING, /* settling what an interrupted run left */
	PHASE_RUNNING,
	PHASE_FINISHING, /* the last barriers */
	PHASE_MAX,
	PHASE_INVALID = -1,
} Phase;

typedef enum RecoveryMode {
	RECOVERY_RESUME,   /* settle what is half done, then go on to the end of the interrupted run */
	RECOVERY_ROLLBACK, /* settle what is half done, then go back */
	RECOVERY_SETTLE,   /* settle what is half done, and no more */
	RECOVERY_MODE_MAX,
	RECOVERY_MODE_INVALID = -1,
} RecoveryMode;

/* X(constant, stable name): what a result counts. */
#define COUNTS(X)                                                                                            \
	X(ENCRYPTED, "encrypted") /* files this run encrypted */                                             \
	X(DECRYPTED, "decrypted") /* files this run decrypted */                                             \
	X(VERIFIED, "verified")   /* encrypted files found good */                                           \
	X(ALREADY, "already")     /* files that were in the wanted form */                                   \
	X(FAILED, "failed")       /* files left out for a reason of their own */                             \
	X(MOVED, "moved")         /* of the decrypted: found elsewhere than encrypted */                     \
	X(SYMLINKS, "symlinks")                                                                              \
	X(HARD_LINKS, "hard-links")                                                                          \
	X(SPECIAL, "special")                                                                                \
	X(FOREIGN_MOUNTS, "foreign-mounts")                                                                  \
	X(PLAIN_FILES, "plain-files") /* survey: files in plain */                                           \
	X(PLAIN_BYTES, "plain-bytes")                                                                        \
	X(ENCRYPTED_FILES, "encrypted-files") /* survey: encrypted files */                                  \
	X(ENCRYPTED_BYTES, "encrypted-bytes")                                                                \
	X(SETTLED, "settled")                       /* recovery: half-done files brought to one form */      \
	X(BYTES_MISSING, "bytes-missing")           /* preflight: how much free space lacks */               \
	X(SCRUB_NOT_PROMISED, "scrub-not-promised") /* 1: this filesystem does not overwrite in place */

typedef enum Count {
#define COUNT_ENUMERATE(constant, name) COUNT_##constant,
	COUNTS(COUNT_ENUMERATE)
#undef COUNT_ENUMERATE
	COUNT_MAX,
} Count;

/* Stable names, as on the bus: "encrypt", "preflight", "resume", "hard-links". "" for an unknown value. */
const char *transaction_kind_name(TransactionKind kind);
const char *phase_name(Phase phase);
const char *recovery_mode_name(RecoveryMode mode);
RecoveryMode recovery_mode_from_name(const char *name);
const char *count_name(Count count);
