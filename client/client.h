/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * One run of usbctl: what was asked, the connection, and how it talks to people and to scripts.
 *
 * Results go to standard output; errors, warnings and the progress bar to standard error. With --json
 * standard output holds JSON alone, one object a line: "type" is "progress", "event" or, for the last one,
 * "result".
 */

#include "code.h"
#include "option.h"

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <systemd/sd-bus.h>

typedef struct Client {
	Arguments arguments;
	sd_bus *bus;
	char *daemon;    /* the daemon's unique name: signals of anybody else are not believed */
	cJSON *document; /* the result, with --json; else NULL (cJSON's functions accept that) */
	pid_t polkit_agent;
	bool hushed; /* failures are the caller's to tell: client_fail() says and writes down nothing */
} Client;

/* Sets up the JSON document; called once the arguments are known. */
int client_begin(Client *client);

/* Prints the document, flushes, closes everything. Returns the code usbctl exits with: `code`, or CODE_FAILED
 * when the result could not be written. */
ExitCode client_end(Client *client, ExitCode code);

static inline bool client_json(const Client *client)
{
	return arguments_has(&client->arguments, OPTION_JSON);
}

static inline bool client_quiet(const Client *client)
{
	return arguments_has(&client->arguments, OPTION_QUIET);
}

/* A line of the result on standard output: not with --json or --quiet. */
void client_say(const Client *client, const char *format, ...) _printf_(2, 3);

/* A warning or a note on standard error (not with --quiet), and in the document's "warnings". */
void client_warn(const Client *client, const char *format, ...) _printf_(2, 3);

/* What went wrong and what to do: on standard error, and with `result` (a stable name) in the document.
 * Returns `code`, so that `return client_fail(…)` reads well. Arguments must be fit for a terminal. */
ExitCode client_fail(const Client *client, ExitCode code, const char *result, const char *format, ...)
	_printf_(4, 5);

/* As client_fail() for a failed system call: "WHAT: TEXT. ADVICE" (advice may be NULL). */
ExitCode client_fail_errno(const Client *client, int error, const char *what, const char *advice);

ExitCode client_fail_memory(const Client *client);

/* An outcome other than Done. `message` (may be NULL) is the daemon's, put before the outcome's own text. */
ExitCode client_fail_outcome(
	const Client *client, Outcome outcome, const char *name, const char *message, bool changing);

/* One JSON object on standard output, now; frees it. 0, or -EIO when nobody can read it any more. */
int client_emit(cJSON *object);

/* Whether standard output still takes what is written. */
bool client_output_alive(void);

/* Adds "path", as it is where it is UTF-8; else escaped, and "path_bytes" in hexadecimal beside it. */
void json_add_path(cJSON *object, const char *path);

/* Adds a number, or null when it is `absent`. */
void json_add_number(cJSON *object, const char *name, uint64_t number, uint64_t absent);
