/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The tree of a drive, entry by entry, or the parts of it that were asked for. Safe against links, special
 * files and foreign mounts: folders are opened one by one below their parent's descriptor, never by a path
 * that could have changed. Memory is bounded by the depth of the tree.
 */

#include "engine/vfs.h"
#include "util/outcome.h"

/* An open folder, shared by the files in it. Counted by the thread that walks; others only use `fd`. */
typedef struct Directory {
	unsigned references;
	const Vfs *vfs;
	int fd;
	char *path; /* from the root, "" for the root itself */
} Directory;

Directory *directory_ref(Directory *directory);
Directory *directory_unref(Directory *directory);
DEFINE_CLEANUP(Directory *, directory_unref)
#define _cleanup_directory_ _cleanup_(directory_unrefp)

/* Opens a folder below the root. `path` "" is the root. */
int directory_open(const Vfs *vfs, int root_fd, const char *path, Directory **ret);

/* Opens the folder that holds `path`'s last part. */
int directory_open_parent(const Vfs *vfs, int root_fd, const char *path, Directory **ret);

typedef enum EntryKind {
	ENTRY_PLAIN,     /* an ordinary file in plain */
	ENTRY_CIPHER,    /* an ordinary file with our suffix and our magic */
	ENTRY_HARD_LINK, /* an ordinary file with more than one name */
	ENTRY_SYMLINK,
	ENTRY_SPECIAL,       /* socket, FIFO, device node */
	ENTRY_FOREIGN_MOUNT, /* a folder on which another filesystem is mounted */
	ENTRY_FAILED,        /* something that could not be looked at: reason and error say why */
} EntryKind;

typedef struct WalkEntry {
	EntryKind kind;
	Directory *directory; /* borrowed: directory_ref() it to keep it */
	const char *name;     /* in it; valid until the next walk_next() */
	const char *path;     /* from the root; valid until the next walk_next() */
	struct stat st;       /* of ordinary files */
	Reason reason;
	int error; /* positive errno or 0 */
} WalkEntry;

typedef struct Walk Walk;

/* Walks everything below `paths`, relative to the root (none: the root). A path that lies below another one
 * is walked once. A path that does not exist, but whose encrypted form does, stands for that. */
int walk_new(const Vfs *vfs, int root_fd, const char *const *paths, size_t n_paths, Walk **ret);
Walk *walk_free(Walk *walk);
DEFINE_CLEANUP(Walk *, walk_free)
#define _cleanup_walk_ _cleanup_(walk_freep)

/* 1: an entry; 0: the end; -ENODEV: the drive went away (an empty folder proves nothing then); other errors
 * are about the walk as a whole. */
int walk_next(Walk *walk, WalkEntry *ret);

/* Whether this ordinary file is one of ours by suffix and magic. 1, 0, or a negative errno when it cannot be
 * read. */
int walk_is_cipher(const Vfs *vfs, int dir_fd, const char *name);

/* The same by its magic alone, whatever its name. */
int walk_has_magic(const Vfs *vfs, int dir_fd, const char *name);
