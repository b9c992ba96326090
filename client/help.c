/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "help.h"

#include "text.h"
#include "util/escape.h"
#include "util/memory.h"
#include "verb.h"

#include <stdio.h>

#define WIDTH 79

static void show_options(unsigned options)
{
	for (int i = 0; i < OPTION_MAX; i++) {
		const Option *option = &OPTION_TABLE[i];

		if (!(options & OPTION_BIT(i)))
			continue;
		if (option->letter)
			(void)printf("  -%c, --%s", option->letter, option->name);
		else
			(void)printf("  --%s", option->name);
		(void)printf("%s%s\n", option->value ? " " : "", option->value ? option->value : "");
		text_wrap(option->help, 6, WIDTH);
	}
}

static void show_all(void)
{
	static const char *const codes[] = {
#define CODE_ROW(constant, number, text) text,
		CODES(CODE_ROW)
#undef CODE_ROW
	};

	text_wrap("usbctl encrypts the files of USB drives in place, file by file, and decrypts them again: "
		  "plug a "
		  "drive in, type the passphrase, use your files.",
		0, WIDTH);
	(void)printf("\nUsage: usbctl VERB [OPTIONS] [DRIVE] [PATH...]\n\n");
	for (size_t i = 0; i < VERB_TABLE_SIZE; i++)
		(void)printf("  %-14s  %s\n", VERB_TABLE[i].name, VERB_TABLE[i].summary);
	(void)putchar('\n');
	text_wrap(
		"DRIVE is a device node, a mount point or any path on the drive, or the drive's label, "
		"filesystem "
		"UUID or id. It may be left out when just one drive is plugged in. PATHs are relative to the "
		"drive's root, or absolute; when DRIVE itself is a path below the mount point, the run is "
		"limited "
		"to it, and further PATHs are ordinary paths too.",
		0, WIDTH);
	(void)printf("\nOptions of every verb:\n");
	show_options(VERB_OPTIONS_COMMON);
	(void)printf("\nExit codes:\n");
	for (size_t i = 0; i < ELEMENTSOF(codes); i++)
		(void)printf("  %zu  %s\n", i, codes[i]);
	(void)printf("\n'usbctl help VERB' shows all about one verb; usbctl(1) is the manual.\n");
}

static void show_verb(const Verb *verb)
{
	(void)printf("Usage: usbctl %s%s%s%s\n\n", verb->name, verb->options ? " [OPTIONS]" : "",
		*verb->words ? " " : "", verb->words);
	text_wrap(verb->summary, 0, WIDTH);
	if (verb->description) {
		(void)putchar('\n');
		text_wrap(verb->description, 0, WIDTH);
	}
	if (verb->options) {
		(void)printf("\nOptions:\n");
		show_options(verb->options);
	}
	(void)printf("\nOptions of every verb:\n");
	show_options(VERB_OPTIONS_COMMON);
}

/* The tables as JSON: what completions and manuals are checked against. */
static void describe(cJSON *document)
{
	cJSON *options = cJSON_AddArrayToObject(document, "options");
	cJSON *verbs = cJSON_AddArrayToObject(document, "verbs");

	for (int i = 0; i < OPTION_MAX; i++) {
		const Option *option = &OPTION_TABLE[i];
		cJSON *row = cJSON_CreateObject();

		cJSON_AddStringToObject(row, "name", option->name);
		if (option->value)
			cJSON_AddStringToObject(row, "value", option->value);
		else
			cJSON_AddNullToObject(row, "value");
		cJSON_AddStringToObject(row, "help", option->help);
		cJSON_AddBoolToObject(row, "common", (VERB_OPTIONS_COMMON & OPTION_BIT(i)) != 0);
		cJSON_AddItemToArray(options, row);
	}
	for (size_t i = 0; i < VERB_TABLE_SIZE; i++) {
		const Verb *verb = &VERB_TABLE[i];
		cJSON *row = cJSON_CreateObject(), *own = NULL;

		cJSON_AddStringToObject(row, "name", verb->name);
		cJSON_AddStringToObject(row, "arguments", verb->words);
		cJSON_AddStringToObject(row, "summary", verb->summary);
		own = cJSON_AddArrayToObject(row, "options");
		for (int k = 0; k < OPTION_MAX; k++)
			if (verb->options & OPTION_BIT(k))
				cJSON_AddItemToArray(own, cJSON_CreateString(OPTION_TABLE[k].name));
		cJSON_AddItemToArray(verbs, row);
	}
}

ExitCode help_show(Client *client, const Verb *verb)
{
	if (client->document)
		describe(client->document);
	else if (verb && verb->run != verb_help)
		show_verb(verb);
	else
		show_all();
	return CODE_DONE;
}

ExitCode help_version(Client *client)
{
	if (client->document)
		cJSON_AddStringToObject(client->document, "version", USBCRYPT_VERSION);
	else
		(void)printf("usbctl %s\n", USBCRYPT_VERSION);
	return CODE_DONE;
}

ExitCode verb_help(Client *client)
{
	const Arguments *arguments = &client->arguments;
	const Verb *verb = NULL;

	if (arguments->n_words > 0) {
		_cleanup_free_ char *quoted = text_path(arguments->words[0], 60);

		verb = verb_by_name(arguments->words[0]);
		if (!quoted)
			return client_fail_memory(client);
		if (!verb)
			return client_fail(client, CODE_USAGE, "Usage",
				"There is no verb '%s'. Try 'usbctl help'.", quoted);
	}
	return help_show(client, verb);
}
