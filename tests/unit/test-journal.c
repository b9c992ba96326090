/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Which files are the journal, and how they are made. What is written into them: test-transaction.c. */

#include "tree.h"

static void make_files(Tree *tree)
{
	tree_make(tree, "one", 1);
	tree_make(tree, "a/two", 70000);
	tree_make(tree, "a/b/three", 4097);
}

static int group_setup(void **state _unused_)
{
	return secret_init();
}

static void a_run_that_is_cancelled_when_it_has_made_the_journal_makes_no_second_one(void **state _unused_)
{
	unsigned made = 0;

	for (int polls = 1; polls < 12; polls++) {
		Tree tree;

		tree_begin(&tree);
		make_files(&tree);
		tree.polls_left = polls;
		(void)tree_encrypt(&tree);
		tree.polls_left = -1;
		made += faccessat(tree.fixture.root_fd, ".usbcrypt/a/journal", F_OK, 0) == 0 &&
			tree.result.counts[COUNT_ENCRYPTED] == 0;
		assert_int_equal(tree_encrypt(&tree), OUTCOME_DONE);
		assert_int_equal(faccessat(tree.fixture.root_fd, ".usbcrypt/a/journal2", F_OK, 0), -1);
		tree_end(&tree);
	}
	assert_true(made > 0);
}

static ino_t torn_journals[2];

/* FAT may have ended a journal's chain where the power was cut during its creation: reading on gives EIO, and
 * turns the filesystem read-only. */
static ssize_t torn_pread(const Vfs *vfs, int fd, void *buffer, size_t size, uint64_t offset)
{
	Fixture *f = fixture_of(vfs);
	struct stat st;

	if (fstat(fd, &st) == 0 && (st.st_ino == torn_journals[0] || st.st_ino == torn_journals[1]) &&
		offset + size > 4096) {
		f->writes_left = 0;
		return -EIO;
	}
	return f->posix.vfs.pread(&f->posix.vfs, fd, buffer, size, offset);
}

static void a_journal_whose_creation_was_cut_short_is_left_alone(void **state _unused_)
{
	static const char *const torn[] = {".usbcrypt/a/journal", ".usbcrypt/b/journal"};
	_cleanup_free_ uint8_t *zeros = calloc(1, 1024 * 1024), *now = NULL;
	struct stat st;
	size_t size;
	Tree tree;

	tree_begin(&tree);
	make_files(&tree);
	assert_non_null(zeros);
	for (size_t i = 0; i < ELEMENTSOF(torn); i++) {
		put_file(&tree.fixture, torn[i], zeros, 1024 * 1024);
		assert_int_equal(fstatat(tree.fixture.root_fd, torn[i], &st, 0), 0);
		torn_journals[i] = st.st_ino;
	}
	tree.fixture.vfs.pread = torn_pread;
	assert_int_equal(recovery_hint(&tree.fixture.vfs, tree.fixture.root_fd), TRANSACTION_INVALID);
	assert_int_equal(tree_recover(&tree, RECOVERY_SETTLE), OUTCOME_DONE);
	tree.fixture.barriers_left = 3;
	assert_int_equal(tree_encrypt(&tree), OUTCOME_INTERRUPTED);
	tree.fixture.barriers_left = -1;
	assert_int_equal(recovery_hint(&tree.fixture.vfs, tree.fixture.root_fd), TRANSACTION_ENCRYPT);
	assert_int_equal(tree_recover(&tree, RECOVERY_RESUME), OUTCOME_DONE);
	assert_int_equal(tree_count_files(&tree, true), 3);
	for (size_t i = 0; i < ELEMENTSOF(torn); i++) {
		free(now);
		now = get_file(tree.fixture.root_fd, torn[i], &size);
		assert_int_equal(size, 1024 * 1024);
		assert_memory_equal(now, zeros, size);
	}
	tree_end(&tree);
}

static void one_journal_file_alone_is_refused(void **state _unused_)
{
	static const char *const paths[] = {".usbcrypt/a/journal", ".usbcrypt/b/journal"};

	for (size_t i = 0; i < ELEMENTSOF(paths); i++) {
		Tree tree;

		tree_begin(&tree);
		make_files(&tree);
		assert_int_equal(tree_encrypt(&tree), OUTCOME_DONE);
		assert_int_equal(unlinkat(tree.fixture.root_fd, paths[i], 0), 0);
		assert_int_equal(tree_decrypt(&tree), OUTCOME_TAMPERED);
		assert_int_equal(tree_recover(&tree, RECOVERY_SETTLE), OUTCOME_TAMPERED);
		assert_int_equal(faccessat(tree.fixture.root_fd, paths[i], F_OK, 0), -1);
		assert_int_equal(tree_count_files(&tree, true), 3);
		tree_end(&tree);
	}
}

static void a_journal_for_which_there_is_no_room_leaves_nothing(void **state _unused_)
{
	for (int writes = 0; writes < 2; writes++) {
		Tree tree;

		tree_begin(&tree);
		make_files(&tree);
		tree.fixture.error = -ENOSPC;
		tree.fixture.writes_left = writes;
		assert_int_equal(tree_encrypt(&tree), OUTCOME_NO_SPACE);
		assert_int_equal(faccessat(tree.fixture.root_fd, ".usbcrypt/a/journal", F_OK, 0), -1);
		assert_int_equal(faccessat(tree.fixture.root_fd, ".usbcrypt/b/journal", F_OK, 0), -1);
		tree.fixture.writes_left = -1;
		assert_int_equal(tree_encrypt(&tree), OUTCOME_DONE);
		tree_end(&tree);
	}
}

static void a_journal_of_another_key_is_refused(void **state _unused_)
{
	Tree tree;

	tree_begin(&tree);
	make_files(&tree);
	assert_int_equal(tree_encrypt(&tree), OUTCOME_DONE);
	secret_free(tree.journal_mac);
	assert_int_equal(secret_new_random(SUBKEY_SIZE, &tree.journal_mac), 0);
	tree.volume.journal_mac = tree.journal_mac;
	assert_int_equal(tree_decrypt(&tree), OUTCOME_TAMPERED);
	assert_int_equal(tree_count_files(&tree, true), 3);
	tree_end(&tree);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_run_that_is_cancelled_when_it_has_made_the_journal_makes_no_second_one),
		cmocka_unit_test(a_journal_whose_creation_was_cut_short_is_left_alone),
		cmocka_unit_test(one_journal_file_alone_is_refused),
		cmocka_unit_test(a_journal_for_which_there_is_no_room_leaves_nothing),
		cmocka_unit_test(a_journal_of_another_key_is_refused),
	};

	return cmocka_run_group_tests(tests, group_setup, NULL);
}
