/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Locked working memory for libraries that copy a passphrase where they like (libpwquality, cracklib): the
 * heap and the stack of this process, as far as they will need them (I8). */

#include "util/macro.h"

/* Makes room in both and locks them. For the main thread, before the sandbox closes (it reads /proc). A
 * negative errno when they cannot be locked. */
int scratch_lock(void);

/* Overwrites what calls that have returned left on the stack. */
void scratch_wipe_stack(void);
