/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "bus/drive-bus.h"

#include "bus/announce.h"
#include "bus/names.h"
#include "bus/transaction-bus.h"
#include "core/suite-name.h"
#include "util/escape.h"
#include "util/log.h"
#include "util/memory.h"

#include <errno.h>
#include <stdio.h>

static const AnnouncedProperty announced[] = {
	{DRIVE_PROPERTY_ID, "Id"},
	{DRIVE_PROPERTY_LABEL, "Label"},
	{DRIVE_PROPERTY_PENDING, "Pending"},
	{DRIVE_PROPERTY_SUITE, "Suite"},
	{DRIVE_PROPERTY_MOUNT_POINTS, "MountPoints"},
	{DRIVE_PROPERTY_ENROLLED, "Enrolled"},
	{DRIVE_PROPERTY_LOCKED, "Locked"},
	{DRIVE_PROPERTY_OWNER, "Owner"},
	{DRIVE_PROPERTY_SIZE, "Size"},
	{DRIVE_PROPERTY_FREE, "Free"},
	{DRIVE_PROPERTY_TRANSACTION, "Transaction"},
	{DRIVE_PROPERTY_LOCK_AT, "LockAt"},
	{DRIVE_PROPERTY_RETRY_AT, "RetryAt"},
	{0, NULL},
};

/* What comes from a drive may be no UTF-8, which a string on the bus has to be. */
static int append_text(sd_bus_message *reply, const char *text)
{
	_cleanup_free_ char *safe = escape_string(text);

	return safe ? sd_bus_message_append(reply, "s", safe) : -ENOMEM;
}

static int append_id(sd_bus_message *reply, const Drive *drive)
{
	char id[DRIVE_ID_SIZE * 2 + 1] = "";

	for (size_t i = 0; i < DRIVE_ID_SIZE && drive->enrolled; i++)
		(void)snprintf(id + 2 * i, 3, "%02x", drive->id[i]);
	return sd_bus_message_append(reply, "s", id);
}

static int append_mount_points(sd_bus_message *reply, const Drive *drive)
{
	int r = sd_bus_message_open_container(reply, 'a', "ay");

	for (size_t i = 0; i < drive->n_mount_points && r >= 0; i++)
		r = sd_bus_message_append_array(
			reply, 'y', drive->mount_points[i], strlen(drive->mount_points[i]));
	return r < 0 ? r : sd_bus_message_close_container(reply);
}

static int get_property(sd_bus *bus, const char *path, const char *interface, const char *property,
	sd_bus_message *reply, void *userdata, sd_bus_error *error)
{
	const Drive *drive = ((DriveFace *)userdata)->drive;
	const char *transaction = drive->transaction ? transaction_bus_path(drive->transaction) : NULL;

	(void)bus;
	(void)path;
	(void)interface;
	(void)error;
	if (strcmp(property, "Id") == 0)
		return append_id(reply, drive);
	if (strcmp(property, "Device") == 0)
		return append_text(reply, drive->device->node);
	if (strcmp(property, "Label") == 0)
		return sd_bus_message_append(reply, "s", drive->label);
	if (strcmp(property, "FilesystemType") == 0)
		return append_text(reply, drive->device->filesystem);
	if (strcmp(property, "FilesystemUuid") == 0)
		return append_text(reply, drive->device->uuid);
	if (strcmp(property, "Pending") == 0)
		return sd_bus_message_append(reply, "s",
			drive->pending == TRANSACTION_INVALID ? "" : transaction_kind_name(drive->pending));
	if (strcmp(property, "Suite") == 0)
		return sd_bus_message_append(reply, "s", suite_number_name(drive->suite));
	if (strcmp(property, "MountPoints") == 0)
		return append_mount_points(reply, drive);
	if (strcmp(property, "Enrolled") == 0)
		return sd_bus_message_append(reply, "b", drive->enrolled);
	if (strcmp(property, "Locked") == 0)
		return sd_bus_message_append(reply, "b", !drive->unlocked);
	if (strcmp(property, "Owner") == 0)
		return sd_bus_message_append(reply, "u", drive->owner);
	if (strcmp(property, "Size") == 0)
		return sd_bus_message_append(reply, "t", drive->size);
	if (strcmp(property, "Free") == 0)
		return sd_bus_message_append(reply, "t", drive->free);
	if (strcmp(property, "Transaction") == 0)
		return sd_bus_message_append(reply, "o", transaction ? transaction : "/");
	if (strcmp(property, "LockAt") == 0)
		return sd_bus_message_append(reply, "t", drive_lock_at(drive));
	if (strcmp(property, "RetryAt") == 0)
		return sd_bus_message_append(reply, "t", drive_retry_at(drive));
	return -ENOENT;
}

#define EMITS SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE
#define CONST SD_BUS_VTABLE_PROPERTY_CONST
/* Open to everybody: whether they may is asked in each of them. */
#define METHOD(name, in, in_names, out, out_names, handler)                                                  \
	SD_BUS_METHOD_WITH_NAMES(name, in, in_names, out, out_names, handler, SD_BUS_VTABLE_UNPRIVILEGED)

static const sd_bus_vtable vtable[] = {
	SD_BUS_VTABLE_START(0),
	METHOD("Enroll", "ha{sv}", SD_BUS_PARAM(passphrase) SD_BUS_PARAM(options), "", , drive_method_enroll),
	METHOD("Unenroll", "ha{sv}", SD_BUS_PARAM(passphrase) SD_BUS_PARAM(options), "", ,
		drive_method_unenroll),
	METHOD("Unlock", "ha{sv}", SD_BUS_PARAM(passphrase) SD_BUS_PARAM(options), "", , drive_method_unlock),
	METHOD("Lock", "a{sv}", SD_BUS_PARAM(options), "", , drive_method_lock),
	METHOD("Survey", "a{sv}", SD_BUS_PARAM(options), "o", SD_BUS_PARAM(transaction), drive_method_survey),
	METHOD("Encrypt", "aaya{sv}", SD_BUS_PARAM(paths) SD_BUS_PARAM(options), "o",
		SD_BUS_PARAM(transaction), drive_method_encrypt),
	METHOD("Decrypt", "aaya{sv}", SD_BUS_PARAM(paths) SD_BUS_PARAM(options), "o",
		SD_BUS_PARAM(transaction), drive_method_decrypt),
	METHOD("Verify", "aaya{sv}", SD_BUS_PARAM(paths) SD_BUS_PARAM(options), "o",
		SD_BUS_PARAM(transaction), drive_method_verify),
	METHOD("Recover", "sa{sv}", SD_BUS_PARAM(mode) SD_BUS_PARAM(options), "o", SD_BUS_PARAM(transaction),
		drive_method_recover),
	SD_BUS_PROPERTY("Id", "s", get_property, 0, EMITS),
	SD_BUS_PROPERTY("Device", "s", get_property, 0, CONST),
	SD_BUS_PROPERTY("Label", "s", get_property, 0, EMITS),
	SD_BUS_PROPERTY("FilesystemType", "s", get_property, 0, CONST),
	SD_BUS_PROPERTY("FilesystemUuid", "s", get_property, 0, CONST),
	SD_BUS_PROPERTY("Pending", "s", get_property, 0, EMITS),
	SD_BUS_PROPERTY("Suite", "s", get_property, 0, EMITS),
	SD_BUS_PROPERTY("MountPoints", "aay", get_property, 0, EMITS),
	SD_BUS_PROPERTY("Enrolled", "b", get_property, 0, EMITS),
	SD_BUS_PROPERTY("Locked", "b", get_property, 0, EMITS),
	SD_BUS_PROPERTY("Owner", "u", get_property, 0, EMITS),
	SD_BUS_PROPERTY("Size", "t", get_property, 0, EMITS),
	SD_BUS_PROPERTY("Free", "t", get_property, 0, EMITS),
	SD_BUS_PROPERTY("Transaction", "o", get_property, 0, EMITS),
	SD_BUS_PROPERTY("LockAt", "t", get_property, 0, EMITS),
	SD_BUS_PROPERTY("RetryAt", "t", get_property, 0, EMITS),
	SD_BUS_VTABLE_END,
};

const char *drive_bus_path(const Drive *drive)
{
	const DriveFace *face = drive->face;

	return face ? face->path : NULL;
}

void drive_bus_changed(Drive *drive, unsigned properties)
{
	DriveFace *face = drive->face;

	if (face)
		announcer_add(face->announcer, properties);
}

static void face_free(DriveFace *face)
{
	sd_bus_slot_unref(face->slot);
	(void)announcer_free(face->announcer);
	free(face->path);
	free(face);
}

int drive_bus_add(Bus *bus, Drive *drive)
{
	DriveFace *face = new0(DriveFace, 1);
	int r;

	if (!face)
		return -ENOMEM;
	face->bus = bus;
	face->drive = drive;
	if (asprintf(&face->path, BUS_PATH_DRIVES "/%s", drive->name) < 0) {
		face->path = NULL;
		r = -ENOMEM;
		goto fail;
	}
	r = announcer_new(bus->bus, face->path, BUS_INTERFACE_DRIVE, announced, &face->announcer);
	if (r >= 0)
		r = sd_bus_add_object_vtable(
			bus->bus, &face->slot, face->path, BUS_INTERFACE_DRIVE, vtable, face);
	if (r < 0)
		goto fail;
	drive->face = face;
	r = sd_bus_emit_object_added(bus->bus, face->path);
	if (r < 0)
		log_warning("Cannot announce %s: %s", face->path, strerrordesc_np(-r));
	return 0;

fail:
	face_free(face);
	return r;
}

void drive_bus_remove(Drive *drive)
{
	DriveFace *face = drive->face;

	if (!face)
		return;
	(void)sd_bus_emit_object_removed(face->bus->bus, face->path);
	drive->face = NULL;
	face_free(face);
}
