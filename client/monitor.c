/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "drive.h"
#include "text.h"
#include "util/memory.h"
#include "verb.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <time.h>

/* A run whose end is still to come: the drive may be gone by then. */
typedef struct MonitorRun {
	char *object, *kind, *title;
	cJSON *drive;
} MonitorRun;

typedef struct Monitor {
	Client *client;
	sd_event *event;
	sd_bus_slot *signals[BUS_SUBSCRIPTIONS];
	DriveList drives;
	MonitorRun *runs;
	size_t n_runs, runs_capacity;
} Monitor;

static void run_clear(MonitorRun *run)
{
	free(run->object);
	free(run->kind);
	free(run->title);
	cJSON_Delete(run->drive);
	*run = (MonitorRun){0};
}

static void monitor_clear(Monitor *monitor)
{
	bus_unsubscribe(monitor->signals);
	if (monitor->client->bus)
		(void)sd_bus_detach_event(monitor->client->bus);
	sd_event_unref(monitor->event);
	drive_list_clear(&monitor->drives);
	for (size_t i = 0; i < monitor->n_runs; i++)
		run_clear(&monitor->runs[i]);
	free(monitor->runs);
}

/* One event: a line, or an object. Takes over `drive`. Ends the loop when nobody reads any more. */
static void tell(Monitor *monitor, const char *event, const char *title, cJSON *drive, const char *name,
	const char *value, const char *text)
{
	struct timespec now;
	char when[TEXT_SHORT_SIZE];
	int r = 0;

	(void)clock_gettime(CLOCK_REALTIME, &now);
	if (client_json(monitor->client)) {
		cJSON *object = cJSON_CreateObject();

		cJSON_AddStringToObject(object, "type", "event");
		cJSON_AddStringToObject(object, "event", event);
		cJSON_AddNumberToObject(object, "at",
			(double)((uint64_t)now.tv_sec * USEC_PER_SEC +
				 (uint64_t)now.tv_nsec / NSEC_PER_USEC));
		if (drive)
			cJSON_AddItemToObject(object, "drive", drive);
		if (name)
			cJSON_AddStringToObject(object, name, value);
		r = client_emit(object);
	} else {
		cJSON_Delete(drive);
		if (!client_quiet(monitor->client)) {
			text_time((uint64_t)now.tv_sec * USEC_PER_SEC, when);
			(void)printf("%s  %s%s%s\n", when, title, *title ? ": " : "", text);
			r = client_output_alive() ? 0 : -EIO;
		}
	}
	if (r < 0)
		(void)sd_event_exit(monitor->event, CODE_FAILED);
}

static void tell_drive(Monitor *monitor, const char *event, const Drive *drive, const char *text)
{
	_cleanup_free_ char *title = drive_title(drive), *device = text_safe(drive->device), *both = NULL;

	if (!title || !device || asprintf(&both, "%s (%s)", title, device) < 0) {
		both = NULL;
		return;
	}
	tell(monitor, event, both, client_json(monitor->client) ? drive_to_json(drive) : NULL, NULL, NULL,
		text);
}

static void tell_run_began(Monitor *monitor, const Drive *drive)
{
	_cleanup_free_ char *text = NULL;
	MonitorRun run = {0};
	_cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;

	if (sd_bus_get_property_string(monitor->client->bus, BUS_NAME, drive->transaction,
		    BUS_INTERFACE_TRANSACTION, "Kind", &error, &run.kind) < 0)
		return; /* it is over already, and its object gone */
	run.object = strdup(drive->transaction);
	run.title = drive_title(drive);
	if (client_json(monitor->client))
		run.drive = drive_to_json(drive);
	if (!run.object || !run.title ||
		array_grow(&monitor->runs, &monitor->runs_capacity, monitor->n_runs + 1, sizeof(MonitorRun)) <
			0) {
		run_clear(&run);
		return;
	}
	monitor->runs[monitor->n_runs++] = run;
	if (asprintf(&text, "%s began", run.kind) < 0)
		text = NULL;
	tell(monitor, "run-began", run.title, run.drive ? cJSON_Duplicate(run.drive, true) : NULL, "kind",
		run.kind, text ? text : run.kind);
}

static int on_finished(Monitor *monitor, sd_bus_message *message)
{
	_cleanup_free_ char *text = NULL, *safe = NULL;
	const char *path = sd_bus_message_get_path(message), *result;

	if (sd_bus_message_read_basic(message, 's', &result) < 0)
		return 0;
	for (size_t i = 0; i < monitor->n_runs; i++) {
		MonitorRun *run = &monitor->runs[i];

		if (strcmp(run->object, path) != 0)
			continue;
		safe = text_safe(result);
		if (!safe || asprintf(&text, "%s ended: %s", run->kind, safe) < 0) {
			text = NULL;
			return 0;
		}
		tell(monitor, "run-ended", run->title, TAKE_PTR(run->drive), "result", result, text);
		run_clear(run);
		*run = monitor->runs[--monitor->n_runs];
		return 0;
	}
	return 0;
}

static bool is_mounted(const Drive *drive)
{
	return drive_mount_point(drive) != NULL;
}

static int on_changed(Monitor *monitor, sd_bus_message *message)
{
	const char *path = sd_bus_message_get_path(message), *interface;
	Drive *drive = path ? drive_list_find(&monitor->drives, path) : NULL;
	_cleanup_free_ char *transaction = NULL, *pending = NULL;
	bool mounted, locked, enrolled;
	char state[128];

	if (!drive || sd_bus_message_read_basic(message, 's', &interface) < 0 ||
		strcmp(interface, BUS_INTERFACE_DRIVE) != 0)
		return 0;
	mounted = is_mounted(drive);
	locked = drive->locked;
	enrolled = drive->enrolled;
	transaction = strdup(drive->transaction);
	pending = strdup(drive->pending);
	if (!transaction || !pending || drive_read(drive, message) < 0)
		return 0;
	if (mounted != is_mounted(drive))
		tell_drive(
			monitor, mounted ? "unmounted" : "mounted", drive, mounted ? "unmounted" : "mounted");
	if (enrolled != drive->enrolled)
		tell_drive(monitor, enrolled ? "unenrolled" : "enrolled", drive,
			enrolled ? "not enrolled" : "enrolled");
	if (locked != drive->locked)
		tell_drive(monitor, drive->locked ? "locked" : "unlocked", drive,
			drive_state(drive, state, sizeof(state)));
	if (strcmp(pending, drive->pending) != 0)
		tell_drive(monitor, "pending", drive,
			*drive->pending ? "recovery pending" : "nothing pending any more");
	if (strcmp(transaction, drive->transaction) != 0 && strcmp(drive->transaction, "/") != 0)
		tell_run_began(monitor, drive);
	return 0;
}

static int on_added(Monitor *monitor, sd_bus_message *message)
{
	_cleanup_drive_ Drive *drive = NULL;
	char state[128];

	if (drive_read_object(message, &drive) < 0 || !drive)
		return 0;
	drive_list_remove(&monitor->drives, drive->object);
	tell_drive(monitor, "added", drive, "plugged in");
	if (is_mounted(drive))
		tell_drive(monitor, "mounted", drive, drive_state(drive, state, sizeof(state)));
	if (drive_list_add(&monitor->drives, drive) >= 0)
		TAKE_PTR(drive);
	return 0;
}

static int on_removed(Monitor *monitor, sd_bus_message *message)
{
	const char *object;
	Drive *drive;

	if (sd_bus_message_read_basic(message, 'o', &object) < 0)
		return 0;
	drive = drive_list_find(&monitor->drives, object);
	if (!drive)
		return 0;
	tell_drive(monitor, "removed", drive, "gone");
	drive_list_remove(&monitor->drives, object);
	return 0;
}

static ExitCode load(Monitor *monitor)
{
	char state[128];
	ExitCode code;

	drive_list_clear(&monitor->drives);
	code = drive_list_get(monitor->client, &monitor->drives);
	for (size_t i = 0; code == CODE_DONE && i < monitor->drives.n; i++)
		tell_drive(monitor, "present", monitor->drives.drives[i],
			drive_state(monitor->drives.drives[i], state, sizeof(state)));
	return code;
}

static int on_name_owner_changed(Monitor *monitor, sd_bus_message *message)
{
	const char *name, *before, *after;

	if (sd_bus_message_read(message, "sss", &name, &before, &after) < 0)
		return 0;
	free(monitor->client->daemon);
	monitor->client->daemon = strdup(after);
	if (!*after) {
		drive_list_clear(&monitor->drives);
		tell(monitor, "daemon-ended", "", NULL, NULL, NULL, "usbcryptd ended; every drive is locked");
	} else {
		tell(monitor, "daemon-started", "", NULL, NULL, NULL, "usbcryptd started");
		(void)load(monitor);
	}
	return 0;
}

static int on_signal(sd_bus_message *message, void *userdata, sd_bus_error *ret_error)
{
	Monitor *monitor = userdata;

	(void)ret_error;
	if (sd_bus_message_is_signal(message, "org.freedesktop.DBus", "NameOwnerChanged"))
		return on_name_owner_changed(monitor, message);
	if (!bus_is_from_daemon(monitor->client, message))
		return 0;
	if (sd_bus_message_is_signal(message, "org.freedesktop.DBus.ObjectManager", "InterfacesAdded"))
		return on_added(monitor, message);
	if (sd_bus_message_is_signal(message, "org.freedesktop.DBus.ObjectManager", "InterfacesRemoved"))
		return on_removed(monitor, message);
	if (sd_bus_message_is_signal(message, "org.freedesktop.DBus.Properties", "PropertiesChanged"))
		return on_changed(monitor, message);
	if (sd_bus_message_is_signal(message, BUS_INTERFACE_TRANSACTION, "Finished"))
		return on_finished(monitor, message);
	return 0;
}

ExitCode verb_monitor(Client *client)
{
	_cleanup_(monitor_clear) Monitor monitor = {.client = client};
	sigset_t signals;
	ExitCode code;
	int r;

	code = bus_connect(client);
	if (code != CODE_DONE)
		return code;
	sigemptyset(&signals);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGTERM);
	sigprocmask(SIG_BLOCK, &signals, NULL);
	r = sd_event_new(&monitor.event);
	if (r >= 0)
		r = sd_event_add_signal(monitor.event, NULL, SIGINT, NULL, NULL);
	if (r >= 0)
		r = sd_event_add_signal(monitor.event, NULL, SIGTERM, NULL, NULL);
	if (r >= 0)
		r = sd_bus_attach_event(client->bus, monitor.event, SD_EVENT_PRIORITY_NORMAL);
	if (r >= 0)
		r = sd_bus_set_exit_on_disconnect(client->bus, true);
	/* So that at the end a connection that is gone can be told from one that is not. */
	if (r >= 0)
		r = sd_bus_set_close_on_exit(client->bus, false);
	if (r < 0)
		return bus_fail_message(client, r);
	code = bus_subscribe(client, on_signal, &monitor, monitor.signals);
	if (code == CODE_DONE)
		code = load(&monitor);
	if (code != CODE_DONE)
		return code;
	r = sd_event_loop(monitor.event);
	if (r < 0)
		return bus_fail_message(client, r);
	if (!sd_bus_is_open(client->bus))
		return client_fail(client, CODE_UNREACHABLE, "Unreachable", "The system bus went away.");
	return (ExitCode)r;
}
