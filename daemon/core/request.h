/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A request of a client, frozen: what was asked for, by whom, with descriptors of our own. It is complete
 * before anybody is asked whether it is allowed, and nothing in it changes afterwards. */

#include "protocol/record.h"

#include <sys/types.h>

#define UID_UNKNOWN ((uid_t)-1)

typedef struct Caller {
	uid_t uid; /* UID_UNKNOWN until the broker has answered */
	gid_t gid;
	size_t n_groups;
	gid_t groups[JOB_GROUPS_MAX];
} Caller;

typedef struct Request {
	JobKind kind;
	Caller caller;
	uint32_t flags; /* JobFlag bits; the HAS_ ones are set from what is here */
	uint32_t suite; /* 0: the default */
	RecoveryMode recovery_mode;
	bool has_timeout;
	uint64_t timeout; /* unlock, enroll: microseconds */
	char **paths;
	size_t n_paths, paths_capacity;
	int passphrase_fd; /* -1: none */
	int target_fd;     /* -1: none */
} Request;

Request *request_new(JobKind kind);

/* Accepts NULL, returns NULL. */
Request *request_free(Request *request);
DEFINE_CLEANUP(Request *, request_free)
#define _cleanup_request_ _cleanup_(request_freep)

/* Adds a path relative to the drive's root. -EINVAL: absolute, empty, too long, with NUL, or with an empty,
 * "." or ".." component. -E2BIG: too many. */
int request_add_path(Request *request, const void *bytes, size_t size);

/* Whether the job changes the drive. */
bool request_writes(const Request *request);

/* The subkeys such a job needs, as bits (1 << Subkey). */
unsigned request_subkeys(const Request *request);

/* "unlock", for logs. */
const char *job_kind_name(JobKind kind);

/* What a transaction of this job is called, or TRANSACTION_INVALID for those that are none. */
TransactionKind job_kind_transaction(JobKind kind);
