/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* From a passphrase and two copies of drive.json to the drive key: the order of belief. */

#include "engine/copy.h"

typedef struct Unlocked {
	CopyName name; /* of the copy that was believed */
	size_t slot;   /* which of its slots the passphrase opens */
	Secret *drive_key;
} Unlocked;

void unlocked_clear(Unlocked *unlocked);
#define _cleanup_unlocked_ _cleanup_(unlocked_clear)

/* Tries every slot of the current epoch of each copy, the higher generation first. A key derived once is not
 * derived again for the other copy, so that equal copies cost what one costs. */
Outcome unlocked_find(const Copies *copies, const Secret *passphrase, Unlocked *ret_unlocked);
