/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fixture.h"

#include "engine/slot.h"

static const uint8_t drive_id[DRIVE_ID_SIZE] = {9};
static Secret *drive_key, *derived;
static Slot slot;

/* One slot for all tests: what costs is Argon2id. */
static int wrap_once(void **state _unused_)
{
	_cleanup_secret_ Secret *passphrase = secret_of_string("passphrase");

	slot = (Slot){.id = 3, .type = SLOT_PASSPHRASE, .epoch = 2, .kdf = {CHEAP_MEMORY, CHEAP_PASSES}};
	if (secret_new_random(DRIVE_KEY_SIZE, &drive_key) < 0)
		return -1;
	if (slot_wrap(&slot, 1, drive_id, passphrase, drive_key) < 0)
		return -1;
	return kdf_derive(passphrase, slot.salt, &slot.kdf, &derived);
}

static int free_all(void **state _unused_)
{
	drive_key = secret_free(drive_key);
	derived = secret_free(derived);
	return 0;
}

static int open_slot(const Slot *s, uint32_t version, const uint8_t *id, const Secret *key)
{
	_cleanup_secret_ Secret *opened = NULL;
	int r = slot_open(s, version, id, key, &opened);

	if (r == 0)
		assert_memory_equal(secret_view(opened), secret_view(drive_key), DRIVE_KEY_SIZE);
	else
		assert_null(opened);
	return r;
}

static void the_wrapped_key_comes_back(void **state _unused_)
{
	assert_int_equal(open_slot(&slot, 1, drive_id, derived), 0);
}

static void another_passphrase_is_seen_by_the_commitment(void **state _unused_)
{
	_cleanup_secret_ Secret *other = NULL;

	assert_int_equal(secret_new_random(KDF_KEY_SIZE, &other), 0);
	assert_int_equal(open_slot(&slot, 1, drive_id, other), -EKEYREJECTED);
	for (size_t i = 0; i < SLOT_COMMITMENT_SIZE; i++) {
		Slot s = slot;

		s.commitment[i] ^= 0x80;
		assert_int_equal(open_slot(&s, 1, drive_id, derived), -EKEYREJECTED);
	}
}

static void every_altered_byte_of_the_wrapped_key_is_seen(void **state _unused_)
{
	for (size_t i = 0; i < SLOT_WRAPPED_SIZE; i++) {
		Slot s = slot;

		s.wrapped[i] ^= 1;
		assert_int_equal(open_slot(&s, 1, drive_id, derived), -EBADMSG);
	}
}

static void every_part_of_the_associated_data_is_bound(void **state _unused_)
{
	static const uint8_t other_drive[DRIVE_ID_SIZE] = {8};
	Slot s = slot;

	assert_int_equal(open_slot(&slot, 2, drive_id, derived), -EBADMSG);
	assert_int_equal(open_slot(&slot, 1, other_drive, derived), -EBADMSG);
	s.id++;
	assert_int_equal(open_slot(&s, 1, drive_id, derived), -EBADMSG);
	s = slot;
	s.type++;
	assert_int_equal(open_slot(&s, 1, drive_id, derived), -EBADMSG);
	s = slot;
	s.epoch++;
	assert_int_equal(open_slot(&s, 1, drive_id, derived), -EBADMSG);
	s = slot;
	s.kdf.memory += 1024;
	assert_int_equal(open_slot(&s, 1, drive_id, derived), -EBADMSG);
	s = slot;
	s.kdf.passes++;
	assert_int_equal(open_slot(&s, 1, drive_id, derived), -EBADMSG);
}

static void wrapping_again_draws_a_salt(void **state _unused_)
{
	_cleanup_secret_ Secret *passphrase = secret_of_string("passphrase");
	Slot s = slot;

	assert_int_equal(slot_wrap(&s, 1, drive_id, passphrase, drive_key), 0);
	assert_memory_not_equal(s.salt, slot.salt, KDF_SALT_SIZE);
	assert_memory_not_equal(s.commitment, slot.commitment, SLOT_COMMITMENT_SIZE);
	assert_memory_not_equal(s.wrapped, slot.wrapped, SLOT_WRAPPED_SIZE);
}

static void keys_of_another_size_are_refused(void **state _unused_)
{
	_cleanup_secret_ Secret *passphrase = secret_of_string("passphrase"), *small = NULL, *opened = NULL;
	Slot s = slot;

	assert_int_equal(secret_new(16, &small), 0);
	assert_int_equal(slot_wrap(&s, 1, drive_id, passphrase, small), -EINVAL);
	assert_int_equal(slot_open(&slot, 1, drive_id, small, &opened), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_wrapped_key_comes_back),
		cmocka_unit_test(another_passphrase_is_seen_by_the_commitment),
		cmocka_unit_test(every_altered_byte_of_the_wrapped_key_is_seen),
		cmocka_unit_test(every_part_of_the_associated_data_is_bound),
		cmocka_unit_test(wrapping_again_draws_a_salt),
		cmocka_unit_test(keys_of_another_size_are_refused),
	};

	if (secret_init() < 0)
		return 1;
	return cmocka_run_group_tests(tests, wrap_once, free_all);
}
