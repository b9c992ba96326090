/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Getting a passphrase from where the command line says, and sending it as a pipe. */

#include "client.h"
#include "util/secret.h"

#define PASSPHRASE_MAX 1024 /* bytes */

/* From --passphrase-fd or --passphrase-file, or asked on the terminal (`twice`: until both match) about the
 * drive called `title`. As it is: a newline at its end is the daemon's to strip. */
ExitCode passphrase_get(const Client *client, const char *title, bool twice, Secret **ret_secret);

/* A pipe that holds it, its write end closed: the read end is the caller's. 0 or a negative errno. */
int passphrase_pipe(const Secret *secret, int *ret_fd);

/* Sends a call that carries the passphrase and waits for its end. `options`: those that go with it. */
ExitCode passphrase_call(
	Client *client, const char *object, const char *member, const Secret *secret, unsigned options);
