/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * A worker as the daemon sees it: a child process, a socketpair (protocol/record.h), a deadline. What a
 * worker says is only checked for its form here; core/job.c judges its content.
 */

#include "protocol/record.h"

#include <systemd/sd-event.h>

typedef struct Worker Worker;

/* Why it ended. */
typedef enum WorkerEnd {
	WORKER_EXITED,    /* by itself; whether it said a RESULT before is the job's to know */
	WORKER_CRASHED,   /* by a signal, or with an exit status other than 0 */
	WORKER_VIOLATION, /* it broke the protocol and was killed */
	WORKER_TIMED_OUT, /* its deadline passed and it was killed */
} WorkerEnd;

typedef struct WorkerHandlers {
	void *userdata;
	/* A record; wiped afterwards. A negative return kills the worker (WORKER_VIOLATION). Must not free
	 * the worker. */
	int (*record)(void *userdata, const Record *record);
	/* The last call: the worker is freed already. */
	void (*ended)(void *userdata, WorkerEnd end);
} WorkerHandlers;

typedef struct WorkerFiles {
	/* Borrowed; -1: none. */
	int passphrase_fd, target_fd, node_fd;
} WorkerFiles;

/* Starts `path` as root with the descriptors of protocol/record.h, nothing else open, and no environment. */
int worker_new(sd_event *event, const char *path, const WorkerFiles *files, const WorkerHandlers *handlers,
	Worker **ret_worker);

/* Kills it if it runs, without any further call to its handlers; the process is reaped whenever the kernel
 * lets go of it (one that waits for a dead drive may take its time). Accepts NULL, returns NULL. */
Worker *worker_free(Worker *worker);
DEFINE_CLEANUP(Worker *, worker_free)

/* Sends a record as soon as the socket takes it, in order. Never for keys: they would wait in the heap. */
int worker_send(Worker *worker, RecordType type, const void *payload, size_t size, const void *tail,
	size_t tail_size);

/* Sends a record at once, or fails with -EAGAIN. */
int worker_send_now(Worker *worker, RecordType type, const void *payload, size_t size);

/* Kills it when it has not ended within `timeout` microseconds from now; 0: no deadline. */
int worker_set_deadline(Worker *worker, uint64_t timeout);

pid_t worker_pid(const Worker *worker);
