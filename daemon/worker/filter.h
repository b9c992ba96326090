/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The system calls a worker may make: an allowlist. What is not on it kills the process, but for a few that C
 * libraries try on the way and can do without, which fail. Where an argument decides, the argument is looked
 * at: no ioctl but FAT's, no fcntl that signals others, no new process, no memory that can be executed, no
 * file mapped, no path where Landlock does not look (chmod, chown, truncate, utimes, xattrs).
 */

#include "util/macro.h"

typedef enum FilterProfile {
	FILTER_HELD,  /* works on the descriptors it has, and reads only */
	FILTER_DRIVE, /* opens, writes and removes files, within what Landlock allows */
} FilterProfile;

/* Loads it, for good, for this thread and those it starts. Needs no_new_privs. */
int filter_load(FilterProfile profile);
