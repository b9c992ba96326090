/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "enrolled.h"

static void enrolling_makes_both_copies_durable(void **state _unused_)
{
	_cleanup_free_ uint8_t *a = NULL, *b = NULL, *readme = NULL;
	size_t size_a, size_b, readme_size;
	struct stat s;
	Enrolled e;

	enrolled_begin(&e);
	assert_int_equal(e.f.barriers, 2);
	a = get_file(e.f.root_fd, ".usbcrypt/a/drive.json", &size_a);
	b = get_file(e.f.root_fd, ".usbcrypt/b/drive.json", &size_b);
	assert_int_equal(size_a, METADATA_SIZE);
	assert_int_equal(size_b, METADATA_SIZE);
	assert_memory_equal(a, b, METADATA_SIZE);
	readme = get_file(e.f.root_fd, ".usbcrypt/README.txt", &readme_size);
	assert_non_null(strstr((char *)readme, "usbctl decrypt"));
	assert_non_null(strstr((char *)readme, "names of files"));
	assert_non_null(strstr((char *)readme, "memory cells"));
	assert_int_equal(fstatat(e.f.root_fd, ".usbcrypt/a/drive.json", &s, 0), 0);
	assert_int_equal(s.st_mode & 07777, 0600);
	enrolled_end(&e);
}

static void no_drive_is_enrolled_twice(void **state _unused_)
{
	uint8_t before[32], after[32];
	Enrolled e;

	enrolled_begin(&e);
	fixture_hash(&e.f, before);
	assert_int_equal(enroll(&e.f), OUTCOME_ALREADY_ENROLLED);
	fixture_hash(&e.f, after);
	/* Listing the folder may count as an access; names and bytes stay. */
	assert_int_equal(unlock(&e.f, PASSPHRASE), OUTCOME_DONE);
	assert_memory_equal(before, after, sizeof(before));
	enrolled_end(&e);
}

static void parameters_out_of_bounds_touch_nothing(void **state _unused_)
{
	static const struct {
		EnrollParameters parameters;
		Outcome outcome;
	} cases[] = {
		{{SUITE_INVALID, CHEAP_MEMORY, 2}, OUTCOME_UNSUPPORTED},
		{{99, CHEAP_MEMORY, 2}, OUTCOME_UNSUPPORTED},
		{{1, 1024, 2}, OUTCOME_INVALID_ARGUMENT},
		{{1, (uint64_t)2 << 30, 2}, OUTCOME_INVALID_ARGUMENT},
		{{1, CHEAP_MEMORY, 17}, OUTCOME_INVALID_ARGUMENT},
	};
	_cleanup_secret_ Secret *passphrase = secret_of_string(PASSPHRASE);
	Fixture f;

	fixture_begin(&f);
	for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
		Secret *key = NULL;
		DriveIdentity identity;

		assert_int_equal(
			drive_enroll(&f.vfs, f.root_fd, passphrase, &cases[i].parameters, &identity, &key),
			cases[i].outcome);
		assert_null(key);
		assert_false(exists(&f, ".usbcrypt"));
	}
	fixture_end(&f);
}

static void a_failed_enroll_takes_away_what_it_made(void **state _unused_)
{
	static const struct {
		int writes, barriers, error;
		bool lying;
		Outcome outcome;
	} cases[] = {
		{0, -1, -ENOSPC, false, OUTCOME_NO_SPACE},
		{1, -1, -ENOSPC, false, OUTCOME_NO_SPACE},
		{2, -1, -EDQUOT, false, OUTCOME_NO_SPACE},
		{1, -1, -EIO, false, OUTCOME_FAILED},
		{-1, 0, -EROFS, false, OUTCOME_READ_ONLY},
		{-1, 1, -EIO, false, OUTCOME_FAILED},
		{-1, -1, 0, true, OUTCOME_MEDIUM_FAILED},
	};

	for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
		Fixture f;

		fixture_begin(&f);
		f.writes_left = cases[i].writes;
		f.barriers_left = cases[i].barriers;
		f.error = cases[i].error;
		f.lying_medium = cases[i].lying;
		assert_int_equal(enroll(&f), cases[i].outcome);
		assert_false(exists(&f, ".usbcrypt"));
		f.writes_left = f.barriers_left = -1;
		f.lying_medium = false;
		assert_int_equal(enroll(&f), OUTCOME_DONE);
		fixture_end(&f);
	}
}

static void where_there_is_no_direct_reading_it_is_read_ordinarily(void **state _unused_)
{
	Fixture f;

	fixture_begin(&f);
	f.no_direct = true;
	assert_int_equal(enroll(&f), OUTCOME_DONE);
	assert_int_equal(unlock(&f, PASSPHRASE), OUTCOME_DONE);
	fixture_end(&f);
}

static void what_an_interrupted_enroll_left_is_replaced(void **state _unused_)
{
	static const char *const left[] = {"", "{\"format\":"};
	Fixture f;

	for (size_t i = 0; i < ELEMENTSOF(left); i++) {
		fixture_begin(&f);
		assert_int_equal(mkdirat(f.root_fd, ".usbcrypt", 0755), 0);
		assert_int_equal(mkdirat(f.root_fd, ".usbcrypt/a", 0755), 0);
		put_file(&f, ".usbcrypt/a/drive.json", left[i], strlen(left[i]));
		assert_int_equal(enroll(&f), OUTCOME_DONE);
		assert_int_equal(unlock(&f, PASSPHRASE), OUTCOME_DONE);
		fixture_end(&f);
	}
}

static void a_damaged_drive_is_not_enrolled_over(void **state _unused_)
{
	static const char *const more[] = {".usbcrypt/b/drive.json", ".usbcrypt/a/journal",
		".usbcrypt/b/journal", ".usbcrypt/stranger.txt"};

	for (size_t i = 0; i < ELEMENTSOF(more); i++) {
		uint8_t before[32], after[32];
		Fixture f;

		fixture_begin(&f);
		put_copies(&f, "torn", 4);
		assert_int_equal(unlinkat(f.root_fd, ".usbcrypt/b/drive.json", 0), 0);
		put_file(&f, more[i], "torn", 4);
		fixture_hash(&f, before);
		assert_int_equal(enroll(&f), OUTCOME_TAMPERED);
		fixture_hash(&f, after);
		assert_memory_equal(before, after, sizeof(before));
		fixture_end(&f);
	}
}

static void rewrapping_raises_parameters_and_generation_in_both_copies(void **state _unused_)
{
	static const EnrollParameters dearer = {SUITE_XCHACHA20_POLY1305, CHEAP_MEMORY, 3};
	_cleanup_secret_ Secret *passphrase = secret_of_string(PASSPHRASE);
	DriveIdentity identity;
	bool rewrap;
	Enrolled e;

	enrolled_begin(&e);
	assert_int_equal(drive_rewrap(&e.f.vfs, e.f.root_fd, passphrase, e.key, &dearer), OUTCOME_DONE);
	assert_int_equal(e.f.barriers, 4);
	assert_int_equal(unlock_with(&e.f, PASSPHRASE, &identity, &rewrap), OUTCOME_DONE);
	assert_false(rewrap);
	assert_false(identity.degraded);
	assert_int_equal(identity.generation, 2);
	assert_memory_equal(identity.id, e.identity.id, DRIVE_ID_SIZE);
	assert_memory_not_equal(identity.digest, e.identity.digest, 32);
	assert_int_equal(unlock(&e.f, "wrong"), OUTCOME_WRONG_PASSPHRASE);
	enrolled_end(&e);
}

static void rewrapping_mends_a_lost_copy(void **state _unused_)
{
	_cleanup_secret_ Secret *passphrase = secret_of_string(PASSPHRASE);
	DriveIdentity identity;
	bool rewrap;
	Enrolled e;

	enrolled_begin(&e);
	assert_int_equal(unlinkat(e.f.root_fd, ".usbcrypt/a/drive.json", 0), 0);
	assert_int_equal(unlinkat(e.f.root_fd, ".usbcrypt/a", AT_REMOVEDIR), 0);
	assert_int_equal(drive_rewrap(&e.f.vfs, e.f.root_fd, passphrase, e.key, &cheap), OUTCOME_DONE);
	assert_int_equal(unlock_with(&e.f, PASSPHRASE, &identity, &rewrap), OUTCOME_DONE);
	assert_false(identity.degraded);
	enrolled_end(&e);
}

static void a_rewrap_that_fails_anywhere_leaves_a_drive_that_opens(void **state _unused_)
{
	static const struct {
		int writes, barriers;
		bool lying;
		uint64_t generation;
	} cases[] = {{0, -1, false, 1}, {1, -1, false, 2}, {-1, 0, false, 2}, {-1, 1, false, 2},
		{-1, -1, true, 2}};
	_cleanup_secret_ Secret *passphrase = secret_of_string(PASSPHRASE);

	for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
		_cleanup_free_ uint8_t *a = NULL;
		DriveIdentity identity;
		bool rewrap;
		size_t size;
		Enrolled e;

		enrolled_begin(&e);
		/* What the copies are read for must not be altered: only what is read after a barrier. */
		e.f.barriers = 0;
		e.f.writes_left = cases[i].writes;
		e.f.barriers_left = cases[i].barriers;
		e.f.lying_medium = cases[i].lying;
		assert_true(drive_rewrap(&e.f.vfs, e.f.root_fd, passphrase, e.key, &cheap) != OUTCOME_DONE);
		e.f.writes_left = e.f.barriers_left = -1;
		e.f.lying_medium = false;
		assert_int_equal(unlock_with(&e.f, PASSPHRASE, &identity, &rewrap), OUTCOME_DONE);
		assert_int_equal(identity.generation, cases[i].generation);
		/* The believed copy, a, is not begun before b is known to be good. */
		a = get_file(e.f.root_fd, ".usbcrypt/a/drive.json", &size);
		if (cases[i].barriers != 1)
			assert_non_null(memmem(a, size, "\"generation\":\"1\"", 16));
		enrolled_end(&e);
	}
}

static void rewrapping_needs_the_passphrase_and_the_same_drive(void **state _unused_)
{
	_cleanup_secret_ Secret *passphrase = secret_of_string(PASSPHRASE),
				*wrong = secret_of_string("wrong"), *other = NULL;
	uint8_t before[32], after[32];
	Enrolled e;

	enrolled_begin(&e);
	assert_int_equal(secret_new_random(DRIVE_KEY_SIZE, &other), 0);
	fixture_hash(&e.f, before);
	assert_int_equal(drive_rewrap(&e.f.vfs, e.f.root_fd, wrong, e.key, &cheap), OUTCOME_WRONG_PASSPHRASE);
	assert_int_equal(drive_rewrap(&e.f.vfs, e.f.root_fd, passphrase, other, &cheap), OUTCOME_TAMPERED);
	fixture_hash(&e.f, after);
	assert_memory_equal(before, after, sizeof(before));
	enrolled_end(&e);
}

static void leaving_takes_away_everything_of_ours(void **state _unused_)
{
	Enrolled e;

	enrolled_begin(&e);
	put_file(&e.f, ".usbcrypt/a/journal", "x", 1);
	put_file(&e.f, ".usbcrypt/b/journal", "x", 1);
	put_file(&e.f, "letter.txt", "x", 1);
	assert_int_equal(drive_unenroll(&e.f.vfs, e.f.root_fd), OUTCOME_DONE);
	assert_false(exists(&e.f, ".usbcrypt"));
	assert_true(exists(&e.f, "letter.txt"));
	assert_int_equal(e.f.barriers, 3);
	enrolled_end(&e);
}

static void leaving_touches_nothing_where_a_stranger_is(void **state _unused_)
{
	static const char *const strangers[] = {
		".usbcrypt/notes.txt", ".usbcrypt/a/notes.txt", ".usbcrypt/b/x"};

	for (size_t i = 0; i < ELEMENTSOF(strangers); i++) {
		Enrolled e;

		enrolled_begin(&e);
		put_file(&e.f, strangers[i], "mine", 4);
		assert_int_equal(drive_unenroll(&e.f.vfs, e.f.root_fd), OUTCOME_TAMPERED);
		assert_true(exists(&e.f, strangers[i]));
		assert_int_equal(unlock(&e.f, PASSPHRASE), OUTCOME_DONE);
		enrolled_end(&e);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(enrolling_makes_both_copies_durable),
		cmocka_unit_test(no_drive_is_enrolled_twice),
		cmocka_unit_test(parameters_out_of_bounds_touch_nothing),
		cmocka_unit_test(a_failed_enroll_takes_away_what_it_made),
		cmocka_unit_test(where_there_is_no_direct_reading_it_is_read_ordinarily),
		cmocka_unit_test(what_an_interrupted_enroll_left_is_replaced),
		cmocka_unit_test(a_damaged_drive_is_not_enrolled_over),
		cmocka_unit_test(rewrapping_raises_parameters_and_generation_in_both_copies),
		cmocka_unit_test(rewrapping_mends_a_lost_copy),
		cmocka_unit_test(a_rewrap_that_fails_anywhere_leaves_a_drive_that_opens),
		cmocka_unit_test(rewrapping_needs_the_passphrase_and_the_same_drive),
		cmocka_unit_test(leaving_takes_away_everything_of_ours),
		cmocka_unit_test(leaving_touches_nothing_where_a_stranger_is),
	};

	if (secret_init() < 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
