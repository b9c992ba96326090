/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "transaction.h"

#include "progress.h"
#include "text.h"
#include "util/memory.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>

/* How long the daemon may take to end a transaction whose drive was pulled out. */
#define GONE_WITHIN (60 * USEC_PER_SEC)

static const PropertyField FIELDS[] = {
	{"Kind", PROPERTY_STRING, offsetof(Transaction, kind)},
	{"State", PROPERTY_STRING, offsetof(Transaction, state)},
	{"Phase", PROPERTY_STRING, offsetof(Transaction, phase)},
	{"Result", PROPERTY_STRING, offsetof(Transaction, result)},
	{"Message", PROPERTY_STRING, offsetof(Transaction, message)},
	{"Drive", PROPERTY_STRING, offsetof(Transaction, drive)},
	{"Counts", PROPERTY_COUNTS, offsetof(Transaction, counts)},
	{"Owner", PROPERTY_U32, offsetof(Transaction, owner)},
	{"FilesTotal", PROPERTY_U64, offsetof(Transaction, files_total)},
	{"FilesDone", PROPERTY_U64, offsetof(Transaction, files_done)},
	{"FilesFailed", PROPERTY_U64, offsetof(Transaction, files_failed)},
	{"BytesTotal", PROPERTY_U64, offsetof(Transaction, bytes_total)},
	{"BytesDone", PROPERTY_U64, offsetof(Transaction, bytes_done)},
};

/*
 *   calling ---reply---> running ---Finished---> reading ---GetAll's reply---> the loop ends
 *      |                    |  \__ Ctrl-C: Cancel, and goes on; twice: the loop ends
 *      +-- error, Ctrl-C    +-- the daemon or the drive goes away: the loop ends
 */
typedef struct Follow {
	Client *client;
	const Drive *drive;
	Transaction transaction;
	ProgressBar bar;
	sd_event *event;
	sd_event_source *gone_timer;
	sd_bus_slot *signals[BUS_SUBSCRIPTIONS];
	sd_bus_slot *disconnect, *start_call, *read_call, *cancel_call; /* none may outlive this struct */
	bool changing, cancelling, cancel_answered, leaving, reading;
} Follow;

void transaction_clear(Transaction *transaction)
{
	properties_clear(FIELDS, ELEMENTSOF(FIELDS), transaction);
	free(transaction->object);
	*transaction = (Transaction){0};
}

int transaction_read(Transaction *transaction, sd_bus_message *properties)
{
	return properties_read(properties, FIELDS, ELEMENTSOF(FIELDS), transaction);
}

static int end(Follow *follow, ExitCode code)
{
	return sd_event_exit(follow->event, (int)code);
}

static void show(Follow *follow)
{
	const Transaction *t = &follow->transaction;
	ProgressState state = {
		.kind = t->kind,
		.phase = t->phase,
		.files_total = t->files_total,
		.files_done = t->files_done,
		.files_failed = t->files_failed,
		.bytes_total = t->bytes_total,
		.bytes_done = t->bytes_done,
	};

	/* The first changes may come before the first answer. */
	if (t->kind && t->phase)
		progress_show(&follow->bar, &state);
}

static bool has_ended(const Transaction *transaction)
{
	return transaction->state && strcmp(transaction->state, "ended") == 0;
}

/* What a person is told when usbctl can no longer see how it ends. */
static ExitCode fail_broken_off(Follow *follow, ExitCode otherwise, const char *result, const char *what)
{
	progress_hide(&follow->bar);
	if (follow->changing)
		return client_fail(follow->client, CODE_INTERRUPTED, outcome_name(OUTCOME_INTERRUPTED),
			"%s in the middle of the run. Every file is whole as one form or the other; unlock "
			"the drive, "
			"then run 'usbctl recover'.",
			what);
	return client_fail(follow->client, otherwise, result,
		"%s in the middle of the run. Nothing was changed; "
		"try again.",
		what);
}

static int on_properties(sd_bus_message *reply, void *userdata, sd_bus_error *ret_error)
{
	Follow *follow = userdata;
	int r;

	(void)ret_error;
	if (sd_bus_message_is_method_error(reply, NULL))
		return end(follow,
			bus_fail(follow->client, sd_bus_message_get_error(reply), 0, follow->changing));
	r = transaction_read(&follow->transaction, reply);
	if (r < 0)
		return end(follow, bus_fail_message(follow->client, r));
	if (has_ended(&follow->transaction))
		return end(follow, CODE_DONE);
	follow->reading = false;
	show(follow);
	return 0;
}

/* Asks for all properties: at the beginning, and when it has ended. */
static int read_all(Follow *follow)
{
	int r;

	if (follow->reading)
		return 0;
	follow->reading = true;
	follow->read_call = sd_bus_slot_unref(follow->read_call);
	r = sd_bus_call_method_async(follow->client->bus, &follow->read_call, BUS_NAME,
		follow->transaction.object, "org.freedesktop.DBus.Properties", "GetAll", on_properties,
		follow, "s", BUS_INTERFACE_TRANSACTION);
	return r < 0 ? end(follow, bus_fail_message(follow->client, r)) : 0;
}

static int on_started(sd_bus_message *reply, void *userdata, sd_bus_error *ret_error)
{
	Follow *follow = userdata;
	const char *object;
	int r;

	(void)ret_error;
	if (sd_bus_message_is_method_error(reply, NULL))
		return end(follow, bus_fail(follow->client, sd_bus_message_get_error(reply), 0, false));
	r = sd_bus_message_read_basic(reply, 'o', &object);
	if (r < 0)
		return end(follow, bus_fail_message(follow->client, r));
	follow->transaction.object = strdup(object);
	if (!follow->transaction.object)
		return end(follow, client_fail_memory(follow->client));
	return read_all(follow);
}

static int on_gone_too_long(sd_event_source *source, uint64_t usec, void *userdata)
{
	Follow *follow = userdata;

	(void)source;
	(void)usec;
	return end(follow, fail_broken_off(follow, CODE_NO_SUCH_DRIVE, outcome_name(OUTCOME_DRIVE_GONE),
				   "The drive was pulled out"));
}

static int on_removed(Follow *follow, sd_bus_message *message)
{
	const char *object;
	int r;

	r = sd_bus_message_read_basic(message, 'o', &object);
	if (r < 0)
		return 0;
	if (follow->transaction.object && strcmp(object, follow->transaction.object) == 0)
		return end(follow, fail_broken_off(follow, CODE_FAILED, outcome_name(OUTCOME_FAILED),
					   "usbcryptd forgot the run"));
	if (strcmp(object, follow->drive->object) != 0 || follow->gone_timer)
		return 0;
	progress_hide(&follow->bar);
	if (!client_quiet(follow->client))
		(void)fprintf(stderr, "The drive was pulled out.\n");
	r = sd_event_add_time_relative(follow->event, &follow->gone_timer, CLOCK_MONOTONIC, GONE_WITHIN, 0,
		on_gone_too_long, follow);
	return r < 0 ? r : 0;
}

static int on_transaction_changed(Follow *follow, sd_bus_message *message)
{
	const char *interface;
	int r;

	r = sd_bus_message_read_basic(message, 's', &interface);
	if (r < 0 || strcmp(interface, BUS_INTERFACE_TRANSACTION) != 0)
		return 0;
	r = transaction_read(&follow->transaction, message);
	if (r < 0)
		return end(follow, bus_fail_message(follow->client, r));
	if (has_ended(&follow->transaction))
		return read_all(follow);
	show(follow);
	return 0;
}

static int on_name_owner_changed(Follow *follow, sd_bus_message *message)
{
	const char *name, *before, *after;

	if (sd_bus_message_read(message, "sss", &name, &before, &after) < 0 || strcmp(name, BUS_NAME) != 0 ||
		strcmp(before, follow->client->daemon) != 0)
		return 0;
	return end(follow, fail_broken_off(follow, CODE_UNREACHABLE, "Unreachable", "usbcryptd ended"));
}

static int on_signal(sd_bus_message *message, void *userdata, sd_bus_error *ret_error)
{
	Follow *follow = userdata;
	const char *path = sd_bus_message_get_path(message);

	(void)ret_error;
	if (sd_bus_message_is_signal(message, "org.freedesktop.DBus", "NameOwnerChanged"))
		return on_name_owner_changed(follow, message);
	if (!bus_is_from_daemon(follow->client, message))
		return 0;
	if (sd_bus_message_is_signal(message, "org.freedesktop.DBus.ObjectManager", "InterfacesRemoved"))
		return on_removed(follow, message);
	if (!follow->transaction.object || !path || strcmp(path, follow->transaction.object) != 0)
		return 0;
	if (sd_bus_message_is_signal(message, "org.freedesktop.DBus.Properties", "PropertiesChanged"))
		return on_transaction_changed(follow, message);
	if (sd_bus_message_is_signal(message, BUS_INTERFACE_TRANSACTION, "Finished"))
		return read_all(follow);
	return 0;
}

static int leave(Follow *follow)
{
	return end(follow, client_fail(follow->client, CODE_CANCELLED, outcome_name(OUTCOME_CANCELLED),
				   "Not waiting for its end. The run goes on in the background until "
				   "usbcryptd has stopped it; 'usbctl status' shows how far it is."));
}

static int on_cancelled(sd_bus_message *reply, void *userdata, sd_bus_error *ret_error)
{
	Follow *follow = userdata;

	(void)ret_error;
	follow->cancel_answered = true;
	if (sd_bus_message_is_method_error(reply, NULL)) {
		ExitCode code;

		progress_hide(&follow->bar);
		code = bus_fail(follow->client, sd_bus_message_get_error(reply), 0, false);
		return follow->leaving ? end(follow, code) : 0;
	}
	return follow->leaving ? leave(follow) : 0;
}

static int on_interrupt(sd_event_source *source, const struct signalfd_siginfo *info, void *userdata)
{
	Follow *follow = userdata;
	int r;

	(void)source;
	(void)info;
	progress_hide(&follow->bar);
	if (!follow->transaction.object)
		return end(follow, client_fail(follow->client, CODE_CANCELLED,
					   outcome_name(OUTCOME_CANCELLED), "Cancelled before it began."));
	if (follow->cancelling) {
		/* usbcryptd forgets the calls of whoever has left: this one is to be heard first. */
		if (follow->cancel_answered || follow->leaving)
			return leave(follow);
		follow->leaving = true;
		return 0;
	}
	follow->cancelling = true;
	if (!client_quiet(follow->client))
		(void)fprintf(stderr,
			"Cancelling; every file stays whole. Press Ctrl-C again to leave it to itself.\n");
	r = sd_bus_call_method_async(follow->client->bus, &follow->cancel_call, BUS_NAME,
		follow->transaction.object, BUS_INTERFACE_TRANSACTION, "Cancel", on_cancelled, follow,
		"a{sv}", 0);
	return r < 0 ? end(follow, bus_fail_message(follow->client, r)) : 0;
}

static int on_disconnected(sd_bus_message *message, void *userdata, sd_bus_error *ret_error)
{
	Follow *follow = userdata;

	(void)message;
	(void)ret_error;
	return end(
		follow, fail_broken_off(follow, CODE_UNREACHABLE, "Unreachable", "The system bus went away"));
}

static int watch(Follow *follow)
{
	sd_bus *bus = follow->client->bus;
	int r;

	r = sd_event_add_signal(follow->event, NULL, SIGINT, on_interrupt, follow);
	if (r >= 0)
		r = sd_event_add_signal(follow->event, NULL, SIGTERM, on_interrupt, follow);
	if (r >= 0)
		r = sd_bus_match_signal(bus, &follow->disconnect, NULL, "/org/freedesktop/DBus/Local",
			"org.freedesktop.DBus.Local", "Disconnected", on_disconnected, follow);
	if (r >= 0)
		r = sd_bus_attach_event(bus, follow->event, SD_EVENT_PRIORITY_NORMAL);
	/* The loop's end is not the connection's: the failures are still to be fetched. */
	if (r >= 0)
		r = sd_bus_set_close_on_exit(bus, false);
	return r;
}

static ExitCode loop(Follow *follow, sd_bus_message *call)
{
	ExitCode code;
	int r;

	r = sd_event_new(&follow->event);
	if (r >= 0)
		r = watch(follow);
	if (r < 0)
		return bus_fail_message(follow->client, r);
	code = bus_subscribe(follow->client, on_signal, follow, follow->signals);
	if (code != CODE_DONE)
		return code;
	r = sd_bus_call_async(
		follow->client->bus, &follow->start_call, call, on_started, follow, BUS_TIMEOUT_PERSON);
	if (r < 0)
		return bus_fail_message(follow->client, r);
	progress_begin(follow->client, &follow->bar);
	r = sd_event_loop(follow->event);
	return r < 0 ? bus_fail_message(follow->client, r) : (ExitCode)r;
}

ExitCode transaction_follow(
	Client *client, const Drive *drive, sd_bus_message *call, bool changing, Transaction *ret)
{
	Follow follow = {.client = client, .drive = drive, .changing = changing};
	sigset_t signals, before;
	ExitCode code;

	/* Blocked for sd-event, which takes them from a signalfd. */
	sigemptyset(&signals);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGTERM);
	sigprocmask(SIG_BLOCK, &signals, &before);
	code = loop(&follow, call);
	progress_hide(&follow.bar);
	follow.transaction.elapsed = progress_elapsed(&follow.bar);
	bus_unsubscribe(follow.signals);
	sd_bus_slot_unref(follow.disconnect);
	sd_bus_slot_unref(follow.start_call);
	sd_bus_slot_unref(follow.read_call);
	sd_bus_slot_unref(follow.cancel_call);
	(void)sd_bus_detach_event(client->bus);
	sd_event_source_unref(follow.gone_timer);
	sd_event_unref(follow.event);
	sigprocmask(SIG_SETMASK, &before, NULL);
	if (code == CODE_DONE) {
		*ret = follow.transaction;
		follow.transaction = (Transaction){0};
	}
	transaction_clear(&follow.transaction);
	return code;
}
