/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * A method call on its way to being carried out:
 *
 *   call_begin() -- the request is frozen
 *     -> the broker says who called
 *     -> the drive's owner is known (a probe may be running)
 *     -> polkit says yes, to each action that is needed
 *     -> the drive is the same, and its owner too
 *     -> allowed(): carries it out, and sees to the answer
 *
 * A caller who leaves the bus on the way takes the question back; nothing is carried out then.
 */

#include "bus/bus.h"
#include "core/request.h"

typedef struct Call Call;

struct Call {
	Bus *bus;
	sd_bus_message *message;
	Drive *drive;     /* NULL: the call is not about one */
	Request *request; /* NULL: none, or taken by what carries it out */
	Caller caller;
	void (*allowed)(Call *call);
	uint64_t argument; /* allowed()'s own */

	/* call.c's own. */
	sd_bus_track *track;
	CredentialsQuery *credentials;
	Waiter *waiter;
	PolkitQuery *polkit;
	const char *actions[4];
	bool optional[4]; /* a no leaves the request without JOB_MAY_DECRYPT, and is no refusal */
	size_t n_actions, action;
	uid_t owner; /* as it was when polkit was asked */
	bool running;
	LIST_ENTRY(Call) entries;
};

/* `action`: the polkit action (its last part), NULL: none is needed. Takes the request. The answer, be it a
 * refusal, is seen to from here on; returns what the vtable's handler is to return. */
int call_begin(Bus *bus, sd_bus_message *message, Drive *drive, Request *request, const char *action,
	void (*allowed)(Call *call), uint64_t argument);

/* The answers; each ends the call. */
void call_reply(Call *call);
void call_reply_path(Call *call, const char *path);
void call_fail(Call *call, Outcome outcome, const char *message);
/* Ends it after it was answered otherwise, or will never be. Accepts NULL, returns NULL. */
Call *call_free(Call *call);
