/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Everything the daemon knows: its drives and transactions, and what they share. */

#include "core/config.h"
#include "core/drive.h"
#include "core/rate-limit.h"
#include "core/transaction.h"
#include "device/monitor.h"
#include "keys/key-store.h"

/* Told of everything that has happened; the bus. Each may be NULL. */
typedef struct ManagerObserver {
	void *userdata;
	void (*drive_added)(void *userdata, Drive *drive);
	void (*drive_removed)(void *userdata, Drive *drive);
	void (*drive_changed)(void *userdata, Drive *drive, unsigned properties);
	void (*transaction_added)(void *userdata, Transaction *transaction);
	void (*transaction_removed)(void *userdata, Transaction *transaction);
	void (*transaction_changed)(void *userdata, Transaction *transaction, unsigned properties);
	void (*transaction_finished)(void *userdata, Transaction *transaction);
	/* No job runs any more; see manager_lock_all(). */
	void (*idle)(void *userdata);
} ManagerObserver;

struct Manager {
	sd_event *event;
	Config config;
	uid_t system_uid;
	gid_t system_gid;
	ManagerObserver observer;
	DeviceMonitor *monitor;
	sd_event_source *mount_watch;
	KeyStore *keys; /* NULL: there is no keyring, and nothing can be unlocked */
	RateLimit *attempts;
	Drive *drives;
	Transaction *transactions; /* the newest first */
	uint64_t last_transaction;
	Drive *deriving; /* whose job derives a key from a passphrase: one at a time */
	bool stopping;
	sd_event_source *stop_timer;
};

/* Takes over *config. Nothing happens before manager_start(). */
int manager_new(sd_event *event, Config *config, Manager **ret_manager);

/* Looks for drives, from now on. */
int manager_start(Manager *manager);

/* Runs the loop until every drive has been looked at, or for `timeout` microseconds: who is the first to ask,
 * and thereby has started the daemon, is not told about drives that nothing is known of yet. */
int manager_settle(Manager *manager, uint64_t timeout);

/* Accepts NULL, returns NULL. */
Manager *manager_free(Manager *manager);
DEFINE_CLEANUP(Manager *, manager_free)

/* Reads the mount table and tells the drives. */
void manager_refresh_mounts(Manager *manager);

/* Locks everything, cancels what runs, and ends the event loop once all is quiet. */
void manager_stop(Manager *manager);

/* Locks every drive (owner is UID_UNKNOWN) or those that are, or were unlocked by, this uid. Busy ones only
 * with `force`; whether there were some is the answer. */
bool manager_lock_all(Manager *manager, uid_t uid, bool force);

/* Ends all jobs, now. */
void manager_kill_jobs(Manager *manager);

bool manager_is_idle(const Manager *manager);

/* A job of `drive` wants to derive a key. False: another one does; drive_proceed() is called later. */
bool manager_may_derive(Manager *manager, Drive *drive);

/* The job of `drive` has ended. */
void manager_job_ended(Manager *manager, Drive *drive);
