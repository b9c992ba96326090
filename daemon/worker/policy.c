/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "worker/policy.h"

#include "util/fd.h"
#include "util/log.h"
#include "util/memory.h"
#include "worker/result.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pwquality.h>
#include <stdio.h>

#define MIN_LENGTH_DEFAULT  12
#define MIN_CLASSES_DEFAULT 2
#define MIN_ONE             (-1) /* libpwquality's way of saying: at least one of this class */

/* cracklib's check that is told a user's name. libpwquality calls the other one, which looks the name up: for
 * that there is no way out of the sandbox, and then every passphrase is bad. It is in the library that
 * libpwquality has loaded, so that no development package of it is needed. */
typedef const char *DictionaryCheck(
	const char *passphrase, const char *dictionary, const char *user, const char *real_name);
#define DICTIONARY_CHECK "FascistCheckUser"
#define NO_USER          "-" /* compared with the whole passphrase */

struct Policy {
	pwquality_settings_t *settings;
	int dictionary[POLICY_DICTIONARY_FILES];
	char *dictionary_path;             /* NULL: none */
	DictionaryCheck *dictionary_check; /* when there is a path */
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

/* cracklib opens it by its path whenever it looks a word up: the files have to stay readable, no more. */
static int policy_find_dictionary(Policy *policy)
{
	const char *configured = NULL;
	const char *found = NULL;
	void *check;
	int wanted = 1;

	if (pwquality_get_int_value(policy->settings, PWQ_SETTING_DICT_CHECK, &wanted) == 0 && !wanted)
		return 0;
	if (pwquality_set_int_value(policy->settings, PWQ_SETTING_DICT_CHECK, 0) != 0)
		return -EINVAL;

	check = dlsym(RTLD_DEFAULT, DICTIONARY_CHECK);
	if (pwquality_get_str_value(policy->settings, PWQ_SETTING_DICT_PATH, &configured) == 0 &&
		configured && *configured) {
		if (dictionary_open(configured, policy->dictionary))
			found = configured;
	} else {
		for (size_t i = 0; !found && i < ELEMENTSOF(dictionary_paths); i++)
			if (dictionary_open(dictionary_paths[i], policy->dictionary))
				found = dictionary_paths[i];
	}
	if (!check || !found) {
		log_warning("No cracklib dictionary: passphrases are not compared with it. On Debian it is "
			    "cracklib-runtime's.");
		return 0;
	}
	memcpy(&policy->dictionary_check, &check, sizeof(check));
	policy->dictionary_path = strdup(found);
	return policy->dictionary_path ? 0 : -ENOMEM;
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
	if (pwquality_set_int_value(policy->settings, PWQ_SETTING_USER_CHECK, 0) != 0 ||
		pwquality_set_int_value(policy->settings, PWQ_SETTING_GECOS_CHECK, 0) != 0)
		return -EINVAL;
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
	free(policy->dictionary_path);
	free(policy);
	return NULL;
}

size_t policy_dictionary(const Policy *policy, int ret_fds[POLICY_DICTIONARY_FILES])
{
	if (!policy->dictionary_path)
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
	if (r == PWQ_ERROR_MEM_ALLOC)
		return result_fail(result, -ENOMEM, "cannot check the passphrase");
	if (r == PWQ_ERROR_FATAL_FAILURE)
		return result_fail(result, -EIO, "cannot check the passphrase");
	if (r < 0)
		return result_set(result, OUTCOME_WEAK_PASSPHRASE, "%s",
			pwquality_strerror(why, sizeof(why), r, details));
	if (policy->dictionary_path) {
		const char *found = policy->dictionary_check(
			(const char *)secret_view(text), policy->dictionary_path, NO_USER, NULL);

		if (found)
			return result_set(result, OUTCOME_WEAK_PASSPHRASE,
				"The password fails the dictionary check: %s", found);
	}
	return OUTCOME_DONE;
}
