/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fixture.h"

#include "util/secret.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>

static void a_new_secret_is_zero_and_of_its_size(void **state _unused_)
{
	static const size_t sizes[] = {1, 31, 32, 4095, 4096, SECRET_SIZE_MAX};

	for (size_t i = 0; i < ELEMENTSOF(sizes); i++) {
		_cleanup_secret_ Secret *s = NULL;

		assert_int_equal(secret_new(sizes[i], &s), 0);
		assert_int_equal(secret_size(s), sizes[i]);
		assert_true(sodium_is_zero(secret_view(s), sizes[i]));
	}
}

static void sizes_out_of_range_are_refused(void **state _unused_)
{
	Secret *s = NULL;

	assert_int_equal(secret_new(0, &s), -EINVAL);
	assert_int_equal(secret_new(SECRET_SIZE_MAX + 1, &s), -EINVAL);
	assert_int_equal(secret_new(SIZE_MAX, &s), -EINVAL);
	assert_int_equal(secret_new_random(0, &s), -EINVAL);
	assert_null(s);
	assert_null(secret_free(NULL));
}

static void taking_leaves_one_copy(void **state _unused_)
{
	_cleanup_secret_ Secret *s = NULL;
	uint8_t bytes[32], expected[32];
	Secret *none = NULL;

	randombytes_buf(bytes, sizeof(bytes));
	memcpy(expected, bytes, sizeof(bytes));
	assert_int_equal(secret_new_take(bytes, sizeof(bytes), &s), 0);
	assert_memory_equal(secret_view(s), expected, sizeof(expected));
	assert_true(sodium_is_zero(bytes, sizeof(bytes)));

	/* Also when it fails. */
	memset(bytes, 1, sizeof(bytes));
	assert_int_equal(secret_new_take(bytes, 0, &none), -EINVAL);
	assert_null(none);
}

static void shortening_wipes_the_rest(void **state _unused_)
{
	_cleanup_secret_ Secret *s = NULL;

	assert_int_equal(secret_new(64, &s), 0);
	memset(secret_bytes(s), 0xff, 64);
	secret_truncate(s, 10);
	assert_int_equal(secret_size(s), 10);
	assert_int_equal(secret_view(s)[9], 0xff);
	assert_true(sodium_is_zero(secret_view(s) + 10, 54));
	secret_truncate(s, 20); /* never longer */
	assert_int_equal(secret_size(s), 10);
}

static void random_ones_differ(void **state _unused_)
{
	_cleanup_secret_ Secret *a = NULL, *b = NULL;

	assert_int_equal(secret_new_random(32, &a), 0);
	assert_int_equal(secret_new_random(32, &b), 0);
	assert_memory_not_equal(secret_view(a), secret_view(b), 32);
}

/* Runs `body` in a child and returns how it ended. */
static int in_child(void (*body)(void))
{
	int status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		struct rlimit none = {0, 0};

		(void)setrlimit(RLIMIT_CORE, &none);
		/* ASan would turn the signal into an exit code. */
		(void)signal(SIGSEGV, SIG_DFL);
		(void)signal(SIGABRT, SIG_DFL);
		body();
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

static void read_concealed(void)
{
	Secret *s;

	if (secret_new(32, &s) < 0 || secret_conceal(s) < 0)
		_exit(2);
	_exit(((volatile const uint8_t *)secret_view(s))[0]);
}

static void overrun(void)
{
	Secret *s;

	if (secret_new(32, &s) < 0)
		_exit(2);
	((volatile uint8_t *)secret_bytes(s))[32] = 1;
}

static void underrun(void)
{
	Secret *s;

	if (secret_new(32, &s) < 0)
		_exit(2);
	((volatile uint8_t *)secret_bytes(s))[-1] ^= 1;
	secret_free(s);
}

static void concealed_and_neighbouring_memory_cannot_be_touched(void **state _unused_)
{
	int status;

	status = in_child(read_concealed);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
	status = in_child(overrun);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
	status = in_child(underrun);
	assert_true(WIFSIGNALED(status)); /* the canary, at the latest when it is freed */
}

static void conceal_and_expose_keep_the_bytes(void **state _unused_)
{
	_cleanup_secret_ Secret *s = NULL;
	Secret *concealed;

	assert_int_equal(secret_new(4, &s), 0);
	memcpy(secret_bytes(s), "abcd", 4);
	assert_int_equal(secret_conceal(s), 0);
	assert_int_equal(secret_expose(s), 0);
	assert_memory_equal(secret_view(s), "abcd", 4);
	assert_int_equal(secret_new(4, &concealed), 0);
	assert_int_equal(secret_conceal(concealed), 0);
	assert_null(secret_free(concealed)); /* wiped and freed all the same */
}

static void this_process_is_undumpable(void **state _unused_)
{
	assert_int_equal(prctl(PR_GET_DUMPABLE), 0);
}

static void without_lockable_memory(void)
{
	struct rlimit none = {0, 0};
	Secret *s = NULL;
	int r;

	if (setrlimit(RLIMIT_MEMLOCK, &none) < 0 || (geteuid() == 0 && setresuid(65534, 65534, 65534) < 0))
		_exit(3);
	r = secret_new(32, &s);
	_exit((r == -ENOMEM || r == -EPERM) && !s ? 0 : 1);
}

static void an_unlocked_secret_never_exists(void **state _unused_)
{
	int status;

	skip_under_asan(ASAN_LOCKS_NOTHING);
	status = in_child(without_lockable_memory);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_new_secret_is_zero_and_of_its_size),
		cmocka_unit_test(sizes_out_of_range_are_refused),
		cmocka_unit_test(taking_leaves_one_copy),
		cmocka_unit_test(shortening_wipes_the_rest),
		cmocka_unit_test(random_ones_differ),
		cmocka_unit_test(concealed_and_neighbouring_memory_cannot_be_touched),
		cmocka_unit_test(conceal_and_expose_keep_the_bytes),
		cmocka_unit_test(this_process_is_undumpable),
		cmocka_unit_test(an_unlocked_secret_never_exists),
	};

	if (secret_init() < 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
