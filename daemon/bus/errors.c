/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "bus/errors.h"

#include "bus/names.h"
#include "util/log.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

int bus_reply_outcome(sd_bus_message *call, Outcome outcome, const char *message)
{
	char name[128];

	(void)snprintf(name, sizeof(name), BUS_ERROR_PREFIX "%s", outcome_name(outcome));
	return sd_bus_reply_method_errorf(call, name, "%s", message ? message : outcome_text(outcome));
}

int bus_reply_errno(sd_bus_message *call, int error)
{
	if (error == -ENOMEM)
		return bus_reply_outcome(call, OUTCOME_NO_MEMORY, "There is not enough memory.");
	log_error("%s: %s", sd_bus_message_get_member(call), strerrordesc_np(-error));
	return bus_reply_outcome(call, OUTCOME_FAILED, NULL);
}
