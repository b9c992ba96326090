/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The key of an unlocked drive: kept, used, timed out, forgotten. */

#include "core/drive.h"
#include "core/manager.h"
#include "util/clock.h"
#include "util/log.h"
#include "util/memory.h"

#include <errno.h>
#include <stdio.h>

/* The kernel forgets the key a little after we do, so that what is announced is what happened. */
#define KERNEL_SLACK USEC_PER_SEC

static uint64_t kernel_timeout(const Drive *drive)
{
	return drive->lock_timeout == 0 ? 0 : drive->lock_timeout + KERNEL_SLACK;
}

static void forget_key(Drive *drive)
{
	if (drive->manager->keys)
		key_store_forget(drive->manager->keys, drive->name);
	drive->lock_timer = sd_event_source_disable_unref(drive->lock_timer);
	drive->lock_at = 0;
	if (!drive->unlocked)
		return;
	drive->unlocked = false;
	drive->identity = (DriveIdentity){0};
	log_info("%s: locked", drive->name);
	drive_announce(drive, DRIVE_PROPERTY_LOCKED | DRIVE_PROPERTY_LOCK_AT);
}

static int on_lock_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
	Drive *drive = userdata;

	(void)source;
	(void)usec;
	/* Idle time counts from the end of the last job. */
	if (drive_is_busy(drive)) {
		drive_touch(drive);
		return 0;
	}
	log_info("%s: idle for too long", drive->name);
	forget_key(drive);
	return 0;
}

void drive_touch(Drive *drive)
{
	int r;

	if (!drive->unlocked)
		return;
	r = key_store_set_timeout(drive->manager->keys, drive->name, kernel_timeout(drive));
	if (r < 0) {
		forget_key(drive);
		return;
	}
	drive->lock_at = drive->lock_timeout == 0 ? 0 : clock_usec(CLOCK_BOOTTIME) + drive->lock_timeout;
	drive_announce(drive, DRIVE_PROPERTY_LOCK_AT);

	drive->lock_timer = sd_event_source_disable_unref(drive->lock_timer);
	if (drive->lock_at == 0)
		return;
	r = sd_event_add_time(drive->manager->event, &drive->lock_timer, CLOCK_BOOTTIME, drive->lock_at,
		10 * USEC_PER_MSEC, on_lock_timer, drive);
	if (r < 0) {
		log_error("%s: no timer to lock it with: %s", drive->name, strerror(-r));
		forget_key(drive);
	}
}

Outcome drive_keep_key(Drive *drive, const Secret *drive_key, const DriveRecord *proved, uint64_t timeout,
	uid_t by, char **ret_message)
{
	bool was_unlocked = drive->unlocked;
	int r;

	drive->lock_timeout = timeout;
	r = key_store_put(drive->manager->keys, drive->name, drive_key, kernel_timeout(drive));
	if (r < 0) {
		forget_key(drive);
		if (asprintf(ret_message, "The key could not be kept: %s.", strerrordesc_np(-r)) < 0)
			*ret_message = NULL;
		return r == -ENOMEM || r == -EPERM ? OUTCOME_NO_MEMORY : OUTCOME_REFUSED_ENVIRONMENT;
	}
	drive->unlocked = true;
	drive->unlocked_by = by;
	drive->key_mount_id = drive->mount.id;
	drive->identity.suite = proved->suite;
	drive->identity.epoch = proved->epoch;
	memcpy(drive->identity.id, proved->id, DRIVE_ID_SIZE);
	if (!was_unlocked)
		log_info("%s: unlocked by uid %u", drive->name, by);
	drive_announce(drive, DRIVE_PROPERTY_LOCKED);
	drive_touch(drive);
	return OUTCOME_DONE;
}

Outcome drive_job_keys(Drive *drive, const Request *request, Secret **ret_keys)
{
	_cleanup_secret_ Secret *drive_key = NULL, *keys = NULL;
	unsigned wanted = request_subkeys(request);
	KeysRecord *record;
	int r;

	*ret_keys = NULL;
	if (wanted == 0)
		return OUTCOME_DONE;
	r = key_store_get(drive->manager->keys, drive->name, &drive_key);
	if (r == -ENOMEM || r == -EPERM)
		return OUTCOME_NO_MEMORY;
	if (r < 0) {
		/* The kernel's clock went faster than ours. */
		forget_key(drive);
		return OUTCOME_LOCKED;
	}
	r = secret_new(sizeof(KeysRecord), &keys);
	if (r < 0)
		return OUTCOME_NO_MEMORY;
	record = (KeysRecord *)(void *)secret_bytes(keys);
	record->present = wanted;
	record->epoch = drive->identity.epoch;
	record->suite = drive->identity.suite;
	memcpy(record->drive_id, drive->identity.id, DRIVE_ID_SIZE);
	for (int id = 1; id < SUBKEY_MAX; id++) {
		_cleanup_secret_ Secret *subkey = NULL;

		if (!(wanted & (1U << id)))
			continue;
		r = subkey_derive(drive_key, (Subkey)id, &subkey);
		if (r < 0)
			return OUTCOME_NO_MEMORY;
		memcpy(record->subkeys[id], secret_view(subkey), SUBKEY_SIZE);
	}
	*ret_keys = TAKE_PTR(keys);
	return OUTCOME_DONE;
}

Outcome drive_lock(Drive *drive, bool force)
{
	if (drive_is_busy(drive)) {
		if (!force)
			return OUTCOME_BUSY;
		drive->discard_key = true;
		forget_key(drive);
		if (drive->transaction)
			transaction_cancel(drive->transaction);
		else
			drive_cancel(drive);
		return OUTCOME_DONE;
	}
	forget_key(drive);
	return OUTCOME_DONE;
}

uint64_t drive_lock_at(const Drive *drive)
{
	uint64_t now = clock_usec(CLOCK_BOOTTIME);

	if (drive->lock_at == 0)
		return 0;
	return clock_usec(CLOCK_REALTIME) + (drive->lock_at > now ? drive->lock_at - now : 0);
}

void drive_attempt_name(const Drive *drive, char *ret, size_t size)
{
	size_t used = 0;

	/* By its id, so that another port or a re-plug is the same drive. Before it is known: by where it is.
	 */
	if (!drive->enrolled) {
		(void)snprintf(ret, size, "%s", drive->name);
		return;
	}
	for (size_t i = 0; i < DRIVE_ID_SIZE && used + 2 < size; i++)
		used += (size_t)snprintf(ret + used, size - used, "%02x", drive->id[i]);
}

uint64_t drive_retry_at(const Drive *drive)
{
	char name[RATE_LIMIT_DRIVE_MAX + 1];
	uint64_t wait;

	if (drive->owner == UID_UNKNOWN)
		return 0;
	drive_attempt_name(drive, name, sizeof(name));
	wait = rate_limit_wait(drive->manager->attempts, drive->owner, name, clock_usec(CLOCK_BOOTTIME));
	return wait == 0 ? 0 : clock_usec(CLOCK_REALTIME) + wait;
}
