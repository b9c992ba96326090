/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Reading D-Bus properties (a{sv}) into the fields of a struct. */

#include "util/macro.h"

#include <stdbool.h>
#include <systemd/sd-bus.h>

/* A dictionary that is being read: {.entry = "sv"}. */
typedef struct Dict {
	const char *entry;
	bool begun;
} Dict;

/* 1: inside the next entry, which is to be read to its end; 0: there is none, and the dictionary has been
 * left. */
int dict_next(sd_bus_message *message, Dict *dict);

typedef enum PropertyType {
	PROPERTY_STRING, /* 's' or 'o' -> char *, owned */
	PROPERTY_BOOL,   /* 'b' -> bool */
	PROPERTY_U32,    /* 'u' -> uint32_t */
	PROPERTY_U64,    /* 't' -> uint64_t */
	PROPERTY_PATHS,  /* 'aay' -> char **, owned, NULL-terminated */
	PROPERTY_COUNTS, /* 'a{st}' -> NamedCount *, owned, ended by a NULL name */
} PropertyType;

typedef struct NamedCount {
	char *name;
	uint64_t value;
} NamedCount;

typedef struct PropertyField {
	const char *name;
	PropertyType type;
	size_t offset;
} PropertyField;

/* Reads an a{sv}. Unknown properties, and known ones of another type, are skipped. Fields that are not in the
 * message stay as they are. -ENOMEM, -EBADMSG. */
int properties_read(sd_bus_message *message, const PropertyField *fields, size_t n_fields, void *object);

/* Frees what properties_read() made. */
void properties_clear(const PropertyField *fields, size_t n_fields, void *object);

uint64_t counts_get(const NamedCount *counts, const char *name);

char **paths_free(char **paths);
