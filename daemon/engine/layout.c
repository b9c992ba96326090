/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "engine/layout.h"

#include "engine/copy.h"
#include "engine/drive.h"
#include "util/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <strings.h>

#define README_NAME "README.txt"

static const char readme[] =
	"This drive was enrolled with usbcrypt.\n"
	"\n"
	"Files on it whose names end in .ucr are encrypted. Whoever owns them gets them\n"
	"back with the passphrase of this drive and the program usbcrypt, on any Linux\n"
	"machine:\n"
	"\n"
	"    usbctl unlock DRIVE\n"
	"    usbctl decrypt DRIVE\n"
	"\n"
	"and, from a drive that fails or must not be changed, into another folder:\n"
	"\n"
	"    usbctl decrypt --to FOLDER DRIVE\n"
	"\n"
	"Nothing but the passphrase is needed, and without it nobody can help: there is\n"
	"no second key. The format is described in the program's FORMAT.md, well enough\n"
	"to write a reader from it.\n"
	"\n"
	"DO NOT DELETE the folder .usbcrypt, which this file is in. It holds the drive's\n"
	"key, locked by the passphrase, in two copies (a and b). If both are lost, every\n"
	"encrypted file is lost. 'usbctl header-backup FILE' keeps one in a safe place.\n"
	"\n"
	"What encryption does not hide: the names of files and folders, their number,\n"
	"their sizes and dates. What it cannot undo: remains of files in memory cells of\n"
	"the drive that it no longer shows, older deleted copies in its free space, and\n"
	"copies that other programs made elsewhere.\n"
	"\n"
	"If you found this drive: please give it back to its owner. You cannot read the\n"
	"encrypted files, and you need not.\n";

/* What may be there, in the order in which it is taken away. */
typedef struct Entry {
	const char *folder; /* NULL: the root */
	const char *name;
	bool directory;
	bool journal;
} Entry;

static const Entry entries[] = {
	{USBCRYPT_DIRECTORY "/b", "journal", false, true},
	{USBCRYPT_DIRECTORY "/a", "journal", false, true},
	{USBCRYPT_DIRECTORY "/b", "journal2", false, true},
	{USBCRYPT_DIRECTORY "/a", "journal2", false, true},
	{USBCRYPT_DIRECTORY "/b", "journal3", false, true},
	{USBCRYPT_DIRECTORY "/a", "journal3", false, true},
	{USBCRYPT_DIRECTORY, README_NAME, false, false},
	{USBCRYPT_DIRECTORY "/b", "drive.json", false, false},
	{USBCRYPT_DIRECTORY "/a", "drive.json", false, false},
	{USBCRYPT_DIRECTORY, "b", true, false},
	{USBCRYPT_DIRECTORY, "a", true, false},
	{NULL, USBCRYPT_DIRECTORY, true, false},
};

static const char *const folders[] = {USBCRYPT_DIRECTORY, USBCRYPT_DIRECTORY "/a", USBCRYPT_DIRECTORY "/b"};

static int open_folder(const Vfs *vfs, int root_fd, const char *path)
{
	return vfs->open(vfs, root_fd, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0);
}

/* FAT and its kin do not tell the case of letters apart, and some drivers change it. */
static const Entry *entry_find(const char *folder, const char *name)
{
	for (size_t i = 0; i < ELEMENTSOF(entries); i++)
		if (entries[i].folder && strcmp(entries[i].folder, folder) == 0 &&
			strcasecmp(entries[i].name, name) == 0)
			return &entries[i];
	return NULL;
}

/* 0, or -EBADMSG when there is something that is not ours; what is, is noted in *state. */
static int examine_folder(const Vfs *vfs, int root_fd, const char *folder, LayoutState *state)
{
	VfsEntry found;
	void *stream;
	int fd, r;

	fd = open_folder(vfs, root_fd, folder);
	if (fd < 0)
		return fd == -ENOENT ? 0 : fd;
	r = vfs->dir_open(vfs, fd, &stream);
	if (r < 0) {
		vfs->close(vfs, fd);
		return r;
	}
	while ((r = vfs->dir_next(vfs, stream, &found)) > 0) {
		const Entry *entry = entry_find(folder, found.name);
		struct stat s;

		if (!entry) {
			r = -EBADMSG;
			break;
		}
		r = vfs->lstat(vfs, fd, found.name, &s);
		if (r >= 0 && (entry->directory ? !S_ISDIR(s.st_mode) : !S_ISREG(s.st_mode)))
			r = -EBADMSG;
		if (r < 0)
			break;
		if (entry->journal)
			*state = LAYOUT_COMPLETE;
	}
	vfs->dir_close(vfs, stream);
	vfs->close(vfs, fd);
	return r;
}

Outcome layout_examine(const Vfs *vfs, int root_fd, LayoutState *ret_state)
{
	LayoutState state = LAYOUT_WITHOUT_JOURNAL;
	struct stat s;
	int r;

	r = vfs->lstat(vfs, root_fd, USBCRYPT_DIRECTORY, &s);
	if (r == -ENOENT && vfs->is_alive(vfs)) {
		*ret_state = LAYOUT_ABSENT;
		return OUTCOME_DONE;
	}
	if (r >= 0 && !S_ISDIR(s.st_mode))
		r = -EBADMSG;
	for (size_t i = 0; r >= 0 && i < ELEMENTSOF(folders); i++)
		r = examine_folder(vfs, root_fd, folders[i], &state);
	if (r < 0)
		return copy_outcome(vfs, r);
	*ret_state = state;
	return OUTCOME_DONE;
}

static int create_readme(const Vfs *vfs, int root_fd)
{
	int fd, r;

	fd = vfs->open(vfs, root_fd, USBCRYPT_DIRECTORY "/" README_NAME,
		O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
	if (fd < 0)
		return fd == -EEXIST ? 0 : fd;
	r = vfs_write_full(vfs, fd, readme, sizeof(readme) - 1, 0);
	if (r >= 0)
		r = copy_sync(vfs, fd);
	vfs->close(vfs, fd);
	return r;
}

Outcome layout_create(const Vfs *vfs, int root_fd)
{
	int fd, r;

	r = vfs->mkdir(vfs, root_fd, USBCRYPT_DIRECTORY, 0755);
	if (r < 0 && r != -EEXIST)
		return copy_outcome(vfs, r);
	fd = open_folder(vfs, root_fd, USBCRYPT_DIRECTORY);
	if (fd < 0)
		return copy_outcome(vfs, fd);
	for (const char *name = "a\0b\0"; *name; name += 2) {
		r = vfs->mkdir(vfs, fd, name, 0700);
		if (r < 0 && r != -EEXIST)
			break;
		r = 0;
	}
	vfs->close(vfs, fd);
	if (r >= 0)
		r = create_readme(vfs, root_fd);
	return copy_outcome(vfs, r);
}

static int remove_entry(const Vfs *vfs, int root_fd, const Entry *entry)
{
	int fd = root_fd, r;

	if (entry->folder) {
		fd = open_folder(vfs, root_fd, entry->folder);
		if (fd < 0)
			return fd == -ENOENT ? 0 : fd;
	}
	r = vfs->unlink(vfs, fd, entry->name, entry->directory);
	if (r >= 0)
		r = copy_sync(vfs, fd);
	if (fd != root_fd)
		vfs->close(vfs, fd);
	if (r == -ENOTEMPTY || r == -EEXIST)
		return -EBADMSG;
	return r == -ENOENT ? 0 : r;
}

Outcome layout_remove(const Vfs *vfs, int root_fd)
{
	int r = 0;

	for (size_t i = 0; r >= 0 && i < ELEMENTSOF(entries); i++)
		r = remove_entry(vfs, root_fd, &entries[i]);
	if (r >= 0)
		r = vfs->barrier(vfs, root_fd);
	return copy_outcome(vfs, r);
}
