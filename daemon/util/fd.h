/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* File descriptors: closing, and their cleanup. */

#include "util/macro.h"

#include <dirent.h>
#include <stdio.h>

/* Closes fd when it is >= 0, keeps errno, and returns -1, so that `fd = safe_close(fd)` reads well. */
int safe_close(int fd);

static inline void close_fdp(int *fd)
{
	*fd = safe_close(*fd);
}

static inline void fclosep(FILE **f)
{
	if (*f)
		fclose(*f);
}

static inline void closedirp(DIR **d)
{
	if (*d)
		closedir(*d);
}

#define _cleanup_close_    _cleanup_(close_fdp)
#define _cleanup_fclose_   _cleanup_(fclosep)
#define _cleanup_closedir_ _cleanup_(closedirp)
