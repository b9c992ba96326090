/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Who comes in between: the process that is killed, another program, a user at work, a medium that errs. */

#include "scenario.h"

/* How a run went. */
typedef struct Way {
	bool lenient;  /* somebody edited, or the medium damaged: leftovers are allowed, losses are not */
	bool partial;  /* a file may be left out, which is named */
	bool second;   /* the bystander has made its second file */
	size_t synced; /* the log's entry of somebody's fsync, before which nothing is judged; or SIZE_MAX */
} Way;

#define EVENTS_MAX 2

typedef struct EventKind EventKind;

typedef struct Event {
	const EventKind *kind;
	unsigned at, file;
	bool happened;
	size_t synced;
	unsigned until; /* barriers */
	int inode;      /* held open by whoever is at work; or -1 */
} Event;

/* What happens in one run, or in one recovery:
 *   kill@N       the process ends before its N-th changing call
 *   by@N         a bystander makes a file and fsyncs it before the N-th call
 *   grab@N       a bystander does so the moment somebody's clusters have been given back for the N-th time,
 *                and takes those
 *   editF@N      somebody overwrites file F and fsyncs it
 *   swapF@N      somebody puts another file in the place of file F
 *   takeF@N      somebody makes a file under the name that file F is to get
 *   openF@N      somebody opens file F to write to it, breaking the lease on it, and does so before the next
 *                barrier
 *   holdF@N      somebody has file F open for writing from the N-th call to the next barrier but one, and
 *                writes nothing
 *   quietF@N     somebody who has mapped file F changes it before the N-th barrier; its time does not tell,
 *                and there are no leases
 *   damage@N     the medium damages the N-th sector that is written to a file
 * or two of them with a + between. */
typedef struct Events {
	World *world;
	bool recovering;
	Event items[EVENTS_MAX];
	unsigned n;
} Events;

/* *ret_length characters of `text` name them. False: they name none. */
bool events_parse(World *world, const char *text, Events *ret, unsigned *ret_length);

/* Between these two they come to pass in whatever `execution` runs. Edits change world->files, and a
 * bystander's file is expected from then on: the caller puts both back. False: one of them could not happen.
 */
void events_begin(Events *events, Execution *execution);
bool events_end(Events *events, Execution *execution, Way *ret);

/* Runs the world's transaction from its start: "run", or with what comes in between. False: there is no such
 * way, or what was to happen could not. */
bool way_run(World *world, const char *text, Execution *execution, Way *ret);

/* Overwrites file i of an unmounted disk, as somebody may between a crash and the recovery. False: it is not
 * there. */
bool edit_state(World *world, Disk *disk, unsigned i);

/* The bystander makes its second file on an unmounted disk, in the first clusters that are free: in those
 * that a torn chain leads to. */
bool bystander_state(const World *world, Disk *disk);

/* Makes a sector of one of the journal's files unreadable: its first, or the last one of its record. False:
 * there is none. */
bool unreadable_state(Disk *disk, bool second, bool last);

/* Damages one sector of a form of file i, the other one of which is whole, as a medium may long after that
 * was read back: the new one or (decrypting) the source. False: there is none. */
bool rot_state(const World *world, Disk *disk, unsigned i, bool source, uint64_t where);

/* The same with an encrypted form that is all there is, nothing having the plaintext's name any more. */
bool rot_last_state(const World *world, Disk *disk, unsigned i, uint64_t where);
