/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * How often a passphrase may be tried: a token bucket for each uid and drive, on CLOCK_BOOTTIME (nobody can
 * set it), kept in a file below /run so that a restart of the daemon refills nothing. /run does not survive
 * a reboot, and neither does that clock.
 */

#include "util/macro.h"

#include <stdbool.h>
#include <sys/types.h>

#define RATE_LIMIT_DRIVE_MAX 64 /* bytes of a drive's name here: letters, digits, '-', '_' */

typedef struct RateLimit RateLimit;

/* `path`: the state file; a missing or damaged one means that nothing was tried yet. `burst` tokens at most,
 * one more each `interval` microseconds. */
int rate_limit_new(const char *path, uint64_t burst, uint64_t interval, RateLimit **ret_limit);
RateLimit *rate_limit_free(RateLimit *limit);
DEFINE_CLEANUP(RateLimit *, rate_limit_free)

/* Takes a token. False: there is none. `now` is CLOCK_BOOTTIME in microseconds. A state file that cannot be
 * written is logged. */
bool rate_limit_take(RateLimit *limit, uid_t uid, const char *drive, uint64_t now);

/* Gives it back: the passphrase was right, or was not tried at all. */
void rate_limit_give_back(RateLimit *limit, uid_t uid, const char *drive, uint64_t now);

/* Microseconds until rate_limit_take() succeeds; 0: now. */
uint64_t rate_limit_wait(const RateLimit *limit, uid_t uid, const char *drive, uint64_t now);
