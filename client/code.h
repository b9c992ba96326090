/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Exit codes: reserved for scripts, part of the interface, never renumbered. */

#include "util/outcome.h"

#include <stdbool.h>

/* X(constant, number, what the manual and the help say) */
#define CODES(X)                                                                                             \
	X(DONE, 0, "done")                                                                                   \
	X(FAILED, 1, "failed")                                                                               \
	X(USAGE, 2, "wrong usage")                                                                           \
	X(WRONG_PASSPHRASE, 3, "wrong passphrase")                                                           \
	X(NOT_AUTHORIZED, 4, "not authorised")                                                               \
	X(PARTIAL, 5, "done in part: some files failed, moved or were left out, each named")                 \
	X(INTERRUPTED, 6, "interrupted, recovery pending")                                                   \
	X(NO_SUCH_DRIVE, 7, "no such drive")                                                                 \
	X(UNREACHABLE, 8, "daemon not reachable")                                                            \
	X(CANCELLED, 9, "cancelled")

typedef enum ExitCode {
#define CODE_ENUMERATE(constant, number, text) CODE_##constant = (number),
	CODES(CODE_ENUMERATE)
#undef CODE_ENUMERATE
	CODE_MAX,
} ExitCode;

/* What an outcome exits with. `changing`: it ended a run that changes the drive, so that a drive that went
 * away in the middle of it has a recovery pending. Unknown outcomes are CODE_FAILED. */
ExitCode code_from_outcome(Outcome outcome, bool changing);

/* "wrong passphrase" */
const char *code_text(ExitCode code);
