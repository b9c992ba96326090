/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * /etc/usbcrypt/usbcryptd.conf: lines of Key=value, '#' begins a comment line. An unknown key is logged and
 * left aside (an older daemon reads a newer file); a value that is not allowed refuses to start, because a
 * policy that was mistyped must not silently become a weaker one.
 */

#include "util/macro.h"

#include <stdbool.h>

#define CONFIG_PATH_DEFAULT USBCRYPT_SYSCONFDIR "/usbcrypt/usbcryptd.conf"

typedef enum Policy {
	POLICY_ALLOW,
	POLICY_WARN,
	POLICY_REFUSE,
	POLICY_MAX,
	POLICY_INVALID = -1,
} Policy;

typedef struct Config {
	uint64_t lock_timeout; /* microseconds of idleness until a drive locks itself; 0: never */
	uint64_t passphrase_min_length;
	uint64_t passphrase_min_classes;
	Policy traced;
	Policy preload;
	Policy virtual_machine;
	uint64_t kdf_memory;       /* bytes, for new slots; 0: chosen for the machine */
	uint64_t attempts;         /* wrong passphrases in a row, for each uid and drive, … */
	uint64_t attempt_interval; /* … and microseconds until one more is allowed */
	char *worker_path;
	char *system_user;
} Config;

void config_clear(Config *config);
#define _cleanup_config_ _cleanup_(config_clear)

/* Reads `text` (as found in a file called `name`, for messages) into *ret_config over the defaults.
 * -EINVAL: *ret_message, the caller's to free, says file, line and what would have been allowed. */
int config_parse(const char *name, const char *text, Config *ret_config, char **ret_message);

/* As config_parse(), from a file. A missing file means the defaults, unless `required`. */
int config_load(const char *path, bool required, Config *ret_config, char **ret_message);
