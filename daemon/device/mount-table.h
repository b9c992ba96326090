/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The mounts of this process's namespace, from /proc/self/mountinfo alone: no path on a drive is ever opened
 * or asked about (I6). proc(5) documents the format.
 */

#include "util/macro.h"

#include <stdbool.h>
#include <sys/types.h>
#include <systemd/sd-event.h>

typedef struct Mount {
	uint64_t id;
	uint64_t parent; /* the mount that it is mounted on */
	dev_t number;    /* major 0: the filesystem has a number of its own */
	char *root;      /* what of the filesystem is mounted: "/" for all of it */
	char *point;     /* where; bytes, unescaped */
	char *type;      /* "vfat", "fuseblk", … */
	char *source;    /* what the mounter said; hostile unless the type says otherwise */
	bool nosuid, nodev;
	bool read_only; /* the mount or the filesystem */
} Mount;

typedef struct MountTable MountTable;

/* Parses the text of a mountinfo file. Lines that make no sense are -EBADMSG. */
int mount_table_parse(const char *text, MountTable **ret_table);

/* Reads the table of this process. */
int mount_table_read(MountTable **ret_table);

MountTable *mount_table_free(MountTable *table);
DEFINE_CLEANUP(MountTable *, mount_table_free)
#define _cleanup_mount_table_ _cleanup_(mount_table_freep)

/* In the table's order, the newest last. */
size_t mount_table_size(const MountTable *table);
const Mount *mount_table_get(const MountTable *table, size_t index);

/* Whether this mount is of the filesystem on the block device `number`, whose node is `node`. Where a
 * filesystem has a device number of its own (btrfs) the source decides, and for fuseblk always. Sources
 * other than `node` itself are looked up, but only below /dev. */
bool mount_is_of(const Mount *mount, dev_t number, const char *node);

/* Whether it shows the filesystem from its root. A btrfs is mostly mounted by one of its subvolumes. */
bool mount_is_whole(const Mount *mount);

/* Whether no path leads to it, because something else is mounted over it or over a folder above it. A drive
 * that is mounted before a service with ReadWritePaths= starts is in that service's table twice: below the
 * read-only copy of the root, and where it is seen. */
bool mount_is_hidden(const MountTable *table, const Mount *mount);

/* Calls back whenever the table may have changed. */
int mount_table_watch(
	sd_event *event, void (*changed)(void *userdata), void *userdata, sd_event_source **ret_source);
