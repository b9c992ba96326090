/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Landlock and the system call filter, in the order in which they have to come. */

#include "worker/confinement.h"
#include "worker/filter.h"

/* Closes the sandbox, for good. After privilege_drop(). No path and no argument of it comes from the drive.
 */
int sandbox_enter(const ConfinedPath *paths, size_t n_paths, FilterProfile profile);
