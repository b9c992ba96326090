/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "engine/json.h"

#include "util/escape.h"
#include "util/memory.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <sodium.h>
#include <stdio.h>

#define HEX_MAX 128 /* bytes */

/* What must hold before cJSON sees a byte of it. Without escapes a quote always begins or ends a string. */
static bool text_is_acceptable(const char *text, size_t size)
{
	bool string = false;
	int depth = 0;

	if (!utf8_is_valid(text, size))
		return false;
	for (size_t i = 0; i < size; i++) {
		char c = text[i];

		if ((uint8_t)c < 0x20 || c == 0x7f || c == '\\')
			return false;
		if (c == '"')
			string = !string;
		else if (!string && (c == '{' || c == '['))
			depth++;
		else if (!string && (c == '}' || c == ']'))
			depth--;
		if (depth > JSON_DEPTH_MAX)
			return false;
	}
	return true;
}

static bool tree_is_acceptable(const cJSON *node)
{
	const cJSON *child;

	if (cJSON_IsNumber(node))
		return !signbit(node->valuedouble) && node->valuedouble <= (double)JSON_NUMBER_MAX &&
		       (double)(uint64_t)node->valuedouble == node->valuedouble;
	cJSON_ArrayForEach (child, node) {
		if (cJSON_IsObject(node))
			for (const cJSON *other = child->next; other; other = other->next)
				if (strcmp(child->string, other->string) == 0)
					return false;
		if (!tree_is_acceptable(child))
			return false;
	}
	return true;
}

int json_parse(const char *text, size_t size, cJSON **ret_json)
{
	_cleanup_json_ cJSON *json = NULL;
	_cleanup_free_ char *printed = NULL;

	if (!text_is_acceptable(text, size))
		return -EBADMSG;
	json = cJSON_ParseWithLength(text, size);
	if (!cJSON_IsObject(json) || !tree_is_acceptable(json))
		return -EBADMSG;
	printed = cJSON_PrintUnformatted(json);
	if (!printed)
		return -ENOMEM;
	if (strlen(printed) != size || memcmp(printed, text, size) != 0)
		return -EBADMSG;
	*ret_json = TAKE_PTR(json);
	return 0;
}

static const cJSON *member(const cJSON *object, const char *key)
{
	return cJSON_GetObjectItemCaseSensitive(object, key);
}

int json_get_u32(const cJSON *object, const char *key, uint32_t min, uint32_t max, uint32_t *ret)
{
	const cJSON *item = member(object, key);

	if (!cJSON_IsNumber(item) || item->valuedouble < (double)min || item->valuedouble > (double)max)
		return -EBADMSG;
	*ret = (uint32_t)item->valuedouble;
	return 0;
}

int json_get_u64(const cJSON *object, const char *key, uint64_t min, uint64_t max, uint64_t *ret)
{
	const cJSON *item = member(object, key);
	const char *p = cJSON_GetStringValue(item);
	uint64_t value = 0;

	/* One form: digits, no leading zero. */
	if (!p || !*p || (p[0] == '0' && p[1]))
		return -EBADMSG;
	for (; *p; p++) {
		if (*p < '0' || *p > '9' || __builtin_mul_overflow(value, (uint64_t)10, &value) ||
			__builtin_add_overflow(value, (uint64_t)(*p - '0'), &value))
			return -EBADMSG;
	}
	if (value < min || value > max)
		return -EBADMSG;
	*ret = value;
	return 0;
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool hex_decode(const char *text, uint8_t *ret, size_t size)
{
	for (size_t i = 0; i < size; i++) {
		int high = hex_digit(text[2 * i]), low = hex_digit(text[2 * i + 1]);

		if (high < 0 || low < 0)
			return false;
		ret[i] = (uint8_t)(high << 4 | low);
	}
	return true;
}

int json_get_hex(const cJSON *object, const char *key, uint8_t *ret, size_t size)
{
	const char *p = cJSON_GetStringValue(member(object, key));

	return p && strlen(p) == 2 * size && hex_decode(p, ret, size) ? 0 : -EBADMSG;
}

int json_get_string(const cJSON *object, const char *key, size_t max, const char **ret)
{
	const char *p = cJSON_GetStringValue(member(object, key));

	if (!p || !*p || strlen(p) > max)
		return -EBADMSG;
	*ret = p;
	return 0;
}

int json_get_array(const cJSON *object, const char *key, int min, int max, const cJSON **ret)
{
	const cJSON *item = member(object, key);

	if (!cJSON_IsArray(item) || cJSON_GetArraySize(item) < min || cJSON_GetArraySize(item) > max)
		return -EBADMSG;
	*ret = item;
	return 0;
}

int json_set(cJSON *object, const char *key, cJSON *value)
{
	cJSON_bool done;

	if (!value)
		return -ENOMEM;
	done = member(object, key) ? cJSON_ReplaceItemInObjectCaseSensitive(object, key, value)
				   : cJSON_AddItemToObject(object, key, value);
	if (!done) {
		cJSON_Delete(value);
		return -ENOMEM;
	}
	return 0;
}

int json_set_u64(cJSON *object, const char *key, uint64_t value)
{
	char text[24];

	(void)snprintf(text, sizeof(text), "%" PRIu64, value);
	return json_set(object, key, cJSON_CreateString(text));
}

int json_set_hex(cJSON *object, const char *key, const uint8_t *bytes, size_t size)
{
	char text[2 * HEX_MAX + 1];

	if (size > HEX_MAX)
		return -EINVAL;
	return json_set(object, key, cJSON_CreateString(sodium_bin2hex(text, sizeof(text), bytes, size)));
}
