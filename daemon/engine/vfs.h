/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Every system call on a drive goes through this table, so that a test can put a disk of its own underneath.
 * All functions return 0 or a count, or a negative errno; what is left in errno means nothing. Descriptors
 * belong to the table that returned them. EINTR is dealt with below the table.
 */

#include "util/macro.h"

#include <pthread.h>
#include <stdbool.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/types.h>
#include <time.h>

typedef struct Vfs Vfs;

/* What a look at a filesystem's allocation says. Without one that knows the filesystem: SOUND. */
typedef enum VolumeState {
	VOLUME_SOUND,
	VOLUME_TORN,    /* files' clusters count as free, or their entries are torn: allocate nothing */
	VOLUME_DAMAGED, /* folders' clusters do, or two have one cluster: free nothing either */
} VolumeState;

typedef enum VolumeQuestion {
	VOLUME_IF_UNCLEAN, /* SOUND where the filesystem says that it was unmounted cleanly */
	VOLUME_ALWAYS,
	VOLUME_GO_ON, /* it was not finished */
} VolumeQuestion;

#define VFS_SHORT_NAME_MAX 13 /* 8 + '.' + 3 + NUL */

typedef struct VfsEntry {
	const char *name;   /* valid until the next call on the same directory stream */
	unsigned char type; /* DT_*, DT_UNKNOWN where the filesystem does not say */
} VfsEntry;

struct Vfs {
	void *userdata;

	/* openat2() below dir_fd with RESOLVE_BENEATH | NO_SYMLINKS | NO_MAGICLINKS | NO_XDEV and O_CLOEXEC;
	 * the path is relative. */
	int (*open)(const Vfs *vfs, int dir_fd, const char *path, int flags, mode_t mode);
	void (*close)(const Vfs *vfs, int fd);
	ssize_t (*pread)(const Vfs *vfs, int fd, void *buffer, size_t size, uint64_t offset);
	ssize_t (*pwrite)(const Vfs *vfs, int fd, const void *buffer, size_t size, uint64_t offset);
	int (*fstat)(const Vfs *vfs, int fd, struct stat *ret);
	int (*lstat)(const Vfs *vfs, int dir_fd, const char *name, struct stat *ret);
	int (*access)(const Vfs *vfs, int dir_fd, const char *name, int mode); /* with the effective ids */
	int (*fstatvfs)(const Vfs *vfs, int fd, struct statvfs *ret);
	int (*mkdir)(const Vfs *vfs, int dir_fd, const char *name, mode_t mode);
	int (*unlink)(const Vfs *vfs, int dir_fd, const char *name, bool directory);
	int (*truncate)(const Vfs *vfs, int fd, uint64_t size);
	int (*fsync)(const Vfs *vfs, int fd);
	int (*set_mtime)(const Vfs *vfs, int fd, const struct timespec *mtime);
	int (*chmod)(const Vfs *vfs, int fd, mode_t mode);
	int (*chown)(const Vfs *vfs, int fd, uid_t uid, gid_t gid);

	/* Extended attributes; -EOPNOTSUPP where there are none. Sizes as in flistxattr(2) and fgetxattr(2).
	 */
	ssize_t (*list_xattr)(const Vfs *vfs, int fd, char *list, size_t size);
	ssize_t (*get_xattr)(const Vfs *vfs, int fd, const char *name, void *value, size_t size);
	int (*set_xattr)(const Vfs *vfs, int fd, const char *name, const void *value, size_t size);

	/* FAT's attribute byte and 8.3 alias; -EOPNOTSUPP elsewhere. An alias that equals the name is "". */
	int (*get_fat_attributes)(const Vfs *vfs, int fd, uint32_t *ret);
	int (*set_fat_attributes)(const Vfs *vfs, int fd, uint32_t attributes);
	int (*short_name)(const Vfs *vfs, int dir_fd, const char *name, char ret[VFS_SHORT_NAME_MAX]);

	/* A directory stream on its own descriptor; "." and ".." are left out. 1: an entry, 0: the end. */
	int (*dir_open)(const Vfs *vfs, int dir_fd, void **ret_stream);
	int (*dir_next)(const Vfs *vfs, void *stream, VfsEntry *ret);
	void (*dir_close)(const Vfs *vfs, void *stream);

	/* F_SETLEASE F_WRLCK: 0 when nobody else has the file open, -EAGAIN when somebody has, -EOPNOTSUPP
	 * (or the like) where there are no leases. lease_holds: whether it is still unbroken. Released by
	 * close. */
	int (*lease)(const Vfs *vfs, int fd);
	bool (*lease_holds)(const Vfs *vfs, int fd);

	/* The barrier (TRANSACTIONS.md), as far as this process can take it: syncfs(root_fd), the
	 * node's fsync (by the node helper), no read-only flip, the same disk still there. -EROFS, -ENODEV,
	 * -EIO. */
	int (*barrier)(const Vfs *vfs, int root_fd);

	/* Makes the next reads below the root come from the medium. Returns the flags to open it with for
	 * that (O_DIRECT or 0), or -EOPNOTSUPP when there is no way. */
	int (*read_medium)(const Vfs *vfs, int root_fd);

	/* A VolumeState, or -EINPROGRESS: there is more to look at, ask with VOLUME_GO_ON. */
	int (*check)(const Vfs *vfs, VolumeQuestion question);

	/* Whether the disk that was opened is still there: ENOENT and an empty folder mean nothing without
	 * it. */
	bool (*is_alive)(const Vfs *vfs);

	/* CLOCK_REALTIME, for mtimes, and CLOCK_MONOTONIC, for batches that last too long. */
	void (*now)(const Vfs *vfs, clockid_t clock, struct timespec *ret);
};

/* What needs the partition's node, which only root may open: done by the node helper on a worker's request,
 * or straight away where a test is root. All may be called from any thread, one call at a time. */
typedef struct VfsNode {
	void *userdata;
	int (*sync)(
		void *userdata); /* fsync of the node: writes its dirty buffers, one flush, reports errors */
	int (*drop_caches)(void *userdata);                    /* POSIX_FADV_DONTNEED on the node */
	int (*check)(void *userdata, VolumeQuestion question); /* as Vfs.check */
	bool (*is_alive)(
		void *userdata); /* /sys/dev/block/M:m is there, with the disk sequence recorded at mount */
} VfsNode;

/* The real thing. `fuse` chooses section 2's way for fuseblk. Without a node (NULL) barriers end with an
 * fsync of the root directory instead, and drives always count as alive. */
typedef struct VfsPosix {
	Vfs vfs;
	bool fuse;
	const VfsNode *node;
	/* Where the last alias was found: the next one is mostly asked for right behind it. */
	pthread_mutex_t alias_lock;
	dev_t alias_device;
	ino_t alias_directory;
	off_t alias_offset;
} VfsPosix;

void vfs_posix_init(VfsPosix *posix, bool fuse, const VfsNode *node);

/* Whole reads and writes through a table. vfs_read_full() returns the bytes read, fewer than `size` only at
 * the end of the file. */
ssize_t vfs_read_full(const Vfs *vfs, int fd, void *buffer, size_t size, uint64_t offset);
int vfs_write_full(const Vfs *vfs, int fd, const void *buffer, size_t size, uint64_t offset);
