/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Who comes in between: the process that is killed, another program, a user at work, a medium that errs. */

#include "scenario.h"

/* How a run went. */
typedef struct Way {
	bool lenient;  /* somebody edited, or the medium damaged: leftovers are allowed, losses are not */
	bool second;   /* the bystander has made its second file */
	size_t synced; /* the log's entry of somebody's fsync, before which nothing is judged; or SIZE_MAX */
} Way;

/* Runs the world's transaction from its start, one of these ways:
 *   run          to its end
 *   kill@N       the process ends before its N-th changing call
 *   by@N         a bystander makes a file and fsyncs it before the N-th call
 *   editF@N      somebody overwrites file F and fsyncs it
 *   swapF@N      somebody puts another file in the place of file F
 *   takeF@N      somebody makes a file under the name that file F is to get
 *   damage@N     the medium damages the N-th sector that is written to a file
 * False: there is no such way, or what was to happen could not. Edits change world->files; the caller puts
 * them back. */
bool way_run(World *world, const char *text, Execution *execution, Way *ret);

/* Overwrites file i of an unmounted disk, as somebody may between a crash and the recovery. False: it is not
 * there. */
bool edit_state(World *world, Disk *disk, unsigned i);
