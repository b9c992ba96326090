/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * A drive: one partition, or whole disk, with a filesystem. What it is follows from what is known of it:
 *
 *   UNMOUNTED --drive_set_mounts()--> UNKNOWN --the probe--> PLAIN --enroll--> UNLOCKED
 *                                        |                     ^                | ^
 *                                        +--the probe--> LOCKED --+--unenroll---+ |
 *                                                          ^ |                  | |
 *                                                          | +------unlock--------+
 *                                                          +-----drive_lock()---+
 *   any --unmounted--> UNMOUNTED       any --drive_gone()--> GONE
 *
 * A job (worker) runs beside that, one at a time; drive_start() admits it by the table in drive-job.c.
 */

#include "core/job.h"
#include "core/wait-list.h"
#include "device/device.h"
#include "device/mount-table.h"

#include <stdbool.h>

typedef struct Manager Manager;
typedef struct Transaction Transaction;

typedef enum DriveState {
	DRIVE_GONE,
	DRIVE_UNMOUNTED,
	DRIVE_UNKNOWN, /* mounted, but no probe has told yet what it is */
	DRIVE_PLAIN,
	DRIVE_LOCKED,
	DRIVE_UNLOCKED,
	DRIVE_STATE_MAX,
} DriveState;

/* What has changed, for ManagerObserver: one bit for each property of the bus. */
typedef enum DriveProperty {
	DRIVE_PROPERTY_ID = 1 << 0,
	DRIVE_PROPERTY_LABEL = 1 << 1,
	DRIVE_PROPERTY_PENDING = 1 << 2,
	DRIVE_PROPERTY_SUITE = 1 << 3,
	DRIVE_PROPERTY_MOUNT_POINTS = 1 << 4,
	DRIVE_PROPERTY_ENROLLED = 1 << 5,
	DRIVE_PROPERTY_LOCKED = 1 << 6,
	DRIVE_PROPERTY_OWNER = 1 << 7,
	DRIVE_PROPERTY_SIZE = 1 << 8,
	DRIVE_PROPERTY_FREE = 1 << 9,
	DRIVE_PROPERTY_TRANSACTION = 1 << 10,
	DRIVE_PROPERTY_LOCK_AT = 1 << 11,
	DRIVE_PROPERTY_RETRY_AT = 1 << 12,
	DRIVE_PROPERTIES_OF_PROBE = DRIVE_PROPERTY_ID | DRIVE_PROPERTY_PENDING | DRIVE_PROPERTY_SUITE |
				    DRIVE_PROPERTY_ENROLLED | DRIVE_PROPERTY_LOCKED | DRIVE_PROPERTY_OWNER |
				    DRIVE_PROPERTY_SIZE | DRIVE_PROPERTY_FREE,
} DriveProperty;

/* The mount that is worked on: the newest that shows the filesystem from its root. */
typedef struct DriveMount {
	bool present, safe, read_only, anonymous;
	uint64_t id;
	char *point, *type;
} DriveMount;

/* What an unlock proved, which a later probe (of a drive that lies) does not change. */
typedef struct DriveIdentity {
	uint8_t id[DRIVE_ID_SIZE];
	uint32_t suite, epoch;
} DriveIdentity;

typedef struct Drive {
	unsigned n_ref;
	Manager *manager;
	void *face; /* the bus's */
	char *name; /* "sdb1_12" */
	Device *device;
	char *label;     /* the device's, escaped */
	bool gone, seen; /* seen: in the course of a resync */

	/* device/mount-table.h */
	DriveMount mount;
	char **mount_points;
	size_t n_mount_points, mount_points_capacity;

	/* What a worker reported; hints but for `owner`, which an unprivileged probe took from the kernel. */
	Job *probe;
	Request *probe_request;
	bool known, probe_wanted;
	uint64_t probed_again; /* CLOCK_MONOTONIC, microseconds */
	WaitList known_waiters;
	bool enrolled;
	uid_t owner;
	uint8_t id[DRIVE_ID_SIZE];
	uint32_t suite;
	TransactionKind pending; /* TRANSACTION_INVALID: nothing */
	uint64_t size, free;

	/* drive-key.c */
	bool unlocked;
	DriveIdentity identity;
	uid_t unlocked_by;
	uint64_t key_mount_id;
	uint64_t lock_timeout; /* microseconds; 0: never */
	uint64_t lock_at;      /* CLOCK_BOOTTIME, microseconds; 0: never */
	sd_event_source *lock_timer;

	/* The job: waiting for its turn while `job` is NULL and `request` is not. */
	Request *request;
	Job *job;
	JobHandlers handlers;
	bool discard_key;   /* locked by force meanwhile: a key that arrives is not kept */
	char *attempt_name; /* who is charged for a passphrase, NULL: nobody */
	WaitList idle_waiters;
	Transaction *transaction;

	struct Drive *next;
} Drive;

/* Takes the device. The caller has the only reference. */
int drive_new(Manager *manager, Device *device, Drive **ret_drive);
Drive *drive_ref(Drive *drive);
/* Accepts NULL, returns NULL. */
Drive *drive_unref(Drive *drive);
DEFINE_CLEANUP(Drive *, drive_unref)
#define _cleanup_drive_ _cleanup_(drive_unrefp)

DriveState drive_state(const Drive *drive);
static inline bool drive_is_busy(const Drive *drive)
{
	return drive->request != NULL;
}

/* Whether its owner is known, or will not be before something else happens. */
bool drive_is_settled(const Drive *drive);

/* What of the mount alone stands against any request; DONE: nothing. */
Outcome drive_check_mount(const Drive *drive, JobKind kind);

/* Takes over what the mount table says now. */
int drive_set_mounts(Drive *drive, const MountTable *table);

/* The device is there still, with another label perhaps. False: it is another drive now. Takes the device
 * when true. */
bool drive_update(Drive *drive, Device *device);

/* The device is gone: keys, worker and waiters go. */
void drive_gone(Drive *drive);

void drive_announce(Drive *drive, unsigned properties);

/* ---- drive-job.c */

/* Where and what it is, for a worker. */
void drive_describe(const Drive *drive, JobParameters *parameters);

/* Starts a job, or queues it where it has to wait for another key derivation; `handlers.ended` is called when
 * it has ended, and never from within. Takes the request in any case. Otherwise says why not, with
 * *ret_message (for the caller to free, or NULL) saying more. */
Outcome drive_start(Drive *drive, Request *request, const JobHandlers *handlers, char **ret_message);

/* Its turn has come (core/manager.c). */
void drive_proceed(Drive *drive);

/* Asks the job to stop, if there is one; one that waits for its turn ends at once. */
void drive_cancel(Drive *drive);

/* Kills the job, if there is one: it ends with this outcome, now. */
void drive_kill(Drive *drive, Outcome outcome);

/* ---- drive-probe.c */

/* Looks at the drive anew, as soon as no job runs. */
void drive_probe(Drive *drive);

/* The same for a caller who is not the owner as it is known; at most once a second. True: a probe runs, and
 * `known_waiters` are woken when it has ended. */
bool drive_probe_again(Drive *drive);

/* ---- drive-key.c */

/* Keeps the key that an unlock or enrolment has proved. */
Outcome drive_keep_key(Drive *drive, const Secret *drive_key, const DriveRecord *proved, uint64_t timeout,
	uid_t by, char **ret_message);

/* The keys of a job, as a KeysRecord. OUTCOME_LOCKED: they are gone. *ret_keys is NULL for a job without. */
Outcome drive_job_keys(Drive *drive, const Request *request, Secret **ret_keys);

/* Idleness begins anew. */
void drive_touch(Drive *drive);

/* Forgets the key, at once. A running job is asked to stop with `force`, and is Busy otherwise. */
Outcome drive_lock(Drive *drive, bool force);

/* CLOCK_REALTIME in microseconds, 0: never, or now. */
uint64_t drive_lock_at(const Drive *drive);
uint64_t drive_retry_at(const Drive *drive);

/* What attempts at its passphrase are counted under. */
void drive_attempt_name(const Drive *drive, char *ret, size_t size);
