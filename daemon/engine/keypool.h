/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Locked memory for the keys of single files. A Secret costs several system calls and three pages; a run over
 * tens of thousands of files cannot pay that for each. The pool cuts a few Secrets into slots and hands those
 * out again and again: locked, undumpable, wiped whenever one comes back. Slabs stay until the process ends.
 * All functions may be called from any thread.
 */

#include "util/macro.h"

#define KEYPOOL_SLOT_SIZE  640
#define KEYPOOL_SLOT_ALIGN 64

/* Lends a zeroed slot of KEYPOOL_SLOT_SIZE bytes at a multiple of KEYPOOL_SLOT_ALIGN. -ENOMEM or -EPERM when
 * no memory can be locked: an unlocked slot never exists. */
int keypool_take(void **ret_slot);

/* Wipes the slot and takes it back. Accepts NULL, returns NULL. */
void *keypool_give(void *slot);
