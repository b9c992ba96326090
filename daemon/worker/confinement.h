/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Landlock: which files the worker can open at all, whatever the user it runs as is allowed to. It is
 * inherited by every thread that is started later. Landlock covers neither chmod() nor stat(), and before its
 * ABI 3 (kernel 6.2) not truncate(): the filter (worker/filter.h) forbids what names a path there.
 */

#include "worker/job.h"

typedef struct ConfinedPath {
	int fd;        /* a directory: all below it; or one file */
	Access access; /* for a file: ACCESS_READ */
} ConfinedPath;

/* Confines this process to these, with the best of the kernel's Landlock that this page knows of. Needs
 * no_new_privs. -EOPNOTSUPP or -ENOSYS where there is no Landlock: there is nothing to fall back to. */
int confinement_enter(const ConfinedPath *paths, size_t n_paths);
