/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The rounds of TRANSACTIONS.md: batches of files are replaced so that every file is whole at every instant.
 */

#include "engine/journal.h"
#include "engine/run.h"

/* Replaces every file that the walk finds and that can be replaced. The journal holds nothing pending when it
 * starts; when it returns DONE, PARTIAL, CANCELLED, MEDIUM_FAILED or NO_SPACE it holds nothing pending again,
 * after INTERRUPTED, DRIVE_GONE or another error it does. */
Outcome rounds_run(Run *run, Journal *journal, Walk *walk);
