/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Whole reads and writes on ordinary descriptors. What lies on a drive goes through engine/vfs.h instead. */

#include "util/macro.h"

#include <sys/types.h>

/* Reads until `size` bytes, end of file or an error. Returns the bytes read (< size only at end of file),
 * or a negative errno. Restarts on EINTR. */
ssize_t read_full(int fd, void *buffer, size_t size);

/* Writes all of it. Returns 0, or a negative errno. */
int write_full(int fd, const void *buffer, size_t size);

/* Reads a small file of at most `max` bytes below a directory descriptor (AT_FDCWD works), for files of the
 * host (/proc, /sys, /etc), never of a drive. The text is NUL-terminated and the caller's to free. -EFBIG
 * when it is longer than `max`. */
int read_host_file(int dir_fd, const char *path, size_t max, char **ret_text, size_t *ret_size);
