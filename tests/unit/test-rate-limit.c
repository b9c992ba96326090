/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */

#include "core/rate-limit.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define SECOND USEC_PER_SEC
#define NOW    (1000 * SECOND)

static char directory[] = "/tmp/usbcrypt-rate-XXXXXX";
static char path[64];

static RateLimit *limit_new(void)
{
	RateLimit *limit = NULL;

	assert_int_equal(rate_limit_new(path, 3, 30 * SECOND, &limit), 0);
	return limit;
}

static int fresh(void **state)
{
	(void)state;
	(void)unlink(path);
	return 0;
}

static void a_burst_and_then_one_for_each_interval(void **state)
{
	_cleanup_(rate_limit_freep) RateLimit *limit = limit_new();

	(void)state;
	for (int i = 0; i < 3; i++)
		assert_true(rate_limit_take(limit, 1000, "d", NOW));
	assert_false(rate_limit_take(limit, 1000, "d", NOW));
	assert_int_equal(rate_limit_wait(limit, 1000, "d", NOW), 30 * SECOND);
	assert_false(rate_limit_take(limit, 1000, "d", NOW + 30 * SECOND - 1));
	assert_true(rate_limit_take(limit, 1000, "d", NOW + 30 * SECOND));
	assert_false(rate_limit_take(limit, 1000, "d", NOW + 30 * SECOND));
}

static void a_long_pause_fills_it_and_no_more_than_that(void **state)
{
	_cleanup_(rate_limit_freep) RateLimit *limit = limit_new();

	(void)state;
	for (int i = 0; i < 3; i++)
		assert_true(rate_limit_take(limit, 1000, "d", NOW));
	for (int i = 0; i < 3; i++)
		assert_true(rate_limit_take(limit, 1000, "d", NOW + 1000000 * SECOND));
	assert_false(rate_limit_take(limit, 1000, "d", NOW + 1000000 * SECOND));
}

static void uids_and_drives_have_buckets_of_their_own(void **state)
{
	_cleanup_(rate_limit_freep) RateLimit *limit = limit_new();

	(void)state;
	for (int i = 0; i < 3; i++)
		assert_true(rate_limit_take(limit, 1000, "d", NOW));
	assert_false(rate_limit_take(limit, 1000, "d", NOW));
	assert_true(rate_limit_take(limit, 1001, "d", NOW));
	assert_true(rate_limit_take(limit, 1000, "e", NOW));
}

static void a_restart_of_the_daemon_refills_nothing(void **state)
{
	RateLimit *limit = limit_new();

	(void)state;
	for (int i = 0; i < 3; i++)
		assert_true(rate_limit_take(limit, 1000, "d", NOW));
	limit = rate_limit_free(limit);
	limit = limit_new();
	assert_false(rate_limit_take(limit, 1000, "d", NOW + SECOND));
	assert_true(rate_limit_take(limit, 1000, "d", NOW + 30 * SECOND));
	rate_limit_free(limit);
}

static void a_right_passphrase_costs_nothing(void **state)
{
	_cleanup_(rate_limit_freep) RateLimit *limit = limit_new();

	(void)state;
	for (int i = 0; i < 20; i++) {
		assert_true(rate_limit_take(limit, 1000, "d", NOW));
		rate_limit_give_back(limit, 1000, "d", NOW);
	}
	assert_int_equal(rate_limit_wait(limit, 1000, "d", NOW), 0);
}

static void a_damaged_file_locks_nobody_out_for_long(void **state)
{
	static const char rubbish[] = "x y z\n1000 d 18446744073709551615\n\n1001\n";
	RateLimit *limit;
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	(void)state;
	assert_true(write(fd, rubbish, sizeof(rubbish) - 1) > 0);
	close(fd);
	limit = limit_new();
	assert_true(rate_limit_wait(limit, 1000, "d", NOW) <= 90 * SECOND);
	assert_true(rate_limit_take(limit, 1001, "d", NOW));
	rate_limit_free(limit);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(a_burst_and_then_one_for_each_interval, fresh),
		cmocka_unit_test_setup(a_long_pause_fills_it_and_no_more_than_that, fresh),
		cmocka_unit_test_setup(uids_and_drives_have_buckets_of_their_own, fresh),
		cmocka_unit_test_setup(a_restart_of_the_daemon_refills_nothing, fresh),
		cmocka_unit_test_setup(a_right_passphrase_costs_nothing, fresh),
		cmocka_unit_test_setup(a_damaged_file_locks_nobody_out_for_long, fresh),
	};
	int r;

	if (!mkdtemp(directory))
		return 1;
	(void)snprintf(path, sizeof(path), "%s/attempts", directory);
	r = cmocka_run_group_tests(tests, NULL, NULL);
	(void)unlink(path);
	(void)rmdir(directory);
	return r;
}
