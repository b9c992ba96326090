/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fixture.h"

#include "engine/scrub.h"

#define CLUSTER 4096U
#define HELPERS 3

static const ScrubKey key = {{1, 2, 3}};

static void note_segment(void *userdata, uint64_t bytes)
{
	*(uint64_t *)userdata += bytes;
}

/* Scrubs a file of `size` bytes of 'x', and looks whether each segment is told. Returns its descriptor. */
static int scrubbed(Fixture *f, uint64_t size, int expected)
{
	_cleanup_free_ uint8_t *plain = new0(uint8_t, size + 1);
	uint64_t told = 0;
	const ScrubHelp help = {.threads = HELPERS, .alive = note_segment, .userdata = &told};
	Workspace workspace;
	int fd = openat(f->root_fd, "file", O_RDWR | O_CREAT | O_TRUNC, 0600);

	assert_true(fd >= 0);
	assert_non_null(plain);
	memset(plain, 'x', size);
	assert_int_equal(pwrite(fd, plain, size, 0), size);
	assert_int_equal(workspace_init(&workspace), 0);
	assert_int_equal(scrub_file(&f->vfs, fd, size, CLUSTER, &key, &help, &workspace), expected);
	if (expected == 0)
		assert_int_equal(told, (size + CLUSTER - 1) / CLUSTER * CLUSTER);
	workspace_clear(&workspace);
	return fd;
}

static void every_byte_through_the_end_of_the_last_cluster_is_the_pattern(void **state _unused_)
{
	/* Without segments, with one, with a part of one, and with so many that several threads make them. */
	static const uint64_t sizes[] = {0, 1, SCRUB_SECTOR + 1, CLUSTER, SEGMENT_PLAIN, SEGMENT_PLAIN + 1,
		(uint64_t)LARGE_SEGMENTS * SEGMENT_PLAIN + 12345};

	for (size_t i = 0; i < ELEMENTSOF(sizes); i++) {
		uint64_t end = (sizes[i] + CLUSTER - 1) / CLUSTER * CLUSTER;
		_cleanup_free_ uint8_t *found = new0(uint8_t, end + 1), *pattern = new0(uint8_t, end + 1);
		Fixture f;
		int fd;

		assert_non_null(found);
		assert_non_null(pattern);
		fixture_begin(&f);
		fd = scrubbed(&f, sizes[i], 0);
		assert_int_equal(pread(fd, found, end + 1, 0), end);
		scrub_pattern(&key, 0, pattern, end);
		assert_memory_equal(found, pattern, end);
		(void)safe_close(fd);
		fixture_end(&f);
	}
}

static void a_failing_write_ends_it(void **state _unused_)
{
	Fixture f;

	fixture_begin(&f);
	f.writes_left = LARGE_SEGMENTS / 2;
	(void)safe_close(scrubbed(&f, (uint64_t)LARGE_SEGMENTS * SEGMENT_PLAIN, -EIO));
	fixture_end(&f);
}

static uint64_t full_from;

static ssize_t full_pwrite(const Vfs *vfs, int fd, const void *buffer, size_t size, uint64_t offset)
{
	if (offset + size > full_from)
		return -ENOSPC;
	return fixture_pwrite(vfs, fd, buffer, size, offset);
}

static void on_a_full_drive_the_file_itself_is_scrubbed(void **state _unused_)
{
	uint8_t found[CLUSTER], pattern[CLUSTER];
	Fixture f;
	int fd;

	full_from = 1000;
	fixture_begin(&f);
	f.vfs.pwrite = full_pwrite;
	fd = scrubbed(&f, full_from, 0);
	assert_int_equal(pread(fd, found, sizeof(found), 0), full_from);
	scrub_pattern(&key, 0, pattern, sizeof(pattern));
	assert_memory_equal(found, pattern, full_from);
	(void)safe_close(fd);

	/* Within the file it is an error. */
	full_from = 999;
	(void)safe_close(scrubbed(&f, 1000, -ENOSPC));
	fixture_end(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_byte_through_the_end_of_the_last_cluster_is_the_pattern),
		cmocka_unit_test(a_failing_write_ends_it),
		cmocka_unit_test(on_a_full_drive_the_file_itself_is_scrubbed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
