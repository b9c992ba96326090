/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The pipe a passphrase comes through, straight from the client: the daemon has passed it on unread. */

#include "util/secret.h"
#include "worker/control.h"

/* Reads to its end and normalises (engine/passphrase.h). INVALID_ARGUMENT: not a pipe, longer than a
 * passphrase can be, or empty. TIMED_OUT: its end did not come within five seconds. CANCELLED: the daemon
 * took it back meanwhile. */
Outcome passphrase_pipe_read(int fd, Control *control, Secret **ret_passphrase, ResultRecord *result);
