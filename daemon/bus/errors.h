/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The only place where outcomes become D-Bus errors. */

#include "util/outcome.h"

#include <systemd/sd-bus.h>

/* Answers a call with org.usbcrypt.UsbCrypt1.Error.NAME. `message` is for people; NULL: outcome_text(). */
int bus_reply_outcome(sd_bus_message *call, Outcome outcome, const char *message);

/* For a negative errno: OUTCOME_NO_MEMORY or OUTCOME_FAILED. */
int bus_reply_errno(sd_bus_message *call, int error);
