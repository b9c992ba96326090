/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * One job: a worker, for some kinds a node helper beside it, the keys it gets, and the judgement of what it
 * says. Nothing a worker sends is believed beyond its range; one that breaks the protocol is killed.
 */

#include "core/config.h"
#include "core/request.h"

#include <systemd/sd-event.h>

typedef struct Job Job;

typedef struct JobResult {
	Outcome outcome;
	const char *message;     /* UTF-8, one line; NULL: outcome_text() says it all */
	bool complete;           /* a RESULT came: the four below are the worker's */
	TransactionKind pending; /* TRANSACTION_INVALID: nothing */
	uint64_t size, free;
	const uint64_t *counts;   /* COUNT_MAX of them */
	const DriveRecord *drive; /* NULL: none came */
	Secret *drive_key;        /* enroll, unlock: the taker's, who sets it to NULL */
} JobResult;

typedef struct JobHandlers {
	void *userdata;
	void (*progress)(void *userdata, const ProgressRecord *progress);            /* may be NULL */
	void (*failure)(void *userdata, const char *path, Reason reason, int error); /* may be NULL */
	/* The last call: the job is freed right after it, and so is what the result points to. */
	void (*ended)(void *userdata, JobResult *result);
} JobHandlers;

typedef struct JobParameters {
	const Config *config;
	uid_t system_uid;
	gid_t system_gid;
	/* Complete but for kind, flags, caller and what else `request` says; its strings are terminated. */
	JobRecord record;
	const Request *request; /* outlives the job */
	Secret *keys;           /* a KeysRecord, taken over; NULL: none */
	bool node_helper;
} JobParameters;

/* Starts it. A negative errno: nothing was started, `keys` is freed all the same. */
int job_new(sd_event *event, JobParameters *parameters, const JobHandlers *handlers, Job **ret_job);

/* Asks it to stop soon; a worker that does not is killed after a minute. */
void job_cancel(Job *job);

/* Kills it and ends it with this outcome, now. */
void job_kill(Job *job, Outcome outcome);

/* Kills it without any further call. Accepts NULL, returns NULL. */
Job *job_free(Job *job);
DEFINE_CLEANUP(Job *, job_free)
