/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "mount.h"

#include "place.h"
#include "text.h"
#include "util/clock.h"
#include "util/memory.h"

#include <errno.h>
#include <unistd.h>

#define UDISKS_MANAGER_PATH "/org/freedesktop/UDisks2/Manager"
#define UDISKS_MANAGER      UDISKS_NAME ".Manager"
#define UDISKS_FILESYSTEM   UDISKS_NAME ".Filesystem"
#define UDISKS_BLOCK        UDISKS_NAME ".Block"

/* How long the daemon may take to look at a drive that was just mounted. */
#define PROBE_WITHIN (10 * USEC_PER_SEC)

static bool is_ready(const Drive *drive)
{
	return drive_mount_point(drive) && drive->owner != DRIVE_OWNER_UNKNOWN;
}

static int on_change(sd_bus_message *message, void *userdata, sd_bus_error *ret_error)
{
	bool *changed = userdata;

	(void)message;
	(void)ret_error;
	*changed = true;
	return 0;
}

/* Follows the drive's properties until it is ready, or for as long as a probe may take. */
static ExitCode wait_for_probe(Client *client, Drive *drive)
{
	_cleanup_(sd_bus_slot_unrefp) sd_bus_slot *slot = NULL;
	uint64_t deadline = clock_usec(CLOCK_MONOTONIC) + PROBE_WITHIN;
	bool changed = false;
	ExitCode code;
	int r;

	r = sd_bus_match_signal(client->bus, &slot, BUS_NAME, drive->object,
		"org.freedesktop.DBus.Properties", "PropertiesChanged", on_change, &changed);
	if (r < 0)
		return bus_fail_message(client, r);
	code = drive_refresh(client, drive);
	while (code == CODE_DONE && !is_ready(drive)) {
		uint64_t now = clock_usec(CLOCK_MONOTONIC);

		/* Nobody looks at an unsafe mount; the daemon says so when it is asked for something. */
		if (now >= deadline || (drive_mount_point(drive) && !mount_is_safe(drive_mount_point(drive))))
			break;
		r = sd_bus_process(client->bus, NULL);
		if (r == 0)
			r = sd_bus_wait(client->bus, deadline - now);
		if (r < 0 && r != -EINTR)
			return bus_fail(client, NULL, r, false);
		if (changed) {
			changed = false;
			code = drive_refresh(client, drive);
		}
	}
	return code;
}

/* udisks2's object for the drive's node. */
static int resolve(Client *client, const Drive *drive, char **ret_object, sd_bus_error *error)
{
	_cleanup_message_ sd_bus_message *call = NULL, *reply = NULL;
	const char *object;
	int r;

	r = sd_bus_message_new_method_call(
		client->bus, &call, UDISKS_NAME, UDISKS_MANAGER_PATH, UDISKS_MANAGER, "ResolveDevice");
	if (r >= 0)
		r = sd_bus_message_append(call, "a{sv}a{sv}", 1, "path", "s", drive->device, 0);
	if (r >= 0)
		r = sd_bus_call(client->bus, call, 0, error, &reply);
	if (r < 0)
		return sd_bus_error_has_name(error, "org.freedesktop.DBus.Error.ServiceUnknown") ? -ENXIO : r;
	r = sd_bus_message_enter_container(reply, 'a', "o");
	if (r >= 0)
		r = sd_bus_message_read_basic(reply, 'o', &object);
	if (r < 0)
		return r;
	if (r == 0)
		return -ENODEV;
	*ret_object = strdup(object);
	return *ret_object ? 0 : -ENOMEM;
}

bool mount_is_wanted(Client *client, const Drive *drive)
{
	_cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
	_cleanup_free_ char *object = NULL;
	int wanted = 0;

	if (resolve(client, drive, &object, &error) < 0)
		return false;
	if (sd_bus_get_property_trivial(
		    client->bus, UDISKS_NAME, object, UDISKS_BLOCK, "HintAuto", NULL, 'b', &wanted) < 0)
		return false;
	return wanted;
}

int mount_by_udisks(Client *client, const Drive *drive, bool interactive, sd_bus_error *error)
{
	_cleanup_message_ sd_bus_message *call = NULL;
	_cleanup_free_ char *object = NULL;
	int r;

	r = resolve(client, drive, &object, error);
	if (r < 0)
		return r;
	r = sd_bus_message_new_method_call(
		client->bus, &call, UDISKS_NAME, object, UDISKS_FILESYSTEM, "Mount");
	if (r < 0)
		return r;
	if (interactive)
		r = sd_bus_message_append(call, "a{sv}", 0);
	else
		r = sd_bus_message_append(call, "a{sv}", 1, "auth.no_user_interaction", "b", 1);
	if (r < 0)
		return r;
	r = sd_bus_call(client->bus, call, BUS_TIMEOUT_PERSON, error, NULL);
	if (r < 0 && sd_bus_error_has_name(error, UDISKS_NAME ".Error.AlreadyMounted"))
		return 0;
	return r < 0 ? r : 0;
}

/* The owner of a drive is its root directory's: filesystems without owners take it from the mount's options.
 */
static ExitCode fail_not_mounted(const Client *client, const Drive *drive, const char *why)
{
	_cleanup_free_ char *device = text_safe(drive->device), *reason = text_safe(why);
	bool has_owners =
		strncmp(drive->filesystem, "ext", 3) == 0 || strcmp(drive->filesystem, "btrfs") == 0;

	if (!device || !reason)
		return client_fail_memory(client);
	if (has_owners)
		return client_fail(client, CODE_FAILED, outcome_name(OUTCOME_NOT_MOUNTED),
			"The drive is not mounted: %s. Mount it, for instance with 'udisksctl mount -b %s' "
			"or, as "
			"root, 'mount -o nosuid,nodev %s /mnt'.",
			reason, device, device);
	return client_fail(client, CODE_FAILED, outcome_name(OUTCOME_NOT_MOUNTED),
		"The drive is not mounted: %s. Mount it, for instance with 'udisksctl mount -b %s' or, as "
		"root, 'mount "
		"-o nosuid,nodev,uid=%ld,gid=%ld %s /mnt'.",
		reason, device, (long)getuid(), (long)getgid(), device);
}

ExitCode mount_ensure(Client *client, Drive *drive)
{
	_cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
	ExitCode code;
	int r;

	if (is_ready(drive))
		return CODE_DONE;
	if (!drive_mount_point(drive)) {
		r = mount_by_udisks(client, drive, true, &error);
		if (r == -ENXIO)
			return fail_not_mounted(client, drive, "udisks2, which would do it, is not there");
		if (r < 0)
			return fail_not_mounted(client, drive, error.message ? error.message : strerror(-r));
	}
	code = wait_for_probe(client, drive);
	if (code == CODE_DONE && !drive_mount_point(drive))
		return fail_not_mounted(client, drive, "usbcryptd does not see the mount");
	return code;
}
