/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fixture.h"

#include "util/escape.h"

#define ELLIPSIS "\xe2\x80\xa6"

static void escapes_to(const char *bytes, size_t size, size_t max, const char *expected)
{
	/* A copy of its exact size, so that ASan sees a byte too many being read. */
	_cleanup_free_ char *copy = malloc(MAX(size, (size_t)1)), *text = NULL;

	assert_non_null(copy);
	memcpy(copy, bytes, size);
	text = escape_bytes(copy, size, max);
	assert_non_null(text);
	assert_string_equal(text, expected);
	assert_true(utf8_is_valid(text, strlen(text)));
}

static void printable_text_stays(void **state _unused_)
{
	escapes_to("", 0, 0, "");
	escapes_to("holiday/beach 1.jpg", 19, 0, "holiday/beach 1.jpg");
	escapes_to("\xc3\xa9\xe6\xbc\xa2\xf0\x9f\x98\x80", 9, 0, "\xc3\xa9\xe6\xbc\xa2\xf0\x9f\x98\x80");
	escapes_to("100%n %s", 8, 0, "100%n %s");
}

static void what_moves_the_cursor_or_turns_the_text_is_seen(void **state _unused_)
{
	escapes_to("a\nb", 3, 0, "a\\x0ab");
	escapes_to("a\0b", 3, 0, "a\\x00b");
	escapes_to("\x1b[2J", 4, 0, "\\x1b[2J");
	escapes_to("\x7f", 1, 0, "\\x7f");
	escapes_to("\xc2\x9b", 2, 0, "\\xc2\\x9b");                   /* CSI as one C1 character */
	escapes_to("\xe2\x80\xae", 3, 0, "\\xe2\\x80\\xae");          /* right-to-left override */
	escapes_to("\xe2\x81\xa6", 3, 0, "\\xe2\\x81\\xa6");          /* isolate */
	escapes_to("\xe2\x80\xa8", 3, 0, "\\xe2\\x80\\xa8");          /* line separator */
	escapes_to("\xe2\x80\x8b", 3, 0, "\\xe2\\x80\\x8b");          /* zero-width space */
	escapes_to("\xef\xbb\xbf", 3, 0, "\\xef\\xbb\\xbf");          /* byte order mark */
	escapes_to("\xd8\x9c", 2, 0, "\\xd8\\x9c");                   /* Arabic letter mark */
	escapes_to("\xf3\xa0\x81\x81", 4, 0, "\\xf3\\xa0\\x81\\x81"); /* a tag character */
}

static void it_can_be_undone(void **state _unused_)
{
	escapes_to("\\", 1, 0, "\\x5c");
	escapes_to("\\x0a", 4, 0, "\\x5cx0a");
}

static void malformed_bytes_are_seen_one_by_one(void **state _unused_)
{
	escapes_to("\xff\xfe", 2, 0, "\\xff\\xfe");
	escapes_to("\xc3", 1, 0, "\\xc3");
	escapes_to("\xc3(", 2, 0, "\\xc3(");
	escapes_to("\xe2\x82", 2, 0, "\\xe2\\x82");
	escapes_to("\xc0\xaf", 2, 0, "\\xc0\\xaf");
	escapes_to("\xed\xa0\x80", 3, 0, "\\xed\\xa0\\x80");
	escapes_to("\xf4\x90\x80\x80", 4, 0, "\\xf4\\x90\\x80\\x80");
}

static void a_cut_is_shown_and_never_within_a_character(void **state _unused_)
{
	escapes_to("abcdef", 6, 6, "abcdef");
	escapes_to("abcdef", 6, 3, "abc" ELLIPSIS);
	escapes_to("ab\xc3\xa9", 4, 3, "ab" ELLIPSIS);
	escapes_to("ab\n", 3, 5, "ab" ELLIPSIS);
	escapes_to("ab\n", 3, 6, "ab\\x0a");
}

static void validity_is_that_of_unicode(void **state _unused_)
{
	static const struct {
		const char *bytes;
		bool valid;
	} cases[] = {
		{"", true},
		{"a", true},
		{"\x7f", true},
		{"\xc2\x80", true},
		{"\xdf\xbf", true},
		{"\xe0\xa0\x80", true},
		{"\xed\x9f\xbf", true},
		{"\xee\x80\x80", true},
		{"\xf0\x90\x80\x80", true},
		{"\xf4\x8f\xbf\xbf", true},
		{"\x80", false},
		{"\xbf", false},
		{"\xc1\xbf", false},
		{"\xc2", false},
		{"\xe0\x9f\xbf", false},
		{"\xed\xa0\x80", false},
		{"\xf0\x8f\xbf\xbf", false},
		{"\xf4\x90\x80\x80", false},
		{"\xf8\x88\x80\x80\x80", false},
		{"\xfe", false},
		{"a\xc3", false},
		{"\xc3\xa9\xa9", false},
	};

	for (size_t i = 0; i < ELEMENTSOF(cases); i++)
		if (utf8_is_valid(cases[i].bytes, strlen(cases[i].bytes)) != cases[i].valid)
			fail_msg("case %zu", i);
	assert_true(utf8_is_valid("a\0b", 3));
}

static void any_bytes_give_valid_printable_text(void **state _unused_)
{
	for (size_t round = 0; round < 50000; round++) {
		char bytes[24];
		size_t size = randombytes_uniform(sizeof(bytes) + 1);
		_cleanup_free_ char *text = NULL;

		randombytes_buf(bytes, size);
		text = escape_bytes(bytes, size, 0);
		assert_non_null(text);
		assert_true(utf8_is_valid(text, strlen(text)));
		for (const char *p = text; *p; p++)
			assert_true((uint8_t)*p >= 0x20 && *p != 0x7f);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(printable_text_stays),
		cmocka_unit_test(what_moves_the_cursor_or_turns_the_text_is_seen),
		cmocka_unit_test(it_can_be_undone),
		cmocka_unit_test(malformed_bytes_are_seen_one_by_one),
		cmocka_unit_test(a_cut_is_shown_and_never_within_a_character),
		cmocka_unit_test(validity_is_that_of_unicode),
		cmocka_unit_test(any_bytes_give_valid_printable_text),
	};

	if (sodium_init() < 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
