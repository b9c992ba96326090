/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The node helper (JOB_NODE): holds a partition's node open, for reading, and does on a worker's request what
 * only the node can: steps 2 and 4 of a barrier (TRANSACTIONS.md), dropping caches below FUSE, a look at
 * exFAT's allocation. The daemon could do it, were it not for drives on which an fsync takes a minute, or for
 * ever.
 */

#include "protocol/record.h"
#include "worker/control.h"
#include "worker/exfat.h"

typedef struct Node {
	int fd;
	int device_fd, sequence_fd; /* sysfs: the partition's "dev", its disk's "diskseq" */
	uint64_t disk_sequence;
	ExfatCheck *check; /* one that is not finished; or NULL */
} Node;

#define NODE_NULL                                                                                            \
	{                                                                                                    \
		.fd = -1, .device_fd = -1, .sequence_fd = -1                                                 \
	}

/* Opens job->node, as root, and what of sysfs says whether it is still there. DRIVE_GONE when it is not the
 * block device with the job's number and disk sequence. */
Outcome node_open(const JobRecord *job, Node *ret_node, ResultRecord *result);
void node_close(Node *node);

/* Answers on `fd` until it or the daemon hangs up. */
Outcome node_serve(Node *node, int fd, Control *control, ResultRecord *result);
