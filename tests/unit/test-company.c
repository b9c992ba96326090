/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Somebody else works on the drive while a run goes on: what they have, and what they write, is kept. */

#include "tree.h"

#define NAME   "letter.txt"
#define CIPHER "letter.txt.ucr"
#define SIZE   5000
#define TEXT   "What somebody has written meanwhile."

/* What they do, and when: at that barrier, or when the source's lease is asked for, which is just before it
 * is overwritten or removed. */
static struct {
	bool (*act)(Tree *tree); /* false: it cannot be done now */
	int at_barrier;
	bool at_lease, leases, acted;
} company;

static int company_barrier(const Vfs *vfs, int root_fd)
{
	Tree *tree = (Tree *)fixture_of(vfs);

	if (company.act && company.at_barrier-- == 0)
		company.acted = company.act(tree);
	return fixture_barrier(vfs, root_fd);
}

static int company_lease(const Vfs *vfs, int fd)
{
	Tree *tree = (Tree *)fixture_of(vfs);

	if (company.act && company.at_lease && !company.acted)
		company.acted = company.act(tree);
	return company.leases ? tree->fixture.posix.vfs.lease(&tree->fixture.posix.vfs, fd) : -EOPNOTSUPP;
}

static void begin(Tree *tree)
{
	tree_begin(tree);
	tree->fixture.vfs.barrier = company_barrier;
	tree->fixture.vfs.lease = company_lease;
	memset(&company, 0, sizeof(company));
	company.at_barrier = -1;
	tree_make(tree, NAME, SIZE);
}

static bool is_there(const Tree *tree, const char *name)
{
	return faccessat(tree->fixture.root_fd, name, F_OK, 0) == 0;
}

static bool holds(const Tree *tree, const char *name, const void *bytes, size_t size)
{
	_cleanup_free_ uint8_t *found = NULL;
	size_t n;

	if (!is_there(tree, name))
		return false;
	found = get_file(tree->fixture.root_fd, name, &n);
	return n == size && memcmp(found, bytes, size) == 0;
}

static void recover_what_is_pending(Tree *tree)
{
	if (tree->result.pending != TRANSACTION_INVALID)
		(void)tree_recover(tree, RECOVERY_RESUME);
}

static bool take_the_new_file(Tree *tree)
{
	int fd = tree->fixture.root_fd;

	return renameat(fd, CIPHER, fd, "quarantine") == 0;
}

static bool move_the_source(Tree *tree)
{
	int fd = tree->fixture.root_fd;

	return renameat(fd, NAME, fd, "archive") == 0;
}

/* Where there are no leases, nothing keeps them from it. */
static bool save_over(Tree *tree)
{
	if (!is_there(tree, NAME))
		return false;
	put_file(&tree->fixture, NAME, TEXT, strlen(TEXT));
	return true;
}

static bool copy_to_the_new_name(Tree *tree)
{
	put_file(&tree->fixture, CIPHER, TEXT, strlen(TEXT));
	return true;
}

static void a_source_whose_new_file_was_taken_away_stays(void **state _unused_)
{
	for (int scrub = 0; scrub < 2; scrub++) {
		_cleanup_free_ uint8_t *bytes = NULL;
		Tree tree;
		size_t size;

		begin(&tree);
		bytes = get_file(tree.fixture.root_fd, NAME, &size);
		tree.options.scrub = scrub;
		company.act = take_the_new_file;
		company.at_lease = company.leases = true;
		assert_int_equal(tree_encrypt(&tree), OUTCOME_PARTIAL);
		assert_true(company.acted);
		assert_true(tree_failed(&tree, NAME, REASON_CHANGED));
		assert_true(holds(&tree, NAME, bytes, size));
		assert_int_equal(tree.result.pending, TRANSACTION_INVALID);
		tree_end(&tree);
	}
}

static void an_encrypted_file_whose_plaintext_was_moved_stays(void **state _unused_)
{
	Tree tree;

	begin(&tree);
	assert_int_equal(tree_encrypt(&tree), OUTCOME_DONE);
	company.act = move_the_source; /* which is the new file here */
	company.at_lease = company.leases = true;
	assert_int_equal(tree_decrypt(&tree), OUTCOME_PARTIAL);
	assert_true(company.acted);
	assert_true(tree_failed(&tree, CIPHER, REASON_CHANGED));
	assert_true(is_there(&tree, CIPHER) && is_there(&tree, "archive"));
	tree_end(&tree);
}

static void a_source_that_was_moved_is_not_overwritten(void **state _unused_)
{
	_cleanup_free_ uint8_t *bytes = NULL;
	Tree tree;
	size_t size;

	begin(&tree);
	bytes = get_file(tree.fixture.root_fd, NAME, &size);
	company.act = move_the_source;
	company.at_lease = company.leases = true;
	assert_int_equal(tree_encrypt(&tree), OUTCOME_PARTIAL);
	assert_true(company.acted);
	assert_true(tree_failed(&tree, NAME, REASON_CHANGED));
	assert_true(holds(&tree, "archive", bytes, size));
	assert_false(is_there(&tree, CIPHER));
	tree_end(&tree);
}

static void what_is_saved_over_a_source_is_kept(void **state _unused_)
{
	unsigned acted = 0;

	for (int at = 0; at < 12; at++) {
		Tree tree;

		begin(&tree);
		company.act = save_over;
		company.at_barrier = at;
		(void)tree_encrypt(&tree);
		recover_what_is_pending(&tree);
		if (company.acted) {
			acted++;
			if (!is_there(&tree, NAME)) /* saved before it was looked at */
				assert_int_equal(tree_decrypt(&tree), OUTCOME_DONE);
			assert_true(holds(&tree, NAME, TEXT, strlen(TEXT)));
		}
		tree_end(&tree);
	}
	assert_true(acted >= 4); /* it is there until the round behind its scrub's */
}

static void what_is_saved_over_a_new_plaintext_is_kept(void **state _unused_)
{
	for (int held = 0; held < 2; held++) {
		unsigned acted = 0;

		for (int at = 0; at < 8; at++) {
			int fd;
			Tree tree;

			begin(&tree);
			assert_int_equal(tree_encrypt(&tree), OUTCOME_DONE);
			fd = held ? openat(tree.fixture.root_fd, CIPHER, O_RDONLY) : -1;
			company.act = save_over;
			company.at_barrier = at;
			company.leases = true;
			(void)tree_decrypt(&tree);
			recover_what_is_pending(&tree);
			if (company.acted) {
				acted++;
				assert_true(holds(&tree, NAME, TEXT, strlen(TEXT)));
			}
			(void)safe_close(fd);
			tree_end(&tree);
		}
		assert_true(acted >= 2);
	}
}

static void a_file_of_theirs_that_stands_in_the_way_is_kept(void **state _unused_)
{
	unsigned interrupted = 0;

	for (int barriers = 2; barriers < 8; barriers++) {
		Tree tree;

		begin(&tree);
		company.act = copy_to_the_new_name;
		company.at_barrier = 1; /* behind the record that intends to make it */
		tree.fixture.barriers_left = barriers;
		(void)tree_encrypt(&tree);
		tree.fixture.barriers_left = -1;
		assert_true(company.acted);
		assert_true(tree_failed(&tree, NAME, REASON_CLASH));
		if (tree.result.pending != TRANSACTION_INVALID) {
			interrupted++;
			assert_int_equal(tree_recover(&tree, RECOVERY_SETTLE), OUTCOME_DONE);
		}
		assert_true(holds(&tree, CIPHER, TEXT, strlen(TEXT)));
		assert_true(is_there(&tree, NAME));
		tree_end(&tree);
	}
	assert_true(interrupted > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_source_whose_new_file_was_taken_away_stays),
		cmocka_unit_test(an_encrypted_file_whose_plaintext_was_moved_stays),
		cmocka_unit_test(a_source_that_was_moved_is_not_overwritten),
		cmocka_unit_test(what_is_saved_over_a_source_is_kept),
		cmocka_unit_test(what_is_saved_over_a_new_plaintext_is_kept),
		cmocka_unit_test(a_file_of_theirs_that_stands_in_the_way_is_kept),
	};

	if (secret_init() < 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
