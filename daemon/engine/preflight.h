/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Before the first change: what is to be done, what cannot be done, and whether there is room for it. */

#include "engine/run.h"

/* What a new file's directory entry may take, in bytes. */
#define PREFLIGHT_ENTRY_SPACE 64

typedef struct Preflight {
	uint64_t files, bytes; /* to be replaced; bytes of their plaintext */
	uint64_t missing;      /* bytes of free space that lack, all files taken together */
	bool blocked;          /* something was reported that --skip-unfit is for */
} Preflight;

/* Walks what the options ask for, counts and reports. Nothing is changed. OUTCOME_DONE: go on (files may be
 * 0). OUTCOME_UNFIT_FILES, _NO_SPACE, _READ_ONLY, _CANCELLED, …: do not. */
Outcome preflight_run(Run *run, Preflight *ret);

/* Free space that is left alone: growing folders, and the journal while there is none. */
uint64_t preflight_reserve(const Run *run);
