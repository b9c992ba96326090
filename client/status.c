/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "target.h"
#include "text.h"
#include "transaction.h"
#include "util/memory.h"
#include "verb.h"

#include <stdio.h>

#define LABEL "  %-11s "

/* Counts a drive's files. Whoever may not, or cannot now, is told that they were not counted: that is no
 * failure of status. Returns how the survey ended. */
static ExitCode survey(Client *client, const Drive *drive, Transaction *ret)
{
	_cleanup_message_ sd_bus_message *call = NULL;
	ExitCode code;
	int r;

	client->hushed = true;
	code = bus_new_call(client, drive->object, BUS_INTERFACE_DRIVE, "Survey", &call);
	if (code == CODE_DONE) {
		/* Nobody asked for anything that is worth a password. */
		(void)sd_bus_message_set_allow_interactive_authorization(call, false);
		r = sd_bus_message_append(call, "a{sv}", 0);
		code = r < 0 ? CODE_FAILED : transaction_follow(client, drive, call, false, ret);
	}
	client->hushed = false;
	if (code == CODE_DONE)
		code = code_from_outcome(outcome_from_name(ret->result), false);
	return code;
}

static bool is_busy(const Drive *drive)
{
	return *drive->transaction && strcmp(drive->transaction, "/") != 0;
}

static void tell_files(const Client *client, const Transaction *t, ExitCode surveyed)
{
	char plain[TEXT_SHORT_SIZE], plain_bytes[TEXT_SHORT_SIZE], encrypted[TEXT_SHORT_SIZE],
		encrypted_bytes[TEXT_SHORT_SIZE];

	if (surveyed != CODE_DONE && surveyed != CODE_PARTIAL)
		client_say(client, LABEL "not counted: %s", "files",
			surveyed == CODE_NOT_AUTHORIZED ? "the drive is not yours" : code_text(surveyed));
	else
		client_say(client, LABEL "%s plain (%s), %s encrypted (%s)%s", "files",
			text_number(transaction_count(t, COUNT_PLAIN_FILES), plain),
			text_bytes(transaction_count(t, COUNT_PLAIN_BYTES), plain_bytes),
			text_number(transaction_count(t, COUNT_ENCRYPTED_FILES), encrypted),
			text_bytes(transaction_count(t, COUNT_ENCRYPTED_BYTES), encrypted_bytes),
			surveyed == CODE_PARTIAL ? "; some could not be looked at" : "");
}

static void tell_advice(const Client *client, const Drive *drive)
{
	if (*drive->pending)
		client_say(client,
			LABEL "a run that was to %s it was interrupted: %s'usbctl recover' explains what can "
			      "be done",
			"pending", strcmp(drive->pending, "decrypt") == 0 ? "decrypt" : "encrypt",
			drive->locked ? "unlock it, then " : "");
	else if (is_busy(drive))
		client_say(client, LABEL "a run is going on", "busy");
	else if (!drive_mount_point(drive))
		client_say(client,
			LABEL "'usbctl unlock' mounts and unlocks it, 'usbctl enroll' makes it ready",
			"next");
	else if (!drive->enrolled)
		client_say(client, LABEL "'usbctl enroll' makes it ready for encryption", "next");
	else if (drive->locked)
		client_say(client, LABEL "'usbctl unlock' opens it", "next");
}

static int tell_head(const Client *client, const Drive *drive)
{
	_cleanup_free_ char *title = drive_title(drive), *device = text_safe(drive->device);
	_cleanup_free_ char *filesystem =
		text_safe(*drive->filesystem ? drive->filesystem : "unknown filesystem");
	char state[128], size[TEXT_SHORT_SIZE], unused[TEXT_SHORT_SIZE];

	if (!title || !device || !filesystem)
		return -1;
	if (drive->size > 0)
		client_say(client, "%s (%s, %s, %s, %s free)", title, device, filesystem,
			text_bytes(drive->size, size), text_bytes(drive->free, unused));
	else
		client_say(client, "%s (%s, %s)", title, device, filesystem);
	for (size_t i = 0; drive->mount_points && drive->mount_points[i]; i++) {
		_cleanup_free_ char *mount = text_path(drive->mount_points[i], 0);

		if (!mount)
			return -1;
		client_say(client, LABEL "%s", i == 0 ? "mounted at" : "", mount);
	}
	client_say(client, LABEL "%s", "state", drive_state(drive, state, sizeof(state)));
	return 0;
}

static void describe(cJSON *drives, const Drive *drive, const Transaction *t, ExitCode surveyed)
{
	static const Count counts[] = {
		COUNT_PLAIN_FILES, COUNT_PLAIN_BYTES, COUNT_ENCRYPTED_FILES, COUNT_ENCRYPTED_BYTES};
	cJSON *object = drive_to_json(drive), *files;

	if (surveyed == CODE_DONE || surveyed == CODE_PARTIAL) {
		files = cJSON_AddObjectToObject(object, "files");
		for (size_t i = 0; i < ELEMENTSOF(counts); i++)
			json_add_number(
				files, count_name(counts[i]), transaction_count(t, counts[i]), UINT64_MAX);
	} else {
		cJSON_AddNullToObject(object, "files");
	}
	cJSON_AddItemToArray(drives, object);
}

static ExitCode show(Client *client, cJSON *drives, const Drive *drive)
{
	_cleanup_transaction_ Transaction t = {0};
	bool surveys = drive->enrolled && drive_mount_point(drive) && !is_busy(drive);
	ExitCode surveyed = CODE_FAILED;

	if (surveys)
		surveyed = survey(client, drive, &t);
	if (drives) {
		describe(drives, drive, &t, surveyed);
	} else {
		if (tell_head(client, drive) < 0)
			return client_fail_memory(client);
		if (surveys)
			tell_files(client, &t, surveyed);
		tell_advice(client, drive);
	}
	return *drive->pending ? CODE_INTERRUPTED : CODE_DONE;
}

ExitCode verb_status(Client *client)
{
	_cleanup_(drive_list_clear) DriveList list = {0};
	cJSON *drives = cJSON_AddArrayToObject(client->document, "drives");
	ExitCode code, all = CODE_DONE;

	if (client->arguments.n_words > 0) {
		Drive *drive;

		code = target_find_drive(client, client->arguments.words, client->arguments.n_words, &drive);
		if (code == CODE_DONE && drive_list_add(&list, drive) < 0) {
			drive_free(drive);
			code = client_fail_memory(client);
		}
	} else {
		code = drive_list_get(client, &list);
	}
	if (code != CODE_DONE)
		return code;
	if (list.n == 0)
		client_say(client, "No USB drive is plugged in.");
	for (size_t i = 0; i < list.n; i++) {
		if (i > 0)
			client_say(client, "%s", "");
		code = show(client, drives, list.drives[i]);
		if (code != CODE_DONE)
			all = code;
	}
	if (client->document && all == CODE_INTERRUPTED)
		cJSON_AddStringToObject(client->document, "result", outcome_name(OUTCOME_INTERRUPTED));
	return all;
}
