/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "properties.h"

#include "util/memory.h"

#include <errno.h>
#include <stdio.h>

int dict_next(sd_bus_message *m, Dict *dict)
{
	char contents[32];
	int r;

	(void)snprintf(contents, sizeof(contents), "{%s}", dict->entry);
	r = dict->begun ? sd_bus_message_exit_container(m) : sd_bus_message_enter_container(m, 'a', contents);
	if (r < 0)
		return r;
	dict->begun = true;
	r = sd_bus_message_enter_container(m, 'e', dict->entry);
	if (r != 0)
		return r;
	r = sd_bus_message_exit_container(m);
	return r < 0 ? r : 0;
}

char **paths_free(char **paths)
{
	for (size_t i = 0; paths && paths[i]; i++)
		free(paths[i]);
	free(paths);
	return NULL;
}
DEFINE_CLEANUP(char **, paths_free)

static NamedCount *counts_free(NamedCount *counts)
{
	for (size_t i = 0; counts && counts[i].name; i++)
		free(counts[i].name);
	free(counts);
	return NULL;
}
DEFINE_CLEANUP(NamedCount *, counts_free)

uint64_t counts_get(const NamedCount *counts, const char *name)
{
	for (size_t i = 0; counts && counts[i].name; i++)
		if (strcmp(counts[i].name, name) == 0)
			return counts[i].value;
	return 0;
}

static int read_paths(sd_bus_message *m, char ***field)
{
	_cleanup_(paths_freep) char **paths = NULL;
	size_t n = 0, capacity = 0;
	int r;

	r = array_grow(&paths, &capacity, 1, sizeof(char *));
	if (r < 0)
		return r;
	paths[0] = NULL;
	r = sd_bus_message_enter_container(m, 'a', "ay");
	if (r < 0)
		return r;
	for (;;) {
		const void *bytes;
		size_t size;

		r = sd_bus_message_at_end(m, false);
		if (r < 0)
			return r;
		if (r > 0)
			break;
		r = sd_bus_message_read_array(m, 'y', &bytes, &size);
		if (r < 0)
			return r;
		r = array_grow(&paths, &capacity, n + 2, sizeof(char *));
		if (r < 0)
			return r;
		/* Without NUL, says the interface; one would only cut the path short. */
		paths[n] = size > 0 ? strndup(bytes, size) : strdup("");
		if (!paths[n])
			return -ENOMEM;
		paths[++n] = NULL;
	}
	r = sd_bus_message_exit_container(m);
	if (r < 0)
		return r;
	paths_free(*field);
	*field = TAKE_PTR(paths);
	return 0;
}

static int read_counts(sd_bus_message *m, NamedCount **field)
{
	_cleanup_(counts_freep) NamedCount *counts = NULL;
	Dict dict = {.entry = "st"};
	size_t n = 0, capacity = 0;
	int r;

	r = array_grow(&counts, &capacity, 1, sizeof(NamedCount));
	if (r < 0)
		return r;
	counts[0] = (NamedCount){0};
	while ((r = dict_next(m, &dict)) > 0) {
		const char *name;
		uint64_t value;

		r = sd_bus_message_read(m, "st", &name, &value);
		if (r >= 0)
			r = array_grow(&counts, &capacity, n + 2, sizeof(NamedCount));
		if (r < 0)
			return r;
		counts[n].value = value;
		counts[n].name = strdup(name);
		if (!counts[n].name)
			return -ENOMEM;
		counts[++n] = (NamedCount){0};
	}
	if (r < 0)
		return r;
	counts_free(*field);
	*field = TAKE_PTR(counts);
	return 0;
}

static int read_string(sd_bus_message *m, char type, char **field)
{
	const char *value;
	char *copy;
	int r;

	r = sd_bus_message_read_basic(m, type, &value);
	if (r < 0)
		return r;
	copy = strdup(value);
	if (!copy)
		return -ENOMEM;
	free(*field);
	*field = copy;
	return 0;
}

static int read_bool(sd_bus_message *m, bool *field)
{
	int value, r;

	r = sd_bus_message_read_basic(m, 'b', &value);
	if (r >= 0)
		*field = value != 0;
	return r;
}

static const char *signature_of(PropertyType type, const char *found)
{
	switch (type) {
	case PROPERTY_STRING:
		return strcmp(found, "o") == 0 ? "o" : "s";
	case PROPERTY_BOOL:
		return "b";
	case PROPERTY_U32:
		return "u";
	case PROPERTY_U64:
		return "t";
	case PROPERTY_PATHS:
		return "aay";
	case PROPERTY_COUNTS:
		return "a{st}";
	}
	return "";
}

static int read_field(sd_bus_message *m, const char *signature, const PropertyField *field, void *object)
{
	void *at = (uint8_t *)object + field->offset;

	switch (field->type) {
	case PROPERTY_STRING:
		return read_string(m, signature[0], at);
	case PROPERTY_BOOL:
		return read_bool(m, at);
	case PROPERTY_U32:
	case PROPERTY_U64:
		return sd_bus_message_read_basic(m, signature[0], at);
	case PROPERTY_PATHS:
		return read_paths(m, at);
	case PROPERTY_COUNTS:
		return read_counts(m, at);
	}
	return -EINVAL;
}

static int read_property(
	sd_bus_message *m, const char *name, const PropertyField *fields, size_t n_fields, void *object)
{
	const PropertyField *field = NULL;
	const char *found, *wanted;
	int r;

	for (size_t i = 0; i < n_fields && !field; i++)
		if (strcmp(fields[i].name, name) == 0)
			field = &fields[i];
	r = sd_bus_message_peek_type(m, NULL, &found);
	if (r < 0)
		return r;
	wanted = field ? signature_of(field->type, found) : NULL;
	if (!wanted || strcmp(found, wanted) != 0)
		return sd_bus_message_skip(m, "v");
	r = sd_bus_message_enter_container(m, 'v', wanted);
	if (r < 0)
		return r;
	r = read_field(m, wanted, field, object);
	if (r < 0)
		return r;
	return sd_bus_message_exit_container(m);
}

int properties_read(sd_bus_message *m, const PropertyField *fields, size_t n_fields, void *object)
{
	Dict dict = {.entry = "sv"};
	int r;

	while ((r = dict_next(m, &dict)) > 0) {
		const char *name;

		r = sd_bus_message_read_basic(m, 's', &name);
		if (r >= 0)
			r = read_property(m, name, fields, n_fields, object);
		if (r < 0)
			return r;
	}
	return r;
}

void properties_clear(const PropertyField *fields, size_t n_fields, void *object)
{
	for (size_t i = 0; i < n_fields; i++) {
		void *at = (uint8_t *)object + fields[i].offset;

		if (fields[i].type == PROPERTY_STRING)
			*(char **)at = mfree(*(char **)at);
		else if (fields[i].type == PROPERTY_PATHS)
			*(char ***)at = paths_free(*(char ***)at);
		else if (fields[i].type == PROPERTY_COUNTS)
			*(NamedCount **)at = counts_free(*(NamedCount **)at);
	}
}
