/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * What a power cut leaves of a file on FAT when its directory entry reached the medium in parts: the 8.3
 * alias without the long name, after a torn creation as well as after a torn deletion. Its clusters may be
 * free for the taking, so that it must not stay. No record of the journal can know the alias of a file that
 * was not made yet: a stray is recognised by its name's form, and by what its finder knows of its content.
 */

#include "engine/walk.h"

#define STRAY_NAME_MAX VFS_SHORT_NAME_MAX

typedef struct Strays {
	Directory *directory; /* that was looked through */
	char (*names)[STRAY_NAME_MAX];
	size_t n, allocated;
} Strays;

void strays_clear(Strays *strays);

/* Looks through `directory`, unless that was the last one. Filesystems without aliases have no strays. */
int strays_load(Strays *strays, const Vfs *vfs, Directory *directory);

/* The next stray, from *position on, whose alias the filesystem may have made for `name`; NULL at the end. */
const char *strays_next(const Strays *strays, const char *name, size_t *position);
