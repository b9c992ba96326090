/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Asking for a passphrase through a pinentry program: the Assuan protocol over pipes ("Assuan Client
 * Protocol" in libassuan's manual, pinentry's commands in pinentry's). What is typed is read straight into
 * locked memory.
 */

#include "util/secret.h"

#include <systemd/sd-event.h>

typedef struct Pinentry Pinentry;

typedef enum PinentryResult {
	PINENTRY_GOT,       /* a passphrase that is not empty */
	PINENTRY_CANCELLED, /* by the person, or nobody came in time */
	PINENTRY_FAILED,    /* the program could not be started, or could not ask */
} PinentryResult;

/* Called once, when there is an answer. The secret is the callee's (NULL unless PINENTRY_GOT); so is freeing
 * `pinentry`, which may be done right here. `problem` says what failed, or is "". */
typedef void (*PinentryAnswer)(
	Pinentry *pinentry, PinentryResult result, Secret *secret, const char *problem, void *userdata);

typedef struct PinentryQuestion {
	const char *program;
	const char *ttyname; /* NULL: none */
	const char *title, *description, *prompt;
	const char *error; /* NULL: none; shown above the prompt */
} PinentryQuestion;

/* Starts the program and asks. The texts are copied. */
int pinentry_ask(sd_event *event, const PinentryQuestion *question, PinentryAnswer answer, void *userdata,
	Pinentry **ret);

/* Ends it: a prompt that is still open is taken away, and the terminal put back. Accepts NULL, returns NULL.
 */
Pinentry *pinentry_free(Pinentry *pinentry);
