/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the verbs that start a transaction have in common. */

#include "target.h"
#include "transaction.h"

typedef struct Run {
	const char *member;  /* "Encrypt" */
	const char *mode;    /* Recover's; NULL: the paths are sent */
	unsigned options;    /* command-line options that are passed on as they are */
	int target_fd;       /* decrypt --to; -1: none */
	bool changing;       /* it changes the drive */
	const char *past;    /* "Encrypted", for the summary */
	Count done;          /* what is counted for `past` */
	const char *nothing; /* what is said when there was nothing to do */
} Run;

/* Starts it, follows it to its end, and tells how it went: the summary, what was left out and why. */
ExitCode run_transaction(Client *client, const Target *target, const Run *run, Transaction *ret);
