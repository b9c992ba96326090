/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fixture.h"

#include "engine/attributes.h"

static char *name_of(size_t i)
{
	char *name;

	assert_true(asprintf(&name, "user.%05zu", i) > 0);
	return name;
}

static void add_xattr(Attributes *a, char *name, size_t size)
{
	a->xattrs = reallocarray(a->xattrs, a->n_xattrs + 1, sizeof(*a->xattrs));
	assert_non_null(a->xattrs);
	a->xattrs[a->n_xattrs++] = (ExtendedAttribute){name, calloc(1, MAX(size, (size_t)1)), size};
}

static Attributes full(void)
{
	Attributes a = {
		.present = ATTRIBUTE_PATH | ATTRIBUTE_SIZE | ATTRIBUTE_MTIME | ATTRIBUTE_MODE |
			   ATTRIBUTE_OWNER | ATTRIBUTE_FAT | ATTRIBUTE_RUN,
		.path = strdup("a/b"),
		.size = 12345678901,
		.mtime_sec = -5,
		.mtime_nsec = 999999999,
		.mode = 07777,
		.uid = 0xffffffff,
		.gid = 7,
		.fat = 0x21,
		.run = {1, 2, 3},
	};

	add_xattr(&a, strdup("user.z"), 3);
	add_xattr(&a, strdup("user.a"), 0);
	return a;
}

static void what_is_encoded_is_decoded(void **state _unused_)
{
	_cleanup_(attributes_clear) Attributes a = full();
	_cleanup_attributes_ Attributes *b = NULL;
	_cleanup_free_ uint8_t *bytes = NULL, *again = NULL;
	size_t size, size_again;

	assert_int_equal(attributes_encode(&a, &bytes, &size), 0);
	assert_int_equal(attributes_decode(bytes, size, &b), 0);
	assert_int_equal(b->present, a.present);
	assert_string_equal(b->path, a.path);
	assert_true(b->size == a.size && b->mtime_sec == a.mtime_sec && b->mtime_nsec == a.mtime_nsec);
	assert_true(b->mode == a.mode && b->uid == a.uid && b->gid == a.gid && b->fat == a.fat);
	assert_memory_equal(b->run, a.run, sizeof(a.run));
	assert_int_equal(b->n_xattrs, 2);
	assert_string_equal(b->xattrs[0].name, "user.a"); /* sorted */
	assert_int_equal(b->xattrs[0].size, 0);
	assert_int_equal(b->xattrs[1].size, 3);
	assert_int_equal(attributes_encode(b, &again, &size_again), 0);
	assert_int_equal(size, size_again);
	assert_memory_equal(bytes, again, size);
}

static void absent_is_absent_and_not_zero(void **state _unused_)
{
	Attributes a = {.present = ATTRIBUTE_MODE, .size = 99, .mode = 0600};
	_cleanup_attributes_ Attributes *b = NULL;
	_cleanup_free_ uint8_t *bytes = NULL;
	size_t size;

	assert_int_equal(attributes_encode(&a, &bytes, &size), 0);
	assert_int_equal(attributes_decode(bytes, size, &b), 0);
	assert_int_equal(b->present, ATTRIBUTE_MODE);
	assert_null(b->path);
	assert_int_equal(b->size, 0);
}

static void an_ordinary_file_needs_less_than_a_hundred_bytes(void **state _unused_)
{
	_cleanup_(attributes_clear) Attributes a = full();
	_cleanup_free_ uint8_t *bytes = NULL;
	size_t size;

	for (size_t i = 0; i < a.n_xattrs; i++) {
		free(a.xattrs[i].name);
		free(a.xattrs[i].value);
	}
	a.n_xattrs = 0;
	assert_int_equal(attributes_encode(&a, &bytes, &size), 0);
	assert_in_range(size, 1, 100);
}

static void no_path_leads_out_or_into_our_own_folder(void **state _unused_)
{
	static const char *const good[] = {"a", "a/b", "...", "..a", "a..", ".a", "a/.usbcrypt/b", ".usbcryp",
		".usbcrypt2", "\xff", " ", "a\nb"};
	static const char *const bad[] = {"", "/", "/a", "a/", "a//b", ".", "..", "./a", "../a", "a/.",
		"a/..", "a/./b", "a/../b", ".usbcrypt", ".usbcrypt/a", ".USBCRYPT/a", ".UsbCrypt"};
	char longest[ATTRIBUTES_PATH_MAX + 2];

	for (size_t i = 0; i < ELEMENTSOF(good); i++)
		assert_true(attributes_path_is_valid(good[i], strlen(good[i])));
	for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
		Attributes a = {.present = ATTRIBUTE_PATH, .path = (char *)(uintptr_t)bad[i]};
		uint8_t *bytes;
		size_t size;

		assert_false(attributes_path_is_valid(bad[i], strlen(bad[i])));
		assert_int_equal(attributes_encode(&a, &bytes, &size), -EINVAL);
	}
	assert_false(attributes_path_is_valid("a\0b", 3));
	memset(longest, 'x', sizeof(longest));
	assert_true(attributes_path_is_valid(longest, ATTRIBUTES_PATH_MAX));
	assert_false(attributes_path_is_valid(longest, ATTRIBUTES_PATH_MAX + 1));
}

static int encode(const Attributes *a)
{
	_cleanup_free_ uint8_t *bytes = NULL;
	size_t size;

	return attributes_encode(a, &bytes, &size);
}

static void values_out_of_bounds_are_not_written(void **state _unused_)
{
	_cleanup_(attributes_clear) Attributes a = full();

	a.mtime_nsec = NSEC_PER_SEC;
	assert_int_equal(encode(&a), -EINVAL);
	a.mtime_nsec = 0;
	a.mode = 010000;
	assert_int_equal(encode(&a), -EINVAL);
	a.mode = 0;
	a.fat = 0x100;
	assert_int_equal(encode(&a), -EINVAL);
	a.fat = 0;
	a.size = (uint64_t)INT64_MAX + 1;
	assert_int_equal(encode(&a), -EINVAL);
	a.size = 0;
	assert_int_equal(encode(&a), 0);
	strcpy(a.xattrs[1].name, "user.z");
	assert_int_equal(encode(&a), -EINVAL); /* the same name twice */
	strcpy(a.xattrs[1].name, "root.a");
	assert_int_equal(encode(&a), -EINVAL);
}

static void xattrs_are_bounded_in_number_and_size(void **state _unused_)
{
	_cleanup_(attributes_clear) Attributes many = {}, large = {};

	for (size_t i = 0; i < ATTRIBUTES_XATTRS_MAX; i++)
		add_xattr(&many, name_of(i), 1);
	assert_int_equal(encode(&many), 0);
	add_xattr(&many, name_of(ATTRIBUTES_XATTRS_MAX), 1);
	assert_int_equal(encode(&many), -EMSGSIZE);

	add_xattr(&large, strdup("user.a"), ATTRIBUTES_XATTR_MAX - 6);
	assert_int_equal(encode(&large), 0);
	add_xattr(&large, strdup("user.b"), 0);
	assert_int_equal(encode(&large), -EMSGSIZE);
}

static void the_longest_attributes_fit_the_bound(void **state _unused_)
{
	_cleanup_(attributes_clear) Attributes a = full();
	_cleanup_attributes_ Attributes *b = NULL;
	_cleanup_free_ uint8_t *bytes = NULL;
	size_t size, each = (ATTRIBUTES_XATTR_MAX - 9) / 254 - 10;

	free(a.path);
	a.path = calloc(1, ATTRIBUTES_PATH_MAX + 1);
	assert_non_null(a.path);
	memset(a.path, 'p', ATTRIBUTES_PATH_MAX);
	for (size_t i = 0; i < 254; i++)
		add_xattr(&a, name_of(i), each);
	assert_int_equal(attributes_encode(&a, &bytes, &size), 0);
	assert_in_range(size, 52000, ATTRIBUTES_SIZE_MAX);
	assert_int_equal(attributes_decode(bytes, size, &b), 0);
	assert_int_equal(b->n_xattrs, 256);
}

static void every_truncation_is_refused_or_a_whole_number_of_fields(void **state _unused_)
{
	_cleanup_(attributes_clear) Attributes a = full();
	_cleanup_free_ uint8_t *bytes = NULL;
	size_t size, accepted = 0;

	assert_int_equal(attributes_encode(&a, &bytes, &size), 0);
	for (size_t n = 0; n < size; n++) {
		_cleanup_attributes_ Attributes *b = NULL;
		/* A copy of exactly n bytes, so that ASan sees a byte too many being read. */
		_cleanup_free_ uint8_t *cut = malloc(MAX(n, (size_t)1));
		int r;

		assert_non_null(cut);
		memcpy(cut, bytes, n);
		r = attributes_decode(cut, n, &b);
		assert_true(r == 0 || r == -EBADMSG);
		accepted += r == 0;
	}
	assert_int_equal(accepted, 9); /* of nine fields: the first none to the first eight */
}

static void no_bytes_make_the_decoder_stumble(void **state _unused_)
{
	uint8_t bytes[64];

	for (size_t i = 0; i < 200000; i++) {
		_cleanup_attributes_ Attributes *a = NULL;
		size_t size = randombytes_uniform(sizeof(bytes));
		int r;

		randombytes_buf(bytes, size);
		/* Plausible types and lengths, or nearly nothing would get past the first field. */
		for (size_t k = 0; k + 4 < size; k += 4 + bytes[k + 2]) {
			bytes[k] &= 15;
			bytes[k + 1] &= 0x80;
			bytes[k + 2] &= 15;
			bytes[k + 3] = 0;
		}
		r = attributes_decode(bytes, size, &a);
		assert_true(r == 0 || r == -EBADMSG || r == -EOPNOTSUPP);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_encoded_is_decoded),
		cmocka_unit_test(absent_is_absent_and_not_zero),
		cmocka_unit_test(an_ordinary_file_needs_less_than_a_hundred_bytes),
		cmocka_unit_test(no_path_leads_out_or_into_our_own_folder),
		cmocka_unit_test(values_out_of_bounds_are_not_written),
		cmocka_unit_test(xattrs_are_bounded_in_number_and_size),
		cmocka_unit_test(the_longest_attributes_fit_the_bound),
		cmocka_unit_test(every_truncation_is_refused_or_a_whole_number_of_fields),
		cmocka_unit_test(no_bytes_make_the_decoder_stumble),
	};

	if (secret_init() < 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
