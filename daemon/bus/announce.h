/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* PropertiesChanged for one object: gathered, and sent at most four times a second. */

#include "util/macro.h"

#include <systemd/sd-bus.h>

typedef struct AnnouncedProperty {
	unsigned bit;
	const char *name; /* NULL ends the table; several names may share a bit */
} AnnouncedProperty;

typedef struct Announcer Announcer;

/* `path`, `interface` and `properties` outlive it. */
int announcer_new(sd_bus *bus, const char *path, const char *interface, const AnnouncedProperty *properties,
	Announcer **ret_announcer);
/* Accepts NULL, returns NULL; what was not sent yet is not sent any more. */
Announcer *announcer_free(Announcer *announcer);

void announcer_add(Announcer *announcer, unsigned bits);

/* Sends what has been gathered, now. */
void announcer_flush(Announcer *announcer);
