/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "bus/options.h"

#include "bus/errors.h"
#include "util/escape.h"
#include "util/memory.h"

#include <errno.h>
#include <stdio.h>

#define OPTIONS_MAX 32

static int complain(char **ret_message, const char *what, const char *name)
{
	_cleanup_free_ char *shown = escape_bytes(name, strlen(name), 64);

	if (asprintf(ret_message, "%s '%s'.", what, shown ? shown : "?") < 0)
		*ret_message = NULL;
	return -EINVAL;
}

static int option_read(sd_bus_message *call, const Option *option, char **ret_message)
{
	char type[2] = {option->type, 0}, kind;
	const char *contents;
	int r, boolean;

	r = sd_bus_message_peek_type(call, &kind, &contents);
	if (r < 0)
		return r;
	if (kind != SD_BUS_TYPE_VARIANT || strcmp(contents, type) != 0)
		return complain(ret_message, "Wrong type for option", option->name);
	switch (option->type) {
	case 'b':
		r = sd_bus_message_read(call, "v", "b", &boolean);
		if (r >= 0)
			*option->boolean = boolean != 0;
		break;
	case 't':
		r = sd_bus_message_read(call, "v", "t", option->number);
		break;
	case 's':
		r = sd_bus_message_read(call, "v", "s", option->text);
		break;
	case 'h':
		r = sd_bus_message_read(call, "v", "h", option->fd);
		break;
	default:
		return -ENOTSUP;
	}
	if (r >= 0 && option->present)
		*option->present = true;
	return r < 0 ? r : 0;
}

/* 0, or a negative errno; -EINVAL with *ret_message. */
static int options_parse(sd_bus_message *call, const Option *options, size_t n_options, char **ret_message)
{
	bool seen[OPTIONS_MAX] = {false};
	int r;

	*ret_message = NULL;
	r = sd_bus_message_enter_container(call, 'a', "{sv}");
	while (r > 0) {
		const char *name;
		size_t i;

		r = sd_bus_message_enter_container(call, 'e', "sv");
		if (r <= 0)
			break;
		r = sd_bus_message_read(call, "s", &name);
		if (r < 0)
			return r;
		for (i = 0; i < n_options && strcmp(options[i].name, name) != 0; i++)
			;
		if (i == n_options)
			return complain(ret_message, "Unknown option", name);
		if (seen[i])
			return complain(ret_message, "Twice the option", name);
		seen[i] = true;
		r = option_read(call, &options[i], ret_message);
		if (r < 0)
			return r;
		r = sd_bus_message_exit_container(call);
		if (r < 0)
			return r;
		r = 1;
	}
	if (r < 0)
		return r;
	r = sd_bus_message_exit_container(call);
	return r < 0 ? r : 0;
}

bool options_read(sd_bus_message *call, const Option *options, size_t n_options)
{
	_cleanup_free_ char *message = NULL;
	int r = options_parse(call, options, n_options, &message);

	if (r == -EINVAL)
		(void)bus_reply_outcome(call, OUTCOME_INVALID_ARGUMENT, message);
	else if (r < 0)
		(void)bus_reply_errno(call, r);
	return r >= 0;
}
