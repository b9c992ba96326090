/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "engine/vfs.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/msdos_fs.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#define OPEN_RACES_MAX 16

static int posix_open(const Vfs *vfs _unused_, int dir_fd, const char *path, int flags, mode_t mode)
{
	struct open_how how = {
		.flags = (unsigned)(flags | O_CLOEXEC),
		.mode = flags & O_CREAT ? mode : 0,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV,
	};

	for (int races = 0; races < OPEN_RACES_MAX;) {
		long fd = syscall(SYS_openat2, dir_fd, path, &how, sizeof(how));

		if (fd >= 0)
			return (int)fd;
		if (errno == EPERM && how.flags & O_NOATIME)
			how.flags &= ~(unsigned long long)O_NOATIME; /* for its owner only */
		else if (errno == EAGAIN)
			races++; /* a rename somewhere made the kernel give up on RESOLVE_BENEATH */
		else if (errno != EINTR)
			return -errno;
	}
	return -EAGAIN;
}

static void posix_close(const Vfs *vfs _unused_, int fd)
{
	(void)close(fd);
}

static ssize_t posix_pread(const Vfs *vfs _unused_, int fd, void *buffer, size_t size, uint64_t offset)
{
	ssize_t n;

	do
		n = pread(fd, buffer, size, (off_t)offset);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

static ssize_t posix_pwrite(const Vfs *vfs _unused_, int fd, const void *buffer, size_t size, uint64_t offset)
{
	ssize_t n;

	do
		n = pwrite(fd, buffer, size, (off_t)offset);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

static int posix_fstat(const Vfs *vfs _unused_, int fd, struct stat *ret)
{
	return fstat(fd, ret) < 0 ? -errno : 0;
}

static int posix_lstat(const Vfs *vfs _unused_, int dir_fd, const char *name, struct stat *ret)
{
	return fstatat(dir_fd, name, ret, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT) < 0 ? -errno : 0;
}

static int posix_access(const Vfs *vfs _unused_, int dir_fd, const char *name, int mode)
{
	return faccessat(dir_fd, name, mode, AT_EACCESS | AT_SYMLINK_NOFOLLOW) < 0 ? -errno : 0;
}

static int posix_fstatvfs(const Vfs *vfs _unused_, int fd, struct statvfs *ret)
{
	return fstatvfs(fd, ret) < 0 ? -errno : 0;
}

static int posix_mkdir(const Vfs *vfs _unused_, int dir_fd, const char *name, mode_t mode)
{
	return mkdirat(dir_fd, name, mode) < 0 ? -errno : 0;
}

static int posix_unlink(const Vfs *vfs _unused_, int dir_fd, const char *name, bool directory)
{
	return unlinkat(dir_fd, name, directory ? AT_REMOVEDIR : 0) < 0 ? -errno : 0;
}

static int posix_truncate(const Vfs *vfs _unused_, int fd, uint64_t size)
{
	int r;

	do
		r = ftruncate(fd, (off_t)size);
	while (r < 0 && errno == EINTR);
	return r < 0 ? -errno : 0;
}

static int posix_fsync(const Vfs *vfs _unused_, int fd)
{
	return fsync(fd) < 0 ? -errno : 0;
}

static int posix_set_mtime(const Vfs *vfs _unused_, int fd, const struct timespec *mtime)
{
	struct timespec times[2];
	struct stat st;

	/* Both times, always: libfuse 2 drops a request that leaves one of them out (exfat-fuse). */
	if (fstat(fd, &st) < 0)
		return -errno;
	times[0] = st.st_atim;
	times[1] = *mtime;
	return futimens(fd, times) < 0 ? -errno : 0;
}

static int posix_chmod(const Vfs *vfs _unused_, int fd, mode_t mode)
{
	return fchmod(fd, mode) < 0 ? -errno : 0;
}

static int posix_chown(const Vfs *vfs _unused_, int fd, uid_t uid, gid_t gid)
{
	return fchown(fd, uid, gid) < 0 ? -errno : 0;
}

static ssize_t posix_list_xattr(const Vfs *vfs _unused_, int fd, char *list, size_t size)
{
	ssize_t n = flistxattr(fd, list, size);

	return n < 0 ? -errno : n;
}

static ssize_t posix_get_xattr(const Vfs *vfs _unused_, int fd, const char *name, void *value, size_t size)
{
	ssize_t n = fgetxattr(fd, name, value, size);

	return n < 0 ? -errno : n;
}

static int posix_set_xattr(const Vfs *vfs _unused_, int fd, const char *name, const void *value, size_t size)
{
	return fsetxattr(fd, name, value, size, 0) < 0 ? -errno : 0;
}

/* What a filesystem that is not FAT answers to FAT's ioctls. */
static int ioctl_error(void)
{
	return errno == ENOTTY || errno == EINVAL || errno == ENOSYS ? -EOPNOTSUPP : -errno;
}

static int posix_get_fat_attributes(const Vfs *vfs _unused_, int fd, uint32_t *ret)
{
	return ioctl(fd, FAT_IOCTL_GET_ATTRIBUTES, ret) < 0 ? ioctl_error() : 0;
}

static int posix_set_fat_attributes(const Vfs *vfs _unused_, int fd, uint32_t attributes)
{
	return ioctl(fd, FAT_IOCTL_SET_ATTRIBUTES, &attributes) < 0 ? ioctl_error() : 0;
}

/* The two forms of a name that FAT's ioctl tells: [0] the 8.3 alias, [1] the long name, empty where there is
 * none, cut off where it is longer than fits. */
typedef struct __fat_dirent BothNames[2];

static bool is_long_name(const char *told, const char *name)
{
	size_t length = strlen(told);

	return length > 0 && strncmp(told, name, length) == 0 &&
	       (name[length] == 0 || length == sizeof(((struct __fat_dirent *)NULL)->d_name) - 1);
}

/* Looks for a name from where the directory stands to its end. 1: found, 0: not there, or a negative errno.
 */
static int find_short_name(int fd, const char *name, char ret[VFS_SHORT_NAME_MAX])
{
	BothNames both;

	for (;;) {
		int n = ioctl(fd, VFAT_IOCTL_READDIR_BOTH, both);

		if (n < 0)
			return ioctl_error();
		if (n == 0)
			return 0;
		if (both[1].d_name[0] == 0 && strcmp(both[0].d_name, name) == 0) {
			ret[0] = 0;
			return 1;
		}
		if (!is_long_name(both[1].d_name, name))
			continue;
		if (strlen(both[0].d_name) >= VFS_SHORT_NAME_MAX)
			return -EBADMSG;
		strcpy(ret, both[0].d_name);
		return 1;
	}
}

/* A file's alias is asked for while its folder is read: a search from the
 * start each time would make a folder of 20,000 names 200 million steps. */
static int posix_short_name(const Vfs *vfs, int dir_fd, const char *name, char ret[VFS_SHORT_NAME_MAX])
{
	VfsPosix *posix = vfs->userdata;
	off_t start = 0;
	struct stat st;
	int fd, r;

	fd = posix_open(vfs, dir_fd, ".", O_RDONLY | O_DIRECTORY, 0);
	if (fd < 0)
		return fd;
	r = fstat(fd, &st) < 0 ? -errno : 0;
	if (r >= 0) {
		pthread_mutex_lock(&posix->alias_lock);
		if (posix->alias_device == st.st_dev && posix->alias_directory == st.st_ino)
			start = posix->alias_offset;
		pthread_mutex_unlock(&posix->alias_lock);
	}
	if (r >= 0 && start > 0 && lseek(fd, start, SEEK_SET) == start)
		r = find_short_name(fd, name, ret);
	if (r == 0 && lseek(fd, 0, SEEK_SET) == 0)
		r = find_short_name(fd, name, ret);
	if (r > 0) {
		pthread_mutex_lock(&posix->alias_lock);
		posix->alias_device = st.st_dev;
		posix->alias_directory = st.st_ino;
		posix->alias_offset = lseek(fd, 0, SEEK_CUR);
		pthread_mutex_unlock(&posix->alias_lock);
	}
	(void)close(fd);
	return r > 0 ? 0 : r == 0 ? -ENOENT : r;
}

static int posix_dir_open(const Vfs *vfs, int dir_fd, void **ret_stream)
{
	int fd = posix_open(vfs, dir_fd, ".", O_RDONLY | O_DIRECTORY | O_NOATIME, 0);
	DIR *dir;

	if (fd < 0)
		return fd;
	dir = fdopendir(fd);
	if (!dir) {
		int r = -errno;

		(void)close(fd);
		return r;
	}
	*ret_stream = dir;
	return 0;
}

static int posix_dir_next(const Vfs *vfs _unused_, void *stream, VfsEntry *ret)
{
	for (;;) {
		struct dirent *entry;

		errno = 0;
		entry = readdir(stream);
		if (!entry)
			return -errno;
		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
			continue;
		*ret = (VfsEntry){.name = entry->d_name, .type = entry->d_type};
		return 1;
	}
}

static void posix_dir_close(const Vfs *vfs _unused_, void *stream)
{
	(void)closedir(stream);
}

static int posix_lease(const Vfs *vfs _unused_, int fd)
{
	return fcntl(fd, F_SETLEASE, F_WRLCK) < 0 ? -errno : 0;
}

static bool posix_lease_holds(const Vfs *vfs _unused_, int fd)
{
	return fcntl(fd, F_GETLEASE) == F_WRLCK;
}

static bool posix_is_alive(const Vfs *vfs)
{
	const VfsNode *node = ((const VfsPosix *)vfs->userdata)->node;

	return !node || node->is_alive(node->userdata);
}

static int posix_barrier(const Vfs *vfs, int root_fd)
{
	const VfsNode *node = ((const VfsPosix *)vfs->userdata)->node;
	struct statvfs s;
	int r;

	if (syncfs(root_fd) < 0)
		return -errno;
	if (node)
		r = node->sync(node->userdata);
	else
		r = fsync(root_fd) < 0 ? -errno : 0;
	if (r < 0)
		return r;
	/* A filesystem that has just turned read-only answers syncfs with 0, whatever it lost. */
	if (fstatvfs(root_fd, &s) < 0)
		return -errno;
	if (s.f_flag & ST_RDONLY)
		return -EROFS;
	return posix_is_alive(vfs) ? 0 : -ENODEV;
}

static int posix_read_medium(const Vfs *vfs, int root_fd _unused_)
{
	const VfsPosix *posix = vfs->userdata;

	if (!posix->fuse)
		return O_DIRECT;
	if (!posix->node)
		return -EOPNOTSUPP;
	return posix->node->drop_caches(posix->node->userdata);
}

static int posix_check(const Vfs *vfs, VolumeQuestion question)
{
	const VfsNode *node = ((const VfsPosix *)vfs->userdata)->node;

	return node ? node->check(node->userdata, question) : VOLUME_SOUND;
}

static void posix_now(const Vfs *vfs _unused_, clockid_t clock, struct timespec *ret)
{
	(void)clock_gettime(clock, ret);
}

static const Vfs posix_vfs = {
	.open = posix_open,
	.close = posix_close,
	.pread = posix_pread,
	.pwrite = posix_pwrite,
	.fstat = posix_fstat,
	.lstat = posix_lstat,
	.access = posix_access,
	.fstatvfs = posix_fstatvfs,
	.mkdir = posix_mkdir,
	.unlink = posix_unlink,
	.truncate = posix_truncate,
	.fsync = posix_fsync,
	.set_mtime = posix_set_mtime,
	.chmod = posix_chmod,
	.chown = posix_chown,
	.list_xattr = posix_list_xattr,
	.get_xattr = posix_get_xattr,
	.set_xattr = posix_set_xattr,
	.get_fat_attributes = posix_get_fat_attributes,
	.set_fat_attributes = posix_set_fat_attributes,
	.short_name = posix_short_name,
	.dir_open = posix_dir_open,
	.dir_next = posix_dir_next,
	.dir_close = posix_dir_close,
	.lease = posix_lease,
	.lease_holds = posix_lease_holds,
	.barrier = posix_barrier,
	.read_medium = posix_read_medium,
	.check = posix_check,
	.is_alive = posix_is_alive,
	.now = posix_now,
};

void vfs_posix_init(VfsPosix *posix, bool fuse, const VfsNode *node)
{
	*posix = (VfsPosix){
		.vfs = posix_vfs,
		.fuse = fuse,
		.node = node,
		.alias_lock = PTHREAD_MUTEX_INITIALIZER,
	};
	posix->vfs.userdata = posix;
}

ssize_t vfs_read_full(const Vfs *vfs, int fd, void *buffer, size_t size, uint64_t offset)
{
	size_t done = 0;

	while (done < size) {
		ssize_t n = vfs->pread(vfs, fd, (uint8_t *)buffer + done, size - done, offset + done);

		if (n < 0)
			return n;
		if (n == 0)
			break;
		done += (size_t)n;
	}
	return (ssize_t)done;
}

int vfs_write_full(const Vfs *vfs, int fd, const void *buffer, size_t size, uint64_t offset)
{
	size_t done = 0;

	while (done < size) {
		ssize_t n = vfs->pwrite(vfs, fd, (const uint8_t *)buffer + done, size - done, offset + done);

		if (n < 0)
			return (int)n;
		if (n == 0)
			return -EIO;
		done += (size_t)n;
	}
	return 0;
}
