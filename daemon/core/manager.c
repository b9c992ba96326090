/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/manager.h"

#include "util/clock.h"
#include "util/log.h"
#include "util/memory.h"

#include <errno.h>
#include <pwd.h>
#include <stdio.h>

#define RUNTIME_DIRECTORY_DEFAULT "/run/usbcrypt"

/* Less than systemd waits (usbcryptd.service): whoever does not stop by then is killed by us, who know what
 * that means for a drive. */
#define STOP_TIMEOUT (20 * USEC_PER_SEC)
#define STOP_LINGER  (500 * USEC_PER_MSEC)

Manager *manager_free(Manager *manager)
{
	if (!manager)
		return NULL;
	manager->observer = (ManagerObserver){0};
	manager->monitor = device_monitor_free(manager->monitor);
	sd_event_source_disable_unref(manager->mount_watch);
	sd_event_source_disable_unref(manager->stop_timer);
	manager->stopping = true;
	for (Drive *drive = manager->drives; drive; drive = drive->next)
		drive_kill(drive, OUTCOME_CANCELLED);
	while (manager->transactions)
		transaction_remove(manager->transactions);
	while (manager->drives) {
		Drive *drive = manager->drives;

		manager->drives = drive->next;
		drive_gone(drive);
		(void)drive_unref(drive);
	}
	manager->keys = key_store_free(manager->keys);
	manager->attempts = rate_limit_free(manager->attempts);
	config_clear(&manager->config);
	sd_event_unref(manager->event);
	return mfree(manager);
}

bool manager_is_idle(const Manager *manager)
{
	for (const Drive *drive = manager->drives; drive; drive = drive->next)
		if (drive_is_busy(drive))
			return false;
	return true;
}

/* ---- devices */

static void drive_remove(Manager *manager, Drive **at)
{
	Drive *drive = *at;

	*at = drive->next;
	drive->next = NULL;
	log_info("%s: gone", drive->name);
	/* First its jobs end, so that whoever watches them hears of it; then the object goes. */
	drive_gone(drive);
	if (manager->observer.drive_removed)
		manager->observer.drive_removed(manager->observer.userdata, drive);
	(void)drive_unref(drive);
}

static Drive **find_device(Manager *manager, const char *name)
{
	Drive **at = &manager->drives;

	while (*at && strcmp((*at)->device->name, name) != 0)
		at = &(*at)->next;
	return at;
}

static void on_gone(void *userdata, const char *name)
{
	Manager *manager = userdata;
	Drive **at = find_device(manager, name);

	if (*at)
		drive_remove(manager, at);
}

static void on_present(void *userdata, Device *device)
{
	Manager *manager = userdata;
	Drive **at = find_device(manager, device->name), *drive;
	int r;

	if (*at) {
		(*at)->seen = true;
		if (drive_update(*at, device))
			return;
		drive_remove(manager, at);
	}
	r = drive_new(manager, device, &drive);
	if (r < 0) {
		log_error("A drive was left aside: %s", strerrordesc_np(-r));
		return;
	}
	drive->seen = true;
	drive->next = manager->drives;
	manager->drives = drive;
	log_info("%s: %s on %s", drive->name, device->filesystem, device->node);
	if (manager->observer.drive_added)
		manager->observer.drive_added(manager->observer.userdata, drive);
	manager_refresh_mounts(manager);
}

static void on_resync_begin(void *userdata)
{
	Manager *manager = userdata;

	for (Drive *drive = manager->drives; drive; drive = drive->next)
		drive->seen = false;
}

static void on_resync_end(void *userdata)
{
	Manager *manager = userdata;

	for (Drive **at = &manager->drives; *at;) {
		if ((*at)->seen)
			at = &(*at)->next;
		else
			drive_remove(manager, at);
	}
}

/* ---- mounts */

void manager_refresh_mounts(Manager *manager)
{
	_cleanup_mount_table_ MountTable *table = NULL;
	int r;

	if (!manager->drives)
		return;
	r = mount_table_read(&table);
	for (Drive *drive = manager->drives; drive && r >= 0; drive = drive->next)
		r = drive_set_mounts(drive, table);
	if (r < 0)
		log_error("Cannot read the mount table: %s", strerrordesc_np(-r));
}

static void on_mounts_changed(void *userdata)
{
	manager_refresh_mounts(userdata);
}

/* ---- jobs */

static int on_linger_ended(sd_event_source *source, uint64_t usec, void *userdata)
{
	Manager *manager = userdata;

	(void)source;
	(void)usec;
	return sd_event_exit(manager->event, EXIT_SUCCESS);
}

/* Whoever watched the last transaction may still ask how it ended. */
static void manager_exit_soon(Manager *manager)
{
	manager->stop_timer = sd_event_source_disable_unref(manager->stop_timer);
	if (sd_event_add_time_relative(manager->event, &manager->stop_timer, CLOCK_BOOTTIME, STOP_LINGER,
		    USEC_PER_MSEC, on_linger_ended, manager) < 0)
		(void)sd_event_exit(manager->event, EXIT_SUCCESS);
}

bool manager_may_derive(Manager *manager, Drive *drive)
{
	if (manager->deriving)
		return false;
	manager->deriving = drive;
	return true;
}

void manager_job_ended(Manager *manager, Drive *drive)
{
	if (manager->deriving == drive) {
		manager->deriving = NULL;
		for (Drive *next = manager->drives; next; next = next->next)
			if (next->request && !next->job && next != drive) {
				manager->deriving = next;
				drive_proceed(next);
				break;
			}
	}
	if (!manager_is_idle(manager))
		return;
	if (manager->observer.idle)
		manager->observer.idle(manager->observer.userdata);
	if (manager->stopping)
		manager_exit_soon(manager);
}

bool manager_lock_all(Manager *manager, uid_t uid, bool force)
{
	bool busy = false;

	for (Drive *drive = manager->drives, *next; drive; drive = next) {
		next = drive->next;
		if (uid != UID_UNKNOWN && drive->owner != uid && drive->unlocked_by != uid)
			continue;
		if (drive_lock(drive, force) != OUTCOME_DONE)
			busy = true;
	}
	return busy;
}

void manager_kill_jobs(Manager *manager)
{
	for (Drive *drive = manager->drives, *next; drive; drive = next) {
		next = drive->next;
		drive_kill(drive, drive->request && request_writes(drive->request) ? OUTCOME_INTERRUPTED
										   : OUTCOME_CANCELLED);
	}
}

static int on_stop_timeout(sd_event_source *source, uint64_t usec, void *userdata)
{
	Manager *manager = userdata;

	(void)source;
	(void)usec;
	log_warning("Jobs did not stop in time and are killed");
	manager_kill_jobs(manager);
	return sd_event_exit(manager->event, EXIT_SUCCESS);
}

void manager_stop(Manager *manager)
{
	if (manager->stopping)
		return;
	manager->stopping = true;
	(void)manager_lock_all(manager, UID_UNKNOWN, true);
	if (manager->keys)
		key_store_forget_all(manager->keys);
	if (manager_is_idle(manager) ||
		sd_event_add_time_relative(manager->event, &manager->stop_timer, CLOCK_BOOTTIME, STOP_TIMEOUT,
			USEC_PER_SEC, on_stop_timeout, manager) < 0)
		(void)sd_event_exit(manager->event, EXIT_SUCCESS);
}

/* ---- beginning */

static int find_system_user(Manager *manager)
{
	struct passwd *user;

	errno = 0;
	user = getpwnam(manager->config.system_user);
	if (!user || user->pw_uid == 0 || user->pw_gid == 0) {
		log_error("The system user '%s' %s; systemd-sysusers makes it from usbcrypt.conf",
			manager->config.system_user, user ? "must not be root" : "does not exist");
		return -ENOENT;
	}
	manager->system_uid = user->pw_uid;
	manager->system_gid = user->pw_gid;
	return 0;
}

int manager_new(sd_event *event, Config *config, Manager **ret_manager)
{
	_cleanup_(manager_freep) Manager *manager = new0(Manager, 1);
	DeviceMonitorHandlers handlers = {manager, on_present, on_gone, on_resync_begin, on_resync_end};
	const char *directory = getenv("RUNTIME_DIRECTORY");
	_cleanup_free_ char *path = NULL;
	int r;

	if (!manager)
		return -ENOMEM;
	manager->event = sd_event_ref(event);
	manager->config = *config;
	*config = (Config){0};
	r = find_system_user(manager);
	if (r < 0)
		return r;

	r = key_store_new(&manager->keys);
	if (r < 0)
		log_error("No keyring, so that nothing can be unlocked: %s", strerrordesc_np(-r));
	if (asprintf(&path, "%s/attempts", directory ? directory : RUNTIME_DIRECTORY_DEFAULT) < 0)
		return -ENOMEM;
	r = rate_limit_new(
		path, manager->config.attempts, manager->config.attempt_interval, &manager->attempts);
	if (r < 0)
		return r;
	r = device_monitor_new(event, &handlers, &manager->monitor);
	if (r < 0) {
		log_error("Cannot listen to udev: %s", strerrordesc_np(-r));
		return r;
	}
	r = mount_table_watch(event, on_mounts_changed, manager, &manager->mount_watch);
	if (r < 0) {
		log_error("Cannot watch the mount table: %s", strerrordesc_np(-r));
		return r;
	}
	*ret_manager = TAKE_PTR(manager);
	return 0;
}

int manager_start(Manager *manager)
{
	int r = device_monitor_start(manager->monitor);

	if (r < 0)
		log_error("Cannot list the devices: %s", strerrordesc_np(-r));
	return r;
}

static bool is_settled(const Manager *manager)
{
	for (const Drive *drive = manager->drives; drive; drive = drive->next)
		if (!drive_is_settled(drive))
			return false;
	return true;
}

int manager_settle(Manager *manager, uint64_t timeout)
{
	uint64_t now = clock_usec(CLOCK_MONOTONIC), end = now + timeout;
	int r = 0;

	for (; r >= 0 && now < end && !is_settled(manager) && !manager->stopping;
		now = clock_usec(CLOCK_MONOTONIC))
		r = sd_event_run(manager->event, end - now);
	return r < 0 ? r : 0;
}
