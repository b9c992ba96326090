/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Reading the vectors of tests/vectors: a text header, an empty line, and the bytes. */

#include "fixture.h"

typedef struct Vector {
	char *name; /* of the file */
	uint8_t *data;
	size_t size;
	const uint8_t *body;
	size_t body_size;
} Vector;

static void vector_clear(Vector *v)
{
	free(v->name);
	free(v->data);
	*v = (Vector){};
}
#define _cleanup_vector_ _cleanup_(vector_clear)

static void vector_load(const char *folder, const char *name, Vector *ret)
{
	char path[4096];
	const uint8_t *end;

	(void)snprintf(path, sizeof(path), "%s/%s/%s", vectors_path(), folder, name);
	ret->data = get_file(AT_FDCWD, path, &ret->size);
	ret->name = strdup(name);
	end = memmem(ret->data, ret->size, "\n\n", 2);
	assert_non_null(end);
	ret->body = end + 2;
	ret->body_size = (size_t)(ret->data + ret->size - ret->body);
	ret->data[end + 1 - ret->data] = 0; /* ends the header */
}

/* A header's value, into `value`; false when there is none. */
static bool vector_get(const Vector *v, const char *key, char *value, size_t max)
{
	size_t n = strlen(key);

	for (const char *line = (const char *)v->data; line && *line;) {
		const char *next = strchr(line, '\n');

		if (strncmp(line, key, n) == 0 && line[n] == ':') {
			size_t length = (size_t)(next - line) - n - 2;

			assert_true(length < max);
			memcpy(value, line + n + 2, length);
			value[length] = 0;
			return true;
		}
		line = next ? next + 1 : NULL;
	}
	value[0] = 0;
	return false;
}

static bool vector_is(const Vector *v, const char *key, const char *expected)
{
	char value[256];

	(void)vector_get(v, key, value, sizeof(value));
	return strcmp(value, expected) == 0;
}

static size_t vector_get_hex(const Vector *v, const char *key, uint8_t *bytes, size_t max)
{
	_cleanup_free_ char *hex = malloc(2 * max + 2);

	assert_non_null(hex);
	assert_true(vector_get(v, key, hex, 2 * max + 2));
	return hex_into(hex, bytes, max);
}

static uint64_t vector_get_number(const Vector *v, const char *key)
{
	char value[32];

	assert_true(vector_get(v, key, value, sizeof(value)));
	return strtoull(value, NULL, 10);
}

/* Runs `judge` over every vector of a folder; it returns NULL or what is wrong. */
static void vectors_each(const char *folder, size_t least, const char *(*judge)(const Vector *v))
{
	_cleanup_closedir_ DIR *dir = NULL;
	size_t n = 0, wrong = 0;
	struct dirent *entry;
	char path[4096];

	(void)snprintf(path, sizeof(path), "%s/%s", vectors_path(), folder);
	dir = opendir(path);
	if (!dir)
		fail_msg("%s: %s", path, strerror(errno));
	while ((entry = readdir(dir))) {
		_cleanup_vector_ Vector v = {};
		const char *problem;
		size_t length = strlen(entry->d_name);

		if (length < 5 || strcmp(entry->d_name + length - 4, ".vec") != 0)
			continue;
		vector_load(folder, entry->d_name, &v);
		problem = judge(&v);
		n++;
		if (problem) {
			print_error("%s/%s: %s\n", folder, entry->d_name, problem);
			wrong++;
		}
	}
	assert_int_equal(wrong, 0);
	assert_true(n >= least);
}
