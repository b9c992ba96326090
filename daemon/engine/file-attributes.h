/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* An open file's attributes: taken before it is encrypted, put back when it is decrypted. */

#include "engine/attributes.h"
#include "engine/vfs.h"

/* Takes everything that is kept of a file but its run. `st` is its fstat(), `path` where it lies. What *ret
 * owns is freed by attributes_clear(), also after an error. -EMSGSIZE: more extended attributes than the
 * format holds. */
int file_attributes_take(const Vfs *vfs, int fd, const struct stat *st, const char *path, Attributes *ret);

/* Puts attributes back, the mode behind the modification time: it may take the right to set that. What this
 * filesystem or this caller cannot hold is no loss. 0, or the first other error; the rest is put back all the
 * same. With `privileged` the owner comes back too; set-id bits only come back together with the owner they
 * were set by. */
int file_attributes_restore(const Vfs *vfs, int fd, const Attributes *attributes, bool privileged);
