/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What a worker is started with, and what it makes of that before it listens to anybody. */

#include "util/macro.h"

#include <stdbool.h>
#include <sys/types.h>

/* Whether this process may go on: started as root, not set-user-id, and with nothing in its environment that
 * makes the loader or the C library load or trust something else. -EPERM otherwise. */
int environment_check(void);

/* Closes what was not handed over on purpose, empties the environment, and sets limits, signals, umask and
 * working directory. Nothing of this can fail on a sane machine. */
int environment_prepare(void);

/* Closes the JOB_FD_* that `flags` (JobFlag) and `node_helper` do not ask for; -EBADF when one that they ask
 * for is not there. */
int environment_take_descriptors(unsigned flags, bool node_helper);

/* The process that traces this one, or 0. */
int environment_tracer(pid_t *ret_pid);
