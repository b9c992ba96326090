/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Whether what the folders of an exFAT volume say agrees with its allocation bitmap: read from its node,
 * which may be mounted meanwhile. After "exFAT file system specification", Microsoft, August 2019.
 *
 * A power cut can leave a folder, or a file, in clusters that the bitmap calls free: it reads perfectly, and
 * whatever is allocated next takes its clusters. The kernel does not look (FAT has no such bitmap, and there
 * the kernel meets the torn chain by itself).
 */

#include "engine/vfs.h"

typedef struct ExfatCheck ExfatCheck;

/* Whether the volume says that it was unmounted cleanly, or is none of exFAT. */
bool exfat_is_clean(int fd);

/* -ENOTSUP: not exFAT, or one with two FATs (TexFAT), which is not looked at. `fd` must stay open. */
int exfat_check_new(int fd, ExfatCheck **ret);
ExfatCheck *exfat_check_free(ExfatCheck *check);

/* Looks at some more of it. 0: there is more to come; 1: *ret holds the verdict; or a negative errno. What is
 * found while somebody writes may not be so: it counts when it is found a second time. */
int exfat_check_step(ExfatCheck *check, VolumeState *ret);

DEFINE_CLEANUP(ExfatCheck *, exfat_check_free)
#define _cleanup_exfat_check_ _cleanup_(exfat_check_freep)
