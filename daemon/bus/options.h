/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The a{sv} every method ends in. */

#include <stdbool.h>
#include <stdint.h>
#include <systemd/sd-bus.h>

typedef struct Option {
	const char *name;
	char type; /* 'b', 't', 's' or 'h' */
	union {
		bool *boolean;
		uint64_t *number;
		const char **text; /* valid as long as the message */
		int *fd;           /* the message's */
	};
	bool *present; /* may be NULL */
} Option;

/* Reads it to the message's end. False: it was refused, for an unknown option, one of a wrong type, or one
 * given twice, and the call has been answered. */
bool options_read(sd_bus_message *call, const Option *options, size_t n_options);
