/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent-drive.h"

#include "mount.h"
#include "util/memory.h"

#include <errno.h>
#include <unistd.h>

/* A desktop that mounts by itself goes first. */
#define MOUNT_AFTER (3 * USEC_PER_SEC)

static AgentDrive *entry_free(AgentDrive *entry)
{
	if (!entry)
		return NULL;
	sd_event_source_disable_unref(entry->mount_timer);
	drive_free(entry->drive);
	free(entry);
	return NULL;
}

void agent_drives_forget(AgentDrives *drives)
{
	for (size_t i = 0; i < drives->n; i++)
		entry_free(drives->entries[i]);
	drives->n = 0;
}

void agent_drives_clear(AgentDrives *drives)
{
	agent_drives_forget(drives);
	drives->entries = mfree(drives->entries);
	drives->capacity = 0;
}

AgentDrive *agent_drives_find(const AgentDrives *drives, const char *object)
{
	for (size_t i = 0; object && i < drives->n; i++)
		if (strcmp(drives->entries[i]->drive->object, object) == 0)
			return drives->entries[i];
	return NULL;
}

bool agent_drive_is_ours(const AgentDrive *entry)
{
	const Drive *drive = entry->drive;

	return drive->enrolled && drive->locked && drive_mount_point(drive) && drive->owner == getuid();
}

AgentDrive *agent_drives_next(const AgentDrives *drives)
{
	for (size_t i = 0; i < drives->n; i++)
		if (!drives->entries[i]->handled && agent_drive_is_ours(drives->entries[i]))
			return drives->entries[i];
	return NULL;
}

static int on_mount_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
	_cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
	AgentDrive *entry = userdata;
	AgentDrives *drives = entry->drives;

	(void)source;
	(void)usec;
	entry->mount_timer = sd_event_source_disable_unref(entry->mount_timer);
	if (drive_mount_point(entry->drive) || !mount_is_wanted(drives->client, entry->drive))
		return 0;
	/* Whether it is one of ours shows once it is mounted; failing is the business of whoever uses it. */
	(void)mount_by_udisks(drives->client, entry->drive, false, &error);
	drives->changed(drives->userdata);
	return 0;
}

/* Takes over `drive`. */
static int add(AgentDrives *drives, Drive *drive)
{
	AgentDrive *entry = new0(AgentDrive, 1);
	int r;

	if (!entry) {
		drive_free(drive);
		return -ENOMEM;
	}
	entry->drives = drives;
	entry->drive = drive;
	r = array_grow(&drives->entries, &drives->capacity, drives->n + 1, sizeof(AgentDrive *));
	if (r < 0) {
		entry_free(entry);
		return r;
	}
	drives->entries[drives->n++] = entry;
	if (!drives->mounts || drive_mount_point(drive))
		return 0;
	return sd_event_add_time_relative(
		drives->event, &entry->mount_timer, CLOCK_MONOTONIC, MOUNT_AFTER, 0, on_mount_timer, entry);
}

static void remove_entry(AgentDrives *drives, const char *object)
{
	for (size_t i = 0; i < drives->n; i++) {
		if (strcmp(drives->entries[i]->drive->object, object) != 0)
			continue;
		entry_free(drives->entries[i]);
		drives->entries[i] = drives->entries[--drives->n];
		return;
	}
}

/* A drive that is open needs no question later, when its owner locks it; one that was unmounted and is
 * mounted again is a fresh one. */
static void update(AgentDrive *entry)
{
	if (!drive_mount_point(entry->drive))
		entry->handled = false;
	else if (entry->drive->enrolled && !entry->drive->locked)
		entry->handled = true;
}

ExitCode agent_drives_load(AgentDrives *drives)
{
	_cleanup_(drive_list_clear) DriveList list = {0};
	ExitCode code;

	agent_drives_forget(drives);
	code = drive_list_get(drives->client, &list);
	while (code == CODE_DONE && list.n > 0) {
		if (add(drives, list.drives[--list.n]) < 0)
			code = client_fail_memory(drives->client);
		else
			update(drives->entries[drives->n - 1]);
	}
	return code;
}

void agent_drives_on_signal(AgentDrives *drives, sd_bus_message *message)
{
	const char *path = sd_bus_message_get_path(message), *text;

	if (sd_bus_message_is_signal(message, "org.freedesktop.DBus.ObjectManager", "InterfacesAdded")) {
		Drive *drive = NULL;

		if (drive_read_object(message, &drive) < 0 || !drive)
			return;
		remove_entry(drives, drive->object);
		if (add(drives, drive) >= 0)
			update(drives->entries[drives->n - 1]);
	} else if (sd_bus_message_is_signal(
			   message, "org.freedesktop.DBus.ObjectManager", "InterfacesRemoved")) {
		if (sd_bus_message_read_basic(message, 'o', &text) >= 0)
			remove_entry(drives, text);
	} else if (sd_bus_message_is_signal(
			   message, "org.freedesktop.DBus.Properties", "PropertiesChanged")) {
		AgentDrive *entry = agent_drives_find(drives, path);

		if (!entry || sd_bus_message_read_basic(message, 's', &text) < 0 ||
			strcmp(text, BUS_INTERFACE_DRIVE) != 0 || drive_read(entry->drive, message) < 0)
			return;
		update(entry);
	}
}
