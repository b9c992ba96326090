/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */

#include "keys/key-store.h"
#include "keys/keyring.h"
#include "keys/sealing.h"
#include "skip.h"
#include "util/io.h"
#include "util/memory.h"
#include "util/subkey.h"

#include <errno.h>
#include <fcntl.h>
#include <keyutils.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* The real kernel's keyring, in a private session of this process. */

static Secret *drive_key(uint8_t fill)
{
	Secret *key = NULL;

	assert_int_equal(secret_new(DRIVE_KEY_SIZE, &key), 0);
	memset(secret_bytes(key), fill, DRIVE_KEY_SIZE);
	return key;
}

static KeyStore *store_new(void)
{
	KeyStore *store = NULL;

	assert_int_equal(key_store_new(&store), 0);
	return store;
}

static void a_key_comes_back_as_it_was_kept(void **state)
{
	_cleanup_(key_store_freep) KeyStore *store = store_new();
	_cleanup_secret_ Secret *one = drive_key(1), *two = drive_key(2), *got = NULL;

	(void)state;
	assert_int_equal(key_store_put(store, "sdb1_1", one, 0), 0);
	assert_int_equal(key_store_put(store, "sdc1_2", two, 60 * USEC_PER_SEC), 0);
	assert_int_equal(key_store_get(store, "sdb1_1", &got), 0);
	assert_memory_equal(secret_view(got), secret_view(one), DRIVE_KEY_SIZE);
	got = secret_free(got);
	assert_int_equal(key_store_get(store, "sdc1_2", &got), 0);
	assert_memory_equal(secret_view(got), secret_view(two), DRIVE_KEY_SIZE);
	got = secret_free(got);
	assert_int_equal(key_store_get(store, "sdd1_3", &got), -ENOKEY);
	assert_null(got);
}

static void a_forgotten_key_is_gone_here_and_in_the_kernel(void **state)
{
	_cleanup_(key_store_freep) KeyStore *store = store_new();
	_cleanup_secret_ Secret *key = drive_key(3), *got = NULL;
	long serial, before = keyctl_read(KEY_SPEC_SESSION_KEYRING, NULL, 0);

	(void)state;
	assert_int_equal(key_store_put(store, "sdb1_1", key, 0), 0);
	serial = keyctl_search(KEY_SPEC_SESSION_KEYRING, "user", "usbcrypt:sdb1_1", 0);
	assert_true(serial > 0);
	key_store_forget(store, "sdb1_1");
	assert_false(key_store_has(store, "sdb1_1"));
	assert_int_equal(key_store_get(store, "sdb1_1", &got), -ENOKEY);
	assert_int_equal(keyctl_read((key_serial_t)serial, NULL, 0), -1);
	assert_true(errno == ENOKEY || errno == EACCES); /* until the collector has taken it it is nobody's */
	assert_int_equal(keyctl_search(KEY_SPEC_SESSION_KEYRING, "user", "usbcrypt:sdb1_1", 0), -1);
	/* Not even what is left of a revoked key: a drive that comes and goes would leave one each time. */
	assert_int_equal(keyctl_read(KEY_SPEC_SESSION_KEYRING, NULL, 0), before);
}

static void the_kernel_holds_no_plain_key(void **state)
{
	_cleanup_(key_store_freep) KeyStore *store = store_new();
	_cleanup_secret_ Secret *key = drive_key(0x5a);
	uint8_t payload[512], pattern[8];
	long serial, n;

	(void)state;
	memset(pattern, 0x5a, sizeof(pattern));
	assert_int_equal(key_store_put(store, "sdb1_1", key, 0), 0);
	serial = keyctl_search(KEY_SPEC_SESSION_KEYRING, "user", "usbcrypt:sdb1_1", 0);
	n = keyctl_read((key_serial_t)serial, (char *)payload, sizeof(payload));
	assert_int_equal(n, DRIVE_KEY_SIZE + SEALED_OVERHEAD);
	assert_null(memmem(payload, (size_t)n, pattern, sizeof(pattern)));
}

static void the_kernel_enforces_the_timeout_without_us(void **state)
{
	_cleanup_(key_store_freep) KeyStore *store = store_new();
	_cleanup_secret_ Secret *key = drive_key(4), *got = NULL;
	struct timespec tick = {.tv_nsec = 20 * 1000 * 1000};
	int r = 0;

	(void)state;
	assert_int_equal(key_store_put(store, "sdb1_1", key, USEC_PER_SEC), 0);
	assert_int_equal(key_store_get(store, "sdb1_1", &got), 0);
	got = secret_free(got);
	/* The event waited for is the kernel's: it gives no other sign of it than this. */
	for (int i = 0; i < 250 && r == 0; i++) {
		nanosleep(&tick, NULL);
		r = key_store_get(store, "sdb1_1", &got);
		got = secret_free(got);
	}
	assert_true(r == -EKEYEXPIRED || r == -ENOKEY);
}

static long timeout_of(const char *name)
{
	_cleanup_free_ char *text = NULL;
	char *line, *rest;
	long left = -1;

	assert_int_equal(read_host_file(AT_FDCWD, "/proc/keys", 1 << 20, &text, NULL), 0);
	rest = text;
	while ((line = strsep(&rest, "\n"))) {
		char when[16];
		unsigned amount;
		char unit;

		if (!strstr(line, name) || sscanf(line, "%*s %*s %*s %15s", when) != 1)
			continue;
		if (strcmp(when, "perm") == 0)
			return 0;
		if (sscanf(when, "%u%c", &amount, &unit) == 2)
			left = (long)amount * (unit == 's'          ? 1
						      : unit == 'm' ? 60
						      : unit == 'h' ? 3600
								    : 86400);
	}
	return left;
}

static void replacing_a_key_keeps_a_timeout(void **state)
{
	_cleanup_(key_store_freep) KeyStore *store = store_new();
	_cleanup_secret_ Secret *one = drive_key(5), *two = drive_key(6), *got = NULL;
	long left;

	(void)state;
	assert_int_equal(key_store_put(store, "sdz9_1", one, 100 * USEC_PER_SEC), 0);
	assert_int_equal(key_store_put(store, "sdz9_1", two, 50 * USEC_PER_SEC), 0);
	left = timeout_of("usbcrypt:sdz9_1");
	assert_true(left > 0 && left <= 50);
	assert_int_equal(key_store_get(store, "sdz9_1", &got), 0);
	assert_memory_equal(secret_view(got), secret_view(two), DRIVE_KEY_SIZE);
	assert_int_equal(key_store_set_timeout(store, "sdz9_1", 7000 * USEC_PER_SEC + 1), 0);
	left = timeout_of("usbcrypt:sdz9_1");
	assert_true(left > 3000);
	assert_int_equal(key_store_set_timeout(store, "sdz9_1", 0), 0);
	assert_int_equal(timeout_of("usbcrypt:sdz9_1"), 0);
}

static void forgetting_all_shreds_copies_of_sealed_keys_too(void **state)
{
	_cleanup_(key_store_freep) KeyStore *store = store_new();
	_cleanup_secret_ Secret *key = drive_key(7), *got = NULL;
	uint8_t copy[DRIVE_KEY_SIZE + SEALED_OVERHEAD];
	long serial;

	(void)state;
	assert_int_equal(key_store_put(store, "sdb1_1", key, 0), 0);
	serial = keyctl_search(KEY_SPEC_SESSION_KEYRING, "user", "usbcrypt:sdb1_1", 0);
	assert_int_equal(keyctl_read((key_serial_t)serial, (char *)copy, sizeof(copy)), sizeof(copy));
	key_store_forget_all(store);
	assert_false(key_store_has(store, "sdb1_1"));

	/* Even if somebody had kept the sealed bytes and put them back. */
	assert_int_equal(key_store_put(store, "sdb1_1", key, 0), 0);
	serial = keyctl_search(KEY_SPEC_SESSION_KEYRING, "user", "usbcrypt:sdb1_1", 0);
	assert_int_equal(keyctl_update((key_serial_t)serial, copy, sizeof(copy)), 0);
	assert_int_equal(key_store_get(store, "sdb1_1", &got), -EBADMSG);
}

static void a_sealed_key_opens_under_its_own_name_only(void **state)
{
	_cleanup_(sealing_freep) Sealing *sealing = NULL;
	_cleanup_secret_ Secret *key = drive_key(8), *got = NULL;
	uint8_t sealed[DRIVE_KEY_SIZE + SEALED_OVERHEAD], second[DRIVE_KEY_SIZE + SEALED_OVERHEAD];

	(void)state;
	assert_int_equal(sealing_new(&sealing), 0);
	assert_int_equal(sealing_seal(sealing, "a", key, sealed, sizeof(sealed)), 0);
	assert_int_equal(sealing_seal(sealing, "a", key, second, sizeof(second)), 0);
	assert_memory_not_equal(sealed, second, sizeof(sealed));
	assert_int_equal(sealing_seal(sealing, "a", key, second, sizeof(second) - 1), -EINVAL);
	assert_int_equal(sealing_open(sealing, "b", sealed, sizeof(sealed), &got), -EBADMSG);
	for (size_t i = 0; i < sizeof(sealed); i++) {
		sealed[i] ^= 1;
		assert_int_equal(sealing_open(sealing, "a", sealed, sizeof(sealed), &got), -EBADMSG);
		sealed[i] ^= 1;
	}
	assert_int_equal(sealing_open(sealing, "a", sealed, sizeof(sealed), &got), 0);
}

static int in_child(int (*run)(void))
{
	pid_t pid = fork();
	int status = -1;

	if (pid == 0) {
		(void)signal(SIGSEGV, SIG_DFL); /* cmocka catches it */
		_exit(run());
	}
	assert_true(pid > 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static int reader_killed(void)
{
	Sealing *sealing = NULL;
	Secret *key;
	struct rlimit none = {0, 0};

	(void)setrlimit(RLIMIT_CORE, &none);
	if (sealing_new(&sealing) < 0)
		return 100;
	/* The struct's only member is the Secret: its bytes must not be there to read between two uses. */
	memcpy(&key, sealing, sizeof(key));
	return secret_view(key)[0] == 0 ? 101 : 102;
}

static void the_sealing_key_is_out_of_reach_between_two_uses(void **state)
{
	int status = in_child(reader_killed);

	(void)state;
	assert_true(status < 100 || status > 128); /* a sanitizer turns the signal into an exit code */
}

static key_serial_t foreign_serial;

static int foreign_read(void)
{
	char buffer[256];

	/* Another process of root, in a session of its own: it does not possess the key. */
	if (keyctl_join_session_keyring(NULL) < 0)
		return 1;
	if (keyctl_read(foreign_serial, buffer, sizeof(buffer)) >= 0)
		return 2;
	return errno == EACCES ? 0 : 3;
}

static void another_process_of_root_may_not_read_it(void **state)
{
	_cleanup_(key_store_freep) KeyStore *store = store_new();
	_cleanup_secret_ Secret *key = drive_key(9);

	(void)state;
	assert_int_equal(key_store_put(store, "sdb1_1", key, 0), 0);
	foreign_serial = (key_serial_t)keyctl_search(KEY_SPEC_SESSION_KEYRING, "user", "usbcrypt:sdb1_1", 0);
	assert_int_equal(in_child(foreign_read), 0);
}

static int without_locked_memory(void)
{
	struct rlimit none = {0, 0};
	KeyStore *store = NULL;

	/* Root is above the limit: become somebody else. */
	if (setrlimit(RLIMIT_MEMLOCK, &none) < 0 || setresuid(65534, 65534, 65534) < 0)
		return 1;
	if (key_store_new(&store) < 0)
		return 2;
	return key_store_prepare(store) < 0 ? 0 : 3;
}

static void where_memory_cannot_be_locked_no_key_is_kept(void **state)
{
	(void)state;
	skip_under_asan(ASAN_LOCKS_NOTHING);
	if (geteuid() != 0)
		skip_because("only root can give the limit up");
	assert_int_equal(in_child(without_locked_memory), 0);
}

static int set_up(void **state)
{
	(void)state;
	return secret_init();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_key_comes_back_as_it_was_kept),
		cmocka_unit_test(a_forgotten_key_is_gone_here_and_in_the_kernel),
		cmocka_unit_test(the_kernel_holds_no_plain_key),
		cmocka_unit_test(the_kernel_enforces_the_timeout_without_us),
		cmocka_unit_test(replacing_a_key_keeps_a_timeout),
		cmocka_unit_test(forgetting_all_shreds_copies_of_sealed_keys_too),
		cmocka_unit_test(a_sealed_key_opens_under_its_own_name_only),
		cmocka_unit_test(the_sealing_key_is_out_of_reach_between_two_uses),
		cmocka_unit_test(another_process_of_root_may_not_read_it),
		cmocka_unit_test(where_memory_cannot_be_locked_no_key_is_kept),
	};

	return cmocka_run_group_tests(tests, set_up, NULL);
}
