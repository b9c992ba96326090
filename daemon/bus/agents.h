/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "bus/bus.h"

/* Who prompts for the drives of a uid: the first connection that registered, until it leaves the bus. BUSY:
 * another one does. The agent asks and unlocks by itself, as any client; this only keeps two from asking. */
Outcome agents_register(Bus *bus, sd_bus_message *message, uid_t uid);

void agents_clear(Bus *bus);
