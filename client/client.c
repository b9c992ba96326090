/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "client.h"

#include "polkit-agent.h"
#include "text.h"
#include "util/escape.h"
#include "util/memory.h"
#include "verb.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

int client_begin(Client *client)
{
	const Verb *verb = client->arguments.verb;

	if (!client_json(client))
		return 0;
	client->document = cJSON_CreateObject();
	if (!client->document)
		return -ENOMEM;
	cJSON_AddStringToObject(client->document, "type", "result");
	if (verb)
		cJSON_AddStringToObject(client->document, "verb", verb->name);
	else
		cJSON_AddNullToObject(client->document, "verb");
	return 0;
}

bool client_output_alive(void)
{
	return fflush(stdout) == 0 && !ferror(stdout);
}

int client_emit(cJSON *object)
{
	char *line = cJSON_PrintUnformatted(object);

	cJSON_Delete(object);
	if (!line)
		return -EIO;
	(void)fputs(line, stdout);
	(void)fputc('\n', stdout);
	cJSON_free(line);
	return client_output_alive() ? 0 : -EIO;
}

ExitCode client_end(Client *client, ExitCode code)
{
	polkit_agent_stop(client);
	if (client->document) {
		if (!cJSON_GetObjectItem(client->document, "result"))
			cJSON_AddStringToObject(client->document, "result",
				code == CODE_DONE ? outcome_name(OUTCOME_DONE)
						  : outcome_name(OUTCOME_FAILED));
		cJSON_AddNumberToObject(client->document, "exit_code", code);
		(void)client_emit(TAKE_PTR(client->document));
	}
	if (!client_output_alive()) {
		(void)fputs("usbctl: The result could not be written to standard output.\n", stderr);
		if (code == CODE_DONE)
			code = CODE_FAILED;
	}
	client->bus = sd_bus_flush_close_unref(client->bus);
	client->daemon = mfree(client->daemon);
	arguments_clear(&client->arguments);
	return code;
}

void client_say(const Client *client, const char *format, ...)
{
	va_list ap;

	if (client_json(client) || client_quiet(client))
		return;
	va_start(ap, format);
	(void)vprintf(format, ap);
	va_end(ap);
	(void)fputc('\n', stdout);
}

void client_warn(const Client *client, const char *format, ...)
{
	_cleanup_free_ char *text = NULL;
	va_list ap;

	va_start(ap, format);
	text = text_format(format, ap);
	va_end(ap);
	if (!text)
		return;
	if (client->document) {
		cJSON *warnings = cJSON_GetObjectItem(client->document, "warnings");

		if (!warnings)
			warnings = cJSON_AddArrayToObject(client->document, "warnings");
		cJSON_AddItemToArray(warnings, cJSON_CreateString(text));
	}
	if (!client_quiet(client)) {
		(void)fflush(stdout);
		(void)fprintf(stderr, "%s\n", text);
	}
}

static void fail_with(const Client *client, const char *result, const char *text)
{
	if (client->hushed)
		return;
	if (client->document && !cJSON_GetObjectItem(client->document, "result")) {
		cJSON_AddStringToObject(client->document, "result", result);
		cJSON_AddStringToObject(client->document, "message", text);
	}
	(void)fflush(stdout);
	(void)fprintf(stderr, "usbctl: %s\n", text);
}

ExitCode client_fail(const Client *client, ExitCode code, const char *result, const char *format, ...)
{
	_cleanup_free_ char *text = NULL;
	va_list ap;

	va_start(ap, format);
	text = text_format(format, ap);
	va_end(ap);
	if (!text)
		return client_fail_memory(client);
	fail_with(client, result, text);
	return code;
}

ExitCode client_fail_memory(const Client *client)
{
	fail_with(client, outcome_name(OUTCOME_FAILED), "Out of memory. Close other programs and try again.");
	return CODE_FAILED;
}

ExitCode client_fail_errno(const Client *client, int error, const char *what, const char *advice)
{
	if (error == -ENOMEM && !what)
		return client_fail_memory(client);
	return client_fail(client, CODE_FAILED, outcome_name(OUTCOME_FAILED), "%s: %s.%s%s", what,
		strerror(error < 0 ? -error : error), advice ? " " : "", advice ? advice : "");
}

ExitCode client_fail_outcome(
	const Client *client, Outcome outcome, const char *name, const char *message, bool changing)
{
	const char *advice = outcome != OUTCOME_INVALID ? outcome_text(outcome) : "";
	_cleanup_free_ char *safe = text_safe(message && *message ? message : "");
	ExitCode code = code_from_outcome(outcome, changing);

	if (!safe)
		return client_fail_memory(client);
	if (!*safe)
		return client_fail(client, code, name, "%s", *advice ? advice : name);
	if (!*advice || strstr(safe, advice))
		return client_fail(client, code, name, "%s", safe);
	return client_fail(client, code, name, "%s%s %s", safe, text_ends_sentence(safe) ? "" : ".", advice);
}

void json_add_path(cJSON *object, const char *path)
{
	_cleanup_free_ char *escaped = NULL, *hex = NULL;
	size_t length = strlen(path);

	if (!object)
		return;
	if (utf8_is_valid(path, length)) {
		cJSON_AddStringToObject(object, "path", path);
		return;
	}
	escaped = escape_bytes(path, length, 0);
	hex = malloc(2 * length + 1);
	if (!escaped || !hex)
		return;
	for (size_t i = 0; i < length; i++)
		(void)snprintf(hex + 2 * i, 3, "%02x", (unsigned)(uint8_t)path[i]);
	cJSON_AddStringToObject(object, "path", escaped);
	cJSON_AddStringToObject(object, "path_bytes", hex);
}

void json_add_number(cJSON *object, const char *name, uint64_t number, uint64_t absent)
{
	if (!object)
		return;
	if (number == absent)
		cJSON_AddNullToObject(object, name);
	else
		cJSON_AddNumberToObject(object, name, (double)number);
}
