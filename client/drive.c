/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "drive.h"

#include "text.h"
#include "util/memory.h"

#include <errno.h>
#include <stdio.h>

static const PropertyField FIELDS[] = {
	{"Id", PROPERTY_STRING, offsetof(Drive, id)},
	{"Device", PROPERTY_STRING, offsetof(Drive, device)},
	{"Label", PROPERTY_STRING, offsetof(Drive, label)},
	{"FilesystemType", PROPERTY_STRING, offsetof(Drive, filesystem)},
	{"FilesystemUuid", PROPERTY_STRING, offsetof(Drive, uuid)},
	{"Pending", PROPERTY_STRING, offsetof(Drive, pending)},
	{"Suite", PROPERTY_STRING, offsetof(Drive, suite)},
	{"MountPoints", PROPERTY_PATHS, offsetof(Drive, mount_points)},
	{"Enrolled", PROPERTY_BOOL, offsetof(Drive, enrolled)},
	{"Locked", PROPERTY_BOOL, offsetof(Drive, locked)},
	{"Owner", PROPERTY_U32, offsetof(Drive, owner)},
	{"Size", PROPERTY_U64, offsetof(Drive, size)},
	{"Free", PROPERTY_U64, offsetof(Drive, free)},
	{"Transaction", PROPERTY_STRING, offsetof(Drive, transaction)},
	{"LockAt", PROPERTY_U64, offsetof(Drive, lock_at)},
	{"RetryAt", PROPERTY_U64, offsetof(Drive, retry_at)},
};

Drive *drive_free(Drive *drive)
{
	if (!drive)
		return NULL;
	properties_clear(FIELDS, ELEMENTSOF(FIELDS), drive);
	free(drive->object);
	free(drive);
	return NULL;
}

int drive_new(const char *object, Drive **ret)
{
	_cleanup_drive_ Drive *drive = NULL;

	drive = new0(Drive, 1);
	if (!drive)
		return -ENOMEM;
	drive->owner = DRIVE_OWNER_UNKNOWN;
	drive->locked = true;
	drive->object = strdup(object);
	if (!drive->object)
		return -ENOMEM;
	for (size_t i = 0; i < ELEMENTSOF(FIELDS); i++) {
		char **field = (char **)((uint8_t *)drive + FIELDS[i].offset);

		if (FIELDS[i].type != PROPERTY_STRING)
			continue;
		*field = strdup("");
		if (!*field)
			return -ENOMEM;
	}
	*ret = TAKE_PTR(drive);
	return 0;
}

int drive_read(Drive *drive, sd_bus_message *properties)
{
	return properties_read(properties, FIELDS, ELEMENTSOF(FIELDS), drive);
}

void drive_list_clear(DriveList *list)
{
	for (size_t i = 0; i < list->n; i++)
		drive_free(list->drives[i]);
	free(list->drives);
	*list = (DriveList){0};
}

int drive_list_add(DriveList *list, Drive *drive)
{
	int r = array_grow(&list->drives, &list->capacity, list->n + 1, sizeof(Drive *));

	if (r >= 0)
		list->drives[list->n++] = drive;
	return r;
}

Drive *drive_list_find(const DriveList *list, const char *object)
{
	for (size_t i = 0; i < list->n; i++)
		if (strcmp(list->drives[i]->object, object) == 0)
			return list->drives[i];
	return NULL;
}

void drive_list_remove(DriveList *list, const char *object)
{
	for (size_t i = 0; i < list->n; i++) {
		if (strcmp(list->drives[i]->object, object) != 0)
			continue;
		drive_free(list->drives[i]);
		memmove(&list->drives[i], &list->drives[i + 1], (list->n - i - 1) * sizeof(Drive *));
		list->n--;
		return;
	}
}

int drive_read_object(sd_bus_message *m, Drive **ret_drive)
{
	_cleanup_drive_ Drive *drive = NULL;
	Dict interfaces = {.entry = "sa{sv}"};
	const char *object;
	bool is_drive = false;
	int r;

	r = sd_bus_message_read_basic(m, 'o', &object);
	if (r < 0)
		return r;
	r = drive_new(object, &drive);
	if (r < 0)
		return r;
	while ((r = dict_next(m, &interfaces)) > 0) {
		const char *interface;

		r = sd_bus_message_read_basic(m, 's', &interface);
		if (r < 0)
			return r;
		if (strcmp(interface, BUS_INTERFACE_DRIVE) == 0) {
			is_drive = true;
			r = drive_read(drive, m);
		} else {
			r = sd_bus_message_skip(m, "a{sv}");
		}
		if (r < 0)
			return r;
	}
	if (r < 0)
		return r;
	*ret_drive = is_drive ? TAKE_PTR(drive) : NULL;
	return 0;
}

static int by_device(const void *a, const void *b)
{
	const Drive *const *x = a, *const *y = b;

	return strverscmp((*x)->device, (*y)->device);
}

static int read_list(sd_bus_message *m, DriveList *list)
{
	Dict objects = {.entry = "oa{sa{sv}}"};
	int r;

	while ((r = dict_next(m, &objects)) > 0) {
		_cleanup_drive_ Drive *drive = NULL;

		r = drive_read_object(m, &drive);
		if (r >= 0 && drive)
			r = drive_list_add(list, drive);
		if (r < 0)
			return r;
		TAKE_PTR(drive);
	}
	return r;
}

ExitCode drive_list_get(Client *client, DriveList *ret)
{
	_cleanup_message_ sd_bus_message *call = NULL, *reply = NULL;
	_cleanup_(drive_list_clear) DriveList list = {0};
	ExitCode code;
	int r;

	code = bus_connect(client);
	if (code != CODE_DONE)
		return code;
	code = bus_new_call(
		client, BUS_PATH, "org.freedesktop.DBus.ObjectManager", "GetManagedObjects", &call);
	if (code != CODE_DONE)
		return code;
	code = bus_call(client, call, &reply);
	if (code != CODE_DONE)
		return code;
	r = read_list(reply, &list);
	if (r < 0)
		return bus_fail_message(client, r);
	if (list.n > 1)
		qsort(list.drives, list.n, sizeof(Drive *), by_device);
	*ret = list;
	list = (DriveList){0};
	return CODE_DONE;
}

ExitCode drive_refresh(Client *client, Drive *drive)
{
	_cleanup_message_ sd_bus_message *call = NULL, *reply = NULL;
	ExitCode code;
	int r;

	code = bus_new_call(client, drive->object, "org.freedesktop.DBus.Properties", "GetAll", &call);
	if (code != CODE_DONE)
		return code;
	r = sd_bus_message_append_basic(call, 's', BUS_INTERFACE_DRIVE);
	if (r < 0)
		return bus_fail_message(client, r);
	code = bus_call(client, call, &reply);
	if (code != CODE_DONE)
		return code;
	r = drive_read(drive, reply);
	return r < 0 ? bus_fail_message(client, r) : CODE_DONE;
}

ExitCode drive_require_enrolled(const Client *client, const Drive *drive)
{
	if (drive->owner == DRIVE_OWNER_UNKNOWN || drive->enrolled)
		return CODE_DONE;
	return client_fail_outcome(
		client, OUTCOME_NOT_ENROLLED, outcome_name(OUTCOME_NOT_ENROLLED), NULL, false);
}

char *drive_title(const Drive *drive)
{
	if (*drive->label)
		return text_safe(drive->label);
	return text_safe(*drive->device ? drive->device : "?");
}

ExitCode drive_conclude(const Client *client, const Drive *drive, char **ret_title)
{
	*ret_title = drive_title(drive);
	if (!*ret_title)
		return client_fail_memory(client);
	if (client->document)
		cJSON_AddItemToObject(client->document, "drive", drive_to_json(drive));
	return CODE_DONE;
}

const char *drive_state(const Drive *drive, char *buffer, size_t size)
{
	char when[TEXT_SHORT_SIZE];

	if (!drive->enrolled && !drive_mount_point(drive))
		return "not mounted";
	if (!drive->enrolled)
		return "not enrolled";
	if (drive->locked)
		return *drive->pending ? "locked, recovery pending" : "locked";
	if (drive->lock_at == 0)
		(void)snprintf(buffer, size, "unlocked");
	else
		(void)snprintf(buffer, size, "unlocked until %s", text_time(drive->lock_at, when));
	if (*drive->pending)
		(void)strncat(buffer, ", recovery pending", size - strlen(buffer) - 1);
	return buffer;
}

bool drive_scrubs(const Drive *drive)
{
	static const char *const in_place[] = {"vfat", "exfat", "ntfs", "ext2", "ext3", "ext4"};

	for (size_t i = 0; i < ELEMENTSOF(in_place); i++)
		if (strcmp(drive->filesystem, in_place[i]) == 0)
			return true;
	return false;
}

cJSON *drive_to_json(const Drive *drive)
{
	cJSON *object = cJSON_CreateObject(), *mounts;

	cJSON_AddStringToObject(object, "id", drive->id);
	cJSON_AddStringToObject(object, "device", drive->device);
	cJSON_AddStringToObject(object, "label", drive->label);
	cJSON_AddStringToObject(object, "filesystem", drive->filesystem);
	cJSON_AddStringToObject(object, "uuid", drive->uuid);
	mounts = cJSON_AddArrayToObject(object, "mount_points");
	for (size_t i = 0; drive->mount_points && drive->mount_points[i]; i++) {
		cJSON *mount = cJSON_CreateObject();

		json_add_path(mount, drive->mount_points[i]);
		cJSON_AddItemToArray(mounts, mount);
	}
	cJSON_AddBoolToObject(object, "enrolled", drive->enrolled);
	cJSON_AddBoolToObject(object, "locked", drive->locked);
	json_add_number(object, "owner", drive->owner, DRIVE_OWNER_UNKNOWN);
	json_add_number(object, "size", drive->size, 0);
	json_add_number(object, "free", drive->size == 0 ? UINT64_MAX : drive->free, UINT64_MAX);
	cJSON_AddStringToObject(object, "suite", drive->suite);
	cJSON_AddStringToObject(object, "pending", drive->pending);
	json_add_number(object, "lock_at", drive->lock_at, 0);
	json_add_number(object, "retry_at", drive->retry_at, 0);
	cJSON_AddBoolToObject(object, "busy", *drive->transaction && strcmp(drive->transaction, "/") != 0);
	return object;
}
