/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/drive.h"

#include "core/manager.h"
#include "util/escape.h"
#include "util/log.h"
#include "util/memory.h"

#include <errno.h>
#include <stdio.h>
#include <sys/sysmacros.h>

#define LABEL_MAX 128

static char *drive_name(const Device *device)
{
	char *name;

	if (asprintf(&name, "%s_%llu", device->name, (unsigned long long)device->disk_sequence) < 0)
		return NULL;
	/* It is part of an object path. */
	for (char *c = name; *c; c++)
		if (!((*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') || (*c >= '0' && *c <= '9')))
			*c = '_';
	return name;
}

static void mount_points_clear(Drive *drive)
{
	for (size_t i = 0; i < drive->n_mount_points; i++)
		free(drive->mount_points[i]);
	drive->n_mount_points = 0;
}

static void drive_destroy(Drive *drive)
{
	drive->probe = job_free(drive->probe);
	drive->probe_request = request_free(drive->probe_request);
	sd_event_source_disable_unref(drive->lock_timer);
	mount_points_clear(drive);
	free(drive->mount_points);
	free(drive->mount.point);
	free(drive->mount.type);
	free(drive->name);
	free(drive->label);
	free(drive->attempt_name);
	device_free(drive->device);
	free(drive);
}

Drive *drive_ref(Drive *drive)
{
	drive->n_ref++;
	return drive;
}

Drive *drive_unref(Drive *drive)
{
	if (drive && --drive->n_ref == 0)
		drive_destroy(drive);
	return NULL;
}

int drive_new(Manager *manager, Device *device, Drive **ret_drive)
{
	_cleanup_drive_ Drive *drive = new0(Drive, 1);

	if (!drive) {
		device_free(device);
		return -ENOMEM;
	}
	drive->n_ref = 1;
	drive->manager = manager;
	drive->device = device;
	drive->owner = UID_UNKNOWN;
	drive->pending = TRANSACTION_INVALID;
	LIST_INIT(&drive->known_waiters);
	LIST_INIT(&drive->idle_waiters);
	drive->name = drive_name(device);
	drive->label = escape_bytes(device->label, strlen(device->label), LABEL_MAX);
	if (!drive->name || !drive->label)
		return -ENOMEM;
	*ret_drive = TAKE_PTR(drive);
	return 0;
}

DriveState drive_state(const Drive *drive)
{
	if (drive->gone)
		return DRIVE_GONE;
	if (!drive->mount.present)
		return DRIVE_UNMOUNTED;
	if (drive->unlocked)
		return DRIVE_UNLOCKED;
	if (!drive->known)
		return DRIVE_UNKNOWN;
	return drive->enrolled ? DRIVE_LOCKED : DRIVE_PLAIN;
}

bool drive_is_settled(const Drive *drive)
{
	return drive->known || !drive->probe;
}

void drive_announce(Drive *drive, unsigned properties)
{
	ManagerObserver *observer = &drive->manager->observer;

	if (observer->drive_changed && !drive->gone)
		observer->drive_changed(observer->userdata, drive, properties);
}

bool drive_update(Drive *drive, Device *device)
{
	char *label;

	if (drive->device->number != device->number ||
		drive->device->disk_sequence != device->disk_sequence ||
		strcmp(drive->device->filesystem, device->filesystem) != 0 ||
		strcmp(drive->device->uuid, device->uuid) != 0)
		return false;
	if (strcmp(drive->device->label, device->label) != 0 &&
		(label = escape_bytes(device->label, strlen(device->label), LABEL_MAX))) {
		free(drive->label);
		drive->label = label;
		drive_announce(drive, DRIVE_PROPERTY_LABEL);
	}
	device_free(drive->device);
	drive->device = device;
	return true;
}

/* The mount that its key was proved on, or a probe looked at, is not there any more. */
static void drive_unmounted(Drive *drive)
{
	(void)drive_lock(drive, true);
	drive->probe = job_free(drive->probe);
	drive->probe_request = request_free(drive->probe_request);
	drive->known = drive->enrolled = false;
	drive->owner = UID_UNKNOWN;
	drive->pending = TRANSACTION_INVALID;
	drive->suite = 0;
	drive->size = drive->free = 0;
	memset(drive->id, 0, sizeof(drive->id));
	drive_announce(drive, DRIVE_PROPERTIES_OF_PROBE | DRIVE_PROPERTY_RETRY_AT);
	wait_list_wake(&drive->known_waiters);
}

int drive_set_mounts(Drive *drive, const MountTable *table)
{
	const Mount *newest = NULL;
	bool old_is_there = false;
	DriveMount fresh = {0};
	int r;

	mount_points_clear(drive);
	for (size_t i = 0; i < mount_table_size(table); i++) {
		const Mount *mount = mount_table_get(table, i);
		char *point;

		if (!mount_is_of(mount, drive->device->number, drive->device->node) ||
			!mount_is_whole(mount) || mount_is_hidden(table, mount))
			continue;
		r = array_grow(&drive->mount_points, &drive->mount_points_capacity, drive->n_mount_points + 1,
			sizeof(char *));
		point = strdup(mount->point);
		if (r < 0 || !point) {
			free(point);
			return -ENOMEM;
		}
		drive->mount_points[drive->n_mount_points++] = point;
		if (mount->id == (drive->unlocked ? drive->key_mount_id : drive->mount.id))
			old_is_there = true;
		newest = mount;
	}
	if (newest) {
		fresh = (DriveMount){
			.present = true,
			.safe = newest->nosuid && newest->nodev,
			.read_only = newest->read_only,
			.anonymous = major(newest->number) == 0,
			.id = newest->id,
			.point = strdup(newest->point),
			.type = strdup(newest->type),
		};
		if (!fresh.point || !fresh.type) {
			free(fresh.point);
			free(fresh.type);
			return -ENOMEM;
		}
	}
	bool was_present = drive->mount.present;
	bool changed = was_present != fresh.present || drive->mount.id != fresh.id ||
		       drive->mount.safe != fresh.safe ||
		       (fresh.present && strcmp(drive->mount.point, fresh.point) != 0);

	free(drive->mount.point);
	free(drive->mount.type);
	drive->mount = fresh;
	if (!changed)
		return 0;
	drive_announce(drive, DRIVE_PROPERTY_MOUNT_POINTS);
	if (was_present && !old_is_there)
		drive_unmounted(drive);
	drive_probe(drive);
	return 0;
}

void drive_gone(Drive *drive)
{
	(void)drive_lock(drive, true);
	drive->gone = true;
	drive->probe = job_free(drive->probe);
	drive->probe_request = request_free(drive->probe_request);
	drive_kill(drive, OUTCOME_DRIVE_GONE);
	wait_list_wake(&drive->known_waiters);
	wait_list_wake(&drive->idle_waiters);
}
