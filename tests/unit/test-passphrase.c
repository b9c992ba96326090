/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fixture.h"

#include "engine/passphrase.h"

static Secret *normalized(const void *bytes, size_t size, int expected)
{
	Secret *p = secret_of(bytes, size);
	Secret *before = p;

	assert_int_equal(passphrase_normalize(&p), expected);
	if (expected < 0) {
		assert_ptr_equal(p, before);
		assert_memory_equal(secret_view(p), bytes, size);
	}
	return p;
}

static void becomes(const void *from, size_t from_size, const void *to, size_t to_size)
{
	_cleanup_secret_ Secret *p = normalized(from, from_size, 0);

	assert_int_equal(secret_size(p), to_size);
	assert_memory_equal(secret_view(p), to, to_size);
}

static void one_newline_and_no_more_is_taken_off(void **state _unused_)
{
	becomes("secret", 6, "secret", 6);
	becomes("secret\n", 7, "secret", 6);
	becomes("secret\n\n", 8, "secret\n", 7);
	becomes("secret\r\n", 8, "secret\r", 7);
	becomes(" secret ", 8, " secret ", 8);
	becomes("\nsecret", 7, "\nsecret", 7);
	becomes("\xff\n", 2, "\xff", 1);
}

static void utf8_is_brought_to_nfc(void **state _unused_)
{
	becomes("cle\xcc\x81", 5, "cl\xc3\xa9", 4); /* e, acute -> é */
	becomes("cl\xc3\xa9", 4, "cl\xc3\xa9", 4);
	becomes("\xe2\x84\xab", 3, "\xc3\x85", 2);                 /* Ångström sign -> Å */
	becomes("q\xcc\x87\xcc\xa3", 5, "q\xcc\xa3\xcc\x87", 5);   /* marks in canonical order */
	becomes("\xe1\x84\x80\xe1\x85\xa1", 6, "\xea\xb0\x80", 3); /* Hangul */
	becomes("\xef\xac\x81", 3, "\xef\xac\x81", 3);             /* a compatibility form stays: not NFKC */
	becomes("\xf0\x9d\x85\x9e", 4, "\xf0\x9d\x85\x97\xf0\x9d\x85\xa5", 8); /* excluded from composition */
}

static void what_is_not_utf8_keeps_its_bytes(void **state _unused_)
{
	static const char *const texts[] = {
		"cl\xe9", "\xc0\xaf", "\xed\xa0\x80", "\xf4\x90\x80\x80", "e\xcc", "\xff\x65\xcc\x81"};

	for (size_t i = 0; i < ELEMENTSOF(texts); i++)
		becomes(texts[i], strlen(texts[i]), texts[i], strlen(texts[i]));
}

static void nul_is_a_character_like_any_other(void **state _unused_)
{
	becomes("a\0b", 3, "a\0b", 3);
	becomes("\0", 1, "\0", 1);
	becomes("\0e\xcc\x81", 4, "\0\xc3\xa9", 3);
}

static void nothing_and_too_much_are_refused_and_left_alone(void **state _unused_)
{
	uint8_t bytes[PASSPHRASE_SIZE_MAX + 2];

	memset(bytes, 'x', sizeof(bytes));
	secret_free(normalized("\n", 1, -EINVAL));
	secret_free(normalized(bytes, PASSPHRASE_SIZE_MAX + 1, -EMSGSIZE));
	becomes(bytes, PASSPHRASE_SIZE_MAX, bytes, PASSPHRASE_SIZE_MAX);
	bytes[PASSPHRASE_SIZE_MAX] = '\n';
	becomes(bytes, PASSPHRASE_SIZE_MAX + 1, bytes, PASSPHRASE_SIZE_MAX);
}

/* The characters that grow most, as many as fit. */
static void the_longest_expansions_fit(void **state _unused_)
{
	static const struct {
		const char *character;
		size_t size_after; /* in NFC */
	} cases[] = {
		{"\xc7\x95", 2},          /* U+01D5: three code points, and one again */
		{"\xcd\x84", 4},          /* U+0344: two, which do not compose */
		{"\xe1\xbe\x82", 3},      /* U+1F82: four code points */
		{"\xf0\x9d\x85\xa0", 12}, /* U+1D160: three times as long */
		{"\xef\xac\xac", 6},      /* U+FB2C */
	};

	for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
		size_t each = strlen(cases[i].character), n = PASSPHRASE_SIZE_MAX / each;
		uint8_t bytes[PASSPHRASE_SIZE_MAX];
		_cleanup_secret_ Secret *p = NULL;

		for (size_t k = 0; k < n; k++)
			memcpy(bytes + k * each, cases[i].character, each);
		p = normalized(bytes, n * each, 0);
		assert_int_equal(secret_size(p), n * cases[i].size_after);
	}
}

/* Looks through all memory of ours that can be written, but for the mapping `except` lies in. */
static size_t count_in_memory(const uint8_t *needle, size_t size, const void *except)
{
	_cleanup_fclose_ FILE *maps = fopen("/proc/self/maps", "re");
	char line[512], access[5];
	uintptr_t begin, end;
	size_t found = 0;

	assert_non_null(maps);
	while (fgets(line, sizeof(line), maps)) {
		if (sscanf(line, "%lx-%lx %4s", &begin, &end, access) != 3 || access[0] != 'r' ||
			access[1] != 'w' || ((uintptr_t)except >= begin && (uintptr_t)except < end))
			continue;
		for (const uint8_t *p = (const uint8_t *)begin;
			(p = memmem(p, end - (uintptr_t)p, needle, size)); p++)
			found++;
	}
	return found;
}

/* I8: neither as it was typed, nor as code points, nor normalised. */
static void no_copy_is_left_in_other_memory(void **state _unused_)
{
	_cleanup_secret_ Secret *p = NULL, *points = NULL, *typed = NULL;
	uint8_t *bytes;

	skip_under_asan("its shadow would be searched too");
	/* Drawn, so that it is no constant of the program; letters and a decomposed one. */
	assert_int_equal(secret_new(15, &p), 0);
	assert_int_equal(secret_new(12 * sizeof(uint32_t), &points), 0);
	bytes = secret_bytes(p);
	for (size_t i = 0; i < 12; i++) {
		bytes[i] = (uint8_t)('a' + randombytes_uniform(26));
		memcpy(secret_bytes(points) + i * sizeof(uint32_t), &(uint32_t){bytes[i]}, sizeof(uint32_t));
	}
	memcpy(bytes + 12, "e\xcc\x81", 3);
	typed = secret_of(bytes, 15);
	assert_int_equal(
		count_in_memory(secret_view(typed), 12, secret_view(typed)), 1); /* p itself: it is found */
	assert_int_equal(passphrase_normalize(&p), 0);
	assert_int_equal(secret_size(p), 14);
	assert_int_equal(count_in_memory(secret_view(typed), 12, secret_view(typed)), 1); /* what p is now */
	assert_int_equal(count_in_memory(secret_view(points), secret_size(points), secret_view(points)), 0);
	p = secret_free(p);
	assert_int_equal(count_in_memory(secret_view(typed), 12, secret_view(typed)), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_newline_and_no_more_is_taken_off),
		cmocka_unit_test(utf8_is_brought_to_nfc),
		cmocka_unit_test(what_is_not_utf8_keeps_its_bytes),
		cmocka_unit_test(nul_is_a_character_like_any_other),
		cmocka_unit_test(nothing_and_too_much_are_refused_and_left_alone),
		cmocka_unit_test(the_longest_expansions_fit),
		cmocka_unit_test(no_copy_is_left_in_other_memory),
	};

	if (secret_init() < 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
