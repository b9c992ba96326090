/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A drive with files on it, its keys, and a reference copy to compare with. */

#include "fixture.h"

#include "engine/transaction.h"

#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <sys/xattr.h>

typedef struct Failure {
	char *path;
	Reason reason;
} Failure;

typedef struct Tree {
	Fixture fixture; /* first */
	char reference[64];
	Secret *file_root, *journal_mac, *scrub_root;
	Volume volume;
	TransactionOptions options;
	Observer observer;
	TransactionResult result;
	Failure *failures;
	size_t n_failures, n_allocated;
	Progress last;
	int polls_left; /* until the run is cancelled; -1: never */
} Tree;

static void tree_note_failure(void *userdata, const char *path, Reason reason, int error _unused_)
{
	Tree *tree = userdata;

	assert_int_equal(array_grow(&tree->failures, &tree->n_allocated, tree->n_failures + 1,
				 sizeof(*tree->failures)),
		0);
	tree->failures[tree->n_failures++] = (Failure){strdup(path), reason};
}

static void tree_note_progress(void *userdata, const Progress *progress)
{
	((Tree *)userdata)->last = *progress;
}

static bool tree_cancelled(void *userdata)
{
	Tree *tree = userdata;

	if (tree->polls_left < 0)
		return false;
	if (tree->polls_left == 0)
		return true;
	tree->polls_left--;
	return tree->polls_left == 0;
}

static inline void tree_forget_failures(Tree *tree)
{
	for (size_t i = 0; i < tree->n_failures; i++)
		free(tree->failures[i].path);
	tree->failures = mfree(tree->failures);
	tree->n_failures = tree->n_allocated = 0;
}

/* True when `path` was named with `reason`. */
static inline bool tree_failed(const Tree *tree, const char *path, Reason reason)
{
	for (size_t i = 0; i < tree->n_failures; i++)
		if (strcmp(tree->failures[i].path, path) == 0 && tree->failures[i].reason == reason)
			return true;
	return false;
}

static inline void tree_begin(Tree *tree)
{
	memset(tree, 0, sizeof(*tree));
	fixture_begin(&tree->fixture);
	(void)snprintf(tree->reference, sizeof(tree->reference), "%s/usbcrypt-copy-XXXXXX", fixture_folder);
	assert_non_null(mkdtemp(tree->reference));
	assert_int_equal(mkdirat(tree->fixture.root_fd, ".usbcrypt", 0700), 0);
	assert_int_equal(mkdirat(tree->fixture.root_fd, ".usbcrypt/a", 0700), 0);
	assert_int_equal(mkdirat(tree->fixture.root_fd, ".usbcrypt/b", 0700), 0);
	/* A transaction is given its keys; of drive.json it only tries how it can be opened. */
	(void)safe_close(openat(tree->fixture.root_fd, ".usbcrypt/a/drive.json", O_WRONLY | O_CREAT, 0600));
	assert_int_equal(secret_new_random(SUBKEY_SIZE, &tree->file_root), 0);
	assert_int_equal(secret_new_random(SUBKEY_SIZE, &tree->journal_mac), 0);
	assert_int_equal(secret_new_random(SUBKEY_SIZE, &tree->scrub_root), 0);
	tree->volume = (Volume){
		.vfs = &tree->fixture.vfs,
		.root_fd = tree->fixture.root_fd,
		.type = "ext4",
		.suite = SUITE_XCHACHA20_POLY1305,
		.epoch = 1,
		.file_root = tree->file_root,
		.journal_mac = tree->journal_mac,
		.scrub_root = tree->scrub_root,
		.privileged = true,
	};
	tree->options = (TransactionOptions){.scrub = true, .target_fd = -1};
	tree->observer = (Observer){
		.userdata = tree,
		.progress = tree_note_progress,
		.failure = tree_note_failure,
		.cancelled = tree_cancelled,
	};
	tree->polls_left = -1;
}

static inline void tree_end(Tree *tree)
{
	tree_forget_failures(tree);
	secret_free(tree->file_root);
	secret_free(tree->journal_mac);
	secret_free(tree->scrub_root);
	(void)nftw(tree->reference, fixture_remove, 16, FTW_DEPTH | FTW_PHYS);
	fixture_end(&tree->fixture);
}

/* Makes a file of `size` bytes that are its own, and its folders. */
static inline void tree_make(Tree *tree, const char *path, size_t size)
{
	_cleanup_free_ uint8_t *bytes = malloc(size + 1);
	_cleanup_free_ char *folder = strdup(path);
	struct timespec times[2] = {
		{.tv_sec = 1000000000}, {.tv_sec = 1000000000 + (time_t)size, .tv_nsec = 123456789}};
	uint8_t seed[randombytes_SEEDBYTES] = {0};
	int fd;

	assert_non_null(bytes);
	for (char *slash = strchr(folder, '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = 0;
		(void)mkdirat(tree->fixture.root_fd, folder, 0755);
		*slash = '/';
	}
	memcpy(seed, path, MIN(strlen(path), sizeof(seed)));
	randombytes_buf_deterministic(bytes, size, seed);
	fd = openat(tree->fixture.root_fd, path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0640);
	assert_true(fd >= 0);
	assert_int_equal(vfs_write_full(&tree->fixture.posix.vfs, fd, bytes, size, 0), 0);
	assert_int_equal(futimens(fd, times), 0);
	(void)safe_close(fd);
}

static int tree_system(const char *format, ...) _printf_(1, 2);
static int tree_system(const char *format, ...)
{
	char command[512];
	va_list ap;

	va_start(ap, format);
	(void)vsnprintf(command, sizeof(command), format, ap);
	va_end(ap);
	return system(command);
}

/* The reference is what lies on the drive now. */
static inline void tree_remember(Tree *tree)
{
	assert_int_equal(tree_system("cp -a %s/. %s/", tree->fixture.path, tree->reference), 0);
	assert_int_equal(tree_system("rm -rf %s/.usbcrypt", tree->reference), 0);
}

/* Names, contents, types, modes and times are the reference's. */
static inline void tree_assert_as_remembered(Tree *tree)
{
	assert_int_equal(tree_system("diff -r --no-dereference -x .usbcrypt %s %s", tree->reference,
				 tree->fixture.path),
		0);
	assert_int_equal(tree_system("cd %s && find . -path ./.usbcrypt -prune -o ! -type d -printf '%%p %%m "
				     "%%s %%T@ %%y\\n' | sort > "
				     "%s.list && cd %s && find . ! -type d -printf '%%p %%m %%s %%T@ %%y\\n' "
				     "| sort | diff - %s.list",
				 tree->fixture.path, tree->reference, tree->reference, tree->reference),
		0);
	(void)tree_system("rm -f %s.list", tree->reference);
}

static inline Outcome tree_encrypt(Tree *tree)
{
	return transaction_encrypt(&tree->volume, &tree->options, &tree->observer, &tree->result);
}

static inline Outcome tree_decrypt(Tree *tree)
{
	return transaction_decrypt(&tree->volume, &tree->options, &tree->observer, &tree->result);
}

static inline Outcome tree_recover(Tree *tree, RecoveryMode mode)
{
	return recovery_run(&tree->volume, mode, true, &tree->options, &tree->observer, &tree->result);
}

static inline uint64_t tree_count_files(Tree *tree, bool encrypted)
{
	assert_int_equal(transaction_survey(&tree->volume, &tree->options, &tree->observer, &tree->result),
		OUTCOME_DONE);
	return tree->result.counts[encrypted ? COUNT_ENCRYPTED_FILES : COUNT_PLAIN_FILES];
}
