/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "bus/transaction-bus.h"

#include "bus/announce.h"
#include "bus/call.h"
#include "bus/drive-bus.h"
#include "bus/errors.h"
#include "bus/names.h"
#include "bus/options.h"
#include "util/log.h"
#include "util/memory.h"

#include <errno.h>
#include <stdio.h>

#define FAILURES_PER_CALL_MAX 1000U

typedef struct TransactionFace {
	Bus *bus;
	Transaction *transaction;
	char *path, *drive_path;
	sd_bus_slot *slot;
	Announcer *announcer;
} TransactionFace;

static const AnnouncedProperty announced[] = {
	{TRANSACTION_PROPERTY_STATE, "State"},
	{TRANSACTION_PROPERTY_PHASE, "Phase"},
	{TRANSACTION_PROPERTY_RESULT, "Result"},
	{TRANSACTION_PROPERTY_MESSAGE, "Message"},
	{TRANSACTION_PROPERTY_COUNTS, "Counts"},
	{TRANSACTION_PROPERTY_PROGRESS, "FilesTotal"},
	{TRANSACTION_PROPERTY_PROGRESS, "FilesDone"},
	{TRANSACTION_PROPERTY_PROGRESS, "FilesFailed"},
	{TRANSACTION_PROPERTY_PROGRESS, "BytesTotal"},
	{TRANSACTION_PROPERTY_PROGRESS, "BytesDone"},
	{0, NULL},
};

/* ---- properties */

static const char *result_name(const Transaction *transaction)
{
	return transaction->state == TRANSACTION_ENDED ? outcome_name(transaction->outcome) : "";
}

static int append_counts(sd_bus_message *reply, const Transaction *transaction)
{
	int r = sd_bus_message_open_container(reply, 'a', "{st}");

	for (int i = 0; i < COUNT_MAX && r >= 0; i++)
		if (transaction->counts[i] > 0)
			r = sd_bus_message_append(
				reply, "{st}", count_name((Count)i), transaction->counts[i]);
	return r < 0 ? r : sd_bus_message_close_container(reply);
}

static int get_property(sd_bus *bus, const char *path, const char *interface, const char *property,
	sd_bus_message *reply, void *userdata, sd_bus_error *error)
{
	const TransactionFace *face = userdata;
	const Transaction *transaction = face->transaction;
	const ProgressRecord *progress = &transaction->progress;

	(void)bus;
	(void)path;
	(void)interface;
	(void)error;
	if (strcmp(property, "Kind") == 0)
		return sd_bus_message_append(reply, "s", transaction_kind_name(transaction->kind));
	if (strcmp(property, "State") == 0)
		return sd_bus_message_append(reply, "s", transaction_state_name(transaction->state));
	if (strcmp(property, "Phase") == 0)
		return sd_bus_message_append(reply, "s", phase_name(transaction->phase));
	if (strcmp(property, "Result") == 0)
		return sd_bus_message_append(reply, "s", result_name(transaction));
	if (strcmp(property, "Message") == 0)
		return sd_bus_message_append(reply, "s", transaction->message);
	if (strcmp(property, "Counts") == 0)
		return append_counts(reply, transaction);
	if (strcmp(property, "Drive") == 0)
		return sd_bus_message_append(reply, "o", face->drive_path);
	if (strcmp(property, "Owner") == 0)
		return sd_bus_message_append(reply, "u", transaction->owner);
	if (strcmp(property, "FilesTotal") == 0)
		return sd_bus_message_append(reply, "t", progress->files_total);
	if (strcmp(property, "FilesDone") == 0)
		return sd_bus_message_append(reply, "t", progress->files_done);
	if (strcmp(property, "FilesFailed") == 0)
		return sd_bus_message_append(reply, "t", progress->files_failed);
	if (strcmp(property, "BytesTotal") == 0)
		return sd_bus_message_append(reply, "t", progress->bytes_total);
	if (strcmp(property, "BytesDone") == 0)
		return sd_bus_message_append(reply, "t", progress->bytes_done);
	return -ENOENT;
}

/* ---- methods */

/* Transactions go after ten minutes: calls about them remember the number, not the object. */
static Transaction *find_for(Call *call, uint64_t number)
{
	Transaction *transaction = call->bus->manager->transactions;

	while (transaction && transaction->number != number)
		transaction = transaction->next;
	if (!transaction)
		call_fail(call, OUTCOME_INVALID_ARGUMENT, "There is no such transaction any more.");
	else if (call->caller.uid != 0 && call->caller.uid != transaction->owner) {
		call_fail(call, OUTCOME_NOT_AUTHORIZED, NULL);
		return NULL;
	}
	return transaction;
}

static void run_cancel(Call *call)
{
	Transaction *transaction = find_for(call, call->argument);

	if (!transaction)
		return;
	transaction_cancel(transaction);
	call_reply(call);
}

static int method_cancel(sd_bus_message *message, void *userdata, sd_bus_error *error)
{
	TransactionFace *face = userdata;

	(void)error;
	if (!options_read(message, NULL, 0))
		return 1;
	return call_begin(face->bus, message, NULL, NULL, NULL, run_cancel, face->transaction->number);
}

static int append_failure(sd_bus_message *reply, const TransactionFailure *failure)
{
	_cleanup_free_ char *text = NULL;
	int r;

	if (asprintf(&text, "%s%s%s", reason_text(failure->reason), failure->error > 0 ? ": " : "",
		    failure->error > 0 ? strerrordesc_np(failure->error) ?: "unknown error" : "") < 0) {
		text = NULL;
		return -ENOMEM;
	}
	r = sd_bus_message_open_container(reply, 'r', "ayss");
	if (r >= 0)
		r = sd_bus_message_append_array(reply, 'y', failure->path, strlen(failure->path));
	if (r >= 0)
		r = sd_bus_message_append(reply, "ss", reason_name(failure->reason), text);
	return r < 0 ? r : sd_bus_message_close_container(reply);
}

static void run_get_failures(Call *call)
{
	_cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
	Transaction *transaction = find_for(call, call->argument);
	uint32_t from = 0, max = 0;
	size_t end;
	int r;

	if (!transaction)
		return;
	/* The message was checked when the call began; it is read again from its start. */
	r = sd_bus_message_rewind(call->message, 1);
	if (r >= 0)
		r = sd_bus_message_read(call->message, "uu", &from, &max);
	if (r >= 0)
		r = sd_bus_message_new_method_return(call->message, &reply);
	if (r >= 0)
		r = sd_bus_message_open_container(reply, 'a', "(ayss)");
	end = MIN((size_t)from + max, transaction->n_failures);
	for (size_t i = from; i < end && r >= 0; i++)
		r = append_failure(reply, &transaction->failures[i]);
	if (r >= 0)
		r = sd_bus_message_close_container(reply);
	if (r >= 0)
		r = sd_bus_message_send(reply);
	if (r < 0)
		(void)bus_reply_errno(call->message, r);
	(void)call_free(call);
}

static int method_get_failures(sd_bus_message *message, void *userdata, sd_bus_error *error)
{
	TransactionFace *face = userdata;
	uint32_t from, max;
	int r;

	(void)error;
	r = sd_bus_message_read(message, "uu", &from, &max);
	if (r < 0)
		return bus_reply_errno(message, r);
	if (max < 1 || max > FAILURES_PER_CALL_MAX)
		return bus_reply_outcome(message, OUTCOME_INVALID_ARGUMENT, "max is 1 to 1000.");
	if (!options_read(message, NULL, 0))
		return 1;
	return call_begin(face->bus, message, NULL, NULL, NULL, run_get_failures, face->transaction->number);
}

#define EMITS SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE
#define CONST SD_BUS_VTABLE_PROPERTY_CONST

static const sd_bus_vtable vtable[] = {
	SD_BUS_VTABLE_START(0),
	SD_BUS_METHOD_WITH_NAMES(
		"Cancel", "a{sv}", SD_BUS_PARAM(options), "", , method_cancel, SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_METHOD_WITH_NAMES("GetFailures", "uua{sv}",
		SD_BUS_PARAM(from) SD_BUS_PARAM(max) SD_BUS_PARAM(options), "a(ayss)", SD_BUS_PARAM(failures),
		method_get_failures, SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_PROPERTY("Kind", "s", get_property, 0, CONST),
	SD_BUS_PROPERTY("State", "s", get_property, 0, EMITS),
	SD_BUS_PROPERTY("Phase", "s", get_property, 0, EMITS),
	SD_BUS_PROPERTY("Result", "s", get_property, 0, EMITS),
	SD_BUS_PROPERTY("Message", "s", get_property, 0, EMITS),
	SD_BUS_PROPERTY("Counts", "a{st}", get_property, 0, EMITS),
	SD_BUS_PROPERTY("Drive", "o", get_property, 0, CONST),
	SD_BUS_PROPERTY("Owner", "u", get_property, 0, CONST),
	SD_BUS_PROPERTY("FilesTotal", "t", get_property, 0, EMITS),
	SD_BUS_PROPERTY("FilesDone", "t", get_property, 0, EMITS),
	SD_BUS_PROPERTY("FilesFailed", "t", get_property, 0, EMITS),
	SD_BUS_PROPERTY("BytesTotal", "t", get_property, 0, EMITS),
	SD_BUS_PROPERTY("BytesDone", "t", get_property, 0, EMITS),
	SD_BUS_SIGNAL_WITH_NAMES("Finished", "s", SD_BUS_PARAM(result), 0),
	SD_BUS_VTABLE_END,
};

/* ---- on the bus, and off */

const char *transaction_bus_path(const Transaction *transaction)
{
	const TransactionFace *face = transaction->face;

	return face ? face->path : NULL;
}

void transaction_bus_changed(Transaction *transaction, unsigned properties)
{
	TransactionFace *face = transaction->face;

	if (face)
		announcer_add(face->announcer, properties);
}

void transaction_bus_finished(Transaction *transaction)
{
	TransactionFace *face = transaction->face;
	int r;

	if (!face)
		return;
	/* Who hears the signal finds the properties as they will stay. */
	announcer_flush(face->announcer);
	r = sd_bus_emit_signal(face->bus->bus, face->path, BUS_INTERFACE_TRANSACTION, "Finished", "s",
		result_name(transaction));
	if (r < 0)
		log_warning("Cannot announce the end of %s: %s", face->path, strerrordesc_np(-r));
}

static void face_free(TransactionFace *face)
{
	sd_bus_slot_unref(face->slot);
	(void)announcer_free(face->announcer);
	free(face->path);
	free(face->drive_path);
	free(face);
}

int transaction_bus_add(Bus *bus, Transaction *transaction)
{
	TransactionFace *face = new0(TransactionFace, 1);
	const char *drive_path = drive_bus_path(transaction->drive);
	int r;

	if (!face)
		return -ENOMEM;
	face->bus = bus;
	face->transaction = transaction;
	if (asprintf(&face->path, BUS_PATH_TRANSACTIONS "/%llu", (unsigned long long)transaction->number) < 0)
		face->path = NULL;
	face->drive_path = strdup(drive_path ? drive_path : "/");
	r = face->path && face->drive_path ? 0 : -ENOMEM;
	if (r >= 0)
		r = announcer_new(
			bus->bus, face->path, BUS_INTERFACE_TRANSACTION, announced, &face->announcer);
	if (r >= 0)
		r = sd_bus_add_object_vtable(
			bus->bus, &face->slot, face->path, BUS_INTERFACE_TRANSACTION, vtable, face);
	if (r < 0) {
		face_free(face);
		return r;
	}
	transaction->face = face;
	r = sd_bus_emit_object_added(bus->bus, face->path);
	if (r < 0)
		log_warning("Cannot announce %s: %s", face->path, strerrordesc_np(-r));
	return 0;
}

void transaction_bus_remove(Transaction *transaction)
{
	TransactionFace *face = transaction->face;

	if (!face)
		return;
	(void)sd_bus_emit_object_removed(face->bus->bus, face->path);
	transaction->face = NULL;
	face_free(face);
}
