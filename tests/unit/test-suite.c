/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fixture.h"

#include "engine/keypool.h"
#include "engine/suite.h"

#include <pthread.h>
#include <sys/mman.h>

static SuiteKey *key_new(Suite suite)
{
	uint8_t bytes[SUITE_KEY_SIZE];
	void *slot;

	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(0x80 + i);
	assert_int_equal(keypool_take(&slot), 0);
	assert_int_equal(suite_key_init(slot, suite, bytes), 0);
	return slot;
}

static void names_and_numbers_are_those_of_the_format(void **state _unused_)
{
	assert_int_equal(suite_from_name("xchacha20-poly1305"), 1);
	assert_int_equal(suite_from_name("chacha20-poly1305"), 2);
	assert_int_equal(suite_from_name("aes-256-gcm"), 3);
	for (Suite suite = 1; suite < SUITE_MAX; suite++)
		assert_int_equal(suite_from_name(suite_name(suite)), suite);
	assert_int_equal(suite_nonce_size(SUITE_XCHACHA20_POLY1305), 24);
	assert_int_equal(suite_nonce_size(SUITE_CHACHA20_POLY1305), 12);
	assert_int_equal(suite_nonce_size(SUITE_AES_256_GCM), 12);
}

static void there_is_no_other_suite_and_no_null_cipher(void **state _unused_)
{
	const int numbers[] = {-1, 0, SUITE_MAX, 99, 65535};
	uint8_t bytes[SUITE_KEY_SIZE] = {};
	SuiteKey *key = key_new(SUITE_XCHACHA20_POLY1305);

	for (size_t i = 0; i < ELEMENTSOF(numbers); i++) {
		assert_null(suite_name((Suite)numbers[i]));
		assert_false(suite_available((Suite)numbers[i]));
		assert_int_equal(suite_nonce_size((Suite)numbers[i]), 0);
		assert_int_equal(suite_key_init(key, (Suite)numbers[i], bytes), -EOPNOTSUPP);
	}
	assert_int_equal(suite_from_name(""), SUITE_INVALID);
	assert_int_equal(suite_from_name("null"), SUITE_INVALID);
	assert_int_equal(suite_from_name("XChaCha20-Poly1305"), SUITE_INVALID);
	keypool_give(key);
}

static void chacha20_poly1305_is_that_of_rfc_8439(void **state _unused_)
{
	static const char plain[] = "Ladies and Gentlemen of the class of '99: If I could offer you only one "
				    "tip for the future, sunscreen would be it.";
	const uint8_t nonce[] = {7, 0, 0, 0, 0x40, 0x41, 0x42, 0x43, 0x44, 0x45, 0x46, 0x47};
	const uint8_t aad[] = {0x50, 0x51, 0x52, 0x53, 0xc0, 0xc1, 0xc2, 0xc3, 0xc4, 0xc5, 0xc6, 0xc7};
	const uint8_t tag[] = {0x1a, 0xe1, 0x0b, 0x59, 0x4f, 0x09, 0xe2, 0x6a, 0x7e, 0x90, 0x2e, 0xcb, 0xd0,
		0x60, 0x06, 0x91};
	uint8_t sealed[sizeof(plain) - 1 + SUITE_TAG_SIZE];
	SuiteKey *key = key_new(SUITE_CHACHA20_POLY1305);

	assert_int_equal(
		suite_seal(key, nonce, aad, sizeof(aad), (const uint8_t *)plain, sizeof(plain) - 1, sealed),
		0);
	assert_memory_equal(sealed + sizeof(plain) - 1, tag, sizeof(tag));
	keypool_give(key);
}

static void each_suite_opens_what_it_sealed_and_nothing_else(void **state _unused_)
{
	const uint8_t nonce[SUITE_NONCE_SIZE_MAX] = {1};
	uint8_t plain[100], sealed[sizeof(plain) + SUITE_TAG_SIZE], opened[sizeof(plain)];

	randombytes_buf(plain, sizeof(plain));
	for (Suite suite = 1; suite < SUITE_MAX; suite++) {
		SuiteKey *key;

		if (!suite_available(suite))
			continue;
		key = key_new(suite);
		assert_int_equal(suite_seal(key, nonce, "ad", 2, plain, sizeof(plain), sealed), 0);
		memset(opened, 0, sizeof(opened));
		assert_int_equal(suite_open(key, nonce, "ad", 2, sealed, sizeof(sealed), opened), 0);
		assert_memory_equal(plain, opened, sizeof(plain));
		assert_int_equal(suite_open(key, nonce, "ad", 2, sealed, sizeof(sealed), NULL), 0);
		assert_int_equal(suite_open(key, nonce, "aD", 2, sealed, sizeof(sealed), opened), -EBADMSG);
		for (size_t i = 0; i < sizeof(sealed); i++) {
			sealed[i] ^= 1;
			assert_int_equal(
				suite_open(key, nonce, "ad", 2, sealed, sizeof(sealed), opened), -EBADMSG);
			assert_int_equal(
				suite_open(key, nonce, "ad", 2, sealed, sizeof(sealed), NULL), -EBADMSG);
			assert_memory_not_equal(opened, plain, 16);
			sealed[i] ^= 1;
		}
		for (size_t size = 0; size < sizeof(sealed); size++)
			assert_int_equal(suite_open(key, nonce, "ad", 2, sealed, size, opened), -EBADMSG);
		keypool_give(key);
	}
}

static void slots_of_the_pool_are_locked_wiped_and_used_again(void **state _unused_)
{
	uint8_t *slot, *again;
	void *p;

	assert_int_equal(keypool_take(&p), 0);
	slot = p;
	assert_int_equal((uintptr_t)slot % KEYPOOL_SLOT_ALIGN, 0);
	for (size_t i = 0; i < KEYPOOL_SLOT_SIZE; i++)
		assert_int_equal(slot[i], 0);
	memset(slot, 0xaa, KEYPOOL_SLOT_SIZE);
	assert_null(keypool_give(slot));
	/* All but the link of the free list is zero already. */
	for (size_t i = sizeof(void *); i < KEYPOOL_SLOT_SIZE; i++)
		assert_int_equal(slot[i], 0);
	assert_int_equal(keypool_take(&p), 0);
	again = p;
	assert_ptr_equal(again, slot);
	for (size_t i = 0; i < KEYPOOL_SLOT_SIZE; i++)
		assert_int_equal(again[i], 0);
	keypool_give(again);
	assert_null(keypool_give(NULL));
}

#define ROUNDS 20000

static void *take_and_give(void *argument)
{
	for (size_t i = 0; i < ROUNDS; i++) {
		uintptr_t *slots[3];

		for (size_t k = 0; k < ELEMENTSOF(slots); k++) {
			void *p;

			if (keypool_take(&p) < 0)
				return (void *)1;
			slots[k] = p;
			if (slots[k][0] || slots[k][KEYPOOL_SLOT_SIZE / sizeof(uintptr_t) - 1])
				return (void *)2;
			slots[k][0] = slots[k][KEYPOOL_SLOT_SIZE / sizeof(uintptr_t) - 1] =
				(uintptr_t)argument;
		}
		for (size_t k = 0; k < ELEMENTSOF(slots); k++) {
			if (slots[k][0] != (uintptr_t)argument)
				return (void *)3;
			keypool_give(slots[k]);
		}
	}
	return NULL;
}

static void threads_never_share_a_slot(void **state _unused_)
{
	pthread_t threads[4];

	for (uintptr_t i = 0; i < ELEMENTSOF(threads); i++)
		assert_int_equal(pthread_create(&threads[i], NULL, take_and_give, (void *)(i + 1)), 0);
	for (size_t i = 0; i < ELEMENTSOF(threads); i++) {
		void *result;

		assert_int_equal(pthread_join(threads[i], &result), 0);
		assert_null(result);
	}
}

static long locked_kib(void)
{
	_cleanup_fclose_ FILE *file = fopen("/proc/self/status", "re");
	char line[256];
	long value = -1;

	assert_non_null(file);
	while (fgets(line, sizeof(line), file))
		if (sscanf(line, "VmLck: %ld", &value) == 1)
			break;
	return value;
}

static void ten_thousand_slots_cost_no_more_than_those_held_at_once(void **state _unused_)
{
	long before = locked_kib();
	void *held[64];

	skip_under_asan(ASAN_LOCKS_NOTHING);
	/* I8: it is locked memory. */
	assert_true(before > 0);
	for (size_t i = 0; i < ELEMENTSOF(held); i++)
		assert_int_equal(keypool_take(&held[i]), 0);
	for (size_t i = 0; i < 10000; i++) {
		void *p;

		assert_int_equal(keypool_take(&p), 0);
		keypool_give(p);
	}
	assert_true(locked_kib() - before <= 64 * 2);
	for (size_t i = 0; i < ELEMENTSOF(held); i++)
		keypool_give(held[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_and_numbers_are_those_of_the_format),
		cmocka_unit_test(there_is_no_other_suite_and_no_null_cipher),
		cmocka_unit_test(chacha20_poly1305_is_that_of_rfc_8439),
		cmocka_unit_test(each_suite_opens_what_it_sealed_and_nothing_else),
		cmocka_unit_test(slots_of_the_pool_are_locked_wiped_and_used_again),
		cmocka_unit_test(threads_never_share_a_slot),
		cmocka_unit_test(ten_thousand_slots_cost_no_more_than_those_held_at_once),
	};

	if (secret_init() < 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
