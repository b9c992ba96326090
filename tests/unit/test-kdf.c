/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fixture.h"

#include "engine/kdf.h"

#include <sys/resource.h>
#include <sys/wait.h>

static const uint8_t salt[KDF_SALT_SIZE] = {1};

static int derive(uint64_t memory, uint32_t passes)
{
	_cleanup_secret_ Secret *passphrase = secret_of_string("passphrase"), *key = NULL;
	KdfParameters p = {memory, passes};

	return kdf_derive(passphrase, salt, &p, &key);
}

static void only_what_is_within_the_bounds_is_computed(void **state _unused_)
{
	static const KdfParameters bad[] = {{0, 2}, {KDF_MEMORY_MIN - 1024, 2}, {KDF_MEMORY_MIN + 1, 2},
		{KDF_MEMORY_MAX + 1024, 2}, {(uint64_t)1 << 40, 2}, {UINT64_MAX, 2}, {KDF_MEMORY_MIN, 0},
		{KDF_MEMORY_MIN, 1}, {KDF_MEMORY_MIN, 17}, {KDF_MEMORY_MIN, UINT32_MAX}};
	static const KdfParameters good[] = {
		{KDF_MEMORY_MIN, 2}, {KDF_MEMORY_MAX, 16}, {KDF_MEMORY_MIN + 1024, 3}};

	for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
		assert_false(kdf_parameters_are_valid(&bad[i]));
		assert_int_equal(derive(bad[i].memory, bad[i].passes), -EINVAL);
	}
	for (size_t i = 0; i < ELEMENTSOF(good); i++)
		assert_true(kdf_parameters_are_valid(&good[i]));
}

static void every_input_changes_the_key(void **state _unused_)
{
	static const uint8_t other_salt[KDF_SALT_SIZE] = {2};
	static const struct {
		const char *passphrase;
		const uint8_t *salt;
		KdfParameters parameters;
	} inputs[] = {
		{"a", salt, {CHEAP_MEMORY, 2}},
		{"b", salt, {CHEAP_MEMORY, 2}},
		{"a", other_salt, {CHEAP_MEMORY, 2}},
		{"a", salt, {CHEAP_MEMORY, 3}},
		{"a", salt, {CHEAP_MEMORY + 1024, 2}},
	};
	Secret *keys[ELEMENTSOF(inputs)], *again;
	_cleanup_secret_ Secret *passphrase = secret_of_string("a");

	for (size_t i = 0; i < ELEMENTSOF(inputs); i++) {
		_cleanup_secret_ Secret *p = secret_of_string(inputs[i].passphrase);

		assert_int_equal(kdf_derive(p, inputs[i].salt, &inputs[i].parameters, &keys[i]), 0);
		assert_int_equal(secret_size(keys[i]), KDF_KEY_SIZE);
		for (size_t k = 0; k < i; k++)
			assert_memory_not_equal(secret_view(keys[i]), secret_view(keys[k]), KDF_KEY_SIZE);
	}
	assert_int_equal(kdf_derive(passphrase, salt, &inputs[0].parameters, &again), 0);
	assert_memory_equal(secret_view(again), secret_view(keys[0]), KDF_KEY_SIZE);
	secret_free(again);
	for (size_t i = 0; i < ELEMENTSOF(inputs); i++)
		secret_free(keys[i]);
}

static void too_little_memory_is_said_and_not_survived_by_luck(void **state _unused_)
{
	int status;
	pid_t pid;

	skip_under_asan("a limit on addresses leaves no room for its shadow");
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		const struct rlimit limit = {(rlim_t)600 << 20, (rlim_t)600 << 20};

		if (setrlimit(RLIMIT_AS, &limit) < 0)
			_exit(3);
		if (derive(KDF_MEMORY_MAX, 2) != -ENOMEM)
			_exit(1);
		_exit(derive(CHEAP_MEMORY, 2) == 0 ? 0 : 2);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

static void what_is_chosen_is_acceptable_eight_times_over(void **state _unused_)
{
	KdfParameters p;

	assert_int_equal(kdf_choose(CHEAP_MEMORY, 0, &p), 0);
	assert_int_equal(p.memory, CHEAP_MEMORY);
	assert_true(kdf_parameters_are_valid(&p));
	assert_true(8 * kdf_cost(&p) <= KDF_COST_SUM_MAX);
	assert_true(kdf_cost(&p) >= KDF_COST_FLOOR);

	assert_int_equal(kdf_choose(0, CHEAP_PASSES, &p), 0);
	assert_true(p.memory == KDF_MEMORY_USUAL || p.memory == KDF_MEMORY_SMALL);
	assert_int_equal(p.passes, CHEAP_PASSES);
	assert_int_equal(kdf_choose(KDF_MEMORY_MIN - 1024, 0, &p), -EINVAL);
	assert_int_equal(kdf_choose(0, KDF_PASSES_MAX + 1, &p), -EINVAL);
	assert_int_equal(kdf_choose(KDF_MEMORY_MAX, 1, &p), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(only_what_is_within_the_bounds_is_computed),
		cmocka_unit_test(every_input_changes_the_key),
		cmocka_unit_test(too_little_memory_is_said_and_not_survived_by_luck),
		cmocka_unit_test(what_is_chosen_is_acceptable_eight_times_over),
	};

	if (secret_init() < 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
