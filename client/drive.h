/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A drive as the daemon describes it. */

#include "bus.h"
#include "client.h"
#include "properties.h"

#define DRIVE_OWNER_UNKNOWN UINT32_MAX

typedef struct Drive {
	char *object; /* its object path */
	char *id, *device, *label, *filesystem, *uuid, *pending, *suite, *transaction;
	char **mount_points; /* NULL-terminated, may be NULL */
	bool enrolled, locked;
	uint32_t owner;
	uint64_t size, free, lock_at, retry_at;
} Drive;

Drive *drive_free(Drive *drive);
DEFINE_CLEANUP(Drive *, drive_free)
#define _cleanup_drive_ _cleanup_(drive_freep)

typedef struct DriveList {
	Drive **drives;
	size_t n, capacity;
} DriveList;

void drive_list_clear(DriveList *list);

/* All drives that are plugged in, by device name. */
ExitCode drive_list_get(Client *client, DriveList *ret);

Drive *drive_list_find(const DriveList *list, const char *object);

/* Takes over `drive`. -ENOMEM. */
int drive_list_add(DriveList *list, Drive *drive);
void drive_list_remove(DriveList *list, const char *object);

/* -ENOMEM when it cannot be made. Reads an a{sv} of the drive interface's properties into it. */
int drive_new(const char *object, Drive **ret);
int drive_read(Drive *drive, sd_bus_message *properties);

/* Asks for all properties again. */
ExitCode drive_refresh(Client *client, Drive *drive);

/* Reports that it is not enrolled, if that is known. */
ExitCode drive_require_enrolled(const Client *client, const Drive *drive);

/* Reads what InterfacesAdded, or an entry of GetManagedObjects, says of one object: path and interfaces.
 * *ret_drive is NULL when it is no drive. */
int drive_read_object(sd_bus_message *message, Drive **ret_drive);

/* What to call it: its label, or its device; fit for a terminal, for the caller to free; NULL: out of memory.
 */
char *drive_title(const Drive *drive);

/* What a verb about one drive ends with: puts the drive into the document, and returns its title for what is
 * said of it. */
ExitCode drive_conclude(const Client *client, const Drive *drive, char **ret_title);

/* Its first mount point, or NULL; NULL for no drive, too. */
static inline const char *drive_mount_point(const Drive *drive)
{
	return drive && drive->mount_points ? drive->mount_points[0] : NULL;
}

/* "unlocked until 14:05", "locked", "not enrolled", "not mounted", …, for people. */
const char *drive_state(const Drive *drive, char *buffer, size_t size);

/* Whether overwriting in place reaches the old bytes on its filesystem. */
bool drive_scrubs(const Drive *drive);

cJSON *drive_to_json(const Drive *drive);
