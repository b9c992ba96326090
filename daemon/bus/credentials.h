/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Who sent a message, from the broker alone: it asked the kernel when the connection was made, while what
 * /proc says of a pid may be about another process by now. */

#include "core/request.h"

#include <systemd/sd-bus.h>

typedef struct CredentialsQuery CredentialsQuery;

/* `answered` is called once, never from within, unless the query is freed before: with 0 and a complete
 * caller, or with a negative errno (the sender has left). */
int credentials_ask(sd_bus_message *call, void (*answered)(void *userdata, int error, const Caller *caller),
	void *userdata, CredentialsQuery **ret_query);

/* Accepts NULL, returns NULL. */
CredentialsQuery *credentials_query_free(CredentialsQuery *query);
