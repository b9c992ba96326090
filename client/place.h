/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Where a path of the host lies: on which mount, and which device is behind it. */

#include "util/macro.h"

#include <stdbool.h>
#include <sys/types.h>

typedef struct Place {
	dev_t device;      /* number of the node it is, or that is behind the mount it lies on */
	bool node;         /* the path is a block device's node; nothing below is set then */
	char *mount_point; /* real path */
	char *mount_root;  /* what of the filesystem is mounted there: "/", or a folder of it */
	char *path;        /* relative to mount_point; "" for the mount point itself */
} Place;

void place_clear(Place *place);
#define _cleanup_place_ _cleanup_(place_clear)

/* Its last component need not exist, and is not followed when it is a symbolic link that stays on the same
 * mount. -ENOENT and the like; -ENODEV: no device is behind it; -ENOMEM. */
int place_resolve(const char *path, Place *ret);

/* The path from the root of the drive as the daemon sees it, which is mounted at `mount_point`: another mount
 * of it may show a part only. -EXDEV: it is not below that. */
int place_on_drive(const Place *place, const char *mount_point, char **ret_path);

/* Removes ".", "..", empty components and slashes at both ends. -EXDEV: it leaves the root it is relative to.
 */
int path_clean(const char *path, char **ret_path);

/* Whether what is mounted there has nosuid and nodev; false when nothing is. */
bool mount_is_safe(const char *mount_point);
