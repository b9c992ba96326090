/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * What logind says that makes drives lock: the machine is about to sleep or to shut down (delayed until every
 * key is gone, by an inhibitor), and the last session of a user has ended. Without logind none of this
 * happens.
 */

#include "bus/bus.h"

int logind_new(Bus *bus, Logind **ret_logind);
Logind *logind_free(Logind *logind);

/* No job runs any more: what waited for that may go on. */
void logind_on_idle(Logind *logind);
