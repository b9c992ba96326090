/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Who this process is. It starts as root and becomes somebody else once, for good, without executing anything
 * afterwards: setresuid() leaves it undumpable, so there is no moment at which another process of that user
 * can open its memory.
 */

#include "util/macro.h"

#include <linux/capability.h>
#include <sys/types.h>

#define CAPABILITY(name) ((uint64_t)1 << (name))

/* What the worker of a root caller keeps, if it has it: to read, restore and remove other people's files. */
#define CAPABILITIES_ROOT                                                                                    \
	(CAPABILITY(CAP_DAC_OVERRIDE) | CAPABILITY(CAP_CHOWN) | CAPABILITY(CAP_FOWNER) |                     \
		CAPABILITY(CAP_FSETID) /* else chmod() drops the set-group-id bit of a foreign group */      \
		| CAPABILITY(CAP_LEASE) /* else only the owner's files can be seen to be in use */)

/* Leaves the daemon's session keyring, where its half of the keys lies, for a new and empty one. */
int privilege_leave_keyring(void);

/* Makes `capabilities` the only effective ones, keeping the others for privilege_drop(). Before the drop. */
int privilege_narrow(uint64_t capabilities);

/* Becomes uid, gid and exactly these groups, with `keep` (less what this process has not got) as the only
 * capabilities when uid is 0 and none otherwise; undumpable, no_new_privs. All of it is looked at again
 * afterwards: -EPERM when something is not as it should be, and then this process has to end. */
int privilege_drop(uid_t uid, gid_t gid, const gid_t *groups, size_t n_groups, uint64_t keep);
