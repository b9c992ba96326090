/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The engine's table of system calls on the model filesystem. */

#include "fat.h"

#include "util/memory.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <strings.h>

#define FD_BASE    1000 /* so that no descriptor of the process is ever meant */
#define TICK       4    /* seconds that pass whenever somebody looks at the clock: more than FAT's two */
#define ROOT_FD    FD_BASE
#define FIRST_NODE 7 /* inode numbers of folders */

static Fs *fs_of(const Vfs *vfs)
{
	return (Fs *)(uintptr_t)vfs;
}

int fs_root(void)
{
	return ROOT_FD;
}

static int enter(Fs *fs, bool mutates)
{
	if (!fs->in_hook) {
		if (fs->hook) {
			fs->in_hook = true;
			fs->hook(fs, fs->hook_userdata, mutates);
			fs->in_hook = false;
		}
		fs->calls++;
		fs->mutations += mutates;
	}
	if (fs->dead)
		return -EIO;
	return mutates && fs->read_only ? -EROFS : 0;
}

static int enter_call(Fs *fs, bool mutates, Call call)
{
	int r;

	fs->call = call;
	r = enter(fs, mutates);
	fs->call = CALL_OTHER;
	return r;
}

static Handle *handle_of(Fs *fs, int fd)
{
	int i = fd - FD_BASE;

	if (i < 0 || i >= HANDLES_MAX)
		return NULL;
	if (i == 0) {
		fs->handles[0] = (Handle){.used = true, .inode = -1, .directory = DIRECTORY_ROOT};
		return &fs->handles[0];
	}
	return fs->handles[i].used ? &fs->handles[i] : NULL;
}

static Inode *inode_of(Fs *fs, int fd)
{
	Handle *handle = handle_of(fs, fd);

	return handle && handle->inode >= 0 ? &fs->inodes[handle->inode] : NULL;
}

static int new_handle(Fs *fs, int inode, DirectoryId directory, int flags)
{
	for (int i = 1; i < HANDLES_MAX; i++)
		if (!fs->handles[i].used) {
			fs->handles[i] = (Handle){true, inode, directory, flags};
			return FD_BASE + i;
		}
	return -EMFILE;
}

/* Walks a path down to its last part. */
static int resolve(Fs *fs, int dir_fd, const char *path, DirectoryId *ret_directory, const char **ret_name)
{
	Handle *handle = handle_of(fs, dir_fd);
	DirectoryId directory;
	const char *slash;

	if (!handle || handle->inode >= 0)
		return -EBADF;
	directory = handle->directory;
	while ((slash = strchr(path, '/'))) {
		char part[256];
		DiskEntry found;

		(void)snprintf(part, sizeof(part), "%.*s", (int)(slash - path), path);
		if (!disk_find(fs->disk, directory, part, &found))
			return -ENOENT;
		if (!found.entry.directory)
			return -ENOTDIR;
		directory = found.entry.directory;
		path = slash + 1;
	}
	*ret_directory = directory;
	*ret_name = path;
	return 0;
}

static int model_open(const Vfs *vfs, int dir_fd, const char *path, int flags, mode_t mode _unused_)
{
	Fs *fs = fs_of(vfs);
	DirectoryId directory;
	const char *name;
	int r, inode;

	r = enter(fs, flags & O_CREAT);
	if (r >= 0)
		r = resolve(fs, dir_fd, path, &directory, &name);
	if (r < 0)
		return r;
	if (strcmp(name, ".") == 0)
		return new_handle(fs, -1, directory, flags);
	inode = fs_lookup(fs, directory, name);
	if (inode == -EISDIR) {
		DiskEntry found;

		(void)disk_find(fs->disk, directory, name, &found);
		return new_handle(fs, -1, found.entry.directory, flags);
	}
	if (inode >= 0 && flags & O_CREAT && flags & O_EXCL) {
		fs_release(fs, inode);
		return -EEXIST;
	}
	if (inode >= 0 && (flags & O_ACCMODE) != O_RDONLY &&
		fs->inodes[inode].entry.attributes & FAT_READ_ONLY) {
		fs_release(fs, inode);
		return -EACCES;
	}
	if (inode == -ENOENT && flags & O_CREAT)
		inode = fs_create(fs, directory, name);
	if (inode < 0)
		return inode;
	return new_handle(fs, inode, directory, flags);
}

static void model_close(const Vfs *vfs, int fd)
{
	Fs *fs = fs_of(vfs);
	Handle *handle = handle_of(fs, fd);

	(void)enter(fs, true);
	if (!handle || fs->dead || fd == ROOT_FD)
		return;
	if (handle->inode >= 0) {
		fs->inodes[handle->inode].leased = false;
		fs_release(fs, handle->inode);
	}
	*handle = (Handle){0};
}

static ssize_t model_pread(const Vfs *vfs, int fd, void *buffer, size_t size, uint64_t offset)
{
	Fs *fs = fs_of(vfs);
	Handle *handle = handle_of(fs, fd);
	int r = enter(fs, false);

	if (r < 0)
		return r;
	if (!handle || handle->inode < 0)
		return -EBADF;
	return fs_read(fs, handle->inode, buffer, size, offset, handle->flags & O_DIRECT);
}

static ssize_t model_pwrite(const Vfs *vfs, int fd, const void *buffer, size_t size, uint64_t offset)
{
	Fs *fs = fs_of(vfs);
	Handle *handle = handle_of(fs, fd);
	int r = enter(fs, true);

	if (r < 0)
		return r;
	if (!handle || handle->inode < 0 || (handle->flags & O_ACCMODE) == O_RDONLY)
		return -EBADF;
	return fs_write(fs, handle->inode, buffer, size, offset);
}

static void stat_entry(const Slot *entry, uint32_t number, struct stat *ret)
{
	*ret = (struct stat){
		.st_dev = 1,
		.st_ino = entry->directory ? (ino_t)entry->directory + FIRST_NODE : number,
		.st_mode = entry->directory                    ? S_IFDIR | 0755
			   : entry->attributes & FAT_READ_ONLY ? S_IFREG | 0555
							       : S_IFREG | 0755,
		.st_nlink = 1,
		.st_size = entry->directory ? 0 : entry->size,
		.st_blksize = CLUSTER_SIZE,
		.st_mtim = {.tv_sec = entry->mtime},
		.st_ctim = {.tv_sec = entry->mtime},
	};
}

static int model_fstat(const Vfs *vfs, int fd, struct stat *ret)
{
	Fs *fs = fs_of(vfs);
	Handle *handle = handle_of(fs, fd);
	int r = enter_call(fs, false, CALL_FSTAT);

	if (r < 0)
		return r;
	if (!handle)
		return -EBADF;
	if (handle->inode < 0)
		stat_entry(&(Slot){.directory = (uint8_t)(handle->directory + 1)}, 0, ret);
	else
		stat_entry(&fs->inodes[handle->inode].entry, fs->inodes[handle->inode].number, ret);
	return 0;
}

static int model_lstat(const Vfs *vfs, int dir_fd, const char *path, struct stat *ret)
{
	Fs *fs = fs_of(vfs);
	DirectoryId directory;
	const char *name;
	DiskEntry found;
	int r = enter(fs, false);

	if (r >= 0)
		r = resolve(fs, dir_fd, path, &directory, &name);
	if (r < 0)
		return r;
	if (!disk_find(fs->disk, directory, name, &found))
		return -ENOENT;
	stat_entry(&found.entry, found.slot + SLOTS_MAX * (fs->generations[found.slot] + 1), ret);
	return 0;
}

static int model_access(const Vfs *vfs, int dir_fd, const char *name, int mode _unused_)
{
	struct stat st;

	return strcmp(name, ".") == 0 ? 0 : model_lstat(vfs, dir_fd, name, &st);
}

static int model_fstatvfs(const Vfs *vfs, int fd _unused_, struct statvfs *ret)
{
	Fs *fs = fs_of(vfs);
	int r = enter(fs, false);

	*ret = (struct statvfs){
		.f_bsize = CLUSTER_SIZE,
		.f_frsize = CLUSTER_SIZE,
		.f_blocks = fs->disk->clusters,
		.f_bfree = fs_free_clusters(fs),
		.f_flag = fs->read_only ? ST_RDONLY : 0,
	};
	ret->f_bavail = ret->f_bfree;
	return r;
}

static int model_mkdir(
	const Vfs *vfs _unused_, int fd _unused_, const char *name _unused_, mode_t mode _unused_)
{
	return -ENOSPC; /* a transaction makes no folders */
}

static int model_unlink(const Vfs *vfs, int dir_fd, const char *path, bool folder _unused_)
{
	Fs *fs = fs_of(vfs);
	DirectoryId directory;
	const char *name;
	int r;

	r = enter_call(fs, true, CALL_UNLINK);
	if (r >= 0)
		r = resolve(fs, dir_fd, path, &directory, &name);
	return r < 0 ? r : fs_unlink(fs, directory, name);
}

/* The inode whose entry is about to be changed. */
static int enter_change(Fs *fs, int fd, Inode **ret)
{
	int r = enter(fs, true);

	*ret = inode_of(fs, fd);
	return r < 0 ? r : *ret ? 0 : -EBADF;
}

static int model_truncate(const Vfs *vfs, int fd, uint64_t size)
{
	Fs *fs = fs_of(vfs);
	Inode *inode;
	int r = enter_change(fs, fd, &inode);

	return r < 0 ? r : fs_shorten(fs, handle_of(fs, fd)->inode, (uint32_t)size);
}

static int model_fsync(const Vfs *vfs, int fd)
{
	Fs *fs = fs_of(vfs);
	Handle *handle = handle_of(fs, fd);
	int r = enter(fs, true);

	if (r >= 0 && handle && handle->inode >= 0)
		fs_sync_file(fs, handle->inode);
	return r;
}

static int model_set_mtime(const Vfs *vfs, int fd, const struct timespec *mtime)
{
	Fs *fs = fs_of(vfs);
	Inode *inode;
	int r = enter_change(fs, fd, &inode);

	if (r < 0)
		return r;
	inode->entry.mtime = mtime->tv_sec & ~1;
	fs_update(fs, handle_of(fs, fd)->inode);
	return 0;
}

static int model_chmod(const Vfs *vfs, int fd, mode_t mode)
{
	Fs *fs = fs_of(vfs);
	Inode *inode;
	int r = enter_change(fs, fd, &inode);

	if (r < 0)
		return r;
	inode->entry.attributes &= (uint8_t)~FAT_READ_ONLY;
	inode->entry.attributes |= mode & 0222 ? 0 : FAT_READ_ONLY;
	fs_update(fs, handle_of(fs, fd)->inode);
	return 0;
}

static int model_chown(const Vfs *vfs, int fd _unused_, uid_t uid _unused_, gid_t gid _unused_)
{
	return enter(fs_of(vfs), false);
}

/* FAT has none: whoever asks for the list asks no further. */
static ssize_t model_list_xattr(
	const Vfs *vfs _unused_, int fd _unused_, char *list _unused_, size_t size _unused_)
{
	return -EOPNOTSUPP;
}

static int model_get_fat_attributes(const Vfs *vfs, int fd, uint32_t *ret)
{
	Inode *inode = inode_of(fs_of(vfs), fd);

	if (!inode)
		return -EBADF;
	*ret = inode->entry.attributes;
	return 0;
}

static int model_set_fat_attributes(const Vfs *vfs, int fd, uint32_t attributes)
{
	Fs *fs = fs_of(vfs);
	Inode *inode;
	int r = enter_change(fs, fd, &inode);

	if (r < 0)
		return r;
	inode->entry.attributes = (uint8_t)attributes;
	fs_update(fs, handle_of(fs, fd)->inode);
	return 0;
}

static int model_short_name(const Vfs *vfs, int dir_fd, const char *path, char ret[VFS_SHORT_NAME_MAX])
{
	Fs *fs = fs_of(vfs);
	DirectoryId directory;
	const char *name;
	DiskEntry found;
	int r = enter(fs, false);

	if (r >= 0)
		r = resolve(fs, dir_fd, path, &directory, &name);
	if (r < 0)
		return r;
	if (!disk_find(fs->disk, directory, name, &found) || strcasecmp(found.name, name) != 0)
		return -ENOENT;
	(void)snprintf(ret, VFS_SHORT_NAME_MAX, "%.12s", found.n_long > 0 ? found.entry.text : "");
	return 0;
}

static int model_dir_open(const Vfs *vfs, int dir_fd, void **ret_stream)
{
	Fs *fs = fs_of(vfs);
	Handle *handle = handle_of(fs, dir_fd);
	int r = enter(fs, false);

	if (r < 0)
		return r;
	if (!handle || handle->inode >= 0)
		return -EBADF;
	for (int i = 0; i < STREAMS_MAX; i++)
		if (!fs->streams[i].used) {
			fs->streams[i].used = true;
			fs->streams[i].directory = handle->directory;
			fs->streams[i].position = 0;
			*ret_stream = &fs->streams[i];
			return 0;
		}
	return -EMFILE;
}

static int model_dir_next(const Vfs *vfs, void *stream, VfsEntry *ret)
{
	Fs *fs = fs_of(vfs);
	DirectoryStream *s = stream;
	int r = enter(fs, false);

	if (r < 0)
		return r;
	if (!disk_next_entry(fs->disk, s->directory, &s->position, &s->found))
		return 0;
	*ret = (VfsEntry){.name = s->found.name, .type = s->found.entry.directory ? DT_DIR : DT_REG};
	return 1;
}

static void model_dir_close(const Vfs *vfs _unused_, void *stream)
{
	((DirectoryStream *)stream)->used = false;
}

static int model_lease(const Vfs *vfs, int fd)
{
	Fs *fs = fs_of(vfs);
	Inode *inode = inode_of(fs, fd);
	int r = enter(fs, false);

	if (r < 0)
		return r;
	if (!inode)
		return -EBADF;
	if (!fs->leases)
		return -EOPNOTSUPP;
	if (inode->references > 1)
		return -EAGAIN;
	inode->leased = true;
	inode->asked = false;
	return 0;
}

static bool model_lease_holds(const Vfs *vfs, int fd)
{
	Inode *inode = inode_of(fs_of(vfs), fd);

	if (!inode)
		return false;
	inode->asked = true;
	return inode->leased;
}

static int model_barrier(const Vfs *vfs, int root_fd _unused_)
{
	Fs *fs = fs_of(vfs);
	int r = enter_call(fs, true, CALL_BARRIER);

	if (r < 0)
		return r;
	if (fs->log)
		log_add(fs->log, LOG_BARRIER, 0, 0);
	fs->barriers++;
	return 0;
}

static int model_read_medium(const Vfs *vfs _unused_, int root_fd _unused_)
{
	return O_DIRECT;
}

/* As the node helper's look at exFAT. */
static VolumeState look_at_allocation(const Disk *disk)
{
	bool taken[CLUSTERS_MAX] = {0};
	VolumeState state = VOLUME_SOUND;

	if (disk->grows_at == 0)
		return VOLUME_SOUND;
	for (unsigned k = 0; k < EXTENTS_MAX && disk->units[UNIT_LINK + k] != 0; k++) {
		uint32_t c = disk->units[UNIT_LINK + k];

		if (disk->units[UNIT_FAT + c] == FAT_FREE || taken[c])
			return VOLUME_DAMAGED;
		taken[c] = true;
	}
	for (DirectoryId d = DIRECTORY_ROOT; d < DIRECTORY_MAX; d++) {
		unsigned position = 0;
		DiskEntry entry;

		while (disk_next_entry(disk, d, &position, &entry)) {
			uint32_t c = entry.entry.start, n = 0;

			for (; c != 0 && c < disk->clusters; c = disk->units[UNIT_FAT + c], n++) {
				if (taken[c])
					return VOLUME_DAMAGED;
				taken[c] = true;
			}
			if ((n > 0 && c != FAT_END) || n * CLUSTER_SIZE < entry.entry.size)
				state = VOLUME_TORN;
		}
	}
	return state;
}

/* It never says that it was unmounted cleanly. */
static int model_check(const Vfs *vfs, VolumeQuestion question _unused_)
{
	Fs *fs = fs_of(vfs);
	int r = enter(fs, false);

	return r < 0 ? r : (int)look_at_allocation(fs->disk);
}

static bool model_is_alive(const Vfs *vfs)
{
	return !fs_of(vfs)->dead;
}

static void model_now(const Vfs *vfs, clockid_t clock, struct timespec *ret)
{
	Fs *fs = fs_of(vfs);

	/* No batch lasts too long here. */
	if (clock != CLOCK_REALTIME) {
		*ret = (struct timespec){.tv_sec = 1};
		return;
	}
	fs->clock += TICK;
	*ret = (struct timespec){.tv_sec = fs->clock};
}

void fs_fill_table(Fs *fs)
{
	fs->vfs = (Vfs){
		.open = model_open,
		.close = model_close,
		.pread = model_pread,
		.pwrite = model_pwrite,
		.fstat = model_fstat,
		.lstat = model_lstat,
		.access = model_access,
		.fstatvfs = model_fstatvfs,
		.mkdir = model_mkdir,
		.unlink = model_unlink,
		.truncate = model_truncate,
		.fsync = model_fsync,
		.set_mtime = model_set_mtime,
		.chmod = model_chmod,
		.chown = model_chown,
		.list_xattr = model_list_xattr,
		.get_fat_attributes = model_get_fat_attributes,
		.set_fat_attributes = model_set_fat_attributes,
		.short_name = model_short_name,
		.dir_open = model_dir_open,
		.dir_next = model_dir_next,
		.dir_close = model_dir_close,
		.lease = model_lease,
		.lease_holds = model_lease_holds,
		.barrier = model_barrier,
		.read_medium = model_read_medium,
		.check = model_check,
		.is_alive = model_is_alive,
		.now = model_now,
	};
}
