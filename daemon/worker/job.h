/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What a worker was asked to do, as it came from the daemon, and what each kind of job needs. */

#include "worker/control.h"

/* What a job may do to the drive; Landlock allows no more. */
typedef enum Access {
	ACCESS_NOTHING, /* nothing is opened once the sandbox is closed */
	ACCESS_READ,    /* files and folders are read */
	ACCESS_CHANGE,  /* and are written to, come and go */
} Access;

typedef struct JobTraits {
	const char *name;
	bool system_user;          /* becomes the system user, not the caller */
	bool passphrase;           /* reads one */
	bool mends_metadata;       /* changes what is below .usbcrypt, and nothing else */
	bool target;               /* may write to a directory of the host */
	Access access;             /* to the drive, unless it is a dry run or writes elsewhere */
	bool refused_on_read_only; /* changes the drive, or would */
	unsigned subkeys;          /* SUBKEY_* bits that have to come in KEYS; 0: no KEYS */
} JobTraits;

typedef struct Job {
	JobRecord record;
	const JobTraits *traits;
	char **paths; /* record.n_paths of them, relative to the drive's root */
} Job;

/* Reads JOB, PATH* and START, and checks them. -EINVAL when they make no sense. */
int job_receive(Control *control, Job *ret_job);
void job_clear(Job *job);

/* The same questions, with the job's flags taken into account. */
Access job_access(const Job *job);
bool job_changes_drive(const Job *job);
unsigned job_subkeys(const Job *job);
bool job_holds_secrets(const Job *job);
