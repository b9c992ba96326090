/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "bus/manager-bus.h"

#include "bus/agents.h"
#include "bus/call.h"
#include "bus/drive-bus.h"
#include "bus/errors.h"
#include "bus/names.h"
#include "bus/options.h"
#include "util/memory.h"

#include <errno.h>
#include <stdio.h>

static bool has_id(const Drive *drive, const char *id)
{
	char text[DRIVE_ID_SIZE * 2 + 1] = "";

	for (size_t i = 0; i < DRIVE_ID_SIZE; i++)
		(void)snprintf(text + 2 * i, 3, "%02x", drive->id[i]);
	return drive->enrolled && strcasecmp(text, id) == 0;
}

/* Public, and answered at once from what is known. */
static int method_find_drives(sd_bus_message *message, void *userdata, sd_bus_error *error)
{
	Bus *bus = userdata;
	_cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
	const char *label = NULL, *uuid = NULL, *id = NULL;
	bool by_device = false;
	uint64_t device = 0;
	Option options[] = {
		{.name = "device", .type = 't', .number = &device, .present = &by_device},
		{.name = "label", .type = 's', .text = &label},
		{.name = "uuid", .type = 's', .text = &uuid},
		{.name = "id", .type = 's', .text = &id},
	};
	int r;

	(void)error;
	if (!options_read(message, options, ELEMENTSOF(options)))
		return 1;
	r = sd_bus_message_new_method_return(message, &reply);
	if (r >= 0)
		r = sd_bus_message_open_container(reply, 'a', "o");
	for (const Drive *drive = bus->manager->drives; drive && r >= 0; drive = drive->next) {
		const char *path = drive_bus_path(drive);

		if (!path || (by_device && drive->device->number != device) ||
			(label && strcmp(drive->label, label) != 0 &&
				strcmp(drive->device->label, label) != 0) ||
			(uuid && strcasecmp(drive->device->uuid, uuid) != 0) || (id && !has_id(drive, id)))
			continue;
		r = sd_bus_message_append(reply, "o", path);
	}
	if (r >= 0)
		r = sd_bus_message_close_container(reply);
	if (r >= 0)
		r = sd_bus_message_send(reply);
	return r < 0 ? bus_reply_errno(message, r) : 1;
}

static void run_register_agent(Call *call)
{
	Outcome outcome = agents_register(call->bus, call->message, call->caller.uid);

	if (outcome == OUTCOME_DONE)
		call_reply(call);
	else
		call_fail(call, outcome,
			outcome == OUTCOME_BUSY ? "Another agent prompts for you already." : NULL);
}

static int method_register_agent(sd_bus_message *message, void *userdata, sd_bus_error *error)
{
	(void)error;
	if (!options_read(message, NULL, 0))
		return 1;
	return call_begin(userdata, message, NULL, NULL, NULL, run_register_agent, 0);
}

static void run_lock_all(Call *call)
{
	bool force = call->argument != 0, busy;

	/* root: everybody's. */
	busy = manager_lock_all(
		call->bus->manager, call->caller.uid == 0 ? UID_UNKNOWN : call->caller.uid, force);
	if (busy)
		call_fail(
			call, OUTCOME_BUSY, "Some drives are busy and stay unlocked; the others are locked.");
	else
		call_reply(call);
}

static int method_lock_all(sd_bus_message *message, void *userdata, sd_bus_error *error)
{
	bool force = false;
	Option options[] = {{.name = "force", .type = 'b', .boolean = &force}};

	(void)error;
	if (!options_read(message, options, ELEMENTSOF(options)))
		return 1;
	return call_begin(userdata, message, NULL, NULL, "lock", run_lock_all, force);
}

static int get_version(sd_bus *bus, const char *path, const char *interface, const char *property,
	sd_bus_message *reply, void *userdata, sd_bus_error *error)
{
	(void)bus;
	(void)path;
	(void)interface;
	(void)property;
	(void)userdata;
	(void)error;
	return sd_bus_message_append(reply, "s", USBCRYPT_VERSION);
}

static const sd_bus_vtable vtable[] = {
	SD_BUS_VTABLE_START(0),
	SD_BUS_METHOD_WITH_NAMES("FindDrives", "a{sv}", SD_BUS_PARAM(options), "ao", SD_BUS_PARAM(drives),
		method_find_drives, SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_METHOD_WITH_NAMES("RegisterAgent", "a{sv}", SD_BUS_PARAM(options), "", , method_register_agent,
		SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_METHOD_WITH_NAMES(
		"LockAll", "a{sv}", SD_BUS_PARAM(options), "", , method_lock_all, SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_PROPERTY("Version", "s", get_version, 0, SD_BUS_VTABLE_PROPERTY_CONST),
	SD_BUS_VTABLE_END,
};

int manager_bus_add(Bus *bus)
{
	int r = sd_bus_add_object_vtable(bus->bus, NULL, BUS_PATH, BUS_INTERFACE_MANAGER, vtable, bus);

	return r < 0 ? r : 0;
}
