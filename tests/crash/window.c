/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "window.h"

#include "scenario.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void window_init(Window *window, const Disk *base, const Log *log)
{
	window->number = UINT32_MAX;
	window->durable = *base;
	window->log = log;
	window->first = window->next = window->next_first = 0;
}

static unsigned unit_index[UNITS_MAX]; /* + 1 */

/* Notes the versions of the units that were written between first and end. */
static void collect(Window *window)
{
	const LogEntry *entries = window->log->entries;

	window->n_units = window->n_versions = 0;
	for (size_t i = window->first; i < window->end; i++)
		if (i < window->forced && entries[i].kind == LOG_FORCE)
			window->base.units[entries[i].unit] = entries[i].value;
	for (size_t i = window->first; i < window->end; i++) {
		unsigned unit = entries[i].unit;

		if (entries[i].kind == LOG_WRITE && unit_index[unit] == 0) {
			if (window->n_units == WINDOW_UNITS_MAX)
				abort();
			window->units[window->n_units++] = (WindowUnit){.unit = unit};
			unit_index[unit] = window->n_units;
		}
	}
	for (unsigned u = 0; u < window->n_units; u++) {
		WindowUnit *unit = &window->units[u];

		unit_index[unit->unit] = 0;
		unit->first = window->n_versions;
		for (size_t i = window->first; i < window->end; i++) {
			bool known = entries[i].value == window->base.units[unit->unit];

			if (entries[i].unit != unit->unit || entries[i].kind == LOG_BARRIER)
				continue;
			/* What was forced out leaves no older version behind. */
			if (i < window->forced && entries[i].kind == LOG_FORCE) {
				unit->n = 0;
				window->n_versions = unit->first;
				continue;
			}
			for (unsigned v = 0; v < unit->n; v++)
				known |= window->versions[unit->first + v] == entries[i].value;
			if (known || entries[i].kind == LOG_FORCE)
				continue;
			if (window->n_versions == WINDOW_VERSIONS_MAX)
				abort();
			window->versions[window->n_versions++] = entries[i].value;
			unit->n++;
		}
	}
}

bool window_next(Window *window)
{
	const Log *log = window->log;
	size_t i = window->next;

	if (window->number != UINT32_MAX && i >= log->n)
		return false;
	window->forced = i;
	window->first = window->next_first;
	/* A group of forced units ends a window; the next one begins behind it, in the same epoch. */
	while (i < log->n && log->entries[i].kind == LOG_WRITE)
		i++;
	window->end = i;
	window->base = window->durable;
	collect(window);
	window->base_hash = disk_hash(&window->base);
	window->number++;
	while (i < log->n && log->entries[i].kind == LOG_FORCE)
		i++;
	if (i < log->n && log->entries[i].kind == LOG_BARRIER) {
		for (size_t k = window->first; k < i; k++)
			window->durable.units[log->entries[k].unit] = log->entries[k].value;
		window->next_first = ++i;
	}
	window->next = i;
	return true;
}

uint64_t window_count(const Window *window)
{
	uint64_t count = 1;

	for (unsigned u = 0; u < window->n_units; u++) {
		if (count > UINT64_MAX / 8192 / (window->units[u].n + 1))
			return UINT64_MAX;
		count *= window->units[u].n + 1;
	}
	return count;
}

static void set_unit(Disk *disk, uint64_t *hash, unsigned unit, uint32_t value)
{
	uint32_t before = disk->units[unit];

	*hash -= before ? disk_unit_hash(unit, before) : 0;
	*hash += value ? disk_unit_hash(unit, value) : 0;
	disk->units[unit] = value;
}

/* Version v of a unit: 0 is what was there before. */
static void choose(const Window *window, unsigned u, unsigned v, Disk *disk, uint64_t *hash)
{
	const WindowUnit *unit = &window->units[u];

	if (v > 0)
		set_unit(disk, hash, unit->unit, window->versions[unit->first + v - 1]);
}

static void choose_randomly(const Window *window, uint64_t seed, Disk *disk, uint64_t *hash)
{
	unsigned bias;

	random_seed(seed * 1000003 + window->number);
	bias = (unsigned)(random_next() % 3); /* mostly old, mostly new, evenly */
	for (unsigned u = 0; u < window->n_units; u++) {
		uint64_t x = random_next();
		unsigned n = window->units[u].n, v = (unsigned)(x >> 8) % (n + 1);

		if (bias == 0 && x % 4)
			v = 0;
		else if (bias == 1 && x % 4)
			v = n;
		choose(window, u, v, disk, hash);
	}
}

bool window_state(const Window *window, StateName name, Disk *ret, uint64_t *ret_hash)
{
	uint64_t hash = window->base_hash;

	*ret = window->base;
	switch (name.kind) {
	case 'x':
		for (unsigned u = 0; u < window->n_units; u++) {
			choose(window, u, (unsigned)(name.a % (window->units[u].n + 1)), ret, &hash);
			name.a /= window->units[u].n + 1;
		}
		if (name.a > 0)
			return false;
		break;
	case 'p':
		if (name.a > window->end - window->first)
			return false;
		for (size_t i = window->first; i < window->first + name.a; i++)
			if (window->log->entries[i].kind == LOG_WRITE)
				set_unit(ret, &hash, window->log->entries[i].unit,
					window->log->entries[i].value);
		/* What was forced out before this window stays so, whatever the prefix. */
		for (size_t i = window->first + name.a; i < window->forced; i++)
			if (window->log->entries[i].kind == LOG_FORCE)
				set_unit(ret, &hash, window->log->entries[i].unit,
					window->log->entries[i].value);
		break;
	case 'd':
	case 'k':
		if (name.a >= window->n_units)
			return false;
		for (unsigned u = 0; u < window->n_units; u++)
			if ((u == name.a || u == name.b) == (name.kind == 'k'))
				choose(window, u, window->units[u].n, ret, &hash);
		break;
	case 'g':
		if (name.a >= window->n_units || window->units[name.a].unit < UNIT_DATA)
			return false;
		choose_randomly(window, name.b, ret, &hash);
		set_unit(ret, &hash, window->units[name.a].unit, content_damaged(window->units[name.a].unit));
		break;
	case 'r':
		choose_randomly(window, name.a, ret, &hash);
		break;
	default:
		return false;
	}
	*ret_hash = hash;
	return true;
}

void state_format(StateName name, char ret[64])
{
	int n = snprintf(ret, 64, "%c%" PRIu64, name.kind, name.a);

	if (name.b != STATE_NONE)
		(void)snprintf(ret + n, 64 - (size_t)n, ",%" PRIu64, name.b);
}

bool state_parse(const char **text, StateName *ret)
{
	char *end;

	ret->kind = **text;
	ret->a = strtoull(*text + 1, &end, 10);
	ret->b = STATE_NONE;
	if (*end == ',')
		ret->b = strtoull(end + 1, &end, 10);
	*text = end;
	return ret->a != STATE_NONE;
}
