/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */

#include "core/config.h"
#include "util/memory.h"

#include <errno.h>

static void an_empty_file_means_the_defaults(void **state)
{
	_cleanup_free_ char *message = NULL;
	_cleanup_config_ Config config = {0};

	(void)state;
	assert_int_equal(config_parse("f", "", &config, &message), 0);
	assert_int_equal(config.lock_timeout, 1800 * USEC_PER_SEC);
	assert_int_equal(config.passphrase_min_length, 12);
	assert_int_equal(config.passphrase_min_classes, 2);
	assert_int_equal(config.traced, POLICY_REFUSE);
	assert_int_equal(config.preload, POLICY_REFUSE);
	assert_int_equal(config.virtual_machine, POLICY_ALLOW);
	assert_int_equal(config.kdf_memory, 0);
	assert_string_equal(config.system_user, "usbcrypt");
}

static void values_units_comments_and_blanks_are_read(void **state)
{
	_cleanup_free_ char *message = NULL;
	_cleanup_config_ Config config = {0};

	(void)state;
	assert_int_equal(config_parse("f",
				 "# LockTimeout=1s\n"
				 "\n"
				 " LockTimeout = 5min \r\n"
				 "PassphraseMinLength=20\n"
				 "PolicyTraced=warn\n"
				 "PolicyVirtual=refuse\n"
				 "KdfMemory=128M\n"
				 "PassphraseAttemptInterval=90\n"
				 "WorkerPath=/x/worker",
				 &config, &message),
		0);
	assert_null(message);
	assert_int_equal(config.lock_timeout, 300 * USEC_PER_SEC);
	assert_int_equal(config.passphrase_min_length, 20);
	assert_int_equal(config.traced, POLICY_WARN);
	assert_int_equal(config.virtual_machine, POLICY_REFUSE);
	assert_int_equal(config.kdf_memory, 128 << 20);
	assert_int_equal(config.attempt_interval, 90 * USEC_PER_SEC);
	assert_string_equal(config.worker_path, "/x/worker");
}

static void zero_is_never_for_the_timeout_and_nothing_else(void **state)
{
	_cleanup_free_ char *message = NULL;
	_cleanup_config_ Config config = {0};

	(void)state;
	assert_int_equal(config_parse("f", "LockTimeout=0\nKdfMemory=0\n", &config, &message), 0);
	assert_int_equal(config.lock_timeout, 0);
	config_clear(&config);
	assert_int_equal(config_parse("f", "PassphraseAttempts=0\n", &config, &message), -EINVAL);
}

static void an_unknown_key_is_left_aside(void **state)
{
	_cleanup_free_ char *message = NULL;
	_cleanup_config_ Config config = {0};

	(void)state;
	assert_int_equal(config_parse("f", "Colour=blue\nPolicyPreload=allow\n", &config, &message), 0);
	assert_int_equal(config.preload, POLICY_ALLOW);
}

static void a_bad_value_names_file_line_and_what_is_allowed(void **state)
{
	_cleanup_free_ char *message = NULL;
	_cleanup_config_ Config config = {0};

	(void)state;
	assert_int_equal(config_parse("/etc/x.conf", "\nPolicyTraced=refused\n", &config, &message), -EINVAL);
	assert_string_equal(
		message, "/etc/x.conf:2: PolicyTraced cannot be 'refused'; allowed: allow, warn or refuse");
}

static void whatever_is_not_a_value_is_refused(void **state)
{
	static const char *const bad[] = {"LockTimeout=", "LockTimeout=-1s", "LockTimeout=5 min",
		"LockTimeout=99999999999999999999", "LockTimeout=18446744073709551615d", "LockTimeout=8d",
		"LockTimeout=999ms", "PassphraseMinLength=7", "PassphraseMinLength=0x10",
		"PassphraseMinClasses=5", "PolicyVirtual=Allow", "PolicyVirtual=", "KdfMemory=63M",
		"KdfMemory=1025M", "KdfMemory=1T", "PassphraseAttempts=1001", "WorkerPath=worker",
		"SystemUser=", "LockTimeout", "[Section]"};

	(void)state;
	for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
		_cleanup_free_ char *message = NULL;
		_cleanup_config_ Config config = {0};
		int r = config_parse("f", bad[i], &config, &message);

		if (r != -EINVAL || !message)
			fail_msg("accepted: %s", bad[i]);
	}
}

static void a_missing_file_is_fine_unless_it_was_asked_for(void **state)
{
	_cleanup_free_ char *message = NULL;
	_cleanup_config_ Config config = {0};

	(void)state;
	assert_int_equal(config_load("/nonexistent/x", false, &config, &message), 0);
	config_clear(&config);
	assert_int_equal(config_load("/nonexistent/x", true, &config, &message), -ENOENT);
	assert_non_null(message);
}

static void the_file_that_is_shipped_says_the_defaults(void **state)
{
	_cleanup_free_ char *message = NULL;
	_cleanup_config_ Config config = {0}, defaults = {0};

	(void)state;
	assert_int_equal(config_load("systemd/usbcryptd.conf", true, &config, &message), 0);
	assert_int_equal(config_parse("f", "", &defaults, &message), 0);
	assert_int_equal(config.lock_timeout, defaults.lock_timeout);
	assert_int_equal(config.attempts, defaults.attempts);
	assert_int_equal(config.traced, defaults.traced);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_empty_file_means_the_defaults),
		cmocka_unit_test(values_units_comments_and_blanks_are_read),
		cmocka_unit_test(zero_is_never_for_the_timeout_and_nothing_else),
		cmocka_unit_test(an_unknown_key_is_left_aside),
		cmocka_unit_test(a_bad_value_names_file_line_and_what_is_allowed),
		cmocka_unit_test(whatever_is_not_a_value_is_refused),
		cmocka_unit_test(a_missing_file_is_fine_unless_it_was_asked_for),
		cmocka_unit_test(the_file_that_is_shipped_says_the_defaults),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
