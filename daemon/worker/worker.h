/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * A worker's life, one job long (worker.c):
 *
 *   root     environment checked, job read, what only root may open is opened (probe, node)
 *     |      privilege_leave_keyring(), privilege_drop()
 *   caller   mount opened and recognised, what the sandbox would forbid is read
 *     |      sandbox_enter()
 *   caged    READY; only now a passphrase is read, keys are taken, or a byte of the drive is parsed
 *     |
 *   RESULT   and out
 */

#include "worker/held.h"
#include "worker/job.h"
#include "worker/mount.h"
#include "worker/node-link.h"
#include "worker/node.h"
#include "worker/policy.h"

typedef struct Worker {
	Job job;
	Control *control; /* not ours */
	Mount mount;
	int target_fd;
	VfsPosix vfs;
	NodeLink *node_link; /* NULL: none */
	Policy *policy;      /* enroll */
	Held *held;          /* probe */
	Node node;           /* node helper */
	ResultRecord result;
} Worker;

/* Does the job that comes over `control`, to its RESULT. 0, or a negative errno when there was no job. */
int worker_run(Control *control);

/* For the jobs: reads the passphrase that came with this one. */
Outcome worker_read_passphrase(Worker *worker, Secret **ret_passphrase);

/* For the jobs: sends DRIVE, completed with what is known of the mount. */
Outcome worker_send_drive(Worker *worker, const Vfs *vfs, DriveRecord *drive);
