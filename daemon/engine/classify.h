/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What recovery finds of one listed file, and what is to be done about it: the table of TRANSACTIONS.md. */

#include "engine/run.h"
#include "engine/stray.h"

typedef enum Action {
	ACTION_NONE,     /* it is whole in one form already */
	ACTION_DROP_NEW, /* take the new file away: the source is whole */
	ACTION_FINISH,   /* scrub (when the run does) and unlink the source: the new file is whole and trusted
			  */
	ACTION_REPORT,   /* touch nothing, name it; not pending any more */
	ACTION_KEEP,     /* touch nothing, name it; stays pending */
	ACTION_MAX,
} Action;

typedef struct Finding {
	JournalEntry *entry;
	bool trusted;  /* a barrier has passed since its new file was written */
	bool promoted; /* as its source's scrub pattern proves, not the journal */
	bool restore;  /* the source is whole, but a scrub left its size, time or mode on it */
	bool leftover; /* another stray of a file that has been decided about */
	size_t order;
	Action action;
	Reason reason; /* why it is named; REASON_INVALID: it is not */
	Replacement *replacement;
	char source_alias[STRAY_NAME_MAX]; /* where only that is left of the source's name */
} Finding;

/* Decides about findings[i] of n, writing nothing. Fills action, reason, trusted (a source that carries its
 * scrub pattern proves that its barrier was passed) and replacement. A negative errno ends the recovery: the
 * drive is gone, no memory. `strays` is kept from one finding to the next. What others have claimed is
 * theirs. */
int classify(Run *run, Finding *findings, size_t n, size_t i, Strays *strays, Workspace *workspace);
