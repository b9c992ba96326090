/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A folder to play the drive, and a table of system calls in which single ones can be made to fail. */

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include <cmocka.h>

#include "engine/drive.h"
#include "engine/vfs.h"
#include "skip.h"
#include "util/fd.h"
#include "util/memory.h"

#include <sodium.h>

/* The cheapest parameters that are accepted. */
#define CHEAP_MEMORY ((uint64_t)64 << 20)
#define CHEAP_PASSES 2U

typedef struct Fixture {
	Vfs vfs; /* first: functions of the table find the fixture by it */
	VfsPosix posix;
	char path[64];
	int root_fd;
	/* counted, and made to fail: -1, or how many more succeed */
	int barriers;
	int noisy_opens; /* of files for reading, where the time of access would change */
	int writes_left;
	int barriers_left;
	int error;
	bool lying_medium; /* what is read with O_DIRECT, or after read_medium(), is altered */
	bool no_direct;    /* no O_DIRECT here */
	bool no_noatime;   /* O_NOATIME is refused: not the owner */
	bool dead;         /* the drive was pulled */
} Fixture;

/* Where drives and their copies are made; a test of very many of them may choose memory. */
static const char *fixture_folder = "/tmp";

static inline Fixture *fixture_of(const Vfs *vfs)
{
	return (Fixture *)(uintptr_t)vfs;
}

static int fixture_open(const Vfs *vfs, int dir_fd, const char *path, int flags, mode_t mode)
{
	Fixture *f = fixture_of(vfs);

	if (!(flags & (O_NOATIME | O_DIRECTORY | O_WRONLY | O_RDWR)))
		f->noisy_opens++;
	if (f->no_direct && flags & O_DIRECT)
		return -EINVAL;
	if (f->no_noatime && flags & O_NOATIME)
		return -EPERM;
	return f->posix.vfs.open(&f->posix.vfs, dir_fd, path, flags, mode);
}

static ssize_t fixture_pread(const Vfs *vfs, int fd, void *buffer, size_t size, uint64_t offset)
{
	Fixture *f = fixture_of(vfs);
	ssize_t n = f->posix.vfs.pread(&f->posix.vfs, fd, buffer, size, offset);

	if (n > 0 && f->lying_medium && f->barriers > 0)
		((uint8_t *)buffer)[n - 1] ^= 1;
	return n;
}

static ssize_t fixture_pwrite(const Vfs *vfs, int fd, const void *buffer, size_t size, uint64_t offset)
{
	Fixture *f = fixture_of(vfs);

	if (f->writes_left == 0)
		return f->error;
	if (f->writes_left > 0)
		f->writes_left--;
	return f->posix.vfs.pwrite(&f->posix.vfs, fd, buffer, size, offset);
}

static int fixture_barrier(const Vfs *vfs, int root_fd)
{
	Fixture *f = fixture_of(vfs);

	if (f->barriers_left == 0)
		return f->error;
	if (f->barriers_left > 0)
		f->barriers_left--;
	f->barriers++;
	return f->posix.vfs.barrier(&f->posix.vfs, root_fd);
}

static inline bool fixture_is_alive(const Vfs *vfs)
{
	return !fixture_of(vfs)->dead;
}

static inline void fixture_begin(Fixture *f)
{
	*f = (Fixture){.writes_left = -1, .barriers_left = -1, .error = -EIO};
	vfs_posix_init(&f->posix, false, NULL);
	f->vfs = f->posix.vfs;
	f->vfs.open = fixture_open;
	f->vfs.pread = fixture_pread;
	f->vfs.pwrite = fixture_pwrite;
	f->vfs.barrier = fixture_barrier;
	f->vfs.is_alive = fixture_is_alive;
	(void)snprintf(f->path, sizeof(f->path), "%s/usbcrypt-unit-XXXXXX", fixture_folder);
	assert_non_null(mkdtemp(f->path));
	f->root_fd = open(f->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(f->root_fd >= 0);
}

static int fixture_remove(
	const char *path, const struct stat *s _unused_, int type _unused_, struct FTW *ftw _unused_)
{
	return remove(path);
}

static inline void fixture_end(Fixture *f)
{
	f->root_fd = safe_close(f->root_fd);
	assert_int_equal(nftw(f->path, fixture_remove, 16, FTW_DEPTH | FTW_PHYS), 0);
}

static inline void put_file(const Fixture *f, const char *path, const void *bytes, size_t size)
{
	_cleanup_close_ int fd = openat(f->root_fd, path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, bytes, size), size);
}

/* The caller's to free; *ret_size bytes and a NUL. */
static inline uint8_t *get_file(int dir_fd, const char *path, size_t *ret_size)
{
	_cleanup_close_ int fd = openat(dir_fd, path, O_RDONLY | O_CLOEXEC);
	struct stat s;
	uint8_t *bytes;

	if (fd < 0)
		fail_msg("%s: %s", path, strerror(errno));
	assert_int_equal(fstat(fd, &s), 0);
	bytes = malloc((size_t)s.st_size + 1);
	assert_non_null(bytes);
	assert_int_equal(read(fd, bytes, (size_t)s.st_size), s.st_size);
	bytes[s.st_size] = 0;
	*ret_size = (size_t)s.st_size;
	return bytes;
}

static inline void put_copies(const Fixture *f, const void *bytes, size_t size)
{
	(void)mkdirat(f->root_fd, ".usbcrypt", 0755);
	(void)mkdirat(f->root_fd, ".usbcrypt/a", 0755);
	(void)mkdirat(f->root_fd, ".usbcrypt/b", 0755);
	put_file(f, ".usbcrypt/a/drive.json", bytes, size);
	put_file(f, ".usbcrypt/b/drive.json", bytes, size);
}

static inline Secret *secret_of(const void *bytes, size_t size)
{
	Secret *secret;

	assert_int_equal(secret_new(size, &secret), 0);
	memcpy(secret_bytes(secret), bytes, size);
	return secret;
}

static inline Secret *secret_of_string(const char *text)
{
	return secret_of(text, strlen(text));
}

static crypto_generichash_state fixture_state;

static int fixture_visit(
	const char *path _unused_, const struct stat *s _unused_, int type _unused_, struct FTW *ftw _unused_)
{
	return 0;
}

static int fixture_hash_entry(const char *path, const struct stat *s, int type, struct FTW *ftw _unused_)
{
	struct {
		mode_t mode;
		off_t size;
		struct timespec atime, mtime, ctime;
	} facts;

	memset(&facts, 0, sizeof(facts)); /* its padding too */
	facts.mode = s->st_mode;
	facts.size = type == FTW_F ? s->st_size : 0;
	facts.atime = s->st_atim;
	facts.mtime = s->st_mtim;
	facts.ctime = s->st_ctim;
	(void)crypto_generichash_update(&fixture_state, (const uint8_t *)path, strlen(path) + 1);
	(void)crypto_generichash_update(&fixture_state, (const uint8_t *)&facts, sizeof(facts));
	if (type == FTW_F && S_ISREG(s->st_mode)) {
		size_t size;
		_cleanup_free_ uint8_t *bytes = NULL;
		_cleanup_close_ int fd = open(path, O_RDONLY | O_NOATIME | O_CLOEXEC);

		assert_true(fd >= 0);
		size = (size_t)s->st_size;
		bytes = malloc(size + 1);
		assert_non_null(bytes);
		assert_int_equal(read(fd, bytes, size), size);
		(void)crypto_generichash_update(&fixture_state, bytes, size);
	}
	return 0;
}

/* Everything of the tree that can be seen: names, bytes, times (those of last access too). */
static inline void fixture_hash(const Fixture *f, uint8_t hash[32])
{
	/* Walking itself counts as an access to folders, by relatime's rules the first time only. */
	assert_int_equal(nftw(f->path, fixture_visit, 16, FTW_PHYS), 0);
	(void)crypto_generichash_init(&fixture_state, NULL, 0, 32);
	assert_int_equal(nftw(f->path, fixture_hash_entry, 16, FTW_PHYS), 0);
	(void)crypto_generichash_final(&fixture_state, hash, 32);
}

static inline size_t hex_into(const char *hex, uint8_t *bytes, size_t max)
{
	size_t n;

	assert_int_equal(sodium_hex2bin(bytes, max, hex, strlen(hex), NULL, &n, NULL), 0);
	return n;
}

static inline const char *vectors_path(void)
{
	const char *path = getenv("USBCRYPT_VECTORS");

	return path ? path : "tests/vectors";
}
