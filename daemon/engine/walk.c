/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "engine/walk.h"

#include "engine/attributes.h"
#include "engine/cipherfile.h"
#include "engine/names.h"
#include "util/memory.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

/* ntfs-3g counts a file's DOS name as a link; this attribute tells that it has one. */
#define NTFS_DOS_NAME "system.ntfs_dos_name"

typedef struct Frame {
	Directory *directory;
	void *stream;
} Frame;

struct Walk {
	const Vfs *vfs;
	int root_fd;
	dev_t device;
	char **paths;
	size_t n_paths, next_path;
	Frame *frames;
	size_t n_frames, n_allocated;
	Directory *held; /* of the single file being reported */
	char path[ATTRIBUTES_PATH_MAX + 2];
	char name[NAME_BYTES_MAX + 1];
};

Directory *directory_ref(Directory *directory)
{
	directory->references++;
	return directory;
}

Directory *directory_unref(Directory *directory)
{
	if (!directory || --directory->references > 0)
		return NULL;
	directory->vfs->close(directory->vfs, directory->fd);
	free(directory->path);
	return mfree(directory);
}

static int directory_new(const Vfs *vfs, int dir_fd, const char *name, const char *path, Directory **ret)
{
	_cleanup_free_ Directory *directory = new0(Directory, 1);
	_cleanup_free_ char *copy = strdup(path);

	if (!directory || !copy)
		return -ENOMEM;
	directory->fd = vfs->open(
		vfs, dir_fd, *name ? name : ".", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NOATIME, 0);
	if (directory->fd < 0)
		return directory->fd;
	directory->references = 1;
	directory->vfs = vfs;
	directory->path = TAKE_PTR(copy);
	*ret = TAKE_PTR(directory);
	return 0;
}

int directory_open(const Vfs *vfs, int root_fd, const char *path, Directory **ret)
{
	return directory_new(vfs, root_fd, path, path, ret);
}

int directory_open_parent(const Vfs *vfs, int root_fd, const char *path, Directory **ret)
{
	_cleanup_free_ char *parent = strdup(path);
	char *slash;

	if (!parent)
		return -ENOMEM;
	slash = strrchr(parent, '/');
	*(slash ? slash : parent) = 0;
	return directory_open(vfs, root_fd, parent, ret);
}

static int compare_paths(const void *a, const void *b)
{
	char *const *left = a, *const *right = b;

	return strcmp(*left, *right);
}

/* Whether `path` is `above` or lies below it. */
static bool path_is_below(const char *path, const char *above)
{
	size_t n = strlen(above);

	return strncmp(path, above, n) == 0 && (n == 0 || path[n] == 0 || path[n] == '/');
}

int walk_new(const Vfs *vfs, int root_fd, const char *const *paths, size_t n_paths, Walk **ret)
{
	_cleanup_walk_ Walk *walk = new0(Walk, 1);
	static const char *const everything[] = {""};
	struct stat st;
	int r;

	if (!walk)
		return -ENOMEM;
	walk->vfs = vfs;
	walk->root_fd = root_fd;
	r = vfs->fstat(vfs, root_fd, &st);
	if (r < 0)
		return r;
	walk->device = st.st_dev;
	if (n_paths == 0) {
		paths = everything;
		n_paths = 1;
	}
	walk->paths = new0(char *, n_paths);
	if (!walk->paths)
		return -ENOMEM;
	for (size_t i = 0; i < n_paths; i++) {
		walk->paths[walk->n_paths] = strdup(paths[i]);
		if (!walk->paths[walk->n_paths])
			return -ENOMEM;
		walk->n_paths++;
	}
	qsort(walk->paths, walk->n_paths, sizeof(walk->paths[0]), compare_paths);
	*ret = TAKE_PTR(walk);
	return 0;
}

static void pop_frame(Walk *walk)
{
	Frame *frame = &walk->frames[--walk->n_frames];

	walk->vfs->dir_close(walk->vfs, frame->stream);
	directory_unref(frame->directory);
}

Walk *walk_free(Walk *walk)
{
	if (!walk)
		return NULL;
	while (walk->n_frames > 0)
		pop_frame(walk);
	directory_unref(walk->held);
	free(walk->frames);
	for (size_t i = 0; i < walk->n_paths; i++)
		free(walk->paths[i]);
	free(walk->paths);
	return mfree(walk);
}

static int push_frame(Walk *walk, Directory *directory)
{
	Frame *frame;
	int r;

	r = array_grow(&walk->frames, &walk->n_allocated, walk->n_frames + 1, sizeof(*walk->frames));
	if (r < 0)
		return r;
	frame = &walk->frames[walk->n_frames];
	r = walk->vfs->dir_open(walk->vfs, directory->fd, &frame->stream);
	if (r < 0)
		return r;
	frame->directory = directory_ref(directory);
	walk->n_frames++;
	return 0;
}

int walk_has_magic(const Vfs *vfs, int dir_fd, const char *name)
{
	uint8_t magic[CIPHERFILE_MAGIC_SIZE];
	ssize_t n;
	int fd;

	fd = vfs->open(vfs, dir_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOATIME, 0);
	if (fd < 0)
		return fd;
	n = vfs_read_full(vfs, fd, magic, sizeof(magic), 0);
	vfs->close(vfs, fd);
	if (n < 0)
		return (int)n;
	return n == (ssize_t)sizeof(magic) && cipherfile_is_magic(magic, sizeof(magic));
}

int walk_is_cipher(const Vfs *vfs, int dir_fd, const char *name)
{
	return name_has_suffix(name) ? walk_has_magic(vfs, dir_fd, name) : 0;
}

static void set_failed(WalkEntry *entry, int error)
{
	entry->kind = ENTRY_FAILED;
	entry->error = -error;
	switch (error) {
	case -EACCES:
	case -EPERM:
		entry->reason = REASON_UNREADABLE;
		break;
	case -ENOENT:
		entry->reason = REASON_GONE;
		break;
	case -ENAMETOOLONG:
		entry->reason = REASON_PATH_TOO_LONG;
		break;
	default:
		entry->reason = REASON_IO;
	}
}

/* ntfs-3g's link count of a file that also has a DOS name is one too high. */
static bool has_dos_name(const Vfs *vfs, int dir_fd, const char *name)
{
	uint8_t value[64];
	ssize_t n;
	int fd = vfs->open(vfs, dir_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOATIME, 0);

	if (fd < 0)
		return false;
	n = vfs->get_xattr(vfs, fd, NTFS_DOS_NAME, value, sizeof(value));
	vfs->close(vfs, fd);
	return n > 0;
}

static void classify_file(const Walk *walk, WalkEntry *entry)
{
	int dir_fd = entry->directory->fd, r;

	if (entry->st.st_nlink > 1 &&
		!(entry->st.st_nlink == 2 && has_dos_name(walk->vfs, dir_fd, entry->name))) {
		entry->kind = ENTRY_HARD_LINK;
		entry->reason = REASON_HARD_LINK;
		return;
	}
	r = walk_is_cipher(walk->vfs, dir_fd, entry->name);
	if (r < 0)
		set_failed(entry, r);
	else
		entry->kind = r ? ENTRY_CIPHER : ENTRY_PLAIN;
}

/* A folder becomes the top frame. Returns 1 when `entry` is to be reported instead, 0 when there is nothing
 * to report. */
static int enter_directory(Walk *walk, Directory *parent, WalkEntry *entry)
{
	_cleanup_directory_ Directory *directory = NULL;
	int r;

	r = directory_new(
		walk->vfs, parent ? parent->fd : walk->root_fd, entry->name, entry->path, &directory);
	if (r == -EXDEV) {
		entry->kind = ENTRY_FOREIGN_MOUNT;
		return 1;
	}
	if (r == -ELOOP || r == -ENOTDIR) { /* swapped for a link or a file since it was listed */
		entry->kind = ENTRY_SYMLINK;
		return 1;
	}
	if (r >= 0) {
		struct stat st;

		r = walk->vfs->fstat(walk->vfs, directory->fd, &st);
		if (r >= 0 && st.st_dev != walk->device) {
			entry->kind = ENTRY_FOREIGN_MOUNT;
			return 1;
		}
	}
	if (r >= 0)
		r = push_frame(walk, directory);
	if (r == -ENOMEM)
		return r;
	if (r < 0) {
		set_failed(entry, r);
		return 1;
	}
	return 0;
}

/* Looks at entry->name in entry->directory. 1: report it; 0: it was entered, or is nobody's business. */
static int look_at(Walk *walk, WalkEntry *entry)
{
	int r = walk->vfs->lstat(walk->vfs, entry->directory->fd, entry->name, &entry->st);

	if (r < 0) {
		/* Removed since it was listed: no loss; walk_next() asks for the drive itself at the end. */
		if (r == -ENOENT)
			return 0;
		set_failed(entry, r);
		return 1;
	}
	if (S_ISDIR(entry->st.st_mode))
		return enter_directory(walk, entry->directory, entry);
	if (S_ISREG(entry->st.st_mode))
		classify_file(walk, entry);
	else
		entry->kind = S_ISLNK(entry->st.st_mode) ? ENTRY_SYMLINK : ENTRY_SPECIAL;
	return 1;
}

/* "beach.jpg" means "beach.jpg.ucr" where only that is left: changes *name and the path then. */
static int stand_in(Walk *walk, const Directory *parent, const char **name)
{
	const Vfs *vfs = walk->vfs;
	struct stat st;
	int r = vfs->lstat(vfs, parent->fd, *name, &st);

	if (r != -ENOENT)
		return r;
	if (strlen(*name) + strlen(CIPHER_SUFFIX) > NAME_BYTES_MAX ||
		strlen(walk->path) + strlen(CIPHER_SUFFIX) > ATTRIBUTES_PATH_MAX)
		return r;
	(void)snprintf(walk->name, sizeof(walk->name), "%s" CIPHER_SUFFIX, *name);
	r = vfs->lstat(vfs, parent->fd, walk->name, &st);
	if (r < 0)
		return r;
	*name = walk->name;
	strcat(walk->path, CIPHER_SUFFIX);
	return 0;
}

/* Starts with the next of the paths that were asked for. 1 and 0 as look_at(). */
static int next_root(Walk *walk, WalkEntry *entry)
{
	_cleanup_directory_ Directory *parent = NULL;
	size_t current = walk->next_path++;
	const char *path = walk->paths[current], *name = name_of_path(path);
	int r;

	for (size_t i = 0; i < current; i++)
		if (path_is_below(path, walk->paths[i]))
			return 0;
	(void)snprintf(walk->path, sizeof(walk->path), "%s", path);
	if (!*path) {
		entry->name = "";
		return enter_directory(walk, NULL, entry);
	}
	entry->name = name;
	r = strlen(path) > ATTRIBUTES_PATH_MAX || strlen(name) > NAME_BYTES_MAX
		    ? -ENAMETOOLONG
		    : directory_open_parent(walk->vfs, walk->root_fd, path, &parent);
	if (r < 0) {
		set_failed(entry, r);
		return 1;
	}
	r = stand_in(walk, parent, &entry->name);
	if (r < 0) {
		set_failed(entry, r);
		return 1;
	}
	directory_unref(walk->held);
	walk->held = entry->directory = TAKE_PTR(parent);
	return look_at(walk, entry);
}

int walk_next(Walk *walk, WalkEntry *ret)
{
	for (;;) {
		int r;

		*ret = (WalkEntry){.path = walk->path, .reason = REASON_INVALID};
		if (walk->n_frames > 0) {
			Frame *frame = &walk->frames[walk->n_frames - 1];
			size_t above = strlen(frame->directory->path);
			VfsEntry found;

			r = walk->vfs->dir_next(walk->vfs, frame->stream, &found);
			if (r < 0) {
				/* The folder cannot be read on: say so once, and leave it. */
				(void)snprintf(walk->path, sizeof(walk->path), "%s",
					above ? frame->directory->path : ".");
				set_failed(ret, r);
				pop_frame(walk);
				return walk->vfs->is_alive(walk->vfs) ? 1 : -ENODEV;
			}
			if (r == 0) {
				pop_frame(walk);
				continue;
			}
			if (above == 0 && name_is_excluded(found.name))
				continue;
			ret->directory = frame->directory;
			ret->name = found.name;
			r = snprintf(walk->path, sizeof(walk->path), "%s%s%s", frame->directory->path,
				above ? "/" : "", found.name);
			if (r > ATTRIBUTES_PATH_MAX) {
				set_failed(ret, -ENAMETOOLONG);
				return 1;
			}
			r = look_at(walk, ret);
		} else if (walk->next_path < walk->n_paths) {
			r = next_root(walk, ret);
		} else {
			return walk->vfs->is_alive(walk->vfs) ? 0 : -ENODEV;
		}
		if (r != 0)
			return r;
	}
}
