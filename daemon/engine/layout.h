/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The folder .usbcrypt and what is in it: making it, looking at it, taking it away. */

#include "engine/vfs.h"
#include "util/outcome.h"

typedef enum LayoutState {
	LAYOUT_ABSENT,
	LAYOUT_WITHOUT_JOURNAL,
	LAYOUT_COMPLETE, /* a journal is there: files may have been encrypted */
} LayoutState;

/* Lists it without opening any file. OUTCOME_TAMPERED when something in it is not ours: another name, or one
 * of ours that is not what it should be. */
Outcome layout_examine(const Vfs *vfs, int root_fd, LayoutState *ret_state);

/* Makes the folders and README.txt, those that are missing. */
Outcome layout_create(const Vfs *vfs, int root_fd);

/* Takes away everything of ours, the last copy of drive.json last, and makes that durable. Other names stay,
 * and then OUTCOME_TAMPERED says so. */
Outcome layout_remove(const Vfs *vfs, int root_fd);
