/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* How a job ended, while it is being found out: an outcome, the errno behind it, and a sentence for people.
 */

#include "protocol/record.h"

/* The outcome that a failed system call on the drive (a negative errno) amounts to. */
Outcome outcome_from_error(int error);

/* Notes an outcome and a message (hostile bytes in it are escaped, what is too long is cut; never a secret).
 * Returns the outcome, so that `return result_set(…)` reads well. */
Outcome result_set(ResultRecord *result, Outcome outcome, const char *format, ...) _printf_(3, 4);

/* As result_set(), for a negative errno: its outcome is outcome_from_error()'s, and its text ends the
 * message. */
Outcome result_fail(ResultRecord *result, int error, const char *format, ...) _printf_(3, 4);
