/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/config.h"

#include "util/escape.h"
#include "util/io.h"
#include "util/log.h"
#include "util/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#define CONFIG_SIZE_MAX (64 * 1024)

typedef enum ValueType {
	VALUE_NUMBER,
	VALUE_DURATION, /* kept in microseconds; a number without a unit is in seconds */
	VALUE_SIZE,     /* kept in bytes */
	VALUE_POLICY,
	VALUE_PATH,
	VALUE_USER,
} ValueType;

typedef struct Key {
	const char *name;
	ValueType type;
	size_t offset;
	uint64_t min, max; /* in the unit that is kept; 0 is always allowed where `or_zero` */
	bool or_zero;
	const char *allowed; /* for people */
} Key;

#define DAY (24 * 3600 * USEC_PER_SEC)
#define MIB ((uint64_t)1024 * 1024)

static const Key keys[] = {
	{"LockTimeout", VALUE_DURATION, offsetof(Config, lock_timeout), USEC_PER_SEC, 7 * DAY, true,
		"1s to 7d, or 0 for never"},
	{"PassphraseMinLength", VALUE_NUMBER, offsetof(Config, passphrase_min_length), 8, 256, false,
		"8 to 256"},
	{"PassphraseMinClasses", VALUE_NUMBER, offsetof(Config, passphrase_min_classes), 1, 4, false,
		"1 to 4"},
	{"PolicyTraced", VALUE_POLICY, offsetof(Config, traced), 0, 0, false, "allow, warn or refuse"},
	{"PolicyPreload", VALUE_POLICY, offsetof(Config, preload), 0, 0, false, "allow, warn or refuse"},
	{"PolicyVirtual", VALUE_POLICY, offsetof(Config, virtual_machine), 0, 0, false,
		"allow, warn or refuse"},
	{"KdfMemory", VALUE_SIZE, offsetof(Config, kdf_memory), 64 * MIB, 1024 * MIB, true,
		"64M to 1G, or 0 to choose"},
	{"PassphraseAttempts", VALUE_NUMBER, offsetof(Config, attempts), 1, 1000, false, "1 to 1000"},
	{"PassphraseAttemptInterval", VALUE_DURATION, offsetof(Config, attempt_interval), USEC_PER_SEC, DAY,
		false, "1s to 1d"},
	{"WorkerPath", VALUE_PATH, offsetof(Config, worker_path), 0, 0, false, "an absolute path"},
	{"SystemUser", VALUE_USER, offsetof(Config, system_user), 0, 0, false, "a user's name"},
};

void config_clear(Config *config)
{
	free(config->worker_path);
	free(config->system_user);
	*config = (Config){0};
}

static int config_init(Config *config)
{
	*config = (Config){
		.lock_timeout = 30 * 60 * USEC_PER_SEC,
		.passphrase_min_length = 12,
		.passphrase_min_classes = 2,
		.traced = POLICY_REFUSE,
		.preload = POLICY_REFUSE,
		.virtual_machine = POLICY_ALLOW,
		.attempts = 5,
		.attempt_interval = 30 * USEC_PER_SEC,
		.worker_path = strdup(USBCRYPT_LIBEXECDIR "/usbcrypt-worker"),
		.system_user = strdup("usbcrypt"),
	};
	return config->worker_path && config->system_user ? 0 : -ENOMEM;
}

/* Digits, then one of the units; `units` ends with an empty name, which stands for no unit. */
typedef struct Unit {
	const char *name;
	uint64_t factor;
} Unit;

static const Unit durations[] = {{"ms", USEC_PER_MSEC}, {"s", USEC_PER_SEC}, {"min", 60 * USEC_PER_SEC},
	{"h", 3600 * USEC_PER_SEC}, {"d", DAY}, {"", USEC_PER_SEC}};
static const Unit sizes[] = {{"K", 1024}, {"M", MIB}, {"G", 1024 * MIB}, {"", 1}};
static const Unit plain[] = {{"", 1}};

static bool parse_number(const char *text, const Unit *units, uint64_t *ret)
{
	uint64_t n = 0;
	const char *c = text;

	for (; *c >= '0' && *c <= '9'; c++)
		if (__builtin_mul_overflow(n, 10, &n) || __builtin_add_overflow(n, (uint64_t)(*c - '0'), &n))
			return false;
	if (c == text)
		return false;
	for (;; units++) {
		if (strcmp(c, units->name) == 0)
			return !__builtin_mul_overflow(n, units->factor, ret);
		if (!units->name[0])
			return false;
	}
}

static Policy policy_from_name(const char *name)
{
	static const char *const names[POLICY_MAX] = {"allow", "warn", "refuse"};

	for (int i = 0; i < POLICY_MAX; i++)
		if (strcmp(name, names[i]) == 0)
			return (Policy)i;
	return POLICY_INVALID;
}

/* 0, -EINVAL when the value is not allowed, or -ENOMEM. */
static int key_apply(const Key *key, const char *value, Config *config)
{
	void *field = (char *)config + key->offset;
	uint64_t number = 0;
	Policy policy;
	char *copy;

	switch (key->type) {
	case VALUE_NUMBER:
	case VALUE_DURATION:
	case VALUE_SIZE:
		if (!parse_number(value,
			    key->type == VALUE_DURATION ? durations
			    : key->type == VALUE_SIZE   ? sizes
							: plain,
			    &number))
			return -EINVAL;
		if ((number < key->min || number > key->max) && !(number == 0 && key->or_zero))
			return -EINVAL;
		*(uint64_t *)field = number;
		return 0;
	case VALUE_POLICY:
		policy = policy_from_name(value);
		if (policy == POLICY_INVALID)
			return -EINVAL;
		*(Policy *)field = policy;
		return 0;
	case VALUE_PATH:
	case VALUE_USER:
		if (key->type == VALUE_PATH ? value[0] != '/' : (!value[0] || strchr(value, '/')))
			return -EINVAL;
		copy = strdup(value);
		if (!copy)
			return -ENOMEM;
		free(*(char **)field);
		*(char **)field = copy;
		return 0;
	}
	return -EINVAL;
}

static char *strip(char *text)
{
	char *end;

	text += strspn(text, " \t\r");
	end = text + strlen(text);
	while (end > text && strchr(" \t\r", end[-1]))
		*--end = 0;
	return text;
}

static int complain(char **ret_message, const char *name, unsigned line, const char *what, const char *value,
	const char *allowed)
{
	_cleanup_free_ char *shown = escape_bytes(value, strlen(value), 80);

	if (asprintf(ret_message, "%s:%u: %s '%s'%s%s", name, line, what, shown ? shown : "?",
		    allowed ? "; allowed: " : "", allowed ? allowed : "") < 0)
		*ret_message = NULL;
	return -EINVAL;
}

static int parse_line(const char *name, unsigned number, char *line, Config *config, char **ret_message)
{
	char *key = strip(line), *value;

	if (!*key || *key == '#' || *key == ';')
		return 0;
	value = strchr(key, '=');
	if (!value)
		return complain(ret_message, name, number, "this is not a line of Key=value:", key, NULL);
	*value++ = 0;
	key = strip(key);
	value = strip(value);

	for (size_t i = 0; i < ELEMENTSOF(keys); i++) {
		_cleanup_free_ char *what = NULL;
		int r;

		if (strcmp(keys[i].name, key) != 0)
			continue;
		r = key_apply(&keys[i], value, config);
		if (r != -EINVAL)
			return r;
		if (asprintf(&what, "%s cannot be", key) < 0)
			return -ENOMEM;
		return complain(ret_message, name, number, what, value, keys[i].allowed);
	}

	_cleanup_free_ char *shown = escape_bytes(key, strlen(key), 80);
	log_warning("%s:%u: unknown key '%s', left aside", name, number, shown ? shown : "?");
	return 0;
}

int config_parse(const char *name, const char *text, Config *ret_config, char **ret_message)
{
	_cleanup_config_ Config config = {0};
	_cleanup_free_ char *copy = strdup(text);
	char *rest = copy, *line;
	int r;

	*ret_message = NULL;
	r = config_init(&config);
	if (r < 0 || !copy)
		return -ENOMEM;
	for (unsigned number = 1; (line = strsep(&rest, "\n")); number++) {
		r = parse_line(name, number, line, &config, ret_message);
		if (r < 0)
			return r;
	}
	*ret_config = config;
	config = (Config){0};
	return 0;
}

int config_load(const char *path, bool required, Config *ret_config, char **ret_message)
{
	_cleanup_free_ char *text = NULL;
	size_t size = 0;
	int r;

	*ret_message = NULL;
	r = read_host_file(AT_FDCWD, path, CONFIG_SIZE_MAX, &text, &size);
	if (r == -ENOENT && !required)
		return config_parse(path, "", ret_config, ret_message);
	if (r < 0) {
		if (asprintf(ret_message, "%s: %s", path, strerror(-r)) < 0)
			*ret_message = NULL;
		return r;
	}
	if (strlen(text) != size)
		return complain(ret_message, path, 1, "a NUL byte is in this file, after", text, NULL);
	return config_parse(path, text, ret_config, ret_message);
}
