/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Having a drive mounted: udisks2 does it, where it is there; the daemon mounts nothing. */

#include "drive.h"

#define UDISKS_NAME "org.freedesktop.UDisks2"

/* Returns once the drive is mounted and the daemon has looked at it; *drive is up to date then. Reports how
 * to mount it when nobody does. */
ExitCode mount_ensure(Client *client, Drive *drive);

/* Whether the desktop is meant to mount it by itself (udisks2's HintAuto). False without udisks2. */
bool mount_is_wanted(Client *client, const Drive *drive);

/* Asks udisks2 to mount. 0; -ENXIO: udisks2 is not there; else a negative errno. `error` says more.
 * `interactive`: polkit may ask. Mounted already is no error. */
int mount_by_udisks(Client *client, const Drive *drive, bool interactive, sd_bus_error *error);
