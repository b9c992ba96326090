/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Getting a passphrase from where the command line says, and sending it as a pipe. */

#include "drive.h"
#include "util/secret.h"

#define PASSPHRASE_MAX 1024 /* bytes */

/* A pipe that holds it, its write end closed: the read end is the caller's. 0 or a negative errno. */
int passphrase_pipe(const Secret *secret, int *ret_fd);

/* Sends a call about the drive that carries its passphrase, and waits for its end. The passphrase comes from
 * --passphrase-fd or --passphrase-file, or is asked on the terminal (`twice`: until both match); a newline at
 * its end is the daemon's to strip. `options`: those that go with the call. */
ExitCode passphrase_call(
	Client *client, const Drive *drive, const char *member, bool twice, unsigned options);
