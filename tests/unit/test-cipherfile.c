/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fixture.h"

#include "engine/cipherfile.h"

#include <pthread.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>

static const uint8_t drive_id[DRIVE_ID_SIZE] = {1, 2, 3};
static Secret *root;

typedef struct Sealed {
	uint8_t *bytes;
	size_t size, head_size;
	Cipherfile *file;
} Sealed;

static void sealed_clear(Sealed *s)
{
	cipherfile_free(s->file);
	free(s->bytes);
}
#define _cleanup_sealed_ _cleanup_(sealed_clear)

static Attributes attributes_of(size_t size)
{
	return (Attributes){.present = ATTRIBUTE_PATH | ATTRIBUTE_SIZE,
		.path = (char *)(uintptr_t) "holiday/beach.jpg",
		.size = size};
}

static void seal(Suite suite, const uint8_t *plain, size_t size, Sealed *ret)
{
	Attributes a = attributes_of(size);
	size_t at;

	assert_int_equal(
		cipherfile_create(root, drive_id, 1, suite, &a, &ret->file, &ret->bytes, &ret->head_size), 0);
	assert_int_equal(cipherfile_get_head_size(ret->file), ret->head_size);
	ret->size = (size_t)cipherfile_sealed_size(ret->head_size, size);
	ret->bytes = realloc(ret->bytes, ret->size);
	assert_non_null(ret->bytes);
	at = ret->head_size;
	for (size_t i = 0; i == 0 || i * CHUNK_SIZE < size; i++) {
		size_t n = MIN(size - i * CHUNK_SIZE, (size_t)CHUNK_SIZE);

		assert_int_equal(cipherfile_seal_chunk(ret->file, i, i * CHUNK_SIZE + n == size,
					 plain + i * CHUNK_SIZE, n, ret->bytes + at),
			0);
		at += n + SUITE_TAG_SIZE;
	}
	assert_int_equal(at, ret->size);
}

/* Reads a whole file. 0, or the error; `reason` when it was the head's. */
static int open_all(const uint8_t *bytes, size_t size, uint8_t *plain, size_t *ret_size, Reason *ret_reason)
{
	_cleanup_cipherfile_ Cipherfile *file = NULL;
	_cleanup_attributes_ Attributes *a = NULL;
	size_t head_size, at, done = 0;
	int r;

	*ret_reason = REASON_INVALID;
	if (size < cipherfile_fixed_size)
		return -ENODATA;
	head_size = cipherfile_head_size(bytes);
	if (head_size > cipherfile_head_size_max)
		fail_msg("a head of %zu bytes", head_size);
	if (head_size == 0 || head_size > size)
		head_size = cipherfile_fixed_size;
	r = cipherfile_open(root, drive_id, 1, bytes, head_size, &file, &a, ret_reason);
	if (r < 0)
		return r;
	r = cipherfile_check_size(file, a, size);
	if (r < 0)
		return r;
	at = head_size;
	for (uint64_t i = 0; at < size; i++) {
		size_t n = MIN(size - at, (size_t)CHUNK_SEALED_SIZE);

		r = cipherfile_open_chunk(file, i, at + n == size, bytes + at, n, plain + done);
		if (r < 0)
			return r;
		done += n - SUITE_TAG_SIZE;
		at += n;
	}
	*ret_size = done;
	return 0;
}

static void what_is_sealed_is_opened_at_every_boundary(void **state _unused_)
{
	static const size_t sizes[] = {0, 1, 15, 16, CHUNK_SIZE - 1, CHUNK_SIZE, CHUNK_SIZE + 1,
		2 * CHUNK_SIZE, 3 * CHUNK_SIZE + 77};
	_cleanup_free_ uint8_t *plain = malloc(4 * CHUNK_SIZE), *opened = malloc(4 * CHUNK_SIZE);

	assert_true(plain && opened);
	randombytes_buf(plain, 4 * CHUNK_SIZE);
	for (Suite suite = 1; suite < SUITE_MAX; suite++)
		for (size_t i = 0; suite_available(suite) && i < ELEMENTSOF(sizes); i++) {
			_cleanup_sealed_ Sealed s = {};
			uint64_t plain_size;
			Reason reason;
			size_t size;

			seal(suite, plain, sizes[i], &s);
			assert_int_equal(cipherfile_get_suite(s.file), suite);
			assert_int_equal(cipherfile_plain_size(s.head_size, s.size, &plain_size), 0);
			assert_int_equal(plain_size, sizes[i]);
			assert_int_equal(open_all(s.bytes, s.size, opened, &size, &reason), 0);
			assert_int_equal(size, sizes[i]);
			assert_memory_equal(plain, opened, size);
		}
}

static void no_two_files_share_id_salt_or_bytes(void **state _unused_)
{
	_cleanup_sealed_ Sealed a = {}, b = {};

	seal(1, (const uint8_t *)"same", 4, &a);
	seal(1, (const uint8_t *)"same", 4, &b);
	assert_memory_not_equal(a.bytes + 48, b.bytes + 48, 16);
	assert_memory_not_equal(a.bytes + 64, b.bytes + 64, 32);
	assert_memory_not_equal(a.bytes + a.head_size, b.bytes + b.head_size, 4);
}

static void the_head_of_an_ordinary_file_stays_small(void **state _unused_)
{
	_cleanup_cipherfile_ Cipherfile *file = NULL;
	_cleanup_free_ uint8_t *head = NULL;
	Attributes a = attributes_of(1);
	size_t size;

	a.path = (char *)(uintptr_t) "Documents/2024/Letters/a letter to the tax office (final, really).odt";
	a.present |= ATTRIBUTE_MTIME | ATTRIBUTE_MODE | ATTRIBUTE_OWNER | ATTRIBUTE_FAT | ATTRIBUTE_RUN;
	assert_int_equal(cipherfile_create(root, drive_id, 1, 1, &a, &file, &head, &size), 0);
	assert_in_range(size, cipherfile_fixed_size, 399);
}

static void a_flip_of_any_bit_is_refused(void **state _unused_)
{
	uint8_t plain[40], opened[64];

	randombytes_buf(plain, sizeof(plain));
	for (Suite suite = 1; suite < SUITE_MAX; suite++) {
		_cleanup_sealed_ Sealed s = {};

		if (!suite_available(suite))
			continue;
		seal(suite, plain, sizeof(plain), &s);
		for (size_t bit = 0; bit < 8 * s.size; bit++) {
			Reason reason;
			size_t size;

			s.bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
			assert_int_equal(open_all(s.bytes, s.size, opened, &size, &reason), -EBADMSG);
			if (bit / 8 >= s.head_size)
				assert_int_equal(reason, REASON_INVALID);
			else if (bit / 8 >= 28 && bit / 8 < 48)
				assert_int_equal(reason, REASON_FOREIGN);
			else
				assert_true(reason == REASON_TAMPERED || reason == REASON_UNSUPPORTED);
			s.bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
		}
	}
}

static void every_truncation_is_refused(void **state _unused_)
{
	_cleanup_free_ uint8_t *plain = calloc(1, CHUNK_SIZE + 5), *opened = malloc(CHUNK_SIZE + 5);
	_cleanup_sealed_ Sealed s = {}, t = {};
	Reason reason;
	size_t size;

	assert_true(plain && opened);
	seal(1, plain, 300, &s);
	for (size_t n = 0; n < s.size; n++) {
		_cleanup_free_ uint8_t *cut = malloc(MAX(n, (size_t)1));

		assert_non_null(cut);
		memcpy(cut, s.bytes, n);
		assert_true(open_all(cut, n, opened, &size, &reason) < 0);
	}
	/* Two chunks: the last few of each cut. */
	seal(1, plain, CHUNK_SIZE + 5, &t);
	for (size_t n = t.size - 40; n < t.size; n++)
		assert_true(open_all(t.bytes, n, opened, &size, &reason) < 0);
}

static void a_size_no_plaintext_gives_is_refused(void **state _unused_)
{
	const size_t head = 200;
	uint64_t size;

	/* Every length up to three chunks, against the rule said the other way round. */
	for (uint64_t plain = 0, n = 0; n < head + 3 * CHUNK_SEALED_SIZE; n++) {
		int r = cipherfile_plain_size(head, n, &size);

		while (cipherfile_sealed_size(head, plain) < n)
			plain++;
		if (cipherfile_sealed_size(head, plain) == n) {
			assert_int_equal(r, 0);
			assert_int_equal(size, plain);
		} else {
			assert_int_equal(r, -EBADMSG);
		}
	}
	assert_int_equal(cipherfile_plain_size(head, UINT64_MAX, &size), -EBADMSG);
	assert_int_equal(cipherfile_plain_size(head, (uint64_t)INT64_MAX + 1, &size), -EBADMSG);
	assert_int_equal(cipherfile_plain_size(head, 0, &size), -EBADMSG);
}

static void a_writer_cannot_make_a_chunk_no_reader_takes(void **state _unused_)
{
	_cleanup_free_ uint8_t *plain = calloc(1, CHUNK_SIZE + 1), *sealed = malloc(CHUNK_SEALED_SIZE + 1);
	_cleanup_sealed_ Sealed s = {};

	assert_true(plain && sealed);
	seal(1, plain, 1, &s);
	assert_int_equal(cipherfile_seal_chunk(s.file, 0, false, plain, CHUNK_SIZE - 1, sealed), -EINVAL);
	assert_int_equal(cipherfile_seal_chunk(s.file, 0, false, plain, 0, sealed), -EINVAL);
	assert_int_equal(cipherfile_seal_chunk(s.file, 1, true, plain, 0, sealed), -EINVAL);
	assert_int_equal(cipherfile_seal_chunk(s.file, 0, true, plain, CHUNK_SIZE + 1, sealed), -EINVAL);
	assert_int_equal(cipherfile_seal_chunk(s.file, 0, true, plain, 0, sealed), 0);
}

static void a_file_without_path_or_size_is_not_made(void **state _unused_)
{
	Attributes a = attributes_of(1);
	Cipherfile *file = NULL;
	uint8_t *head = NULL;
	size_t size;

	a.present = ATTRIBUTE_PATH;
	assert_int_equal(cipherfile_create(root, drive_id, 1, 1, &a, &file, &head, &size), -EINVAL);
	a.present = ATTRIBUTE_SIZE;
	assert_int_equal(cipherfile_create(root, drive_id, 1, 1, &a, &file, &head, &size), -EINVAL);
	a = attributes_of(1);
	assert_int_equal(cipherfile_create(root, drive_id, 0, 1, &a, &file, &head, &size), -EINVAL);
	assert_int_equal(
		cipherfile_create(root, drive_id, 1, SUITE_INVALID, &a, &file, &head, &size), -EOPNOTSUPP);
	assert_null(file);
	assert_null(head);
}

static void no_header_asks_for_more_than_the_bound(void **state _unused_)
{
	_cleanup_sealed_ Sealed s = {};

	seal(1, (const uint8_t *)"x", 1, &s);
	for (size_t i = 0; i < 300000; i++) {
		uint8_t fixed[160];

		memcpy(fixed, s.bytes, sizeof(fixed));
		randombytes_buf(fixed + 8 + randombytes_uniform(20), 1 + randombytes_uniform(4));
		assert_true(cipherfile_head_size(fixed) <= cipherfile_head_size_max);
	}
}

typedef struct Job {
	const Sealed *sealed;
	const uint8_t *plain;
	int result;
} Job;

static void *open_many(void *argument)
{
	Job *job = argument;
	uint8_t opened[1000];

	for (size_t i = 0; i < 2000 && job->result == 0; i++) {
		job->result = cipherfile_open_chunk(job->sealed->file, 0, true,
			job->sealed->bytes + job->sealed->head_size, sizeof(opened) + SUITE_TAG_SIZE, opened);
		if (job->result == 0 && memcmp(opened, job->plain, sizeof(opened)) != 0)
			job->result = -EIO;
	}
	return NULL;
}

static void chunks_may_be_opened_by_several_threads(void **state _unused_)
{
	uint8_t plain[1000];

	randombytes_buf(plain, sizeof(plain));
	for (Suite suite = 1; suite < SUITE_MAX; suite++) {
		_cleanup_sealed_ Sealed s = {};
		pthread_t threads[4];
		Job jobs[4];

		if (!suite_available(suite))
			continue;
		seal(suite, plain, sizeof(plain), &s);
		for (size_t i = 0; i < ELEMENTSOF(threads); i++) {
			jobs[i] = (Job){&s, plain, 0};
			assert_int_equal(pthread_create(&threads[i], NULL, open_many, &jobs[i]), 0);
		}
		for (size_t i = 0; i < ELEMENTSOF(threads); i++) {
			assert_int_equal(pthread_join(threads[i], NULL), 0);
			assert_int_equal(jobs[i].result, 0);
		}
	}
}

/* I8, in a process of its own, since a limit that was lowered stays low. */
static void where_memory_cannot_be_locked_no_file_is_made(void **state _unused_)
{
	int status;
	pid_t pid;

	skip_under_asan(ASAN_LOCKS_NOTHING);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		const struct rlimit none = {0, 0};
		Attributes a = attributes_of(1);
		Cipherfile *file = NULL;
		uint8_t *head = NULL;
		size_t size;
		int r = 0;

		/* Root may lock without a limit, nobody may not. */
		if (setrlimit(RLIMIT_MEMLOCK, &none) < 0 ||
			(geteuid() == 0 && setresuid(65534, 65534, 65534) < 0))
			_exit(3);
		/* The slots there are; then the pool has to grow. */
		for (size_t i = 0; i < 1000 && r == 0; i++)
			r = cipherfile_create(root, drive_id, 1, 1, &a, &file, &head, &size);
		_exit(r == -ENOMEM || r == -EPERM ? 0 : 1);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_sealed_is_opened_at_every_boundary),
		cmocka_unit_test(no_two_files_share_id_salt_or_bytes),
		cmocka_unit_test(the_head_of_an_ordinary_file_stays_small),
		cmocka_unit_test(a_flip_of_any_bit_is_refused),
		cmocka_unit_test(every_truncation_is_refused),
		cmocka_unit_test(a_size_no_plaintext_gives_is_refused),
		cmocka_unit_test(a_writer_cannot_make_a_chunk_no_reader_takes),
		cmocka_unit_test(a_file_without_path_or_size_is_not_made),
		cmocka_unit_test(no_header_asks_for_more_than_the_bound),
		cmocka_unit_test(chunks_may_be_opened_by_several_threads),
		cmocka_unit_test(where_memory_cannot_be_locked_no_file_is_made),
	};
	int r;

	if (secret_init() < 0 || secret_new_random(SUBKEY_SIZE, &root) < 0)
		return 1;
	r = cmocka_run_group_tests(tests, NULL, NULL);
	secret_free(root);
	return r;
}
