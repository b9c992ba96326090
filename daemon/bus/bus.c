/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "bus/bus.h"

#include "bus/agents.h"
#include "bus/call.h"
#include "bus/drive-bus.h"
#include "bus/logind.h"
#include "bus/manager-bus.h"
#include "bus/names.h"
#include "bus/transaction-bus.h"
#include "util/log.h"
#include "util/memory.h"

#include <errno.h>

static void on_drive_added(void *userdata, Drive *drive)
{
	int r = drive_bus_add(userdata, drive);

	if (r < 0)
		log_error("%s cannot be put on the bus: %s", drive->name, strerrordesc_np(-r));
}

static void on_drive_removed(void *userdata, Drive *drive)
{
	(void)userdata;
	drive_bus_remove(drive);
}

static void on_drive_changed(void *userdata, Drive *drive, unsigned properties)
{
	(void)userdata;
	drive_bus_changed(drive, properties);
}

static void on_transaction_added(void *userdata, Transaction *transaction)
{
	int r = transaction_bus_add(userdata, transaction);

	if (r < 0)
		log_error("A transaction cannot be put on the bus: %s", strerrordesc_np(-r));
}

static void on_transaction_removed(void *userdata, Transaction *transaction)
{
	(void)userdata;
	transaction_bus_remove(transaction);
}

static void on_transaction_changed(void *userdata, Transaction *transaction, unsigned properties)
{
	(void)userdata;
	transaction_bus_changed(transaction, properties);
}

static void on_transaction_finished(void *userdata, Transaction *transaction)
{
	(void)userdata;
	transaction_bus_finished(transaction);
}

static void on_idle(void *userdata)
{
	Bus *bus = userdata;

	logind_on_idle(bus->logind);
}

Bus *bus_free(Bus *bus)
{
	if (!bus)
		return NULL;
	/* Calls that are being carried out belong to their jobs. */
	bus->manager->stopping = true;
	manager_kill_jobs(bus->manager);
	bus->manager->observer = (ManagerObserver){0};
	for (Drive *drive = bus->manager->drives; drive; drive = drive->next)
		drive_bus_remove(drive);
	for (Transaction *t = bus->manager->transactions; t; t = t->next)
		transaction_bus_remove(t);
	bus->logind = logind_free(bus->logind);
	agents_clear(bus);
	while (!LIST_EMPTY(&bus->calls))
		(void)call_free(LIST_FIRST(&bus->calls));
	if (bus->bus) {
		(void)sd_bus_detach_event(bus->bus);
		sd_bus_flush_close_unref(bus->bus);
	}
	return mfree(bus);
}

int bus_new(Manager *manager, Bus **ret_bus)
{
	_cleanup_(bus_freep) Bus *bus = new0(Bus, 1);
	int r;

	if (!bus)
		return -ENOMEM;
	bus->manager = manager;
	LIST_INIT(&bus->calls);
	LIST_INIT(&bus->agents);
	r = sd_bus_open_system(&bus->bus);
	if (r < 0) {
		log_error("Cannot connect to the system bus: %s", strerrordesc_np(-r));
		return r;
	}
	/* Without a bus nobody could lock what is unlocked: the end, and a new beginning by the unit. */
	r = sd_bus_set_exit_on_disconnect(bus->bus, 1);
	if (r >= 0)
		r = sd_bus_attach_event(bus->bus, manager->event, SD_EVENT_PRIORITY_NORMAL);
	if (r >= 0)
		r = sd_bus_add_object_manager(bus->bus, NULL, BUS_PATH);
	if (r >= 0)
		r = manager_bus_add(bus);
	if (r >= 0)
		r = logind_new(bus, &bus->logind);
	if (r < 0) {
		log_error("Cannot set up the bus: %s", strerrordesc_np(-r));
		return r;
	}
	manager->observer = (ManagerObserver){
		.userdata = bus,
		.drive_added = on_drive_added,
		.drive_removed = on_drive_removed,
		.drive_changed = on_drive_changed,
		.transaction_added = on_transaction_added,
		.transaction_removed = on_transaction_removed,
		.transaction_changed = on_transaction_changed,
		.transaction_finished = on_transaction_finished,
		.idle = on_idle,
	};
	*ret_bus = TAKE_PTR(bus);
	return 0;
}

int bus_publish(Bus *bus)
{
	int r = sd_bus_request_name(bus->bus, BUS_NAME, 0);

	if (r < 0)
		log_error("Cannot take the name " BUS_NAME ": %s", strerrordesc_np(-r));
	return r < 0 ? r : 0;
}
