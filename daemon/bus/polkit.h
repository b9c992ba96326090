/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Asks polkit whether the sender of a call may do something. The subject is its name on the bus, which is
 * never used again for somebody else. Anything but a plain yes is a no: no polkit, no answer in two minutes,
 * an error.
 */

#include <stdbool.h>
#include <systemd/sd-bus.h>

typedef struct PolkitQuery PolkitQuery;

typedef enum PolkitAnswer {
	POLKIT_NO,
	POLKIT_NOBODY_TO_ASK, /* no: it takes a password, and no agent is there to ask for one */
	POLKIT_YES,
} PolkitAnswer;

/* `action`: the last part of its name. `drive`: for the prompt's text; printable and short already (see
 * polkit_describe()); NULL: none. `answered` is called once, never from within, unless the query is freed
 * before; it may free the query, and has to, sometime. */
int polkit_ask(sd_bus_message *call, const char *action, const char *drive,
	void (*answered)(void *userdata, PolkitAnswer answer), void *userdata, PolkitQuery **ret_query);

/* Also takes the question back from polkit, so that a prompt goes away. Accepts NULL, returns NULL. */
PolkitQuery *polkit_query_free(PolkitQuery *query);

/* A drive for people: "/dev/sdb1 (HOLIDAY)". polkit substitutes it into its message raw, and agents show that
 * with markup: of a label, only letters, digits, blanks and - _ . stay. For the caller to free. */
char *polkit_describe(const char *node, const char *label);
