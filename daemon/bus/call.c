/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "bus/call.h"

#include "bus/credentials.h"
#include "bus/errors.h"
#include "bus/names.h"
#include "bus/polkit.h"
#include "util/log.h"
#include "util/memory.h"

#include <errno.h>

/* Calls of one connection, and of one user, that wait at the same time: more are Busy, so that nobody fills
 * the daemon's memory or polkit's queue for everybody else. */
#define CALLS_PER_SENDER_MAX 16
#define CALLS_PER_UID_MAX    32

Call *call_free(Call *call)
{
	if (!call)
		return NULL;
	LIST_REMOVE(call, entries);
	call->track = sd_bus_track_unref(call->track);
	call->credentials = credentials_query_free(call->credentials);
	call->polkit = polkit_query_free(call->polkit);
	call->waiter = waiter_cancel(call->waiter);
	call->request = request_free(call->request);
	call->drive = drive_unref(call->drive);
	call->message = sd_bus_message_unref(call->message);
	return mfree(call);
}

void call_fail(Call *call, Outcome outcome, const char *message)
{
	(void)bus_reply_outcome(call->message, outcome, message);
	(void)call_free(call);
}

void call_reply(Call *call)
{
	(void)sd_bus_reply_method_return(call->message, NULL);
	(void)call_free(call);
}

void call_reply_path(Call *call, const char *path)
{
	(void)sd_bus_reply_method_return(call->message, "o", path);
	(void)call_free(call);
}

static int on_caller_left(sd_bus_track *track, void *userdata)
{
	(void)track;
	(void)call_free(userdata);
	return 0;
}

static void call_run(Call *call)
{
	/* While polkit asked, the drive may have gone, and another mount may have another owner. */
	if (call->drive && call->drive->gone) {
		call_fail(call, OUTCOME_DRIVE_GONE, NULL);
		return;
	}
	if (call->drive && call->n_actions > 0 && call->drive->owner != call->owner) {
		call_fail(call, OUTCOME_NOT_AUTHORIZED,
			"The drive has another owner than when you were asked.");
		return;
	}
	if (call->request)
		call->request->caller = call->caller;
	/* From here on what was begun is carried through. */
	call->running = true;
	call->track = sd_bus_track_unref(call->track);
	call->allowed(call);
}

static void call_ask_next(Call *call);

static void on_polkit(void *userdata, PolkitAnswer answer)
{
	Call *call = userdata;
	bool optional = call->optional[call->action];
	const char *action = call->actions[call->action];

	call->polkit = polkit_query_free(call->polkit);
	if (answer != POLKIT_YES && !optional) {
		log_notice("%s is not allowed to uid %u (%s)", sd_bus_message_get_member(call->message),
			call->caller.uid, action);
		call_fail(call, OUTCOME_NOT_AUTHORIZED,
			answer == POLKIT_NOBODY_TO_ASK
				? "This takes a password, and there is no polkit agent to ask for it."
				: NULL);
		return;
	}
	if (answer == POLKIT_YES && call->request && call->request->kind == JOB_RECOVER &&
		strcmp(action, "decrypt") == 0)
		call->request->flags |= JOB_MAY_DECRYPT;
	call->action++;
	call_ask_next(call);
}

static void call_ask_next(Call *call)
{
	_cleanup_free_ char *drive = NULL;
	int r;

	if (call->action == call->n_actions) {
		call_run(call);
		return;
	}
	if (call->drive)
		drive = polkit_describe(call->drive->device->node, call->drive->device->label);
	r = polkit_ask(call->message, call->actions[call->action], drive, on_polkit, call, &call->polkit);
	if (r < 0) {
		log_error("Cannot ask polkit: %s", strerrordesc_np(-r));
		call_fail(call, OUTCOME_NOT_AUTHORIZED, NULL);
	}
}

static void call_need(Call *call, const char *action, bool optional)
{
	call->optional[call->n_actions] = optional;
	call->actions[call->n_actions++] = action;
}

/* What else has to be allowed, now that drive and caller are known. */
static void call_plan(Call *call)
{
	const Drive *drive = call->drive;

	if (drive && call->n_actions > 0) {
		call->owner = drive->owner;
		if (drive->owner == UID_UNKNOWN || drive->owner != call->caller.uid)
			call_need(call, "others-drive", false);
	}
	if (!drive || !call->request || call->request->kind != JOB_RECOVER)
		return;
	/* `pending` is what the drive says of itself. A drive that lies gets no more than what was asked for:
	 * without JOB_MAY_DECRYPT no worker moves towards plaintext. */
	RecoveryMode mode = call->request->recovery_mode;
	if ((drive->pending == TRANSACTION_DECRYPT && mode == RECOVERY_RESUME) ||
		(drive->pending == TRANSACTION_ENCRYPT && mode == RECOVERY_ROLLBACK))
		call_need(call, "decrypt", false);
	else if (drive->pending == TRANSACTION_DECRYPT)
		/* What has been decrypted already and is trusted can only be finished. */
		call_need(call, "decrypt", true);
	if ((drive->pending == TRANSACTION_ENCRYPT && mode == RECOVERY_RESUME) ||
		(drive->pending == TRANSACTION_DECRYPT && mode == RECOVERY_ROLLBACK))
		call_need(call, "encrypt", false);
}

static void call_settled(void *userdata)
{
	Call *call = userdata;

	call->waiter = NULL;
	if (call->drive && call->n_actions > 0) {
		Outcome outcome = OUTCOME_DONE;

		if (call->drive->gone)
			outcome = OUTCOME_DRIVE_GONE;
		else if (call->request)
			outcome = drive_check_mount(call->drive, call->request->kind);
		/* Nobody can say whose it is then. All of that is public. */
		if (outcome != OUTCOME_DONE) {
			call_fail(call, outcome, NULL);
			return;
		}
	}
	call_plan(call);
	call_ask_next(call);
}

static bool too_many_of_uid(const Call *call)
{
	const Call *other;
	size_t n = 0;

	LIST_FOREACH(other, &call->bus->calls, entries)
	n += other->caller.uid == call->caller.uid;
	return n > CALLS_PER_UID_MAX;
}

/* Who makes a new filesystem gives its root away after it was mounted: before a stranger is told so, the
 * owner is looked up once more. True: that has begun. */
static bool look_again(const Call *call)
{
	return call->n_actions > 0 && call->caller.uid != 0 && call->caller.uid != call->drive->owner &&
	       drive_probe_again(call->drive);
}

static void on_credentials(void *userdata, int error, const Caller *caller)
{
	Call *call = userdata;

	call->credentials = credentials_query_free(call->credentials);
	if (error < 0) {
		call_fail(call, OUTCOME_NOT_AUTHORIZED, NULL);
		return;
	}
	call->caller = *caller;
	if (too_many_of_uid(call)) {
		call_fail(call, OUTCOME_BUSY, "You have too many requests waiting.");
		return;
	}
	if (call->drive) {
		manager_refresh_mounts(call->bus->manager);
		if (!drive_is_settled(call->drive) || look_again(call)) {
			call->waiter = wait_list_add(&call->drive->known_waiters, call_settled, call);
			if (!call->waiter)
				call_fail(call, OUTCOME_NO_MEMORY, "There is not enough memory.");
			return;
		}
	}
	call_settled(call);
}

static bool too_many_of_sender(const Bus *bus, const char *sender)
{
	const Call *other;
	size_t n = 0;

	LIST_FOREACH(other, &bus->calls, entries)
	n += strcmp(sd_bus_message_get_sender(other->message), sender) == 0;
	return n >= CALLS_PER_SENDER_MAX;
}

int call_begin(Bus *bus, sd_bus_message *message, Drive *drive, Request *request, const char *action,
	void (*allowed)(Call *call), uint64_t argument)
{
	const char *sender = sd_bus_message_get_sender(message);
	Call *call = NULL;
	int r;

	if (!sender || too_many_of_sender(bus, sender)) {
		request_free(request);
		return bus_reply_outcome(message, OUTCOME_BUSY, "You have too many requests waiting.");
	}
	call = new0(Call, 1);
	if (!call) {
		request_free(request);
		return bus_reply_errno(message, -ENOMEM);
	}
	LIST_INSERT_HEAD(&bus->calls, call, entries);
	call->bus = bus;
	call->message = sd_bus_message_ref(message);
	call->drive = drive ? drive_ref(drive) : NULL;
	call->request = request;
	call->caller.uid = UID_UNKNOWN;
	call->allowed = allowed;
	call->argument = argument;
	if (action)
		call_need(call, action, false);

	r = sd_bus_track_new(bus->bus, &call->track, on_caller_left, call);
	if (r >= 0)
		r = sd_bus_track_add_sender(call->track, message);
	if (r >= 0)
		r = credentials_ask(message, on_credentials, call, &call->credentials);
	if (r < 0) {
		/* Who has left already wants no answer. */
		if (r != -ENXIO)
			(void)bus_reply_errno(message, r);
		(void)call_free(call);
	}
	return 1;
}
