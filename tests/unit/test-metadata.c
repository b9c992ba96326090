/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* drive.json as bytes. That each rule of its form holds is what tests/vectors/drives shows; here is what goes
 * beyond single cases. No KDF runs: the slot is made up, and the MAC key is ours. */

#include "fixture.h"

#include "engine/json.h"
#include "engine/metadata.h"

static const uint8_t drive_id[DRIVE_ID_SIZE] = {0xab, 0xcd};
static Secret *mac_key;

static Slot slot_of(uint32_t id)
{
	Slot s = {.id = id, .type = SLOT_PASSPHRASE, .epoch = 1, .kdf = {CHEAP_MEMORY, 3}};

	memset(s.salt, 0x11, sizeof(s.salt));
	memset(s.commitment, 0x22, sizeof(s.commitment));
	memset(s.wrapped, 0x33, sizeof(s.wrapped));
	return s;
}

static void make(uint8_t bytes[METADATA_SIZE])
{
	_cleanup_metadata_ Metadata *m = NULL;
	Slot slot = slot_of(1);

	assert_int_equal(metadata_new(drive_id, SUITE_AES_256_GCM, &slot, &m), 0);
	assert_int_equal(metadata_format(m, 7, mac_key, bytes), 0);
}

static Metadata *parse(const uint8_t *bytes)
{
	Metadata *m = NULL;

	assert_int_equal(metadata_parse(bytes, METADATA_SIZE, &m), OUTCOME_DONE);
	return m;
}

static void what_is_printed_is_parsed(void **state _unused_)
{
	_cleanup_metadata_ Metadata *m = NULL;
	uint8_t bytes[METADATA_SIZE], digest[32];
	Slot slot = slot_of(1);

	make(bytes);
	m = parse(bytes);
	assert_true(metadata_verify(m, mac_key));
	assert_int_equal(m->version, 1);
	assert_int_equal(m->generation, 7);
	assert_int_equal(m->suite, SUITE_AES_256_GCM);
	assert_int_equal(m->epoch, 1);
	assert_memory_equal(m->drive_id, drive_id, sizeof(drive_id));
	assert_int_equal(m->n_slots, 1);
	assert_int_equal(m->slots[0].kdf.memory, slot.kdf.memory);
	assert_int_equal(m->slots[0].kdf.passes, slot.kdf.passes);
	assert_memory_equal(m->slots[0].wrapped, slot.wrapped, sizeof(slot.wrapped));
	(void)crypto_generichash(digest, sizeof(digest), bytes, sizeof(bytes), NULL, 0);
	assert_memory_equal(m->digest, digest, sizeof(digest));
}

static void a_flip_of_any_bit_is_refused_or_fails_the_mac(void **state _unused_)
{
	uint8_t bytes[METADATA_SIZE];
	size_t parsed = 0;

	make(bytes);
	for (size_t i = 0; i < sizeof(bytes); i++)
		for (int bit = 0; bit < 8; bit += i < 1200 ? 1 : 3) {
			_cleanup_metadata_ Metadata *m = NULL;

			bytes[i] ^= (uint8_t)(1 << bit);
			if (metadata_parse(bytes, sizeof(bytes), &m) == OUTCOME_DONE) {
				assert_false(metadata_verify(m, mac_key));
				parsed++;
			} else {
				assert_null(m);
			}
			bytes[i] ^= (uint8_t)(1 << bit);
		}
	/* Digits and letters of values stay in form: then the MAC is what sees it. */
	assert_in_range(parsed, 100, 4000);
}

static void every_other_length_is_refused(void **state _unused_)
{
	uint8_t bytes[METADATA_SIZE + 1];

	make(bytes);
	bytes[METADATA_SIZE] = '\n';
	for (size_t n = 0; n <= sizeof(bytes); n++) {
		_cleanup_metadata_ Metadata *m = NULL;

		if (n != METADATA_SIZE)
			assert_int_equal(metadata_parse(bytes, n, &m), OUTCOME_TAMPERED);
	}
}

static void another_key_does_not_verify(void **state _unused_)
{
	_cleanup_secret_ Secret *other = NULL, *small = NULL;
	_cleanup_metadata_ Metadata *m = NULL;
	uint8_t bytes[METADATA_SIZE];

	make(bytes);
	m = parse(bytes);
	assert_int_equal(secret_new_random(SUBKEY_SIZE, &other), 0);
	assert_int_equal(secret_new(16, &small), 0);
	assert_false(metadata_verify(m, other));
	assert_false(metadata_verify(m, small));
}

/* Puts text into a good file, right after `before`, and signs it again. */
static void insert(uint8_t bytes[METADATA_SIZE], const char *before, const char *text)
{
	_cleanup_free_ char *line = NULL;
	uint8_t *end = memchr(bytes, '\n', METADATA_SIZE), *at;
	crypto_generichash_state h;
	uint8_t mac[32];
	char hex[65];

	at = memmem(bytes, (size_t)(end - bytes), before, strlen(before));
	assert_non_null(at);
	at += strlen(before);
	assert_true(asprintf(&line, "%.*s%s%.*s", (int)(at - bytes), bytes, text, (int)(end - at), at) > 0);
	(void)crypto_generichash_init(&h, secret_view(mac_key), SUBKEY_SIZE, sizeof(mac));
	(void)crypto_generichash_update(&h, (const uint8_t *)"usbcrypt drive.json", 19);
	(void)crypto_generichash_update(&h, (const uint8_t *)line, strlen(line));
	(void)crypto_generichash_final(&h, mac, sizeof(mac));
	memset(bytes, ' ', METADATA_SIZE);
	(void)snprintf(
		(char *)bytes, METADATA_SIZE, "%s\n%s\n", line, sodium_bin2hex(hex, sizeof(hex), mac, 32));
	bytes[strlen((char *)bytes)] = ' ';
	bytes[METADATA_SIZE - 1] = '\n';
}

static void rewriting_keeps_what_is_not_known(void **state _unused_)
{
	_cleanup_metadata_ Metadata *m = NULL, *again = NULL;
	uint8_t bytes[METADATA_SIZE];
	Slot slot = slot_of(1);

	make(bytes);
	insert(bytes, "{", "\"label\":\"Ferien \xe2\x98\xbc\",\"n\":999999999999999,");
	insert(bytes, "\"slots\":[",
		"{\"id\":2,\"type\":\"recovery\",\"deep\":[[{}]],\"x\":null,\"y\":true},");
	insert(bytes, "{\"id\":1,", "\"note\":\"mine\",");
	m = parse(bytes);
	assert_true(metadata_verify(m, mac_key));
	assert_int_equal(m->n_slots, 1);

	memset(slot.salt, 0x44, sizeof(slot.salt));
	slot.kdf.passes = 9;
	assert_int_equal(metadata_replace_slot(m, &slot), 0);
	assert_int_equal(metadata_format(m, 8, mac_key, bytes), 0);
	again = parse(bytes);
	assert_true(metadata_verify(again, mac_key));
	assert_int_equal(again->generation, 8);
	assert_int_equal(again->slots[0].kdf.passes, 9);
	assert_memory_equal(again->slots[0].salt, slot.salt, sizeof(slot.salt));
	assert_non_null(strstr((char *)bytes, "\"label\":\"Ferien \xe2\x98\xbc\",\"n\":999999999999999,"));
	assert_non_null(strstr(
		(char *)bytes, "[{\"id\":2,\"type\":\"recovery\",\"deep\":[[{}]],\"x\":null,\"y\":true},"));
	assert_non_null(strstr((char *)bytes, "\"note\":\"mine\""));

	slot.id = 2; /* not a slot we know how to replace */
	assert_int_equal(metadata_replace_slot(m, &slot), -ENOENT);
}

static void what_does_not_fit_is_not_written(void **state _unused_)
{
	_cleanup_metadata_ Metadata *m = NULL;
	uint8_t bytes[METADATA_SIZE];
	Slot slot = slot_of(1);
	char *filler = calloc(1, METADATA_SIZE);

	assert_non_null(filler);
	memset(filler, 'x', METADATA_SIZE - 200);
	assert_int_equal(metadata_new(drive_id, 1, &slot, &m), 0);
	assert_int_equal(json_set(m->tree, "filler", cJSON_CreateString(filler)), 0);
	assert_int_equal(metadata_format(m, 2, mac_key, bytes), -EMSGSIZE);
	free(filler);
}

static void generations_have_all_64_bits(void **state _unused_)
{
	_cleanup_metadata_ Metadata *m = NULL, *again = NULL;
	uint8_t bytes[METADATA_SIZE];

	make(bytes);
	m = parse(bytes);
	assert_int_equal(metadata_format(m, UINT64_MAX - 1, mac_key, bytes), 0);
	again = parse(bytes);
	assert_true(again->generation == UINT64_MAX - 1);
}

static void rubbish_of_any_kind_is_refused_without_a_stumble(void **state _unused_)
{
	static const char alphabet[] = "{}[]\",:0123456789truefalsn \\\n\xff\x01";
	uint8_t bytes[METADATA_SIZE];

	for (size_t round = 0; round < 3000; round++) {
		_cleanup_metadata_ Metadata *m = NULL;
		size_t n = randombytes_uniform(60);

		make(bytes);
		for (size_t i = 0; i < n; i++)
			bytes[randombytes_uniform(800)] =
				(uint8_t)alphabet[randombytes_uniform(sizeof(alphabet) - 1)];
		if (n > 0 && metadata_parse(bytes, sizeof(bytes), &m) == OUTCOME_DONE &&
			metadata_verify(m, mac_key)) {
			uint8_t good[METADATA_SIZE];

			make(good);
			assert_memory_equal(bytes, good, sizeof(good));
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_printed_is_parsed),
		cmocka_unit_test(a_flip_of_any_bit_is_refused_or_fails_the_mac),
		cmocka_unit_test(every_other_length_is_refused),
		cmocka_unit_test(another_key_does_not_verify),
		cmocka_unit_test(rewriting_keeps_what_is_not_known),
		cmocka_unit_test(what_does_not_fit_is_not_written),
		cmocka_unit_test(generations_have_all_64_bits),
		cmocka_unit_test(rubbish_of_any_kind_is_refused_without_a_stumble),
	};
	int r;

	if (secret_init() < 0 || secret_new_random(SUBKEY_SIZE, &mac_key) < 0)
		return 1;
	r = cmocka_run_group_tests(tests, NULL, NULL);
	secret_free(mac_key);
	return r;
}
