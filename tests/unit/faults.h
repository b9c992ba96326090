/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * A table over the real one in which any single call can be made to fail: the n-th of its kind, or the n-th
 * of all, once or from then on, before it is done or after. Its files are the test machine's: a barrier and
 * an fsync count as calls, and cost nothing.
 */

#include "engine/vfs.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <unistd.h>

#define FAULT_CALLS(X)                                                                                       \
	X(OPEN)                                                                                              \
	X(PREAD)                                                                                             \
	X(PWRITE)                                                                                            \
	X(FSTAT)                                                                                             \
	X(LSTAT)                                                                                             \
	X(ACCESS)                                                                                            \
	X(FSTATVFS)                                                                                          \
	X(MKDIR)                                                                                             \
	X(UNLINK)                                                                                            \
	X(TRUNCATE)                                                                                          \
	X(FSYNC)                                                                                             \
	X(SET_MTIME)                                                                                         \
	X(CHMOD)                                                                                             \
	X(CHOWN)                                                                                             \
	X(LIST_XATTR)                                                                                        \
	X(GET_XATTR)                                                                                         \
	X(SET_XATTR)                                                                                         \
	X(GET_FAT)                                                                                           \
	X(SET_FAT)                                                                                           \
	X(SHORT_NAME)                                                                                        \
	X(DIR_OPEN)                                                                                          \
	X(DIR_NEXT)                                                                                          \
	X(LEASE)                                                                                             \
	X(LEASE_HOLDS)                                                                                       \
	X(BARRIER)                                                                                           \
	X(READ_MEDIUM)                                                                                       \
	X(CHECK)

typedef enum FaultCall {
#define FAULT_ENUMERATE(name) FAULT_##name,
	FAULT_CALLS(FAULT_ENUMERATE)
#undef FAULT_ENUMERATE
	FAULT_CALL_MAX, /* counts all of them */
	FAULT_NONE = -1,
} FaultCall;

typedef enum FaultWhen {
	FAULT_BEFORE,  /* the call is not made; of a write, half is */
	FAULT_AFTER,   /* it is made, and then reported as failed */
	FAULT_LASTING, /* not made, and none of its kind after it */
	FAULT_SHORT,   /* reads and writes: half of it, and no error */
	FAULT_WHEN_MAX,
} FaultWhen;

typedef struct Faults {
	Vfs vfs; /* first */
	const Vfs *below;
	atomic_uint calls[FAULT_CALL_MAX + 1];
	FaultCall what;
	unsigned at;
	FaultWhen when;
	int error;
	unsigned hits;
} Faults;

static const char *const fault_names[] = {
#define FAULT_NAME(name) #name,
	FAULT_CALLS(FAULT_NAME)
#undef FAULT_NAME
		"any call"};

static inline Faults *faults_of(const Vfs *vfs)
{
	return (Faults *)(uintptr_t)vfs;
}

/* Counts a call; true when it is to fail. */
static inline bool fault_now(Faults *f, FaultCall call)
{
	unsigned all = atomic_fetch_add(&f->calls[FAULT_CALL_MAX], 1);
	unsigned own = atomic_fetch_add(&f->calls[call], 1), n;

	if (f->what != call && f->what != FAULT_CALL_MAX)
		return false;
	n = f->what == call ? own : all;
	if (n != f->at && !(f->when == FAULT_LASTING && n > f->at))
		return false;
	f->hits++;
	return true;
}

/* The shape of most: fail before it, fail after it, or do it. */
#define FAULT_CALL(vfs, call, expression)                                                                    \
	({                                                                                                   \
		Faults *fault_table = faults_of(vfs);                                                        \
		const Vfs *below = fault_table->below;                                                       \
		bool fault = fault_now(fault_table, FAULT_##call);                                           \
		typeof(expression) fault_result = fault_table->error;                                        \
                                                                                                             \
		if (!fault || fault_table->when == FAULT_AFTER)                                              \
			fault_result = (expression);                                                         \
		if (fault && fault_result >= 0)                                                              \
			fault_result = fault_table->error;                                                   \
		fault_result;                                                                                \
	})

static int faults_open(const Vfs *vfs, int dir_fd, const char *path, int flags, mode_t mode)
{
	Faults *f = faults_of(vfs);
	bool fault = fault_now(f, FAULT_OPEN);
	struct stat st;
	int fd;

	if (fault && f->when != FAULT_AFTER)
		return f->error;
	/* Every filesystem a test may run on can do without. */
	fd = f->below->open(f->below, dir_fd, path, flags & ~O_DIRECT, mode);
	if (fd >= 0 && fault) {
		f->below->close(f->below, fd);
		return f->error;
	}
	/* What is true of everyone but root: a file's owner, too, may not write when its mode says so. */
	if (fd >= 0 && (flags & O_ACCMODE) == O_RDWR && !(flags & O_CREAT) && fstat(fd, &st) >= 0 &&
		!(st.st_mode & S_IWUSR)) {
		f->below->close(f->below, fd);
		return -EACCES;
	}
	return fd;
}

static void faults_close(const Vfs *vfs, int fd)
{
	faults_of(vfs)->below->close(faults_of(vfs)->below, fd);
}

static ssize_t faults_pread(const Vfs *vfs, int fd, void *buffer, size_t size, uint64_t offset)
{
	Faults *f = faults_of(vfs);

	if (fault_now(f, FAULT_PREAD)) {
		if (f->when != FAULT_SHORT)
			return f->error;
		/* Direct reads are asked for in whole blocks, and short only by whole blocks. */
		if (size % 4096 != 0)
			size = (size + 1) / 2;
		else if (size > 4096)
			size = size / 2 / 4096 * 4096 + (size < 8192 ? 4096 : 0);
	}
	return f->below->pread(f->below, fd, buffer, size, offset);
}

static ssize_t faults_pwrite(const Vfs *vfs, int fd, const void *buffer, size_t size, uint64_t offset)
{
	Faults *f = faults_of(vfs);
	bool fault = fault_now(f, FAULT_PWRITE);
	ssize_t n;

	if (fault && f->when != FAULT_AFTER)
		size = f->when == FAULT_SHORT && size == 1 ? size : size / 2;
	n = f->below->pwrite(f->below, fd, buffer, size, offset);
	return fault && f->when != FAULT_SHORT ? f->error : n;
}

static int faults_fstat(const Vfs *vfs, int fd, struct stat *ret)
{
	return FAULT_CALL(vfs, FSTAT, below->fstat(below, fd, ret));
}

static int faults_lstat(const Vfs *vfs, int dir_fd, const char *name, struct stat *ret)
{
	return FAULT_CALL(vfs, LSTAT, below->lstat(below, dir_fd, name, ret));
}

static int faults_access(const Vfs *vfs, int dir_fd, const char *name, int mode)
{
	return FAULT_CALL(vfs, ACCESS, below->access(below, dir_fd, name, mode));
}

/* A small drive, so that its journal is small. */
static int faults_fstatvfs(const Vfs *vfs, int fd, struct statvfs *ret)
{
	int r = FAULT_CALL(vfs, FSTATVFS, below->fstatvfs(below, fd, ret));

	ret->f_bsize = ret->f_frsize = 4096;
	ret->f_blocks = 8192;
	ret->f_bfree = ret->f_bavail = 4096;
	return r;
}

static int faults_mkdir(const Vfs *vfs, int dir_fd, const char *name, mode_t mode)
{
	return FAULT_CALL(vfs, MKDIR, below->mkdir(below, dir_fd, name, mode));
}

static int faults_unlink(const Vfs *vfs, int dir_fd, const char *name, bool directory)
{
	return FAULT_CALL(vfs, UNLINK, below->unlink(below, dir_fd, name, directory));
}

static int faults_truncate(const Vfs *vfs, int fd, uint64_t size)
{
	return FAULT_CALL(vfs, TRUNCATE, below->truncate(below, fd, size));
}

static int faults_fsync(const Vfs *vfs, int fd _unused_)
{
	return fault_now(faults_of(vfs), FAULT_FSYNC) ? faults_of(vfs)->error : 0;
}

static int faults_set_mtime(const Vfs *vfs, int fd, const struct timespec *mtime)
{
	return FAULT_CALL(vfs, SET_MTIME, below->set_mtime(below, fd, mtime));
}

static int faults_chmod(const Vfs *vfs, int fd, mode_t mode)
{
	return FAULT_CALL(vfs, CHMOD, below->chmod(below, fd, mode));
}

static int faults_chown(const Vfs *vfs, int fd, uid_t uid, gid_t gid)
{
	return FAULT_CALL(vfs, CHOWN, below->chown(below, fd, uid, gid));
}

static ssize_t faults_list_xattr(const Vfs *vfs, int fd, char *list, size_t size)
{
	return FAULT_CALL(vfs, LIST_XATTR, below->list_xattr(below, fd, list, size));
}

static ssize_t faults_get_xattr(const Vfs *vfs, int fd, const char *name, void *value, size_t size)
{
	return FAULT_CALL(vfs, GET_XATTR, below->get_xattr(below, fd, name, value, size));
}

static int faults_set_xattr(const Vfs *vfs, int fd, const char *name, const void *value, size_t size)
{
	return FAULT_CALL(vfs, SET_XATTR, below->set_xattr(below, fd, name, value, size));
}

static int faults_get_fat(const Vfs *vfs, int fd, uint32_t *ret)
{
	return FAULT_CALL(vfs, GET_FAT, below->get_fat_attributes(below, fd, ret));
}

static int faults_set_fat(const Vfs *vfs, int fd, uint32_t attributes)
{
	return FAULT_CALL(vfs, SET_FAT, below->set_fat_attributes(below, fd, attributes));
}

static int faults_short_name(const Vfs *vfs, int dir_fd, const char *name, char ret[VFS_SHORT_NAME_MAX])
{
	return FAULT_CALL(vfs, SHORT_NAME, below->short_name(below, dir_fd, name, ret));
}

static int faults_dir_open(const Vfs *vfs, int dir_fd, void **ret_stream)
{
	Faults *f = faults_of(vfs);

	return fault_now(f, FAULT_DIR_OPEN) ? f->error : f->below->dir_open(f->below, dir_fd, ret_stream);
}

static int faults_dir_next(const Vfs *vfs, void *stream, VfsEntry *ret)
{
	return FAULT_CALL(vfs, DIR_NEXT, below->dir_next(below, stream, ret));
}

static void faults_dir_close(const Vfs *vfs, void *stream)
{
	faults_of(vfs)->below->dir_close(faults_of(vfs)->below, stream);
}

static int faults_lease(const Vfs *vfs, int fd)
{
	return FAULT_CALL(vfs, LEASE, below->lease(below, fd));
}

static bool faults_lease_holds(const Vfs *vfs, int fd)
{
	Faults *f = faults_of(vfs);

	return fault_now(f, FAULT_LEASE_HOLDS) ? false : f->below->lease_holds(f->below, fd);
}

static int faults_barrier(const Vfs *vfs, int root_fd _unused_)
{
	return fault_now(faults_of(vfs), FAULT_BARRIER) ? faults_of(vfs)->error : 0;
}

static int faults_read_medium(const Vfs *vfs, int root_fd _unused_)
{
	return fault_now(faults_of(vfs), FAULT_READ_MEDIUM) ? faults_of(vfs)->error : O_DIRECT;
}

static int faults_check(const Vfs *vfs, VolumeQuestion question _unused_)
{
	return fault_now(faults_of(vfs), FAULT_CHECK) ? faults_of(vfs)->error : VOLUME_SOUND;
}

static bool faults_is_alive(const Vfs *vfs _unused_)
{
	return true;
}

static void faults_now(const Vfs *vfs, clockid_t clock, struct timespec *ret)
{
	faults_of(vfs)->below->now(faults_of(vfs)->below, clock, ret);
}

static inline void faults_init(Faults *f, const Vfs *below)
{
	*f = (Faults){.below = below, .what = FAULT_NONE};
	f->vfs = (Vfs){
		.open = faults_open,
		.close = faults_close,
		.pread = faults_pread,
		.pwrite = faults_pwrite,
		.fstat = faults_fstat,
		.lstat = faults_lstat,
		.access = faults_access,
		.fstatvfs = faults_fstatvfs,
		.mkdir = faults_mkdir,
		.unlink = faults_unlink,
		.truncate = faults_truncate,
		.fsync = faults_fsync,
		.set_mtime = faults_set_mtime,
		.chmod = faults_chmod,
		.chown = faults_chown,
		.list_xattr = faults_list_xattr,
		.get_xattr = faults_get_xattr,
		.set_xattr = faults_set_xattr,
		.get_fat_attributes = faults_get_fat,
		.set_fat_attributes = faults_set_fat,
		.short_name = faults_short_name,
		.dir_open = faults_dir_open,
		.dir_next = faults_dir_next,
		.dir_close = faults_dir_close,
		.lease = faults_lease,
		.lease_holds = faults_lease_holds,
		.barrier = faults_barrier,
		.read_medium = faults_read_medium,
		.check = faults_check,
		.is_alive = faults_is_alive,
		.now = faults_now,
	};
}
