/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Goes through the crash states of a scenario, and through those of the recoveries from them. */

#include "oracle.h"
#include "window.h"

typedef struct Limits {
	uint64_t
		exhaustive[2]; /* windows with at most so many states are gone through completely; by depth */
	unsigned doubles[2];   /* at most so many double drops and double keeps each */
	unsigned randoms[2];
	unsigned damaged[2];
	unsigned singles_every[2]; /* 1: every single drop, keep and prefix */
	unsigned deep_every;       /* the recovery from every so many-th state is crashed itself */
	unsigned kills_every;      /* and that from every so many-th kill */
	unsigned calls_every;      /* others come in at every so many-th system call */
	unsigned opens_every;      /* and somebody opens a file at every so many-th */
	unsigned edits_every;      /* and a user edits a file after every so many-th crash */
	unsigned rot_every;        /* the medium damages what was read back, after every so many-th crash */
	unsigned unreadable_every; /* a sector of the journal cannot be read, after every so many-th crash */
	unsigned company_every;    /* others come in while the recovery from every so many-th one runs */
	unsigned recovery_calls_every; /* at every so many-th of its system calls */
	unsigned recovery_kills_every; /* the recovery from every so many-th crash is killed everywhere */
	uint64_t seed;
} Limits;

typedef struct Sum {
	uint64_t states, violations, pending;
} Sum;

/* Counts are added to *sum. `stop_at_first`: one violation will do. */
void explore(const Scenario *scenario, const Limits *limits, bool stop_at_first, Sum *sum);

/* Goes through one path ("run/w3:p17/w0:d2") and shows everything. True: nothing is violated. */
bool replay(const Scenario *scenario, const char *path);
