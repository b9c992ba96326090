/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Jobs on a drive: admitted, started, and what their end means for it. */

#include "core/drive.h"
#include "core/environment.h"
#include "core/manager.h"
#include "util/clock.h"
#include "util/log.h"
#include "util/memory.h"

#include <errno.h>
#include <stdio.h>
#include <sys/sysmacros.h>

/* Whether a job may start, and if not, why. UNKNOWN drives are left to the worker to find out. */
static const Outcome admission[DRIVE_STATE_MAX][JOB_KIND_MAX] = {
#define ALL(outcome)                                                                                         \
	[JOB_ENROLL] = (outcome), [JOB_UNENROLL] = (outcome), [JOB_UNLOCK] = (outcome),                      \
	[JOB_SURVEY] = (outcome), [JOB_ENCRYPT] = (outcome), [JOB_DECRYPT] = (outcome),                      \
	[JOB_VERIFY] = (outcome), [JOB_RECOVER] = (outcome)
	[DRIVE_GONE] = {ALL(OUTCOME_DRIVE_GONE)},
	[DRIVE_UNMOUNTED] = {ALL(OUTCOME_NOT_MOUNTED)},
	[DRIVE_UNKNOWN] =
		{
			[JOB_ENCRYPT] = OUTCOME_LOCKED,
			[JOB_DECRYPT] = OUTCOME_LOCKED,
			[JOB_VERIFY] = OUTCOME_LOCKED,
			[JOB_RECOVER] = OUTCOME_LOCKED,
		},
	[DRIVE_PLAIN] =
		{
			[JOB_UNENROLL] = OUTCOME_NOT_ENROLLED,
			[JOB_UNLOCK] = OUTCOME_NOT_ENROLLED,
			[JOB_ENCRYPT] = OUTCOME_NOT_ENROLLED,
			[JOB_DECRYPT] = OUTCOME_NOT_ENROLLED,
			[JOB_VERIFY] = OUTCOME_NOT_ENROLLED,
			[JOB_RECOVER] = OUTCOME_NOT_ENROLLED,
		},
	[DRIVE_LOCKED] =
		{
			[JOB_ENROLL] = OUTCOME_ALREADY_ENROLLED,
			[JOB_ENCRYPT] = OUTCOME_LOCKED,
			[JOB_DECRYPT] = OUTCOME_LOCKED,
			[JOB_VERIFY] = OUTCOME_LOCKED,
			[JOB_RECOVER] = OUTCOME_LOCKED,
		},
	[DRIVE_UNLOCKED] =
		{
			[JOB_ENROLL] = OUTCOME_ALREADY_ENROLLED,
		},
#undef ALL
};

void drive_describe(const Drive *drive, JobParameters *parameters)
{
	JobRecord *record = &parameters->record;

	parameters->config = &drive->manager->config;
	parameters->system_uid = drive->manager->system_uid;
	parameters->system_gid = drive->manager->system_gid;
	record->major = major(drive->device->number);
	record->minor = minor(drive->device->number);
	record->anonymous = drive->mount.anonymous;
	record->disk_sequence = drive->device->disk_sequence;
	record->mount_id = drive->mount.id;
	(void)snprintf(record->mount_point, sizeof(record->mount_point), "%s", drive->mount.point);
	(void)snprintf(record->node, sizeof(record->node), "%s", drive->device->node);
	(void)snprintf(record->filesystem, sizeof(record->filesystem), "%s", drive->mount.type);
}

Outcome drive_check_mount(const Drive *drive, JobKind kind)
{
	DriveState state = drive_state(drive);

	if (state == DRIVE_GONE || state == DRIVE_UNMOUNTED)
		return admission[state][kind];
	return drive->mount.safe ? OUTCOME_DONE : OUTCOME_UNSAFE_MOUNT;
}

static bool reads_passphrase(const Request *request)
{
	return request->kind == JOB_ENROLL || request->kind == JOB_UNENROLL || request->kind == JOB_UNLOCK;
}

/* What of the drive's state stands against it. */
static Outcome drive_admit(const Drive *drive, const Request *request)
{
	Outcome outcome = drive_check_mount(drive, request->kind);
	bool dry = request->flags & JOB_DRY_RUN;

	if (outcome == OUTCOME_DONE)
		outcome = admission[drive_state(drive)][request->kind];
	if (outcome != OUTCOME_DONE)
		return outcome;
	if (drive_is_busy(drive) || drive->manager->stopping)
		return OUTCOME_BUSY;
	if (!request_writes(request))
		return OUTCOME_DONE;
	if (drive->mount.read_only && !dry)
		return OUTCOME_READ_ONLY;
	/* Only a hint, but one that errs on the safe side: a recovery that finds nothing to do clears it. */
	if ((request->kind == JOB_ENCRYPT || request->kind == JOB_DECRYPT) &&
		drive->pending != TRANSACTION_INVALID)
		return OUTCOME_INTERRUPTED;
	return OUTCOME_DONE;
}

/* What of this machine stands against handling a passphrase. */
static Outcome passphrase_admit(Drive *drive, const Request *request, char **ret_message)
{
	Manager *manager = drive->manager;
	char name[RATE_LIMIT_DRIVE_MAX + 1];
	Environment environment;
	uint64_t now = clock_usec(CLOCK_BOOTTIME);
	const char *refusal;

	if (!manager->keys) {
		*ret_message = strdup("The kernel gives usbcryptd no keyring to keep keys in.");
		return OUTCOME_REFUSED_ENVIRONMENT;
	}
	environment_look(&environment);
	refusal = environment_refusal(&environment, &manager->config);
	if (refusal) {
		*ret_message = strdup(refusal);
		return OUTCOME_REFUSED_ENVIRONMENT;
	}
	if (key_store_prepare(manager->keys) < 0) {
		*ret_message =
			strdup("Memory for keys cannot be locked; see LimitMEMLOCK= of usbcryptd.service.");
		return OUTCOME_NO_MEMORY;
	}
	if (request->kind == JOB_ENROLL)
		return OUTCOME_DONE;

	drive_attempt_name(drive, name, sizeof(name));
	if (!rate_limit_take(manager->attempts, request->caller.uid, name, now)) {
		uint64_t wait = rate_limit_wait(manager->attempts, request->caller.uid, name, now);

		if (asprintf(ret_message, "Too many attempts. Try again in %llu seconds.",
			    (unsigned long long)((wait + USEC_PER_SEC - 1) / USEC_PER_SEC)) < 0)
			*ret_message = NULL;
		return OUTCOME_RATE_LIMITED;
	}
	drive->attempt_name = mfree(drive->attempt_name);
	drive->attempt_name = strdup(name);
	drive_announce(drive, DRIVE_PROPERTY_RETRY_AT);
	return OUTCOME_DONE;
}

/* Only a passphrase that was not found wrong costs nothing. */
static void attempt_settle(Drive *drive, const Request *request, Outcome outcome)
{
	_cleanup_free_ char *name = TAKE_PTR(drive->attempt_name);

	if (!name)
		return;
	if (outcome != OUTCOME_WRONG_PASSPHRASE && outcome != OUTCOME_FAILED &&
		outcome != OUTCOME_INTERRUPTED && outcome != OUTCOME_CANCELLED)
		rate_limit_give_back(
			drive->manager->attempts, request->caller.uid, name, clock_usec(CLOCK_BOOTTIME));
	drive_announce(drive, DRIVE_PROPERTY_RETRY_AT);
}

static void take_over_facts(Drive *drive, const Request *request, const JobResult *result)
{
	if (result->drive) {
		drive->enrolled = result->drive->enrolled;
		drive->suite = result->drive->suite;
		drive->size = result->drive->size;
		drive->free = result->drive->free;
		drive->pending = result->drive->pending == 0 ? TRANSACTION_INVALID
							     : (TransactionKind)result->drive->pending;
		memcpy(drive->id, result->drive->id, DRIVE_ID_SIZE);
	}
	if (!result->complete) {
		/* Until the drive has been looked at again, what was under way counts as interrupted. */
		if (request->kind == JOB_ENCRYPT && !(request->flags & JOB_DRY_RUN))
			drive->pending = TRANSACTION_ENCRYPT;
		else if (request->kind == JOB_DECRYPT && !(request->flags & (JOB_DRY_RUN | JOB_HAS_TARGET)))
			drive->pending = TRANSACTION_DECRYPT;
		return;
	}
	if (!result->drive)
		drive->pending = result->pending;
	if (result->size != 0) {
		drive->size = result->size;
		drive->free = result->free;
	}
}

/* A key that has arrived is kept, if it is still wanted. */
static Outcome take_over_key(Drive *drive, const Request *request, JobResult *result, char **ret_message)
{
	uint64_t timeout = drive->manager->config.lock_timeout;

	if (drive->discard_key)
		return OUTCOME_CANCELLED;
	if (request->has_timeout && request->timeout != 0)
		timeout = request->timeout;
	return drive_keep_key(
		drive, result->drive_key, result->drive, timeout, request->caller.uid, ret_message);
}

static void drive_end(Drive *drive, JobResult *result)
{
	_cleanup_request_ Request *request = TAKE_PTR(drive->request);
	JobHandlers handlers = drive->handlers;
	_cleanup_free_ char *message = NULL;
	Manager *manager = drive->manager;

	drive->job = NULL;
	drive->handlers = (JobHandlers){0};
	attempt_settle(drive, request, result->outcome);
	if (!drive->gone) {
		take_over_facts(drive, request, result);
		if (result->drive_key && result->outcome == OUTCOME_DONE) {
			result->outcome = take_over_key(drive, request, result, &message);
			if (message)
				result->message = message;
		}
		if (request->kind == JOB_UNENROLL && result->outcome == OUTCOME_DONE) {
			(void)drive_lock(drive, true);
			drive->enrolled = false;
			drive->suite = 0;
			memset(drive->id, 0, sizeof(drive->id));
		}
		drive_touch(drive);
		drive_announce(drive, DRIVE_PROPERTIES_OF_PROBE);
		/* A worker without a last word has left it in a state that only looking can tell. */
		if (!result->complete || drive->probe_wanted)
			drive_probe(drive);
	}
	drive->discard_key = false;
	log_info("%s: %s by uid %u: %s", drive->name, job_kind_name(request->kind), request->caller.uid,
		outcome_name(result->outcome));

	handlers.ended(handlers.userdata, result);
	wait_list_wake(&drive->idle_waiters);
	manager_job_ended(manager, drive);
	(void)drive_unref(drive);
}

static void drive_end_early(Drive *drive, Outcome outcome)
{
	JobResult result = {.outcome = outcome, .pending = TRANSACTION_INVALID};

	drive_end(drive, &result);
}

static void on_progress(void *userdata, const ProgressRecord *progress)
{
	Drive *drive = userdata;

	if (drive->handlers.progress)
		drive->handlers.progress(drive->handlers.userdata, progress);
}

static void on_failure(void *userdata, const char *path, Reason reason, int error)
{
	Drive *drive = userdata;

	if (drive->handlers.failure)
		drive->handlers.failure(drive->handlers.userdata, path, reason, error);
}

static void on_ended(void *userdata, JobResult *result)
{
	drive_end(userdata, result);
}

static Outcome drive_run(Drive *drive)
{
	JobHandlers handlers = {drive, on_progress, on_failure, on_ended};
	_cleanup_free_ JobParameters *parameters = new0(JobParameters, 1);
	const Request *request = drive->request;
	Outcome outcome;
	int r;

	if (!parameters)
		return OUTCOME_NO_MEMORY;
	parameters->request = request;
	parameters->node_helper = (request_writes(request) || request->kind == JOB_UNLOCK) &&
				  !(request->flags & JOB_DRY_RUN) && !drive->mount.read_only;
	drive_describe(drive, parameters);
	outcome = drive_job_keys(drive, request, &parameters->keys);
	if (outcome != OUTCOME_DONE)
		return outcome;
	r = job_new(drive->manager->event, parameters, &handlers, &drive->job);
	if (r < 0) {
		log_error("%s: cannot start %s: %s", drive->name, drive->manager->config.worker_path,
			strerrordesc_np(-r));
		return OUTCOME_FAILED;
	}
	return OUTCOME_DONE;
}

void drive_proceed(Drive *drive)
{
	Outcome outcome;

	/* It may have been unmounted while it waited. */
	outcome = drive_check_mount(drive, drive->request->kind);
	if (drive->manager->stopping)
		outcome = OUTCOME_CANCELLED;
	if (outcome == OUTCOME_DONE)
		outcome = drive_run(drive);
	if (outcome != OUTCOME_DONE)
		drive_end_early(drive, outcome);
}

Outcome drive_start(Drive *drive, Request *request, const JobHandlers *handlers, char **ret_message)
{
	_cleanup_request_ Request *taken = request;
	Outcome outcome;

	*ret_message = NULL;
	manager_refresh_mounts(drive->manager);
	outcome = drive_admit(drive, request);
	if (outcome == OUTCOME_DONE && reads_passphrase(request))
		outcome = passphrase_admit(drive, request, ret_message);
	if (outcome != OUTCOME_DONE)
		return outcome;

	drive->request = request;
	taken = NULL;
	drive->handlers = *handlers;
	drive->discard_key = false;
	if (reads_passphrase(request) && !manager_may_derive(drive->manager, drive)) {
		(void)drive_ref(drive);
		return OUTCOME_DONE;
	}
	outcome = drive_run(drive);
	if (outcome != OUTCOME_DONE) {
		attempt_settle(drive, request, outcome);
		drive->request = request_free(drive->request);
		drive->handlers = (JobHandlers){0};
		manager_job_ended(drive->manager, drive);
		return outcome;
	}
	(void)drive_ref(drive);
	return OUTCOME_DONE;
}

void drive_cancel(Drive *drive)
{
	if (drive->job)
		job_cancel(drive->job);
	else if (drive->request)
		drive_end_early(drive, OUTCOME_CANCELLED);
}

void drive_kill(Drive *drive, Outcome outcome)
{
	if (drive->job)
		job_kill(drive->job, outcome);
	else if (drive->request)
		drive_end_early(drive, outcome);
}
