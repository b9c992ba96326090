/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The connection to usbcryptd, and what its errors mean to a person. */

#include "bus/names.h"
#include "client.h"
#include "util/fd.h"

#include <systemd/sd-event.h>

#define _cleanup_message_   _cleanup_(sd_bus_message_unrefp)
#define _cleanup_bus_error_ _cleanup_(sd_bus_error_free)
#define _cleanup_event_     _cleanup_(sd_event_unrefp)

/* A call may wait for a person, and then for a key derivation: microseconds. */
#define BUS_TIMEOUT_PERSON (600 * USEC_PER_SEC)

/* Opens the system bus (once) and has the daemon started. CODE_UNREACHABLE when there is none. */
ExitCode bus_connect(Client *client);

/* Looks up who owns the daemon's name now, without starting it: for a daemon that came back. */
int bus_refresh_daemon(Client *client);

/* Whether a signal comes from the daemon: anybody on the bus could send one. */
bool bus_is_from_daemon(const Client *client, sd_bus_message *message);

/* A call to an object of the daemon's. The caller appends arguments and options. */
ExitCode bus_new_call(const Client *client, const char *path, const char *interface, const char *member,
	sd_bus_message **ret);

/* Appends "name": value to an open a{sv}. */
int bus_append_option(sd_bus_message *message, const char *name, const char *type, ...);

/* Appends the whole a{sv} that consists of the given options, if present on the command line, as booleans
 * under their own names; `timeout` is appended where it was given. */
int bus_append_options(const Client *client, sd_bus_message *message, unsigned options);

/* Sends it and waits, for a person if need be. Reports errors; ret_reply may be NULL. */
ExitCode bus_call(const Client *client, sd_bus_message *call, sd_bus_message **ret_reply);

/* Reports an error a call came back with (error may be unset: then `r`, a negative errno, is what is known).
 */
ExitCode bus_fail(const Client *client, const sd_bus_error *error, int r, bool changing);

/* The daemon's error as an outcome; OUTCOME_INVALID when it is none of its own. */
Outcome bus_error_outcome(const sd_bus_error *error);

/* Reports that a message could not be built or read. */
ExitCode bus_fail_message(const Client *client, int r);

/* Subscribes to what the daemon's objects and the bus say of it: `on_signal` gets PropertiesChanged,
 * InterfacesAdded, InterfacesRemoved and Finished, and, from the bus, NameOwnerChanged. It ends when the
 * slots are unreferenced. */
#define BUS_SUBSCRIPTIONS 2
ExitCode bus_subscribe(Client *client, sd_bus_message_handler_t on_signal, void *userdata,
	sd_bus_slot *slots[BUS_SUBSCRIPTIONS]);
void bus_unsubscribe(sd_bus_slot *slots[BUS_SUBSCRIPTIONS]);
