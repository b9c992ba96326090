/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Transactions on a real filesystem: forth, back, interrupted at every barrier and write, cancelled, refused.
 */

#include "tree.h"

static void make_usual_tree(Tree *tree)
{
	tree_make(tree, "empty", 0);
	tree_make(tree, "one", 1);
	tree_make(tree, "a/65535", 65535);
	tree_make(tree, "a/65536", 65536);
	tree_make(tree, "a/65537", 65537);
	tree_make(tree, "a/b/segment", 8 * 65536);
	tree_make(tree, "a/b/segment and one", 8 * 65536 + 1);
	tree_make(tree, "a/b/.hidden", 4097);
	tree_make(tree, "\xd9\x85\xd8\xb1\xd8\xad\xd8\xa8\xd8\xa7\n.txt", 99);
	tree_make(tree, "not \xff utf-8", 100);
	tree_make(tree, "lost+found/fsck's own", 10);
}

static int group_setup(void **state _unused_)
{
	return secret_init();
}

static void encrypt_and_decrypt_bring_every_byte_back(void **state _unused_)
{
	Tree tree;
	int fd;

	tree_begin(&tree);
	make_usual_tree(&tree);
	tree_make(&tree, "large", 40 * 1024 * 1024 + 17);
	tree_make(&tree, "read only", 5000);
	fd = openat(tree.fixture.root_fd, "read only", O_RDONLY);
	assert_int_equal(fsetxattr(fd, "user.note", "kept", 4, 0), 0);
	assert_int_equal(fchmod(fd, 0444), 0);
	(void)safe_close(fd);
	tree_remember(&tree);

	assert_int_equal(tree_encrypt(&tree), OUTCOME_DONE);
	assert_int_equal(tree.result.counts[COUNT_ENCRYPTED], 12);
	assert_int_equal(tree.last.files_done, tree.last.files_total);
	assert_int_equal(tree.last.bytes_done, tree.last.bytes_total);
	assert_int_equal(tree_count_files(&tree, true), 12);
	assert_int_equal(tree_count_files(&tree, false), 0);
	assert_int_equal(
		transaction_verify(&tree.volume, &tree.options, &tree.observer, &tree.result), OUTCOME_DONE);
	assert_int_equal(tree.result.counts[COUNT_VERIFIED], 12);

	assert_int_equal(tree_decrypt(&tree), OUTCOME_DONE);
	assert_int_equal(tree.result.counts[COUNT_DECRYPTED], 12);
	tree_assert_as_remembered(&tree);
	fd = openat(tree.fixture.root_fd, "read only", O_RDONLY);
	char note[5] = "";
	assert_int_equal(fgetxattr(fd, "user.note", note, 4), 4);
	assert_string_equal(note, "kept");
	(void)safe_close(fd);
	assert_int_equal(tree.n_failures, 0);
	tree_end(&tree);
}

static void what_is_in_the_wanted_form_is_left_alone(void **state _unused_)
{
	Tree tree;

	tree_begin(&tree);
	make_usual_tree(&tree);
	assert_int_equal(tree_decrypt(&tree), OUTCOME_DONE);
	assert_int_equal(tree.result.counts[COUNT_ALREADY], 10);
	assert_int_equal(tree_encrypt(&tree), OUTCOME_DONE);
	tree_make(&tree, "later", 7);
	assert_int_equal(tree_encrypt(&tree), OUTCOME_DONE);
	assert_int_equal(tree.result.counts[COUNT_ENCRYPTED], 1);
	assert_int_equal(tree.result.counts[COUNT_ALREADY], 10);
	tree_end(&tree);
}

static void links_and_special_files_stay_and_are_counted(void **state _unused_)
{
	Tree tree;
	int root;

	tree_begin(&tree);
	root = tree.fixture.root_fd;
	tree_make(&tree, "file", 10);
	tree_make(&tree, "linked", 10);
	assert_int_equal(linkat(root, "linked", root, "linked too", 0), 0);
	assert_int_equal(symlinkat("file", root, "symlink"), 0);
	assert_int_equal(symlinkat("/etc", root, "way out"), 0);
	assert_int_equal(mkfifoat(root, "fifo", 0600), 0);
	assert_int_equal(tree_encrypt(&tree), OUTCOME_PARTIAL);
	assert_int_equal(tree.result.counts[COUNT_ENCRYPTED], 1);
	assert_int_equal(tree.result.counts[COUNT_SYMLINKS], 2);
	assert_int_equal(tree.result.counts[COUNT_SPECIAL], 1);
	assert_int_equal(tree.result.counts[COUNT_HARD_LINKS], 2);
	assert_true(tree_failed(&tree, "linked", REASON_HARD_LINK));
	assert_true(tree_failed(&tree, "linked too", REASON_HARD_LINK));
	tree_end(&tree);
}

static void a_path_limits_the_run(void **state _unused_)
{
	static const char *const paths[] = {"a/b", "one", "a/b/segment"};
	static const char *const outside[] = {"../etc"};
	static const char *const ours[] = {".usbcrypt/a"};
	Tree tree;

	tree_begin(&tree);
	make_usual_tree(&tree);
	tree.options.paths = paths;
	tree.options.n_paths = ELEMENTSOF(paths);
	assert_int_equal(tree_encrypt(&tree), OUTCOME_DONE);
	assert_int_equal(tree.result.counts[COUNT_ENCRYPTED], 4);
	/* The plain names still mean them. */
	assert_int_equal(tree_decrypt(&tree), OUTCOME_DONE);
	assert_int_equal(tree.result.counts[COUNT_DECRYPTED], 4);
	tree.options.n_paths = 1;
	tree.options.paths = outside;
	assert_int_equal(tree_encrypt(&tree), OUTCOME_INVALID_ARGUMENT);
	tree.options.paths = ours;
	assert_int_equal(tree_encrypt(&tree), OUTCOME_INVALID_ARGUMENT);
	tree_end(&tree);
}

static void a_clash_is_found_before_anything_changes(void **state _unused_)
{
	Tree tree;

	tree_begin(&tree);
	tree_make(&tree, "a", 10);
	tree_make(&tree, "b", 10);
	tree_make(&tree, "b.ucr", 10); /* not one of ours: no magic */
	tree_remember(&tree);
	assert_int_equal(tree_encrypt(&tree), OUTCOME_UNFIT_FILES);
	assert_true(tree_failed(&tree, "b", REASON_CLASH));
	tree_assert_as_remembered(&tree);
	tree.options.skip_unfit = true;
	assert_int_equal(tree_encrypt(&tree), OUTCOME_PARTIAL);
	assert_int_equal(tree.result.counts[COUNT_ENCRYPTED], 2);
	assert_int_equal(tree.result.counts[COUNT_FAILED], 1);
	tree_end(&tree);
}

static void a_dry_run_changes_nothing(void **state _unused_)
{
	Tree tree;

	tree_begin(&tree);
	make_usual_tree(&tree);
	tree_remember(&tree);
	tree.options.dry_run = true;
	assert_int_equal(tree_encrypt(&tree), OUTCOME_DONE);
	assert_int_equal(tree.last.files_total, 10);
	tree_assert_as_remembered(&tree);
	tree_end(&tree);
}

static void a_name_too_long_for_the_suffix_comes_back(void **state _unused_)
{
	char name[256];
	Tree tree;

	tree_begin(&tree);
	memset(name, 'n', 255);
	name[255] = 0;
	tree_make(&tree, name, 100);
	tree_remember(&tree);
	assert_int_equal(tree_encrypt(&tree), OUTCOME_DONE);
	assert_int_equal(tree_decrypt(&tree), OUTCOME_DONE);
	assert_int_equal(tree.n_failures, 0);
	tree_assert_as_remembered(&tree);
	tree_end(&tree);
}

static void a_damaged_file_stays_and_the_others_come_back(void **state _unused_)
{
	Tree tree;
	uint8_t byte;
	int fd;

	tree_begin(&tree);
	make_usual_tree(&tree);
	assert_int_equal(tree_encrypt(&tree), OUTCOME_DONE);
	fd = openat(tree.fixture.root_fd, "a/65537.ucr", O_RDWR);
	assert_int_equal(pread(fd, &byte, 1, 50000), 1);
	byte ^= 1;
	assert_int_equal(pwrite(fd, &byte, 1, 50000), 1);
	(void)safe_close(fd);
	assert_int_equal(transaction_verify(&tree.volume, &tree.options, &tree.observer, &tree.result),
		OUTCOME_PARTIAL);
	assert_int_equal(tree.result.counts[COUNT_VERIFIED], 9);
	assert_true(tree_failed(&tree, "a/65537.ucr", REASON_TAMPERED));
	assert_int_equal(tree_decrypt(&tree), OUTCOME_PARTIAL);
	assert_int_equal(tree.result.counts[COUNT_DECRYPTED], 9);
	/* I10: nothing of it is left in plain. */
	assert_int_equal(faccessat(tree.fixture.root_fd, "a/65537", F_OK, 0), -1);
	assert_int_equal(faccessat(tree.fixture.root_fd, "a/65537.ucr", F_OK, 0), 0);
	tree_end(&tree);
}

static void a_moved_file_comes_back_where_it_is(void **state _unused_)
{
	Tree tree;

	tree_begin(&tree);
	make_usual_tree(&tree);
	assert_int_equal(tree_encrypt(&tree), OUTCOME_DONE);
	assert_int_equal(renameat(tree.fixture.root_fd, "one.ucr", tree.fixture.root_fd, "a/two.ucr"), 0);
	assert_int_equal(tree_decrypt(&tree), OUTCOME_PARTIAL);
	assert_true(tree_failed(&tree, "a/two.ucr", REASON_MOVED));
	assert_int_equal(tree.result.counts[COUNT_MOVED], 1);
	assert_int_equal(tree.result.counts[COUNT_FAILED], 0);
	assert_int_equal(faccessat(tree.fixture.root_fd, "a/two", F_OK, 0), 0);
	tree_end(&tree);
}

static void decrypting_elsewhere_leaves_the_drive_as_it_is(void **state _unused_)
{
	Tree tree;
	char target[] = "/tmp/usbcrypt-target-XXXXXX";

	tree_begin(&tree);
	make_usual_tree(&tree);
	(void)tree_system("rm -rf %s/lost+found", tree.fixture.path);
	tree_remember(&tree);
	assert_int_equal(tree_encrypt(&tree), OUTCOME_DONE);
	assert_non_null(mkdtemp(target));
	tree.options.target_fd = open(target, O_RDONLY | O_DIRECTORY);
	assert_int_equal(tree_decrypt(&tree), OUTCOME_DONE);
	assert_int_equal(tree.result.counts[COUNT_DECRYPTED], 10);
	assert_int_equal(tree_system("diff -r %s %s", tree.reference, target), 0);
	assert_int_equal(tree_count_files(&tree, true), 10);
	/* What is there is never overwritten. */
	assert_int_equal(tree_decrypt(&tree), OUTCOME_PARTIAL);
	assert_true(tree_failed(&tree, "one.ucr", REASON_CLASH));
	(void)safe_close(tree.options.target_fd);
	(void)tree_system("rm -rf %s", target);
	tree_end(&tree);
}

static void a_cancelled_run_leaves_every_file_whole_and_nothing_pending(void **state _unused_)
{
	Tree tree;

	for (int polls = 1; polls < 60; polls += 4) {
		Outcome outcome;

		tree_begin(&tree);
		make_usual_tree(&tree);
		tree_remember(&tree);
		tree.polls_left = polls;
		outcome = tree_encrypt(&tree);
		assert_true(outcome == OUTCOME_CANCELLED || outcome == OUTCOME_DONE);
		assert_int_equal(tree.result.pending, TRANSACTION_INVALID);
		tree.polls_left = -1;
		assert_int_equal(tree_count_files(&tree, true) + tree_count_files(&tree, false), 10);
		assert_int_equal(tree_decrypt(&tree), OUTCOME_DONE);
		tree_assert_as_remembered(&tree);
		tree_end(&tree);
	}
}

static void a_cancelled_recovery_says_so_when_something_stays_pending(void **state _unused_)
{
	unsigned pending = 0;
	Tree tree;

	for (int polls = 0; polls < 60; polls += 3) {
		Outcome outcome;

		tree_begin(&tree);
		make_usual_tree(&tree);
		tree_remember(&tree);
		tree.fixture.barriers_left = 4;
		assert_int_equal(tree_encrypt(&tree), OUTCOME_INTERRUPTED);
		tree.fixture.barriers_left = -1;
		tree.polls_left = polls;
		outcome = tree_recover(&tree, RECOVERY_RESUME);
		tree.polls_left = -1;
		/* "Cancelled" says that nothing is pending. */
		if (recovery_hint(&tree.fixture.vfs, tree.fixture.root_fd) != TRANSACTION_INVALID) {
			assert_int_equal(outcome, OUTCOME_INTERRUPTED);
			assert_int_equal(tree.result.pending, TRANSACTION_ENCRYPT);
			pending++;
		} else {
			assert_true(outcome == OUTCOME_CANCELLED || outcome == OUTCOME_DONE);
			assert_int_equal(tree.result.pending, TRANSACTION_INVALID);
		}
		assert_int_equal(tree_recover(&tree, RECOVERY_SETTLE), OUTCOME_DONE);
		assert_int_equal(tree_count_files(&tree, true) + tree_count_files(&tree, false), 10);
		assert_int_equal(tree_decrypt(&tree), OUTCOME_DONE);
		tree_assert_as_remembered(&tree);
		tree_end(&tree);
	}
	assert_true(pending > 0);
}

/* ---- I1, I2: interrupted at every barrier and at every write ---- */

typedef struct Interruption {
	TransactionKind kind;
	bool scrub;
	RecoveryMode mode;
} Interruption;

static Outcome run_kind(Tree *tree, TransactionKind kind)
{
	return kind == TRANSACTION_ENCRYPT ? tree_encrypt(tree) : tree_decrypt(tree);
}

/* Runs with the n-th barrier or write failing, recovers, checks. False: n is behind the end of the run. */
static bool interrupt_at(const Interruption *what, int n, bool at_write)
{
	bool to_cipher = (what->kind == TRANSACTION_ENCRYPT) == (what->mode == RECOVERY_RESUME), recorded;
	Outcome outcome;
	Tree tree;

	tree_begin(&tree);
	tree.options.scrub = what->scrub;
	make_usual_tree(&tree);
	tree_remember(&tree);
	if (what->kind == TRANSACTION_DECRYPT)
		assert_int_equal(tree_encrypt(&tree), OUTCOME_DONE);

	*(at_write ? &tree.fixture.writes_left : &tree.fixture.barriers_left) = n;
	outcome = run_kind(&tree, what->kind);
	tree.fixture.writes_left = tree.fixture.barriers_left = -1;
	if (outcome == OUTCOME_DONE) {
		tree_end(&tree);
		return false;
	}
	assert_int_not_equal(outcome, OUTCOME_PARTIAL);
	recorded = recovery_hint(&tree.fixture.vfs, tree.fixture.root_fd) != TRANSACTION_INVALID;
	if (recorded) {
		assert_int_equal(outcome, OUTCOME_INTERRUPTED);
		assert_int_equal(tree.result.pending, what->kind);
		assert_int_equal(tree_encrypt(&tree), OUTCOME_INTERRUPTED);
		assert_int_equal(tree_decrypt(&tree), OUTCOME_INTERRUPTED);
	}
	assert_int_equal(tree_recover(&tree, what->mode), OUTCOME_DONE);
	assert_int_equal(tree.result.pending, TRANSACTION_INVALID);
	if (recorded && what->mode != RECOVERY_SETTLE)
		assert_int_equal(tree_count_files(&tree, to_cipher), 10);
	/* Nothing twice, nothing missing, everything back. */
	assert_int_equal(tree_count_files(&tree, true) + tree_count_files(&tree, false), 10);
	assert_int_equal(tree_decrypt(&tree), OUTCOME_DONE);
	tree_assert_as_remembered(&tree);
	tree_end(&tree);
	return true;
}

static void interrupt_everywhere(bool at_write)
{
	static const Interruption whats[] = {
		{TRANSACTION_ENCRYPT, true, RECOVERY_RESUME},
		{TRANSACTION_ENCRYPT, true, RECOVERY_ROLLBACK},
		{TRANSACTION_ENCRYPT, true, RECOVERY_SETTLE},
		{TRANSACTION_ENCRYPT, false, RECOVERY_RESUME},
		{TRANSACTION_ENCRYPT, false, RECOVERY_SETTLE},
		{TRANSACTION_DECRYPT, true, RECOVERY_RESUME},
		{TRANSACTION_DECRYPT, true, RECOVERY_ROLLBACK},
		{TRANSACTION_DECRYPT, true, RECOVERY_SETTLE},
	};

	for (size_t i = 0; i < ELEMENTSOF(whats); i++) {
		int n = 0;

		while (interrupt_at(&whats[i], n, at_write))
			n++;
		assert_true(n > 3);
	}
}

static void a_failing_barrier_loses_nothing(void **state _unused_)
{
	interrupt_everywhere(false);
}

static void a_failing_write_loses_nothing(void **state _unused_)
{
	interrupt_everywhere(true);
}

/* What was encrypted before the run stays so, however often the run, its resumption and its roll back are
 * interrupted; what any of them encrypted comes back. */
static void a_roll_back_takes_back_the_whole_run_and_nothing_else(void **state _unused_)
{
	static const char *const before[] = {"one"};
	bool interrupted = true;
	unsigned decrypts = 0;

	for (int n = 3; interrupted; n++) {
		TransactionKind pending;
		Tree tree;

		tree_begin(&tree);
		make_usual_tree(&tree);
		tree.options.batch_files = 1;
		tree.options.paths = before;
		tree.options.n_paths = 1;
		assert_int_equal(tree_encrypt(&tree), OUTCOME_DONE);
		assert_int_equal(tree_count_files(&tree, true), 1);
		tree.options.paths = NULL;
		tree.options.n_paths = 0;

		tree.fixture.barriers_left = 4;
		assert_int_equal(tree_encrypt(&tree), OUTCOME_INTERRUPTED);
		/* The recovery's own three barriers come first, and then some batches more. */
		tree.fixture.barriers_left = 9;
		assert_int_equal(tree_recover(&tree, RECOVERY_RESUME), OUTCOME_INTERRUPTED);
		assert_int_equal(recovery_hint(&tree.fixture.vfs, tree.fixture.root_fd), TRANSACTION_ENCRYPT);
		tree.fixture.barriers_left = n;
		interrupted = tree_recover(&tree, RECOVERY_ROLLBACK) != OUTCOME_DONE;
		tree.fixture.barriers_left = -1;
		pending = recovery_hint(&tree.fixture.vfs, tree.fixture.root_fd);
		if (pending != TRANSACTION_INVALID)
			assert_int_equal(
				tree_recover(&tree,
					pending == TRANSACTION_ENCRYPT ? RECOVERY_ROLLBACK : RECOVERY_RESUME),
				OUTCOME_DONE);
		assert_int_equal(tree_count_files(&tree, true), 1);
		decrypts += pending == TRANSACTION_DECRYPT;
		tree_end(&tree);
		assert_true(n < 30);
	}
	assert_true(decrypts > 3);
}

static void an_edit_after_the_interruption_is_kept(void **state _unused_)
{
	Tree tree;
	int fd;

	tree_begin(&tree);
	make_usual_tree(&tree);
	/* The record of batch 1 is written, its barrier fails: its new files are not trusted. */
	tree.fixture.barriers_left = 2;
	assert_int_equal(tree_encrypt(&tree), OUTCOME_INTERRUPTED);
	tree.fixture.barriers_left = -1;
	fd = openat(tree.fixture.root_fd, "one", O_WRONLY | O_TRUNC);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, "edited", 6), 6);
	(void)safe_close(fd);
	(void)tree_recover(&tree, RECOVERY_SETTLE);
	fd = openat(tree.fixture.root_fd, "one", O_RDONLY);
	char text[7] = "";
	assert_int_equal(read(fd, text, 6), 6);
	assert_string_equal(text, "edited");
	(void)safe_close(fd);
	tree_end(&tree);
}

/* Fewer bytes than tell the pattern from chance, and the longer size, which would show more of it, is lost.
 */
static void a_scrub_of_which_a_tiny_files_bytes_alone_arrived_is_no_edit(void **state _unused_)
{
	int scrubbed = 0;
	Outcome outcome;

	for (int n = 1; n < 1000; n++) {
		struct stat before, after;
		Tree tree;

		tree_begin(&tree);
		tree_make(&tree, "tiny", 1);
		tree_remember(&tree);
		assert_int_equal(fstatat(tree.fixture.root_fd, "tiny", &before, 0), 0);
		tree.fixture.writes_left = n;
		outcome = tree_encrypt(&tree);
		tree.fixture.writes_left = -1;
		if (outcome == OUTCOME_INTERRUPTED && fstatat(tree.fixture.root_fd, "tiny", &after, 0) == 0 &&
			after.st_size > before.st_size) {
			int fd = openat(tree.fixture.root_fd, "tiny", O_WRONLY);

			assert_true(fd >= 0);
			assert_int_equal(ftruncate(fd, before.st_size), 0);
			assert_int_equal(
				futimens(fd, (struct timespec[]){before.st_atim, before.st_mtim}), 0);
			(void)safe_close(fd);
			scrubbed++;
			assert_int_equal(tree_recover(&tree, RECOVERY_ROLLBACK), OUTCOME_DONE);
			assert_int_equal(tree.n_failures, 0);
			tree_assert_as_remembered(&tree);
		}
		tree_end(&tree);
		if (outcome == OUTCOME_DONE)
			break;
	}
	assert_int_equal(outcome, OUTCOME_DONE);
	assert_true(scrubbed > 0);
}

static void an_interrupted_decrypt_needs_somebody_who_may_decrypt(void **state _unused_)
{
	Tree tree;

	tree_begin(&tree);
	make_usual_tree(&tree);
	assert_int_equal(tree_encrypt(&tree), OUTCOME_DONE);
	tree.fixture.barriers_left = 2;
	assert_int_equal(tree_decrypt(&tree), OUTCOME_INTERRUPTED);
	tree.fixture.barriers_left = -1;
	assert_int_equal(recovery_run(&tree.volume, RECOVERY_RESUME, false, &tree.options, &tree.observer,
				 &tree.result),
		OUTCOME_NOT_AUTHORIZED);
	assert_int_equal(tree_recover(&tree, RECOVERY_RESUME), OUTCOME_DONE);
	assert_int_equal(tree_count_files(&tree, false), 10);
	tree_end(&tree);
}

static void a_name_that_only_the_root_reserves_is_recovered(void **state _unused_)
{
	Tree tree;

	tree_begin(&tree);
	tree_make(&tree, "a/lost+found", 1000);
	tree_remember(&tree);
	assert_int_equal(tree_encrypt(&tree), OUTCOME_DONE);
	tree.fixture.barriers_left = 2;
	assert_int_equal(tree_decrypt(&tree), OUTCOME_INTERRUPTED);
	tree.fixture.barriers_left = -1;
	assert_int_equal(tree_recover(&tree, RECOVERY_RESUME), OUTCOME_DONE);
	tree_assert_as_remembered(&tree);
	tree_end(&tree);
}

static void a_file_in_use_stays_in_plain(void **state _unused_)
{
	Tree tree;
	int fd;

	tree_begin(&tree);
	tree_make(&tree, "open", 1000);
	tree_make(&tree, "shut", 1000);
	fd = openat(tree.fixture.root_fd, "open", O_RDONLY);
	assert_int_equal(tree_encrypt(&tree), OUTCOME_PARTIAL);
	assert_true(tree_failed(&tree, "open", REASON_IN_USE));
	assert_int_equal(tree.result.counts[COUNT_ENCRYPTED], 1);
	assert_int_equal(faccessat(tree.fixture.root_fd, "open.ucr", F_OK, 0), -1);
	assert_int_equal(tree.result.pending, TRANSACTION_INVALID);
	(void)safe_close(fd);
	tree_end(&tree);
}

static void a_medium_that_lies_costs_no_file(void **state _unused_)
{
	Tree tree;

	tree_begin(&tree);
	make_usual_tree(&tree);
	tree_remember(&tree);
	tree.fixture.lying_medium = true;
	assert_int_not_equal(tree_encrypt(&tree), OUTCOME_DONE);
	tree.fixture.lying_medium = false;
	assert_int_equal(tree_count_files(&tree, false), 10);
	tree_end(&tree);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(encrypt_and_decrypt_bring_every_byte_back),
		cmocka_unit_test(what_is_in_the_wanted_form_is_left_alone),
		cmocka_unit_test(links_and_special_files_stay_and_are_counted),
		cmocka_unit_test(a_path_limits_the_run),
		cmocka_unit_test(a_clash_is_found_before_anything_changes),
		cmocka_unit_test(a_dry_run_changes_nothing),
		cmocka_unit_test(a_name_too_long_for_the_suffix_comes_back),
		cmocka_unit_test(a_damaged_file_stays_and_the_others_come_back),
		cmocka_unit_test(a_moved_file_comes_back_where_it_is),
		cmocka_unit_test(decrypting_elsewhere_leaves_the_drive_as_it_is),
		cmocka_unit_test(a_cancelled_run_leaves_every_file_whole_and_nothing_pending),
		cmocka_unit_test(a_cancelled_recovery_says_so_when_something_stays_pending),
		cmocka_unit_test(a_failing_barrier_loses_nothing),
		cmocka_unit_test(a_failing_write_loses_nothing),
		cmocka_unit_test(a_roll_back_takes_back_the_whole_run_and_nothing_else),
		cmocka_unit_test(an_edit_after_the_interruption_is_kept),
		cmocka_unit_test(a_scrub_of_which_a_tiny_files_bytes_alone_arrived_is_no_edit),
		cmocka_unit_test(an_interrupted_decrypt_needs_somebody_who_may_decrypt),
		cmocka_unit_test(a_name_that_only_the_root_reserves_is_recovered),
		cmocka_unit_test(a_file_in_use_stays_in_plain),
		cmocka_unit_test(a_medium_that_lies_costs_no_file),
	};

	return cmocka_run_group_tests(tests, group_setup, NULL);
}
