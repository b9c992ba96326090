/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The files below .usbcrypt, opened once while that is allowed and held, behind a vfs table that opens
 * nothing: what it is asked to open it looks up among them. So drive.json of a drive that belongs to anybody
 * is opened by a process that can read everything and parsed by one that can open nothing.
 */

#include "engine/vfs.h"

typedef struct Held Held;

/* Opens what there is of .usbcrypt below root_fd, regular files and directories only. What cannot be opened
 * is remembered as such, with its error. */
int held_new(int root_fd, Held **ret_held);
Held *held_free(Held *held);
DEFINE_CLEANUP(Held *, held_free)
#define _cleanup_held_ _cleanup_(held_freep)

/* Valid while it lives. Whatever would change anything fails with -EROFS; looking for what is not held fails
 * with -EACCES. Not for several threads at once. */
const Vfs *held_vfs(const Held *held);
