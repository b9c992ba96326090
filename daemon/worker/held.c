/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "worker/held.h"

#include "engine/drive.h"
#include "util/fd.h"
#include "util/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#define HELD_PATH_MAX 64
#define HANDLES_MAX   16

#define ROOT (-1)

/* Each after the directory it is in. */
static const struct {
	const char *path;
	int directory; /* an index into this table, or ROOT */
	const char *name;
} table[] = {
	{USBCRYPT_DIRECTORY, ROOT, USBCRYPT_DIRECTORY},
	{USBCRYPT_DIRECTORY "/a", 0, "a"},
	{USBCRYPT_DIRECTORY "/b", 0, "b"},
	{USBCRYPT_DIRECTORY "/a/drive.json", 1, "drive.json"},
	{USBCRYPT_DIRECTORY "/b/drive.json", 2, "drive.json"},
	{USBCRYPT_DIRECTORY "/a/journal", 1, "journal"},
	{USBCRYPT_DIRECTORY "/b/journal", 2, "journal"},
	{USBCRYPT_DIRECTORY "/a/journal2", 1, "journal2"},
	{USBCRYPT_DIRECTORY "/b/journal2", 2, "journal2"},
	{USBCRYPT_DIRECTORY "/a/journal3", 1, "journal3"},
	{USBCRYPT_DIRECTORY "/b/journal3", 2, "journal3"},
};

typedef struct HeldFile {
	int fd;    /* -1: could not be opened, for this reason: */
	int error; /* negative errno */
	bool known;
	struct stat stat; /* as lstat() saw it; when known */
} HeldFile;

typedef struct Handle {
	int fd;
	const char *path;
} Handle;

struct Held {
	Vfs vfs;
	VfsPosix posix; /* for what works on a descriptor */
	int root_fd;
	HeldFile files[ELEMENTSOF(table)];
	Handle handles[HANDLES_MAX]; /* what was given out; free ones have the path NULL */
};

static const char *held_directory(const Held *held, int fd)
{
	if (fd == held->root_fd)
		return "";
	for (size_t i = 0; i < ELEMENTSOF(held->handles); i++)
		if (held->handles[i].path && held->handles[i].fd == fd)
			return held->handles[i].path;
	return NULL;
}

static int held_find(const Held *held, int dir_fd, const char *name, size_t *ret_index)
{
	const char *directory = held_directory(held, dir_fd);
	char path[HELD_PATH_MAX];
	int n;

	if (!directory)
		return -EBADF;
	n = snprintf(path, sizeof(path), "%s%s%s", directory, *directory ? "/" : "", name);
	for (size_t i = 0; n > 0 && (size_t)n < sizeof(path) && i < ELEMENTSOF(table); i++)
		if (strcmp(path, table[i].path) == 0) {
			*ret_index = i;
			return 0;
		}
	return -EACCES;
}

static int held_open(const Vfs *vfs, int dir_fd, const char *path, int flags, mode_t mode _unused_)
{
	Held *held = vfs->userdata;
	size_t index;
	int fd, r;

	if ((flags & O_ACCMODE) != O_RDONLY || flags & (O_CREAT | O_TRUNC))
		return -EROFS;
	r = held_find(held, dir_fd, path, &index);
	if (r < 0)
		return r;
	if (held->files[index].fd < 0)
		return held->files[index].error;
	if (flags & O_DIRECTORY && !S_ISDIR(held->files[index].stat.st_mode))
		return -ENOTDIR;
	for (size_t i = 0; i < ELEMENTSOF(held->handles); i++) {
		if (held->handles[i].path)
			continue;
		fd = fcntl(held->files[index].fd, F_DUPFD_CLOEXEC, 3);
		if (fd < 0)
			return -errno;
		held->handles[i] = (Handle){.fd = fd, .path = table[index].path};
		return fd;
	}
	return -EMFILE;
}

static void held_close(const Vfs *vfs, int fd)
{
	Held *held = vfs->userdata;

	for (size_t i = 0; i < ELEMENTSOF(held->handles); i++)
		if (held->handles[i].path && held->handles[i].fd == fd)
			held->handles[i].path = NULL;
	safe_close(fd);
}

static int held_lstat(const Vfs *vfs, int dir_fd, const char *name, struct stat *ret)
{
	const Held *held = vfs->userdata;
	size_t index;
	int r;

	r = held_find(held, dir_fd, name, &index);
	if (r < 0)
		return r;
	if (!held->files[index].known)
		return held->files[index].error;
	*ret = held->files[index].stat;
	return 0;
}

static int held_access(const Vfs *vfs, int dir_fd, const char *name, int mode)
{
	const Held *held = vfs->userdata;
	size_t index;
	int r;

	if (mode & W_OK)
		return -EROFS;
	r = held_find(held, dir_fd, name, &index);
	return r < 0 ? r : held->files[index].error;
}

/* Everything that would change the drive, or look at what is not held. */
static ssize_t no_pwrite(
	const Vfs *v _unused_, int f _unused_, const void *b _unused_, size_t s _unused_, uint64_t o _unused_)
{
	return -EROFS;
}

static int no_mkdir(const Vfs *v _unused_, int d _unused_, const char *n _unused_, mode_t m _unused_)
{
	return -EROFS;
}

static int no_unlink(const Vfs *v _unused_, int d _unused_, const char *n _unused_, bool i _unused_)
{
	return -EROFS;
}

static int no_truncate(const Vfs *v _unused_, int f _unused_, uint64_t s _unused_)
{
	return -EROFS;
}

static int no_set_mtime(const Vfs *v _unused_, int f _unused_, const struct timespec *t _unused_)
{
	return -EROFS;
}

static int no_chmod(const Vfs *v _unused_, int f _unused_, mode_t m _unused_)
{
	return -EROFS;
}

static int no_chown(const Vfs *v _unused_, int f _unused_, uid_t u _unused_, gid_t g _unused_)
{
	return -EROFS;
}

static int no_set_xattr(const Vfs *v _unused_, int f _unused_, const char *n _unused_, const void *b _unused_,
	size_t s _unused_)
{
	return -EROFS;
}

static int no_set_fat(const Vfs *v _unused_, int f _unused_, uint32_t a _unused_)
{
	return -EROFS;
}

static int no_short_name(
	const Vfs *v _unused_, int d _unused_, const char *n _unused_, char r[VFS_SHORT_NAME_MAX] _unused_)
{
	return -EOPNOTSUPP;
}

static int no_dir_open(const Vfs *v _unused_, int d _unused_, void **r _unused_)
{
	return -EACCES;
}

static int no_sync(const Vfs *v _unused_, int f _unused_)
{
	return -EROFS;
}

static bool held_is_alive(const Vfs *v _unused_)
{
	return true;
}

static int no_lease(const Vfs *v _unused_, int f _unused_)
{
	return -EOPNOTSUPP;
}

/* One step, so that no link on the way is followed. What is neither file nor directory is not opened at all:
 * what it is, its lstat() says. It may be another thing a moment later: O_NONBLOCK does not wait on a FIFO,
 * and what was opened is looked at. */
static void held_take(HeldFile *file, const Vfs *posix, int dir_fd, const char *name)
{
	struct stat opened;
	int fd;

	*file = (HeldFile){.fd = -1};
	file->error = posix->lstat(posix, dir_fd, name, &file->stat);
	if (file->error < 0)
		return;
	file->known = true;
	if (!S_ISREG(file->stat.st_mode) && !S_ISDIR(file->stat.st_mode)) {
		file->error = S_ISLNK(file->stat.st_mode) ? -ELOOP : -EACCES;
		return;
	}
	fd = posix->open(posix, dir_fd, name, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_NOATIME, 0);
	if (fd < 0) {
		file->error = fd;
		return;
	}
	/* No read-ahead: a journal whose creation the power cut short may have a torn chain, and meeting one
	 * turns FAT read-only. */
	(void)posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM);
	file->error = posix->fstat(posix, fd, &opened);
	if (file->error == 0 && opened.st_mode != file->stat.st_mode)
		file->error = -EACCES;
	file->fd = file->error == 0 ? fd : safe_close(fd);
}

int held_new(int root_fd, Held **ret_held)
{
	_cleanup_held_ Held *held = NULL;
	const Vfs *posix;

	held = new0(Held, 1);
	if (!held)
		return -ENOMEM;
	held->root_fd = root_fd;
	vfs_posix_init(&held->posix, false, NULL);
	posix = &held->posix.vfs;

	/* What works on a descriptor alone is the real thing, what is listed here is not. */
	held->vfs = *posix;
	held->vfs.userdata = held;
	held->vfs.open = held_open;
	held->vfs.close = held_close;
	held->vfs.lstat = held_lstat;
	held->vfs.access = held_access;
	held->vfs.pwrite = no_pwrite;
	held->vfs.mkdir = no_mkdir;
	held->vfs.unlink = no_unlink;
	held->vfs.truncate = no_truncate;
	held->vfs.fsync = no_sync;
	held->vfs.set_mtime = no_set_mtime;
	held->vfs.chmod = no_chmod;
	held->vfs.chown = no_chown;
	held->vfs.set_xattr = no_set_xattr;
	held->vfs.set_fat_attributes = no_set_fat;
	held->vfs.short_name = no_short_name;
	held->vfs.dir_open = no_dir_open;
	held->vfs.lease = no_lease;
	held->vfs.barrier = no_sync;
	held->vfs.read_medium = no_sync;
	held->vfs.is_alive = held_is_alive;

	for (size_t i = 0; i < ELEMENTSOF(table); i++) {
		int directory = table[i].directory == ROOT ? root_fd : held->files[table[i].directory].fd;

		if (directory >= 0)
			held_take(&held->files[i], posix, directory, table[i].name);
		else
			held->files[i] = (HeldFile){.fd = -1, .error = held->files[table[i].directory].error};
	}
	*ret_held = TAKE_PTR(held);
	return 0;
}

Held *held_free(Held *held)
{
	if (!held)
		return NULL;
	for (size_t i = 0; i < ELEMENTSOF(held->files); i++)
		safe_close(held->files[i].fd);
	for (size_t i = 0; i < ELEMENTSOF(held->handles); i++)
		if (held->handles[i].path)
			safe_close(held->handles[i].fd);
	free(held);
	return NULL;
}

const Vfs *held_vfs(const Held *held)
{
	return &held->vfs;
}
