/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * What daemon and worker say to each other: records over a SOCK_SEQPACKET socketpair, one record a packet, in
 * host byte order (both ends are one build on one machine). A record is a RecordHeader and a payload whose
 * size is fixed by its type, except where a byte string ends it. Both ends check every size; the daemon
 * trusts no number in it.
 *
 *   daemon                         worker
 *     JOB, PATH*, START  ------->
 *                        <-------  READY               the sandbox is closed; only now come keys
 *     KEYS               ------->                      (jobs that need keys)
 *                        <-------  PROGRESS, FAILURE   any number
 *     CANCEL             ------->                      any time
 *                        <-------  DRIVE               probe, enroll, unlock: what the drive says of itself
 *                        <-------  KEY                 enroll, unlock: the drive key
 *                        <-------  RESULT              always the last one, then the worker exits
 *
 * A node helper is spoken to by a worker over another socketpair: NODE_SYNC, NODE_DROP, NODE_CHECK,
 * NODE_ALIVE, each answered by NODE_DONE with the request's token. A socketpair may outlive a worker, and a
 * worker may be killed between a request and its answer: an answer whose token is not that of the question is
 * thrown away, so that no barrier is ever believed on the word of an older one.
 */

#include "util/macro.h"
#include "util/outcome.h"
#include "util/report.h"
#include "util/subkey.h"

#include <stdbool.h>
#include <sys/types.h>

/* Where a worker finds its descriptors. Those its job has none of are closed. */
#define JOB_FD_CONTROL    3 /* the socketpair of this page */
#define JOB_FD_PASSPHRASE 4 /* the read end of a pipe from the client */
#define JOB_FD_TARGET     5 /* decrypt --to: the directory, as the client passed it */
#define JOB_FD_NODE       6 /* the node helper's socketpair */

#define RECORD_PATH_MAX 4096 /* bytes of a path, without NUL */
#define JOB_GROUPS_MAX  256

typedef enum RecordType {
	RECORD_JOB = 1,
	RECORD_PATH,
	RECORD_START,
	RECORD_KEYS,
	RECORD_CANCEL,
	RECORD_READY,
	RECORD_PROGRESS,
	RECORD_FAILURE,
	RECORD_DRIVE,
	RECORD_KEY,
	RECORD_RESULT,
	RECORD_NODE_SYNC,
	RECORD_NODE_DROP,
	RECORD_NODE_CHECK,
	RECORD_NODE_ALIVE,
	RECORD_NODE_DONE,
	RECORD_TYPE_MAX,
} RecordType;

typedef enum JobKind {
	JOB_PROBE = 1, /* as the system user: is it enrolled, whose is it, how full */
	JOB_NODE,      /* the node helper */
	JOB_ENROLL,
	JOB_UNENROLL,
	JOB_UNLOCK,
	JOB_SURVEY,
	JOB_ENCRYPT,
	JOB_DECRYPT,
	JOB_VERIFY,
	JOB_RECOVER,
	JOB_KIND_MAX,
} JobKind;

typedef enum JobFlag {
	JOB_NO_SCRUB = 1 << 0,
	JOB_SKIP_UNFIT = 1 << 1,
	JOB_DRY_RUN = 1 << 2,
	JOB_UNVERIFIED_MEDIUM = 1 << 3,
	JOB_MAY_DECRYPT = 1 << 4, /* recover: the caller was authorised to decrypt */
	JOB_HAS_PASSPHRASE = 1 << 5,
	JOB_HAS_TARGET = 1 << 6,
	JOB_HAS_NODE = 1 << 7,
} JobFlag;

typedef struct JobRecord {
	uint32_t kind;  /* JobKind */
	uint32_t flags; /* JobFlag bits */
	/* Who the worker becomes. For JOB_PROBE and JOB_NODE: the system user. */
	uint32_t uid, gid;
	uint32_t n_groups;
	uint32_t groups[JOB_GROUPS_MAX];
	/* Which drive: checked by the worker against what it opened. */
	uint32_t major, minor; /* of the partition's node */
	uint32_t anonymous;    /* 1: the filesystem has a device number of its own (btrfs): st_dev is not
				  major:minor */
	uint64_t disk_sequence;
	uint64_t mount_id;
	char mount_point[RECORD_PATH_MAX + 1];
	char node[256]; /* "/dev/sdb1" */
	char filesystem[32];
	/* What to do. */
	uint32_t suite;         /* enroll; 0: the default */
	uint32_t recovery_mode; /* RecoveryMode */
	uint32_t n_paths;       /* PATH records that follow */
	/* Policy, from the configuration file. */
	uint32_t passphrase_min_length;
	uint32_t passphrase_min_classes;
	uint32_t refuse_traced; /* 1: refuse to hold keys while traced */
	uint64_t kdf_memory;    /* bytes; 0: choose */
} JobRecord;

/* SUBKEY_* bits (1 << id) in `present`; absent ones are zero. */
typedef struct KeysRecord {
	uint32_t present;
	uint32_t epoch;
	uint32_t suite;
	uint8_t drive_id[DRIVE_ID_SIZE];
	uint8_t subkeys[SUBKEY_MAX][SUBKEY_SIZE]; /* by Subkey; [0] is unused */
} KeysRecord;

typedef struct ProgressRecord {
	uint32_t phase; /* Phase */
	uint64_t files_total, files_done, files_failed;
	uint64_t bytes_total, bytes_done;
} ProgressRecord;

/* Followed by the path's bytes, 1..RECORD_PATH_MAX of them, without NUL. */
typedef struct FailureRecord {
	uint32_t reason; /* Reason */
	int32_t error;   /* positive errno, or 0 */
} FailureRecord;

typedef struct DriveRecord {
	uint32_t enrolled;
	uint32_t owner;   /* the root directory's uid */
	uint32_t suite;   /* 0: not known */
	uint32_t epoch;   /* 0: not known */
	uint32_t pending; /* TransactionKind, 0: nothing */
	uint8_t id[DRIVE_ID_SIZE];
	uint64_t size, free; /* bytes */
	uint32_t read_only;
} DriveRecord;

typedef struct KeyRecord {
	uint8_t drive_key[DRIVE_KEY_SIZE];
} KeyRecord;

typedef struct ResultRecord {
	uint32_t outcome; /* Outcome */
	int32_t error;    /* positive errno behind OUTCOME_FAILED, for the log; or 0 */
	uint32_t pending; /* TransactionKind, 0: nothing */
	uint64_t size, free;
	uint64_t counts[COUNT_MAX]; /* by Count */
	char message[256];          /* more about it, for people: escaped, NUL-terminated; or "" */
} ResultRecord;

typedef struct NodeRequestRecord {
	uint64_t token;    /* any number that was not used before on this socketpair */
	uint32_t question; /* NODE_CHECK: VolumeQuestion */
	uint32_t reserved;
} NodeRequestRecord;

typedef struct NodeDoneRecord {
	uint64_t token; /* of the request */
	int32_t result; /* 0, or a negative errno; for NODE_ALIVE 1 or 0; for NODE_CHECK a VolumeState */
	uint32_t reserved;
} NodeDoneRecord;

typedef struct RecordHeader {
	uint32_t type; /* RecordType */
	uint32_t size; /* of the payload */
} RecordHeader;

/* A received record. The payload is aligned for any of the structs above. */
typedef struct Record {
	RecordHeader header;
	union {
		JobRecord job;
		KeysRecord keys;
		ProgressRecord progress;
		struct {
			FailureRecord head;
			char path[RECORD_PATH_MAX + 1]; /* NUL-terminated by record_receive() */
		} failure;
		char path[RECORD_PATH_MAX + 1]; /* NUL-terminated by record_receive() */
		DriveRecord drive;
		KeyRecord key;
		ResultRecord result;
		NodeRequestRecord node_request;
		NodeDoneRecord node_done;
	};
} Record;

/* Sends one record. `tail` (may be NULL) is the byte string that ends it. Returns 0 or a negative errno:
 * -EAGAIN when the socket does not block and is full, -EPIPE when the other end is gone (SIGPIPE is never
 * raised). */
int record_send(
	int fd, RecordType type, const void *payload, size_t size, const void *tail, size_t tail_size);

/* Receives one record into *record, which is wiped before. Returns 1, 0 when the other end closed, or a
 * negative errno: -EAGAIN when there is none yet, -EBADMSG when its type or size is not what this page says.
 * Strings inside structs are checked to be NUL-terminated, enums and counts are not range-checked beyond what
 * memory safety needs. */
int record_receive(int fd, Record *record);
