/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "enrolled.h"

#include <sys/socket.h>
#include <sys/sysmacros.h>
#include <sys/un.h>

static void an_enrolled_drive_opens_and_says_who_it_is(void **state _unused_)
{
	_cleanup_secret_ Secret *passphrase = secret_of_string(PASSPHRASE), *key = NULL, *mac = NULL;
	DriveIdentity unlocked, identified;
	DriveFacts facts;
	bool rewrap = false;
	Enrolled e;

	enrolled_begin(&e);
	assert_int_equal(drive_probe(&e.f.vfs, e.f.root_fd, &facts), OUTCOME_DONE);
	assert_true(facts.enrolled);
	assert_int_equal(facts.suite, SUITE_XCHACHA20_POLY1305);
	assert_int_equal(facts.version, 1);
	assert_int_equal(facts.kdf_memory, CHEAP_MEMORY);
	assert_memory_equal(facts.id, e.identity.id, DRIVE_ID_SIZE);

	assert_int_equal(
		drive_unlock(&e.f.vfs, e.f.root_fd, passphrase, &unlocked, &key, &rewrap), OUTCOME_DONE);
	assert_memory_equal(secret_view(key), secret_view(e.key), DRIVE_KEY_SIZE);
	assert_true(rewrap); /* 64 MiB twice is below the floor */
	mac = metadata_mac_of(&e);
	assert_int_equal(drive_identify(&e.f.vfs, e.f.root_fd, mac, &identified), OUTCOME_DONE);
	assert_same_identity(&identified, &unlocked);
	assert_same_identity(&identified, &e.identity);
	assert_int_equal(unlocked.generation, 1);
	assert_int_equal(unlocked.epoch, 1);
	assert_false(unlocked.degraded);
	enrolled_end(&e);
}

/* I3: each copy behind a barrier of its own, equal, and of its fixed size. */
static void wrong_passphrase_changes_no_byte(void **state _unused_)
{
	uint8_t before[32], after[32];
	Enrolled e;

	enrolled_begin(&e);
	fixture_hash(&e.f, before);
	assert_int_equal(unlock(&e.f, "wrong"), OUTCOME_WRONG_PASSPHRASE);
	assert_int_equal(unlock(&e.f, PASSPHRASE " "), OUTCOME_WRONG_PASSPHRASE);
	assert_int_equal(unlock(&e.f, PASSPHRASE), OUTCOME_DONE);
	fixture_hash(&e.f, after);
	assert_memory_equal(before, after, sizeof(before));
	assert_int_equal(e.f.noisy_opens, 0);

	/* Who is not the files' owner may not ask for O_NOATIME, and is served all the same. */
	e.f.no_noatime = true;
	assert_int_equal(unlock(&e.f, PASSPHRASE), OUTCOME_DONE);
	enrolled_end(&e);
}

static void an_empty_drive_is_not_enrolled(void **state _unused_)
{
	_cleanup_secret_ Secret *mac = NULL;
	DriveIdentity identity;
	DriveFacts facts;
	Fixture f;

	fixture_begin(&f);
	assert_int_equal(secret_new_random(SUBKEY_SIZE, &mac), 0);
	assert_int_equal(drive_probe(&f.vfs, f.root_fd, &facts), OUTCOME_DONE);
	assert_false(facts.enrolled);
	assert_int_equal(unlock(&f, PASSPHRASE), OUTCOME_NOT_ENROLLED);
	assert_int_equal(drive_identify(&f.vfs, f.root_fd, mac, &identity), OUTCOME_NOT_ENROLLED);
	assert_int_equal(drive_unenroll(&f.vfs, f.root_fd), OUTCOME_NOT_ENROLLED);
	/* After a yank names are gone too: that means nothing. */
	f.dead = true;
	assert_int_equal(drive_probe(&f.vfs, f.root_fd, &facts), OUTCOME_DRIVE_GONE);
	assert_int_equal(unlock(&f, PASSPHRASE), OUTCOME_DRIVE_GONE);
	assert_int_equal(drive_unenroll(&f.vfs, f.root_fd), OUTCOME_DRIVE_GONE);
	fixture_end(&f);
}

static void either_copy_is_enough(void **state _unused_)
{
	static const char *const names[] = {".usbcrypt/a/drive.json", ".usbcrypt/b/drive.json"};
	_cleanup_secret_ Secret *mac = NULL;
	_cleanup_free_ uint8_t *bytes = NULL;
	DriveIdentity identity;
	DriveFacts facts;
	bool rewrap;
	size_t size;
	Enrolled e;

	enrolled_begin(&e);
	mac = metadata_mac_of(&e);
	bytes = get_file(e.f.root_fd, names[0], &size);
	for (size_t i = 0; i < ELEMENTSOF(names); i++) {
		put_file(&e.f, names[i], "torn", 4);
		assert_int_equal(unlock_with(&e.f, PASSPHRASE, &identity, &rewrap), OUTCOME_DONE);
		assert_true(identity.degraded);
		assert_int_equal(unlinkat(e.f.root_fd, names[i], 0), 0);
		assert_int_equal(unlock_with(&e.f, PASSPHRASE, &identity, &rewrap), OUTCOME_DONE);
		assert_true(identity.degraded);
		assert_int_equal(drive_identify(&e.f.vfs, e.f.root_fd, mac, &identity), OUTCOME_DONE);
		assert_true(identity.degraded);
		assert_int_equal(drive_probe(&e.f.vfs, e.f.root_fd, &facts), OUTCOME_DONE);
		assert_true(facts.enrolled);
		assert_int_equal(unlock(&e.f, "wrong"), OUTCOME_WRONG_PASSPHRASE);
		put_file(&e.f, names[i], bytes, size);
	}
	enrolled_end(&e);
}

static void the_highest_generation_that_verifies_is_believed(void **state _unused_)
{
	_cleanup_secret_ Secret *mac = NULL;
	_cleanup_metadata_ Metadata *m = NULL;
	_cleanup_free_ uint8_t *bytes = NULL;
	uint8_t newer[METADATA_SIZE];
	DriveIdentity identity;
	bool rewrap;
	size_t size;
	Enrolled e;

	enrolled_begin(&e);
	mac = metadata_mac_of(&e);
	bytes = get_file(e.f.root_fd, ".usbcrypt/a/drive.json", &size);
	assert_int_equal(metadata_parse(bytes, size, &m), OUTCOME_DONE);
	assert_int_equal(metadata_format(m, 5, mac, newer), 0);
	put_file(&e.f, ".usbcrypt/b/drive.json", newer, sizeof(newer));
	assert_int_equal(unlock_with(&e.f, PASSPHRASE, &identity, &rewrap), OUTCOME_DONE);
	assert_int_equal(identity.generation, 5);
	assert_true(identity.degraded);

	/* Signed by nobody we know: the older one is believed. */
	(void)memcpy(memmem(newer, sizeof(newer), "\"generation\":\"5\"", 16), "\"generation\":\"9\"", 16);
	put_file(&e.f, ".usbcrypt/b/drive.json", newer, sizeof(newer));
	assert_int_equal(unlock_with(&e.f, PASSPHRASE, &identity, &rewrap), OUTCOME_DONE);
	assert_int_equal(identity.generation, 1);
	assert_int_equal(drive_identify(&e.f.vfs, e.f.root_fd, mac, &identity), OUTCOME_DONE);
	assert_int_equal(identity.generation, 1);

	/* And alone it is seen to be altered, by who knows the passphrase. */
	assert_int_equal(unlinkat(e.f.root_fd, ".usbcrypt/a/drive.json", 0), 0);
	assert_int_equal(unlock(&e.f, PASSPHRASE), OUTCOME_TAMPERED);
	assert_int_equal(unlock(&e.f, "wrong"), OUTCOME_WRONG_PASSPHRASE);
	assert_int_equal(drive_identify(&e.f.vfs, e.f.root_fd, mac, &identity), OUTCOME_TAMPERED);
	enrolled_end(&e);
}

static void a_flip_of_any_byte_of_one_copy_is_survived_and_of_both_refused(void **state _unused_)
{
	_cleanup_secret_ Secret *mac = NULL;
	_cleanup_free_ uint8_t *bytes = NULL;
	_cleanup_close_ int a = -1, b = -1;
	DriveIdentity identity;
	size_t size;
	Enrolled e;

	enrolled_begin(&e);
	mac = metadata_mac_of(&e);
	bytes = get_file(e.f.root_fd, ".usbcrypt/a/drive.json", &size);
	a = openat(e.f.root_fd, ".usbcrypt/a/drive.json", O_WRONLY | O_CLOEXEC);
	b = openat(e.f.root_fd, ".usbcrypt/b/drive.json", O_WRONLY | O_CLOEXEC);
	for (size_t i = 0; i < size; i += i < 1000 || i > size - 20 ? 1 : 50) {
		uint8_t flipped = bytes[i] ^ 1;

		assert_int_equal(pwrite(a, &flipped, 1, (off_t)i), 1);
		assert_int_equal(drive_identify(&e.f.vfs, e.f.root_fd, mac, &identity), OUTCOME_DONE);
		assert_true(identity.degraded);
		assert_int_equal(pwrite(b, &flipped, 1, (off_t)i), 1);
		assert_true(drive_identify(&e.f.vfs, e.f.root_fd, mac, &identity) != OUTCOME_DONE);
		assert_int_equal(pwrite(a, &bytes[i], 1, (off_t)i), 1);
		assert_int_equal(pwrite(b, &bytes[i], 1, (off_t)i), 1);
	}
	assert_int_equal(drive_identify(&e.f.vfs, e.f.root_fd, mac, &identity), OUTCOME_DONE);
	assert_false(identity.degraded);
	enrolled_end(&e);
}

typedef enum Hostile {
	HOSTILE_LINK,
	HOSTILE_LINK_OUT,
	HOSTILE_FIFO,
	HOSTILE_FOLDER,
	HOSTILE_SOCKET,
	HOSTILE_DEVICE,
	HOSTILE_FILE,
	HOSTILE_MAX,
} Hostile;

/* Puts something else in a name's place; false where that cannot be done, or is what belongs there. */
static bool put_hostile(const Fixture *f, const char *name, Hostile kind, bool folder)
{
	char path[100], aside[100];

	(void)snprintf(path, sizeof(path), "%s/%s", f->path, name);
	(void)snprintf(aside, sizeof(aside), "%s/aside", f->path);
	if ((kind == HOSTILE_FOLDER && folder) || (kind == HOSTILE_FILE && !folder))
		return false;
	assert_int_equal(rename(path, aside), 0);
	switch (kind) {
	case HOSTILE_LINK:
		assert_int_equal(symlink(aside, path), 0); /* even to the real thing */
		return true;
	case HOSTILE_LINK_OUT:
		assert_int_equal(symlink("/etc", path), 0);
		return true;
	case HOSTILE_FIFO:
		assert_int_equal(mkfifo(path, 0600), 0);
		return true;
	case HOSTILE_FOLDER:
		assert_int_equal(mkdir(path, 0700), 0);
		return true;
	case HOSTILE_FILE:
		put_file(f, name, "x", 1);
		return true;
	case HOSTILE_SOCKET: {
		_cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
		struct sockaddr_un address = {.sun_family = AF_UNIX};

		memcpy(address.sun_path, path, sizeof(path));
		assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
		return true;
	}
	case HOSTILE_DEVICE:
		/* Where we may: /dev/zero would be read for ever. */
		if (mknod(path, S_IFCHR | 0600, makedev(1, 5)) == 0)
			return true;
		assert_int_equal(rename(aside, path), 0);
		return false;
	case HOSTILE_MAX:
		break;
	}
	return false;
}

static void remove_hostile(const Fixture *f, const char *name)
{
	if (unlinkat(f->root_fd, name, 0) < 0)
		assert_int_equal(unlinkat(f->root_fd, name, AT_REMOVEDIR), 0);
	assert_int_equal(renameat(f->root_fd, "aside", f->root_fd, name), 0);
}

static void what_is_no_file_in_a_folder_is_refused_and_not_waited_for(void **state _unused_)
{
	static const struct {
		const char *name;
		bool folder;
	} names[] = {{".usbcrypt", true}, {".usbcrypt/a", true}, {".usbcrypt/a/drive.json", false}};
	Enrolled e;

	enrolled_begin(&e);
	/* With one copy only, so that nothing else can be believed. */
	assert_int_equal(unlinkat(e.f.root_fd, ".usbcrypt/b/drive.json", 0), 0);
	for (size_t i = 0; i < ELEMENTSOF(names); i++)
		for (Hostile kind = 0; kind < HOSTILE_MAX; kind++) {
			uint8_t before[32], after[32];
			DriveFacts facts;

			if (!put_hostile(&e.f, names[i].name, kind, names[i].folder))
				continue;
			fixture_hash(&e.f, before);
			assert_int_equal(drive_probe(&e.f.vfs, e.f.root_fd, &facts), OUTCOME_TAMPERED);
			assert_int_equal(unlock(&e.f, PASSPHRASE), OUTCOME_TAMPERED);
			assert_int_equal(enroll(&e.f), OUTCOME_TAMPERED);
			assert_int_equal(drive_unenroll(&e.f.vfs, e.f.root_fd), OUTCOME_TAMPERED);
			fixture_hash(&e.f, after);
			assert_memory_equal(before, after, sizeof(before));
			remove_hostile(&e.f, names[i].name);
			assert_int_equal(drive_probe(&e.f.vfs, e.f.root_fd, &facts), OUTCOME_DONE);
		}
	assert_int_equal(unlock(&e.f, PASSPHRASE), OUTCOME_DONE);
	enrolled_end(&e);
}

static void a_file_of_another_length_is_not_read(void **state _unused_)
{
	DriveFacts facts;
	Fixture f;

	fixture_begin(&f);
	put_copies(&f, "", 0);
	assert_int_equal(drive_probe(&f.vfs, f.root_fd, &facts), OUTCOME_TAMPERED);
	/* 4 GiB, in a file without blocks. */
	for (const char *p = "ab"; *p; p++) {
		char path[128];

		(void)snprintf(path, sizeof(path), "%s/.usbcrypt/%c/drive.json", f.path, *p);
		assert_int_equal(truncate(path, (off_t)4 << 30), 0);
	}
	assert_int_equal(drive_probe(&f.vfs, f.root_fd, &facts), OUTCOME_TAMPERED);
	assert_int_equal(unlock(&f, PASSPHRASE), OUTCOME_TAMPERED);
	fixture_end(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_enrolled_drive_opens_and_says_who_it_is),
		cmocka_unit_test(wrong_passphrase_changes_no_byte),
		cmocka_unit_test(an_empty_drive_is_not_enrolled),
		cmocka_unit_test(either_copy_is_enough),
		cmocka_unit_test(the_highest_generation_that_verifies_is_believed),
		cmocka_unit_test(a_flip_of_any_byte_of_one_copy_is_survived_and_of_both_refused),
		cmocka_unit_test(what_is_no_file_in_a_folder_is_refused_and_not_waited_for),
		cmocka_unit_test(a_file_of_another_length_is_not_read),
	};

	if (secret_init() < 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
