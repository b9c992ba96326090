/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The mounted filesystem a job is about: opened by the worker itself, and then looked at, so that it is known
 * to be the one that the daemon meant and the caller was authorised for. */

#include "protocol/record.h"

#include <sys/statvfs.h>

typedef struct Mount {
	int fd; /* of its root directory; -1: none */
	uid_t owner;
	dev_t device;
	bool read_only;
	uint64_t size, free; /* bytes; free: to the caller */
} Mount;

#define MOUNT_NULL                                                                                           \
	{                                                                                                    \
		.fd = -1                                                                                     \
	}

/* Opens job->mount_point with this process's rights. NOT_MOUNTED: another mount is there now; DRIVE_GONE:
 * another device; UNSAFE_MOUNT: without nosuid or nodev; NOT_AUTHORIZED: the caller may not read it. */
Outcome mount_open(const JobRecord *job, Mount *ret_mount, ResultRecord *result);
void mount_close(Mount *mount);

/* Asks the filesystem again for size, free and read_only. */
int mount_refresh(Mount *mount);

/* Opens the directory of `decrypt --to` anew, with this process's rights, whatever the client's descriptor
 * could do. INVALID_ARGUMENT: not a directory, or one on the drive itself. */
Outcome mount_open_target(const Mount *mount, int client_fd, int *ret_fd, ResultRecord *result);
