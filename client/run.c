/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "run.h"

#include "polkit-agent.h"
#include "text.h"
#include "util/memory.h"

#include <errno.h>
#include <stdio.h>

#define FAILURES_PER_CALL 1000
#define FAILURES_SHOWN    20

static void show_failure(const Client *client, cJSON *list, const char *path, const char *reason,
	const char *text, uint64_t index)
{
	_cleanup_free_ char *shown = NULL, *why = NULL;

	if (list) {
		cJSON *object = cJSON_CreateObject();

		json_add_path(object, path);
		cJSON_AddStringToObject(object, "reason", reason);
		cJSON_AddStringToObject(object, "text", text);
		cJSON_AddItemToArray(list, object);
	}
	if (client_json(client) || index >= FAILURES_SHOWN)
		return;
	shown = text_path(path, 0);
	why = text_safe(text);
	if (shown && why)
		(void)fprintf(stderr, "usbctl: %s: %s\n", shown, why);
}

static int read_failures(const Client *client, sd_bus_message *m, cJSON *list, uint64_t *count)
{
	int r;

	r = sd_bus_message_enter_container(m, 'a', "(ayss)");
	if (r < 0)
		return r;
	while ((r = sd_bus_message_enter_container(m, 'r', "ayss")) > 0) {
		_cleanup_free_ char *path = NULL;
		const char *reason, *text;
		const void *bytes;
		size_t size;

		r = sd_bus_message_read_array(m, 'y', &bytes, &size);
		if (r >= 0)
			r = sd_bus_message_read(m, "ss", &reason, &text);
		if (r >= 0)
			r = sd_bus_message_exit_container(m);
		if (r < 0)
			return r;
		path = strndup(size > 0 ? bytes : "", size);
		if (!path)
			return -ENOMEM;
		show_failure(client, list, path, reason, text, *count);
		++*count;
	}
	return r;
}

/* Fetches and tells every file that was left out. */
static ExitCode tell_failures(Client *client, const Transaction *t)
{
	cJSON *list = cJSON_AddArrayToObject(client->document, "failures");
	uint64_t count = 0, before;
	char number[TEXT_SHORT_SIZE];

	do {
		_cleanup_message_ sd_bus_message *call = NULL, *reply = NULL;
		ExitCode code;
		int r;

		before = count;
		code = bus_new_call(client, t->object, BUS_INTERFACE_TRANSACTION, "GetFailures", &call);
		if (code != CODE_DONE)
			return code;
		r = sd_bus_message_append(call, "uu", (uint32_t)count, (uint32_t)FAILURES_PER_CALL);
		if (r >= 0)
			r = sd_bus_message_append(call, "a{sv}", 0);
		if (r < 0)
			return bus_fail_message(client, r);
		code = bus_call(client, call, &reply);
		if (code != CODE_DONE)
			return code;
		r = read_failures(client, reply, list, &count);
		if (r < 0)
			return bus_fail_message(client, r);
	} while (count - before == FAILURES_PER_CALL && count < UINT32_MAX);
	if (!client_json(client) && count > FAILURES_SHOWN)
		(void)fprintf(stderr, "usbctl: … and %s more. --json lists all of them.\n",
			text_number(count - FAILURES_SHOWN, number));
	return CODE_DONE;
}

static void describe(const Client *client, const Drive *drive, const Transaction *t, const Run *run)
{
	cJSON *document = client->document, *counts;

	if (!document)
		return;
	cJSON_AddItemToObject(document, "drive", drive_to_json(drive));
	cJSON_AddBoolToObject(document, "dry_run", arguments_has(&client->arguments, OPTION_DRY_RUN));
	if (run->mode)
		cJSON_AddStringToObject(document, "mode", run->mode);
	json_add_number(document, "files_total", t->files_total, UINT64_MAX);
	json_add_number(document, "files_done", t->files_done, UINT64_MAX);
	json_add_number(document, "files_failed", t->files_failed, UINT64_MAX);
	json_add_number(document, "bytes_total", t->bytes_total, UINT64_MAX);
	json_add_number(document, "bytes_done", t->bytes_done, UINT64_MAX);
	cJSON_AddNumberToObject(document, "seconds", (double)(t->elapsed / USEC_PER_MSEC) / 1000);
	counts = cJSON_AddObjectToObject(document, "counts");
	for (size_t i = 0; t->counts && t->counts[i].name; i++)
		cJSON_AddNumberToObject(counts, t->counts[i].name, (double)t->counts[i].value);
}

static void tell_counts(const Client *client, const Transaction *t)
{
	static const struct {
		Count count;
		const char *one, *many, *text;
	} lines[] = {
		{COUNT_SETTLED, "file", "files", "brought from half done to whole"},
		{COUNT_ALREADY, "file", "files", "that needed nothing"},
		{COUNT_MOVED, "file", "files", "found elsewhere than encrypted, and restored there"},
		{COUNT_SYMLINKS, "symbolic link", "symbolic links", "left alone"},
		{COUNT_HARD_LINKS, "file", "files", "with several names (hard links) left alone"},
		{COUNT_SPECIAL, "special file", "special files", "left alone"},
		{COUNT_FOREIGN_MOUNTS, "folder", "folders",
			"left alone: another filesystem is mounted there"},
		{COUNT_FAILED, "file", "files", "left out, named above"},
	};
	char number[TEXT_SHORT_SIZE];

	for (size_t i = 0; i < ELEMENTSOF(lines); i++) {
		uint64_t count = transaction_count(t, lines[i].count);

		if (count > 0)
			client_say(client, "  %s %s", text_count(count, lines[i].one, lines[i].many, number),
				lines[i].text);
	}
}

static void tell_summary(const Client *client, const Transaction *t, const Run *run)
{
	char files[TEXT_SHORT_SIZE], bytes[TEXT_SHORT_SIZE], took[TEXT_SHORT_SIZE], rate[TEXT_SHORT_SIZE];
	uint64_t done = transaction_count(t, run->done), seconds = t->elapsed / USEC_PER_SEC;

	if (arguments_has(&client->arguments, OPTION_DRY_RUN))
		client_say(client, "Looked at the drive; nothing was changed. There is work for %s (%s).",
			text_count(t->files_total, "file", "files", files),
			text_bytes(t->bytes_total, bytes));
	else if (done == 0 && transaction_count(t, COUNT_SETTLED) == 0)
		client_say(client, "%s", run->nothing);
	else
		client_say(client, "%s %s (%s) in %s%s%s%s.", run->past,
			text_count(done, "file", "files", files), text_bytes(t->bytes_done, bytes),
			text_duration(seconds, took), seconds > 0 ? ", " : "",
			seconds > 0 ? text_bytes(t->bytes_done / seconds, rate) : "",
			seconds > 0 ? "/s" : "");
	tell_counts(client, t);
}

/* How it ended, for people and for the document. */
static ExitCode conclude(Client *client, const Transaction *t, const Run *run)
{
	Outcome outcome = outcome_from_name(t->result);
	ExitCode code = code_from_outcome(outcome, run->changing), failed = CODE_DONE;
	uint64_t missing = transaction_count(t, COUNT_BYTES_MISSING);
	char bytes[TEXT_SHORT_SIZE];

	if (t->files_failed > 0 || transaction_count(t, COUNT_FAILED) > 0 || outcome == OUTCOME_PARTIAL ||
		outcome == OUTCOME_UNFIT_FILES)
		failed = tell_failures(client, t);
	else
		cJSON_AddArrayToObject(client->document, "failures");
	if (missing > 0)
		client_warn(client, "%s of free space are missing on the drive.%s",
			text_bytes(missing, bytes),
			outcome == OUTCOME_NO_SPACE && run->options & OPTION_BIT(OPTION_SKIP_UNFIT)
				? " --skip-unfit leaves out what does not fit."
				: "");
	switch (outcome) {
	case OUTCOME_DONE:
	case OUTCOME_PARTIAL:
		tell_summary(client, t, run);
		if (client->document)
			cJSON_AddStringToObject(client->document, "result", outcome_name(outcome));
		break;
	case OUTCOME_CANCELLED:
		tell_summary(client, t, run);
		(void)client_fail(client, code, outcome_name(outcome), "%s", outcome_text(outcome));
		break;
	default:
		(void)client_fail_outcome(client, outcome, t->result, t->message, run->changing);
		break;
	}
	return code == CODE_DONE ? failed : code;
}

static int append(const Client *client, sd_bus_message *call, const Target *target, const Run *run)
{
	int r;

	r = run->mode ? sd_bus_message_append_basic(call, 's', run->mode) : target_append_paths(call, target);
	if (r < 0)
		return r;
	if (run->target_fd < 0)
		return bus_append_options(client, call, run->options);
	r = sd_bus_message_open_container(call, 'a', "{sv}");
	if (r >= 0)
		r = bus_append_option(call, "to", "h", run->target_fd);
	for (int i = 0; r >= 0 && i < OPTION_MAX; i++)
		if (run->options & client->arguments.present & OPTION_BIT(i))
			r = bus_append_option(call, OPTION_TABLE[i].name, "b", 1);
	return r < 0 ? r : sd_bus_message_close_container(call);
}

ExitCode run_transaction(Client *client, const Target *target, const Run *run, Transaction *ret)
{
	_cleanup_message_ sd_bus_message *call = NULL;
	_cleanup_transaction_ Transaction transaction = {0};
	ExitCode code;
	int r;

	polkit_agent_start(client);
	code = bus_new_call(client, target->drive->object, BUS_INTERFACE_DRIVE, run->member, &call);
	if (code != CODE_DONE)
		return code;
	r = append(client, call, target, run);
	if (r < 0)
		return bus_fail_message(client, r);
	code = transaction_follow(client, target->drive, call, run->changing, &transaction);
	if (code != CODE_DONE)
		return code;
	describe(client, target->drive, &transaction, run);
	code = conclude(client, &transaction, run);
	*ret = transaction;
	transaction = (Transaction){0};
	return code;
}
