/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "bus/announce.h"

#include "util/clock.h"
#include "util/log.h"
#include "util/memory.h"

#include <errno.h>

#define INTERVAL (250 * USEC_PER_MSEC)

struct Announcer {
	sd_bus *bus;
	const char *path, *interface;
	const AnnouncedProperty *properties;
	unsigned dirty;
	uint64_t sent_at;
	sd_event_source *timer;
};

Announcer *announcer_free(Announcer *announcer)
{
	if (!announcer)
		return NULL;
	sd_event_source_disable_unref(announcer->timer);
	sd_bus_unref(announcer->bus);
	return mfree(announcer);
}

void announcer_flush(Announcer *announcer)
{
	char *names[33];
	size_t n = 0;
	int r;

	if (!announcer->dirty)
		return;
	for (const AnnouncedProperty *p = announcer->properties; p->name && n + 1 < ELEMENTSOF(names); p++)
		if (announcer->dirty & p->bit)
			names[n++] = (char *)(uintptr_t)p->name;
	names[n] = NULL;
	announcer->dirty = 0;
	announcer->sent_at = clock_usec(CLOCK_MONOTONIC);
	(void)sd_event_source_set_enabled(announcer->timer, SD_EVENT_OFF);
	if (n == 0)
		return;
	r = sd_bus_emit_properties_changed_strv(announcer->bus, announcer->path, announcer->interface, names);
	if (r < 0)
		log_warning("Cannot announce what changed of %s: %s", announcer->path, strerrordesc_np(-r));
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
	(void)source;
	(void)usec;
	announcer_flush(userdata);
	return 0;
}

void announcer_add(Announcer *announcer, unsigned bits)
{
	uint64_t now = clock_usec(CLOCK_MONOTONIC), at;

	if (!announcer->dirty) {
		/* Not before this turn of the loop is over: changes come in groups. */
		at = MAX(now, announcer->sent_at + INTERVAL);
		(void)sd_event_source_set_time(announcer->timer, at);
		(void)sd_event_source_set_enabled(announcer->timer, SD_EVENT_ONESHOT);
	}
	announcer->dirty |= bits;
}

int announcer_new(sd_bus *bus, const char *path, const char *interface, const AnnouncedProperty *properties,
	Announcer **ret_announcer)
{
	Announcer *announcer = new0(Announcer, 1);
	int r;

	if (!announcer)
		return -ENOMEM;
	announcer->bus = sd_bus_ref(bus);
	announcer->path = path;
	announcer->interface = interface;
	announcer->properties = properties;
	r = sd_event_add_time(
		sd_bus_get_event(bus), &announcer->timer, CLOCK_MONOTONIC, 0, 1, on_timer, announcer);
	if (r >= 0)
		r = sd_event_source_set_enabled(announcer->timer, SD_EVENT_OFF);
	if (r < 0) {
		(void)announcer_free(announcer);
		return r;
	}
	*ret_announcer = announcer;
	return 0;
}
