/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The JSON of drive.json: a strict subset, in one form only. cJSON by itself lets a good deal pass (numbers
 * with a leading zero, comments after the end, keys that stand twice, NUL in an escape); since whatever is
 * read here is hostile until its MAC was checked, it has to be exactly what a writer would print.
 */

#include "util/macro.h"

#include <cjson/cJSON.h>
#include <stdbool.h>

#define JSON_DEPTH_MAX  8
/* Numbers have at most 15 digits, which cJSON prints exactly; larger ones stand in strings. */
#define JSON_NUMBER_MAX ((uint64_t)999999999999999)

static inline void cjson_deletep(cJSON **json)
{
	cJSON_Delete(*json);
}
#define _cleanup_json_ _cleanup_(cjson_deletep)

/* Parses an object in the one accepted form: valid UTF-8, no control characters, no backslash, nested no
 * deeper than JSON_DEPTH_MAX, no key twice in one object, numbers only integers of 0 to JSON_NUMBER_MAX,
 * no white space outside strings: byte for byte what cJSON_PrintUnformatted() makes of the result.
 * -EBADMSG otherwise, -ENOMEM. cJSON_Delete() the result. */
int json_parse(const char *text, size_t size, cJSON **ret_json);

/* Exactly `size` bytes from the 2 * size lower-case hexadecimal digits at `text`. */
bool hex_decode(const char *text, uint8_t *ret, size_t size);

/* Members of an object; -EBADMSG when absent, of another type or out of range. */
int json_get_u32(const cJSON *object, const char *key, uint32_t min, uint32_t max, uint32_t *ret);
int json_get_u64(
	const cJSON *object, const char *key, uint64_t min, uint64_t max, uint64_t *ret); /* string */
int json_get_hex(const cJSON *object, const char *key, uint8_t *ret, size_t size);
int json_get_string(const cJSON *object, const char *key, size_t max, const char **ret); /* 1..max bytes */
int json_get_array(const cJSON *object, const char *key, int min, int max, const cJSON **ret);

/* Adds or replaces a member. -ENOMEM. */
int json_set(cJSON *object, const char *key, cJSON *value); /* takes `value`, which may be NULL: -ENOMEM */
int json_set_u64(cJSON *object, const char *key, uint64_t value);
int json_set_hex(cJSON *object, const char *key, const uint8_t *bytes, size_t size);
