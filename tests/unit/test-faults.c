/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * I1, I2, I5: every single call on a drive fails once, in a run and in the recovery after it, with every
 * error a drive can answer. After each: no file is lost, no descriptor either, recovery ends, and running it
 * again changes nothing.
 */

#include "faults.h"
#include "tree.h"

#include <dirent.h>

typedef enum Work {
	WORK_ENCRYPT,
	WORK_ENCRYPT_NO_SCRUB,
	WORK_DECRYPT,
	WORK_MAX,
} Work;

static const char *const work_names[] = {"encrypt", "encrypt --no-scrub", "decrypt"};
static const char *const mode_names[] = {"resume", "rollback", "settle"};
static const char *const when_names[] = {"before", "after", "lasting", "short"};

/* In three batches; one in a folder, one that its owner may not write. */
static const struct {
	const char *path;
	size_t size;
	mode_t mode;
} files[] = {
	{"empty", 0, 0640},
	{"folder/some", 5000, 0640},
	{"folder/read only", 700, 0440},
	{"noted", 512, 0600},
	{"two chunks", 65537, 0640},
};

typedef struct Bench {
	Tree tree; /* first */
	Faults faults;
	Work work;
	RecoveryMode mode;
	uint8_t *bytes[ELEMENTSOF(files)];
	bool lent_mode_may_stay;
	char where[256]; /* which point this is, for messages */
} Bench;

#define require(bench, condition)                                                                            \
	do                                                                                                   \
		if (!(condition))                                                                            \
			fail_msg("%s: not so: " #condition, (bench)->where);                                 \
	while (0)

static unsigned count_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned n = 0;

	assert_non_null(dir);
	while (readdir(dir))
		n++;
	(void)closedir(dir);
	return n;
}

static Outcome bench_run(Bench *bench, Work work)
{
	Tree *tree = &bench->tree;
	unsigned before = count_fds();
	Outcome outcome;

	tree_forget_failures(tree);
	tree->options.scrub = work == WORK_ENCRYPT;
	outcome = work == WORK_DECRYPT ? tree_decrypt(tree) : tree_encrypt(tree);
	require(bench, count_fds() == before);
	return outcome;
}

static Outcome bench_recover(Bench *bench, RecoveryMode mode)
{
	unsigned before = count_fds();
	Outcome outcome;

	tree_forget_failures(&bench->tree);
	outcome = tree_recover(&bench->tree, mode);
	require(bench, count_fds() == before);
	return outcome;
}

static void bench_begin(Bench *bench, Work work, RecoveryMode mode)
{
	Tree *tree = &bench->tree;
	size_t size;

	*bench = (Bench){.work = work, .mode = mode};
	tree_begin(tree);
	faults_init(&bench->faults, &tree->fixture.posix.vfs);
	tree->volume.vfs = &bench->faults.vfs;
	tree->options.threads = 1;
	tree->options.batch_files = 2;
	for (size_t i = 0; i < ELEMENTSOF(files); i++) {
		int fd;

		tree_make(tree, files[i].path, files[i].size);
		fd = openat(tree->fixture.root_fd, files[i].path, O_RDONLY);
		if (strcmp(files[i].path, "noted") == 0)
			assert_int_equal(fsetxattr(fd, "user.note", "kept", 4, 0), 0);
		assert_int_equal(fchmod(fd, files[i].mode), 0);
		(void)safe_close(fd);
		bench->bytes[i] = get_file(tree->fixture.root_fd, files[i].path, &size);
	}
	(void)snprintf(bench->where, sizeof(bench->where), "%s", work_names[work]);
	if (work == WORK_DECRYPT)
		require(bench, bench_run(bench, WORK_ENCRYPT_NO_SCRUB) == OUTCOME_DONE);
}

static void bench_end(Bench *bench)
{
	for (size_t i = 0; i < ELEMENTSOF(files); i++)
		free(bench->bytes[i]);
	tree_end(&bench->tree);
}

/* From now on this fails. */
static void bench_arm(Bench *bench, FaultCall what, unsigned at, FaultWhen when, int error)
{
	Faults *faults = &bench->faults;

	for (int i = 0; i <= FAULT_CALL_MAX; i++)
		atomic_store(&faults->calls[i], 0);
	faults->what = what;
	faults->at = at;
	faults->when = when;
	faults->error = error;
	faults->hits = 0;
	bench->lent_mode_may_stay = what == FAULT_CALL_MAX || what == FAULT_CHMOD;
}

static void bench_disarm(Bench *bench)
{
	bench->faults.what = FAULT_NONE;
}

static void bench_say(Bench *bench, const char *during)
{
	const Faults *f = &bench->faults;

	(void)snprintf(bench->where, sizeof(bench->where),
		"%s, then recover --%s; %s: %s %u fails with %s, %s", work_names[bench->work],
		mode_names[bench->mode], during, fault_names[f->what], f->at, strerrorname_np(-f->error),
		when_names[f->when]);
}

/* ---- the oracle ---- */

static bool holds(Bench *bench, int dir_fd, size_t i)
{
	_cleanup_close_ int fd = openat(dir_fd, files[i].path, O_RDONLY | O_NOFOLLOW);
	uint8_t *bytes;
	bool same;
	size_t size;

	if (fd < 0)
		return false;
	bytes = get_file(dir_fd, files[i].path, &size);
	same = size == files[i].size && memcmp(bytes, bench->bytes[i], size) == 0;
	free(bytes);
	(void)bench;
	return same;
}

/* I1: each file is there whole, in plain or as what `decrypt --to` makes of it. */
static void assert_nothing_lost(Bench *bench)
{
	Tree *tree = &bench->tree;
	char target[64];
	TransactionOptions options = {.target_fd = -1, .threads = 1};
	Volume volume = tree->volume;
	TransactionResult result;

	(void)snprintf(target, sizeof(target), "%s/usbcrypt-target-XXXXXX", fixture_folder);
	assert_non_null(mkdtemp(target));
	options.target_fd = open(target, O_RDONLY | O_DIRECTORY);
	volume.vfs = &tree->fixture.posix.vfs;
	(void)transaction_decrypt(&volume, &options, &(Observer){0}, &result);
	for (size_t i = 0; i < ELEMENTSOF(files); i++)
		if (!holds(bench, tree->fixture.root_fd, i) && !holds(bench, options.target_fd, i))
			fail_msg("%s: %s is lost", bench->where, files[i].path);
	(void)safe_close(options.target_fd);
	assert_int_equal(nftw(target, fixture_remove, 16, FTW_DEPTH | FTW_PHYS), 0);
}

static void count_forms(Bench *bench, unsigned *ret_plain, unsigned *ret_cipher)
{
	*ret_plain = *ret_cipher = 0;
	for (size_t i = 0; i < ELEMENTSOF(files); i++) {
		char name[64];

		(void)snprintf(name, sizeof(name), "%s.ucr", files[i].path);
		*ret_plain += faccessat(bench->tree.fixture.root_fd, files[i].path, F_OK, 0) == 0;
		*ret_cipher += faccessat(bench->tree.fixture.root_fd, name, F_OK, 0) == 0;
	}
}

/* What a run that ended without leaving anything pending may leave: each file once, in one form. */
static void assert_settled(Bench *bench)
{
	unsigned plain, cipher;

	require(bench, recovery_hint(&bench->tree.fixture.posix.vfs, bench->tree.fixture.root_fd) ==
			       TRANSACTION_INVALID);
	count_forms(bench, &plain, &cipher);
	if (plain + cipher != ELEMENTSOF(files)) {
		(void)tree_system("ls -laR %s", bench->tree.fixture.path);
		fail_msg("%s: %u plain and %u encrypted files", bench->where, plain, cipher);
	}
}

/* Everything that was there is there again: bytes, modes, times, attributes. */
static void assert_as_at_first(Bench *bench)
{
	int root = bench->tree.fixture.root_fd;

	for (size_t i = 0; i < ELEMENTSOF(files); i++) {
		char note[5] = "";
		struct stat st;
		int fd;

		if (!holds(bench, root, i))
			fail_msg("%s: %s did not come back", bench->where, files[i].path);
		fd = openat(root, files[i].path, O_RDONLY);
		assert_int_equal(fstat(fd, &st), 0);
		/* Whoever could not give a mode back that it had lent leaves its owner the right to write. */
		if (bench->lent_mode_may_stay)
			st.st_mode &= ~(mode_t)S_IWUSR | files[i].mode;
		if ((st.st_mode & 07777) != files[i].mode)
			fail_msg("%s: %s came back with mode %o", bench->where, files[i].path, st.st_mode);
		if (st.st_mtim.tv_sec != 1000000000 + (time_t)files[i].size ||
			st.st_mtim.tv_nsec != 123456789)
			fail_msg("%s: %s came back with another time", bench->where, files[i].path);
		if (strcmp(files[i].path, "noted") == 0 && fgetxattr(fd, "user.note", note, 4) != 4)
			fail_msg("%s: the attribute did not come back", bench->where);
		(void)safe_close(fd);
	}
}

static bool lost_attributes(const Tree *tree)
{
	for (size_t i = 0; i < tree->n_failures; i++)
		if (tree->failures[i].reason == REASON_ATTRIBUTES)
			return true;
	return false;
}

/* ---- one point ---- */

/* The run, or the recovery, has ended with `outcome` while a fault was on. */
static void check_end(Bench *bench, Outcome outcome)
{
	const Tree *tree = &bench->tree;
	bool recorded = recovery_hint(&tree->fixture.posix.vfs, tree->fixture.root_fd) != TRANSACTION_INVALID;

	assert_nothing_lost(bench);
	if (recorded &&
		(outcome == OUTCOME_DONE || outcome == OUTCOME_PARTIAL || outcome == OUTCOME_CANCELLED))
		fail_msg("%s: it ended with %s while something is pending", bench->where,
			outcome_name(outcome));
}

/* Recovers without faults, twice; then everything can be had again. */
static void check_recovery(Bench *bench, bool attributes_lost)
{
	Tree *tree = &bench->tree;
	uint8_t once[32], twice[32];
	Outcome outcome;

	outcome = bench_recover(bench, bench->mode);
	if (outcome != OUTCOME_DONE)
		fail_msg("%s: the recovery ended with %s, first named: %s", bench->where,
			outcome_name(outcome), tree->n_failures ? tree->failures[0].path : "nothing");
	require(bench, tree->result.pending == TRANSACTION_INVALID);
	assert_settled(bench);
	assert_nothing_lost(bench);
	fixture_hash(&tree->fixture, once);
	require(bench, bench_recover(bench, bench->mode) == OUTCOME_DONE);
	fixture_hash(&tree->fixture, twice);
	require(bench, memcmp(once, twice, sizeof(once)) == 0);

	require(bench, bench_run(bench, WORK_DECRYPT) == OUTCOME_DONE);
	if (!attributes_lost)
		assert_as_at_first(bench);
}

/* One call of the run fails. False: there are not so many. */
static bool fail_run_at(Work work, RecoveryMode mode, FaultCall what, unsigned at, FaultWhen when, int error)
{
	bool hit, attributes_lost;
	Outcome outcome;
	Bench bench;

	bench_begin(&bench, work, mode);
	bench_arm(&bench, what, at, when, error);
	bench_say(&bench, "running");
	outcome = bench_run(&bench, work);
	hit = bench.faults.hits > 0;
	bench_disarm(&bench);
	attributes_lost = lost_attributes(&bench.tree);
	if (hit) {
		check_end(&bench, outcome);
		check_recovery(&bench, attributes_lost);
	}
	bench_end(&bench);
	return hit;
}

/* The barrier `cut` of the run fails, then one call of its recovery does. */
static bool fail_recovery_at(
	Work work, RecoveryMode mode, unsigned cut, FaultCall what, unsigned at, FaultWhen when, int error)
{
	Outcome outcome;
	Bench bench;
	bool hit, attributes_lost;

	bench_begin(&bench, work, mode);
	bench_arm(&bench, FAULT_BARRIER, cut, FAULT_LASTING, -EIO);
	(void)bench_run(&bench, work);
	bench_arm(&bench, what, at, when, error);
	bench_say(&bench, "recovering");
	outcome = bench_recover(&bench, mode);
	hit = bench.faults.hits > 0;
	bench_disarm(&bench);
	attributes_lost = lost_attributes(&bench.tree);
	if (hit) {
		check_end(&bench, outcome);
		check_recovery(&bench, attributes_lost);
	}
	bench_end(&bench);
	return hit;
}

/* ---- all points ---- */

static const int errors[] = {-EIO, -ENOSPC, -EDQUOT, -EROFS};

static bool is_long(void)
{
	return getenv("FAULT_LONG") != NULL;
}

/* Every one fails with EIO; with the other errors by turns, or all of them. */
static void every_call_of_a_run(Work work, FaultWhen when)
{
	unsigned points = 0;

	for (int what = 0; what < FAULT_CALL_MAX; what++)
		for (size_t e = 0; e < ELEMENTSOF(errors); e++)
			for (unsigned n = 0;; n++) {
				RecoveryMode mode = (RecoveryMode)((n + e) % RECOVERY_MODE_MAX);
				bool more;

				if (!is_long() && e > 0 && n % 4 != e)
					n += (unsigned)((e + 4 - n % 4) % 4);
				more = fail_run_at(work, mode, (FaultCall)what, n, when, errors[e]);
				if (!more)
					break;
				points++;
			}
	print_message("%s, %s: %u points\n", work_names[work], when_names[when], points);
	assert_true(points > 300);
}

/* The same for one error and any call, whatever its kind. */
static void from_every_call_on(Work work, int error)
{
	unsigned n = 0;

	while (fail_run_at(
		work, (RecoveryMode)(n % RECOVERY_MODE_MAX), FAULT_CALL_MAX, n, FAULT_LASTING, error))
		n++;
	print_message("%s, nothing works from the n-th call on: %u points\n", work_names[work], n);
	assert_true(n > 100);
}

static void any_call_of_an_encrypt_may_fail(void **state _unused_)
{
	every_call_of_a_run(WORK_ENCRYPT, FAULT_BEFORE);
}

static void any_call_of_an_encrypt_without_scrub_may_fail(void **state _unused_)
{
	every_call_of_a_run(WORK_ENCRYPT_NO_SCRUB, FAULT_BEFORE);
}

static void any_call_of_a_decrypt_may_fail(void **state _unused_)
{
	every_call_of_a_run(WORK_DECRYPT, FAULT_BEFORE);
}

/* From any state that a run can be cut off in. */
static void every_call_of_a_recovery(Work work)
{
	unsigned points = 0;

	for (unsigned cut = 0; cut < 6; cut++)
		for (int what = 0; what < FAULT_CALL_MAX; what++)
			for (unsigned n = 0;; n++, points++)
				if (!fail_recovery_at(work, (RecoveryMode)((n + cut) % RECOVERY_MODE_MAX),
					    cut, (FaultCall)what, n, FAULT_BEFORE,
					    errors[(n + cut) % ELEMENTSOF(errors)]))
					break;
	print_message("recovery of %s: %u points\n", work_names[work], points);
	assert_true(points > 300);
}

static void what_fails_may_have_been_done(void **state _unused_)
{
	unsigned points = 0;

	for (int work = 0; work < WORK_MAX; work++)
		for (int what = 0; what < FAULT_CALL_MAX; what++)
			for (unsigned n = 0; fail_run_at((Work)work, (RecoveryMode)(n % RECOVERY_MODE_MAX),
				     (FaultCall)what, n, FAULT_AFTER, -EIO);
				n++)
				points++;
	print_message("done, and said to have failed: %u points\n", points);
	assert_true(points > 300);
}

static void what_fails_may_fail_from_then_on(void **state _unused_)
{
	for (int work = 0; work < WORK_MAX; work++)
		every_call_of_a_run((Work)work, FAULT_LASTING);
}

static void everything_may_fail_from_any_call_on(void **state _unused_)
{
	for (int work = 0; work < WORK_MAX; work++) {
		from_every_call_on((Work)work, -EIO);
		from_every_call_on((Work)work, -EROFS);
	}
}

/* ---- short reads and writes ---- */

static void check_short(Work work, FaultCall what, unsigned at, FaultWhen when, bool *ret_hit)
{
	Bench bench;

	bench_begin(&bench, work, RECOVERY_RESUME);
	bench_arm(&bench, what, at, when, 0);
	bench_say(&bench, "running");
	require(&bench, bench_run(&bench, work) == OUTCOME_DONE);
	*ret_hit = bench.faults.hits > 0;
	assert_settled(&bench);
	require(&bench, bench_run(&bench, WORK_DECRYPT) == OUTCOME_DONE);
	bench_disarm(&bench);
	assert_as_at_first(&bench);
	bench_end(&bench);
}

static void reads_and_writes_may_be_short(void **state _unused_)
{
	static const FaultCall calls[] = {FAULT_PREAD, FAULT_PWRITE};

	for (int work = 0; work < WORK_MAX; work++)
		for (size_t c = 0; c < ELEMENTSOF(calls); c++) {
			bool hit = true;

			for (unsigned n = 0; hit; n++)
				check_short((Work)work, calls[c], n, FAULT_SHORT, &hit);
		}
}

static void any_call_of_an_encrypts_recovery_may_fail(void **state _unused_)
{
	every_call_of_a_recovery(WORK_ENCRYPT);
}

static void any_call_of_a_decrypts_recovery_may_fail(void **state _unused_)
{
	every_call_of_a_recovery(WORK_DECRYPT);
}

static int group_setup(void **state _unused_)
{
	/* Thousands of drives: in memory, where it can keep attributes. */
	if (setxattr("/dev/shm", "user.usbcrypt", "", 0, XATTR_REPLACE) < 0 && errno == ENODATA)
		fixture_folder = "/dev/shm";
	return secret_init();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(any_call_of_an_encrypt_may_fail),
		cmocka_unit_test(any_call_of_an_encrypt_without_scrub_may_fail),
		cmocka_unit_test(any_call_of_a_decrypt_may_fail),
		cmocka_unit_test(what_fails_may_have_been_done),
		cmocka_unit_test(what_fails_may_fail_from_then_on),
		cmocka_unit_test(everything_may_fail_from_any_call_on),
		cmocka_unit_test(reads_and_writes_may_be_short),
		cmocka_unit_test(any_call_of_an_encrypts_recovery_may_fail),
		cmocka_unit_test(any_call_of_a_decrypts_recovery_may_fail),
	};

	return cmocka_run_group_tests(tests, group_setup, NULL);
}
