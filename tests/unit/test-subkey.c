/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fixture.h"

#include "util/subkey.h"

/* From tests/vectors/reference.py: kdf(00 01 02 … 1f, id, "usbcrypt"). */
static const char *const expected[SUBKEY_MAX] = {
	[SUBKEY_METADATA_MAC] = "48b25e6c636caf88c336d1261801c19b3d60ee7ef5dd3febc5d70380fd2099f9",
	[SUBKEY_JOURNAL_MAC] = "83d960bedd96a56237d0f61f3149405e26121cd7b27ec2b0ca3347ba93a17b1b",
	[SUBKEY_FILE_ROOT] = "ab020206e63ef2642c4deaeede4dc71e9b8f79cd654d303d2b5b332b18b06f99",
	[SUBKEY_SCRUB_ROOT] = "c1fce870eecb55e020653821e9414910f29ed174ad50aa0cd053f63b1bb82b94",
};

static Secret *counting_key(size_t size)
{
	uint8_t bytes[64];

	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)i;
	return secret_of(bytes, size);
}

static void subkeys_are_those_of_the_format(void **state _unused_)
{
	_cleanup_secret_ Secret *key = counting_key(DRIVE_KEY_SIZE);

	for (int id = 1; id < SUBKEY_MAX; id++) {
		_cleanup_secret_ Secret *subkey = NULL;
		uint8_t bytes[SUBKEY_SIZE];

		assert_int_equal(subkey_derive(key, (Subkey)id, &subkey), 0);
		assert_int_equal(secret_size(subkey), SUBKEY_SIZE);
		assert_int_equal(hex_into(expected[id], bytes, sizeof(bytes)), SUBKEY_SIZE);
		assert_memory_equal(secret_view(subkey), bytes, SUBKEY_SIZE);
	}
}

static void only_registered_ids_and_whole_keys_derive(void **state _unused_)
{
	static const int ids[] = {SUBKEY_INVALID, 0, SUBKEY_MAX, 1000};
	static const size_t sizes[] = {1, DRIVE_KEY_SIZE - 1, DRIVE_KEY_SIZE + 1, 64};
	_cleanup_secret_ Secret *key = counting_key(DRIVE_KEY_SIZE);
	Secret *subkey = NULL;

	for (size_t i = 0; i < ELEMENTSOF(ids); i++)
		assert_int_equal(subkey_derive(key, (Subkey)ids[i], &subkey), -EINVAL);
	for (size_t i = 0; i < ELEMENTSOF(sizes); i++) {
		_cleanup_secret_ Secret *other = counting_key(sizes[i]);

		assert_int_equal(subkey_derive(other, SUBKEY_FILE_ROOT, &subkey), -EINVAL);
	}
	assert_null(subkey);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(subkeys_are_those_of_the_format),
		cmocka_unit_test(only_registered_ids_and_whole_keys_derive),
	};

	if (secret_init() < 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
