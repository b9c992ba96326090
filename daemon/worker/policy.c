/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "worker/policy.h"

#include "util/fd.h"
#include "util/log.h"
#include "util/memory.h"
#include "worker/result.h"

#include <errno.h>
#include <fcntl.h>
#include <pwquality.h>
#include <stdio.h>

#define MIN_LENGTH_DEFAULT  12
#define MIN_CLASSES_DEFAULT 2
#define MIN_ONE             (-1) /* libpwquality's way of saying: at least one of this class */

struct Policy {
	pwquality_settings_t *settings;
	int dictionary[POLICY_DICTIONARY_FILES];
};

/* Where distributions put cracklib's dictionary, and what it consists of. */
static const char *const dictionary_paths[] = {
	"/var/cache/cracklib/cracklib_dict", /* Debian */
	"/usr/share/cracklib/pw_dict",       /* Fedora */
};
static const char *const dictionary_suffixes[POLICY_DICTIONARY_FILES] = {".hwm", ".pwd", ".pwi"};

static bool dictionary_open(const char *path, int fds[POLICY_DICTIONARY_FILES])
{
	for (size_t i = 0; i < POLICY_DICTIONARY_FILES; i++) {
		char file[1024];
		int n = snprintf(file, sizeof(file), "%s%s", path, dictionary_suffixes[i]);

		if (n > 0 && (size_t)n < sizeof(file))
			fds[i] = open(file, O_RDONLY | O_CLOEXEC | O_NOCTTY);
		if (fds[i] < 0) {
			while (i-- > 0)
				fds[i] = safe_close(fds[i]);
			return false;
		}
	}
	return true;
}

/* libpwquality opens the dictionary by its path whenever it looks a word up. */
static int policy_find_dictionary(Policy *policy)
{
	const char *configured = NULL;
	int wanted = 1;

	if (pwquality_get_int_value(policy->settings, PWQ_SETTING_DICT_CHECK, &wanted) == 0 && !wanted)
		return 0;
	if (pwquality_get_str_value(policy->settings, PWQ_SETTING_DICT_PATH, &configured) == 0 &&
		configured && *configured) {
		if (dictionary_open(configured, policy->dictionary))
			return 0;
	} else {
		for (size_t i = 0; i < ELEMENTSOF(dictionary_paths); i++)
			if (dictionary_open(dictionary_paths[i], policy->dictionary))
				return pwquality_set_str_value(policy->settings, PWQ_SETTING_DICT_PATH,
					       dictionary_paths[i]) == 0
					       ? 0
					       : -ENOMEM;
	}
	log_warning(
		"No cracklib dictionary: passphrases are not compared with it. Debian: cracklib-runtime.");
	return pwquality_set_int_value(policy->settings, PWQ_SETTING_DICT_CHECK, 0) == 0 ? 0 : -EINVAL;
}

/* Configuration can ask for more than the daemon's, not for less. */
static int policy_set_floor(Policy *policy, int setting, int floor)
{
	int value = 0;

	if (pwquality_get_int_value(policy->settings, setting, &value) == 0 && value >= floor)
		return 0;
	return pwquality_set_int_value(policy->settings, setting, floor) == 0 ? 0 : -EINVAL;
}

int policy_load(uint32_t min_length, uint32_t min_classes, Policy **ret_policy)
{
	_cleanup_policy_ Policy *policy = NULL;
	void *details = NULL;
	int r;

	policy = new0(Policy, 1);
	if (!policy)
		return -ENOMEM;
	for (size_t i = 0; i < POLICY_DICTIONARY_FILES; i++)
		policy->dictionary[i] = -1;
	policy->settings = pwquality_default_settings();
	if (!policy->settings)
		return -ENOMEM;

	if (pwquality_set_int_value(policy->settings, PWQ_SETTING_DIG_CREDIT, MIN_ONE) != 0)
		return -EINVAL;
	r = pwquality_read_config(policy->settings, NULL, &details);
	if (r != 0 && r != PWQ_ERROR_CFGFILE_OPEN) {
		char text[PWQ_MAX_ERROR_MESSAGE_LEN];

		log_warning("/etc/security/pwquality.conf: %s",
			pwquality_strerror(text, sizeof(text), r, details));
	}
	r = policy_set_floor(policy, PWQ_SETTING_MIN_LENGTH,
		min_length ? (int)MIN(min_length, 1024U) : MIN_LENGTH_DEFAULT);
	if (r >= 0)
		r = policy_set_floor(policy, PWQ_SETTING_MIN_CLASS,
			min_classes ? (int)MIN(min_classes, 4U) : MIN_CLASSES_DEFAULT);
	if (r >= 0)
		r = policy_find_dictionary(policy);
	if (r < 0)
		return r;
	*ret_policy = TAKE_PTR(policy);
	return 0;
}

Policy *policy_free(Policy *policy)
{
	if (!policy)
		return NULL;
	if (policy->settings)
		pwquality_free_settings(policy->settings);
	for (size_t i = 0; i < POLICY_DICTIONARY_FILES; i++)
		safe_close(policy->dictionary[i]);
	free(policy);
	return NULL;
}

size_t policy_dictionary(const Policy *policy, int ret_fds[POLICY_DICTIONARY_FILES])
{
	if (policy->dictionary[0] < 0)
		return 0;
	memcpy(ret_fds, policy->dictionary, sizeof(policy->dictionary));
	return POLICY_DICTIONARY_FILES;
}

Outcome policy_check(Policy *policy, const Secret *passphrase, ResultRecord *result)
{
	_cleanup_secret_ Secret *text = NULL;
	char why[PWQ_MAX_ERROR_MESSAGE_LEN];
	void *details = NULL;
	int r;

	/* libpwquality wants a string; of one that has a NUL in it, the part before that has to do. */
	r = secret_new(secret_size(passphrase) + 1, &text);
	if (r < 0)
		return result_set(result, OUTCOME_NO_MEMORY, "cannot lock memory for the passphrase");
	memcpy(secret_bytes(text), secret_view(passphrase), secret_size(passphrase));

	r = pwquality_check(policy->settings, (const char *)secret_view(text), NULL, NULL, &details);
	if (r >= 0)
		return OUTCOME_DONE;
	if (r == PWQ_ERROR_MEM_ALLOC)
		return result_fail(result, -ENOMEM, "cannot check the passphrase");
	if (r == PWQ_ERROR_FATAL_FAILURE)
		return result_fail(result, -EIO, "cannot check the passphrase");
	return result_set(
		result, OUTCOME_WEAK_PASSPHRASE, "%s", pwquality_strerror(why, sizeof(why), r, details));
}
