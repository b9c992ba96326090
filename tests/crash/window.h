/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The states that a power cut can leave, from the log of a run. A window is a stretch of the log between two
 * points at which something became durable; in it each unit that was written holds what it held before, or
 * any version written since.
 */

#include "fat.h"

#define WINDOW_UNITS_MAX    2048
#define WINDOW_VERSIONS_MAX 8192

typedef struct WindowUnit {
	unsigned unit;
	unsigned first, n; /* its versions */
} WindowUnit;

typedef struct Window {
	unsigned number;
	Disk base;
	uint64_t base_hash;
	WindowUnit units[WINDOW_UNITS_MAX];
	unsigned n_units;
	uint32_t versions[WINDOW_VERSIONS_MAX];
	unsigned n_versions;
	const Log *log;
	size_t first, end; /* of its epoch's entries in the log; `end` where the window ends */
	size_t forced;     /* entries before this one that are LOG_FORCE hold */
	/* to go on with */
	Disk durable;
	size_t next, next_first;
} Window;

/* Begins before the first window. */
void window_init(Window *window, const Disk *base, const Log *log);

/* The next one. False at the end. */
bool window_next(Window *window);

/* One state of a window: which, and how it is written in a path ("x12", "p3", "d1,4", "k0,2", "r77", "g2,5").
 */
typedef struct StateName {
	char kind;
	uint64_t a, b;
} StateName;

#define STATE_NONE UINT64_MAX

/*   x  every unit's version by mixed radix: all states there are
 *   p  what was written up to entry a, nothing after it
 *   d  everything but unit a, and unit b
 *   k  nothing but unit a, and unit b
 *   r  each unit at random, seed a
 *   g  the sector of unit a damaged, the others at random, seed b
 * False: there is no such state. */
bool window_state(const Window *window, StateName name, Disk *ret, uint64_t *ret_hash);

/* How many states there are; UINT64_MAX: more than can be counted. */
uint64_t window_count(const Window *window);

void state_format(StateName name, char ret[64]);
bool state_parse(const char **text, StateName *ret);
