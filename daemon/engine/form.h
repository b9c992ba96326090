/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "engine/replacement.h"

/* One form of a listed file, as it is now. */
typedef struct Form {
	bool present;
	int fd;
	struct stat st;
} Form;

/* Opens one form. A name that is no ordinary file is not ours: it counts as absent. */
int form_open(const Vfs *vfs, const Directory *directory, const char *name, Form *ret);
void form_close(const Vfs *vfs, Form *form);

/* The very same file, time, and file that nobody has written to or renamed since. */
bool same_file(const struct stat *a, const struct stat *b);
bool same_time(const struct timespec *a, const struct timespec *b);
bool unchanged(const struct stat *a, const struct stat *b);

/* Equal, but for what the coarsest filesystem's clock loses. */
bool times_match(const struct timespec *a, const struct timespec *b);

/* Whether a form has the size and time that were recorded. */
bool form_is_as_recorded(const Form *form, uint64_t size, const struct timespec *mtime);
