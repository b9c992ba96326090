/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the words of a command line mean: a drive, and paths on it. */

#include "drive.h"

typedef struct Target {
	Drive *drive;
	char **paths; /* relative to the drive's root; none: all of it */
	size_t n_paths, paths_capacity;
} Target;

void target_clear(Target *target);
#define _cleanup_target_ _cleanup_(target_clear)

/*
 * words[0] is DRIVE, the others are PATHs. The rule, as usbctl(1) has it:
 *  - no words: the one drive that is plugged in;
 *  - DRIVE is a node, a mount point, a label, UUID or id: PATHs are relative to the drive's root, or
 * absolute;
 *  - DRIVE is any other path: it chooses the drive it lies on and is the first PATH; further PATHs are
 * ordinary paths, all on the same drive. A word without a slash is a name first, and a path of the working
 * directory when no drive has that name.
 */
ExitCode target_find(Client *client, char *const *words, size_t n_words, Target *ret);

/* As target_find(), for verbs that look at a drive as a whole. */
ExitCode target_find_drive(Client *client, char *const *words, size_t n_words, Drive **ret);

/* Appends the paths as aay. */
int target_append_paths(sd_bus_message *message, const Target *target);
