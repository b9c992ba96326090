/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */

#include "core/request.h"
#include "core/suite-name.h"
#include "engine/suite.h"
#include "util/memory.h"

#include <errno.h>
#include <fcntl.h>

#define BIT(subkey) (1U << (subkey))

static void only_relative_paths_that_stay_below_the_root_are_taken(void **state)
{
	_cleanup_request_ Request *request = request_new(JOB_ENCRYPT);
	static const char *const good[] = {
		"a", "a/b", "...", ".a", "a..", "..a/b", "\xff\xfe", "a b\nc", "~"};
	static const char *const bad[] = {
		"", "/", "/a", "a/", "a//b", ".", "..", "a/..", "a/../b", "./a", "a/.", "../../etc/passwd"};
	char longest[RECORD_PATH_MAX + 1];

	(void)state;
	for (size_t i = 0; i < ELEMENTSOF(good); i++)
		assert_int_equal(request_add_path(request, good[i], strlen(good[i])), 0);
	assert_int_equal(request->n_paths, ELEMENTSOF(good));
	for (size_t i = 0; i < ELEMENTSOF(bad); i++)
		if (request_add_path(request, bad[i], strlen(bad[i])) != -EINVAL)
			fail_msg("taken: '%s'", bad[i]);
	assert_int_equal(request_add_path(request, "a\0b", 3), -EINVAL);
	memset(longest, 'x', sizeof(longest));
	assert_int_equal(request_add_path(request, longest, RECORD_PATH_MAX), 0);
	assert_int_equal(request_add_path(request, longest, RECORD_PATH_MAX + 1), -EINVAL);
}

static void a_job_gets_only_the_subkeys_it_needs(void **state)
{
	_cleanup_request_ Request *encrypt = request_new(JOB_ENCRYPT), *decrypt = request_new(JOB_DECRYPT),
				  *verify = request_new(JOB_VERIFY), *survey = request_new(JOB_SURVEY);
	unsigned reading = BIT(SUBKEY_FILE_ROOT) | BIT(SUBKEY_METADATA_MAC);
	unsigned all = reading | BIT(SUBKEY_JOURNAL_MAC) | BIT(SUBKEY_SCRUB_ROOT);

	(void)state;
	assert_int_equal(request_subkeys(encrypt), all);
	assert_int_equal(request_subkeys(decrypt), all);
	decrypt->target_fd = open("/", O_PATH | O_CLOEXEC);
	assert_int_equal(request_subkeys(decrypt), reading);
	assert_false(request_writes(decrypt));
	assert_int_equal(request_subkeys(verify), reading);
	assert_int_equal(request_subkeys(survey), 0);
}

static void suites_have_the_names_of_the_engine(void **state)
{
	(void)state;
	for (int i = 0; i <= SUITE_MAX + 1; i++) {
		const char *name = i > 0 && i < SUITE_MAX ? suite_name((Suite)i) : NULL;

		assert_string_equal(suite_number_name((uint32_t)i), name ? name : "");
		if (name)
			assert_int_equal(suite_number_from_name(name), i);
	}
	assert_int_equal(suite_number_from_name("null"), 0);
	assert_int_equal(suite_number_from_name(""), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(only_relative_paths_that_stay_below_the_root_are_taken),
		cmocka_unit_test(a_job_gets_only_the_subkeys_it_needs),
		cmocka_unit_test(suites_have_the_names_of_the_engine),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
