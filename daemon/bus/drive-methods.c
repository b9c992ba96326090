/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The methods of a drive: each freezes its request, and says what is to be done with it once it is allowed.
 */

#include "bus/call.h"
#include "bus/drive-bus.h"
#include "bus/errors.h"
#include "bus/options.h"
#include "bus/transaction-bus.h"
#include "core/suite-name.h"
#include "util/memory.h"

#include <errno.h>
#include <fcntl.h>

/* ---- what is done */

static void on_operation_ended(void *userdata, JobResult *result)
{
	Call *call = userdata;

	if (result->outcome == OUTCOME_DONE)
		call_reply(call);
	else
		call_fail(call, result->outcome, result->message);
}

/* Enroll, Unlock, Unenroll: answered when the worker has finished. */
static void run_operation(Call *call)
{
	JobHandlers handlers = {.userdata = call, .ended = on_operation_ended};
	_cleanup_free_ char *message = NULL;
	Outcome outcome;

	outcome = drive_start(call->drive, TAKE_PTR(call->request), &handlers, &message);
	if (outcome != OUTCOME_DONE)
		call_fail(call, outcome, message);
}

/* The others: answered with the transaction's path at once. */
static void run_transaction(Call *call)
{
	_cleanup_free_ char *message = NULL;
	Transaction *transaction;
	const char *path;
	Outcome outcome;

	outcome = transaction_start(call->drive, TAKE_PTR(call->request), &transaction, &message);
	if (outcome != OUTCOME_DONE) {
		call_fail(call, outcome, message);
		return;
	}
	path = transaction_bus_path(transaction);
	if (path)
		call_reply_path(call, path);
	else
		call_fail(call, OUTCOME_NO_MEMORY, "There is not enough memory.");
}

static void on_idle(void *userdata)
{
	call_reply(userdata);
}

static void run_lock(Call *call)
{
	Drive *drive = call->drive;
	Outcome outcome;

	outcome = drive_lock(drive, call->argument != 0);
	if (outcome != OUTCOME_DONE) {
		call_fail(call, outcome, NULL);
		return;
	}
	/* The key is forgotten; the answer comes when its last user is gone, too. */
	if (drive_is_busy(drive) && wait_list_add(&drive->idle_waiters, on_idle, call))
		return;
	call_reply(call);
}

/* ---- what is asked for */

static int invalid(sd_bus_message *message, const char *text)
{
	return bus_reply_outcome(message, OUTCOME_INVALID_ARGUMENT, text);
}

/* The read end of a pipe, kept for the worker. It is recognised without asking for its size or type: an fstat
 * on what a client sent may hang. */
static int take_pipe(int fd, int *ret_fd)
{
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0 || (flags & O_ACCMODE) != O_RDONLY || flags & O_PATH || fcntl(fd, F_GETPIPE_SZ) <= 0)
		return -EINVAL;
	*ret_fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	return *ret_fd < 0 ? -errno : 0;
}

static int passphrase_method(sd_bus_message *message, DriveFace *face, JobKind kind, const char *action)
{
	_cleanup_request_ Request *request = request_new(kind);
	const char *suite = NULL;
	Option options[] = {
		{.name = "timeout", .type = 't'},
		{.name = "suite", .type = 's', .text = &suite},
	};
	size_t n = kind == JOB_ENROLL ? 2 : kind == JOB_UNLOCK ? 1 : 0;
	int r, fd;

	if (!request)
		return bus_reply_errno(message, -ENOMEM);
	options[0].number = &request->timeout;
	options[0].present = &request->has_timeout;
	r = sd_bus_message_read(message, "h", &fd);
	if (r < 0)
		return bus_reply_errno(message, r);
	r = take_pipe(fd, &request->passphrase_fd);
	if (r == -EINVAL)
		return invalid(message, "A passphrase is taken from the read end of a pipe only.");
	if (r < 0)
		return bus_reply_errno(message, r);
	if (!options_read(message, options, n))
		return 1;
	if (suite && (request->suite = suite_number_from_name(suite)) == 0)
		return invalid(message, "There is no such suite.");
	/* A timeout of centuries would overflow the clocks it is added to. */
	if (request->timeout > (uint64_t)10 * 365 * 24 * 3600 * USEC_PER_SEC)
		return invalid(message, "The timeout is too long.");
	return call_begin(face->bus, message, face->drive, TAKE_PTR(request), action, run_operation, 0);
}

int drive_method_enroll(sd_bus_message *message, void *userdata, sd_bus_error *error)
{
	(void)error;
	return passphrase_method(message, userdata, JOB_ENROLL, "enroll");
}

int drive_method_unenroll(sd_bus_message *message, void *userdata, sd_bus_error *error)
{
	(void)error;
	return passphrase_method(message, userdata, JOB_UNENROLL, "manage-keys");
}

int drive_method_unlock(sd_bus_message *message, void *userdata, sd_bus_error *error)
{
	(void)error;
	return passphrase_method(message, userdata, JOB_UNLOCK, "unlock");
}

int drive_method_lock(sd_bus_message *message, void *userdata, sd_bus_error *error)
{
	DriveFace *face = userdata;
	bool force = false;
	Option options[] = {{.name = "force", .type = 'b', .boolean = &force}};

	(void)error;
	if (!options_read(message, options, ELEMENTSOF(options)))
		return 1;
	return call_begin(face->bus, message, face->drive, NULL, "lock", run_lock, force);
}

static int read_paths(sd_bus_message *message, Request *request)
{
	int r;

	r = sd_bus_message_enter_container(message, 'a', "ay");
	while (r > 0) {
		const void *bytes;
		size_t size;

		r = sd_bus_message_read_array(message, 'y', &bytes, &size);
		if (r <= 0)
			break;
		r = request_add_path(request, bytes, size);
		if (r < 0)
			return r;
		r = 1;
	}
	return r < 0 ? r : sd_bus_message_exit_container(message);
}

/* Survey, Encrypt, Decrypt, Verify: paths (but for Survey), then options. */
static int files_method(sd_bus_message *message, DriveFace *face, JobKind kind, const char *action)
{
	_cleanup_request_ Request *request = request_new(kind);
	bool no_scrub = false, skip_unfit = false, dry_run = false, unverified = false;
	int target = -1, r;
	Option options[] = {
		{.name = "dry-run", .type = 'b', .boolean = &dry_run},
		{.name = "skip-unfit", .type = 'b', .boolean = &skip_unfit},
		{.name = "unverified-medium", .type = 'b', .boolean = &unverified},
		{.name = kind == JOB_ENCRYPT ? "no-scrub" : "to"},
	};

	if (!request)
		return bus_reply_errno(message, -ENOMEM);
	if (kind == JOB_ENCRYPT) {
		options[3].type = 'b';
		options[3].boolean = &no_scrub;
	} else {
		options[3].type = 'h';
		options[3].fd = &target;
	}
	if (kind != JOB_SURVEY) {
		r = read_paths(message, request);
		if (r == -EINVAL || r == -E2BIG)
			return invalid(message,
				r == -E2BIG
					? "There are too many paths."
					: "A path must be relative to the drive's root and stay below it.");
		if (r < 0)
			return bus_reply_errno(message, r);
	}
	if (!options_read(
		    message, options, kind == JOB_ENCRYPT || kind == JOB_DECRYPT ? ELEMENTSOF(options) : 0))
		return 1;
	if (target >= 0) {
		request->target_fd = fcntl(target, F_DUPFD_CLOEXEC, 3);
		if (request->target_fd < 0)
			return bus_reply_errno(message, -errno);
	}
	request->flags = (no_scrub ? JOB_NO_SCRUB : 0U) | (skip_unfit ? JOB_SKIP_UNFIT : 0U) |
			 (dry_run ? JOB_DRY_RUN : 0U) | (unverified ? JOB_UNVERIFIED_MEDIUM : 0U);
	return call_begin(face->bus, message, face->drive, TAKE_PTR(request), action, run_transaction, 0);
}

int drive_method_survey(sd_bus_message *message, void *userdata, sd_bus_error *error)
{
	(void)error;
	return files_method(message, userdata, JOB_SURVEY, "verify");
}

int drive_method_encrypt(sd_bus_message *message, void *userdata, sd_bus_error *error)
{
	(void)error;
	return files_method(message, userdata, JOB_ENCRYPT, "encrypt");
}

int drive_method_decrypt(sd_bus_message *message, void *userdata, sd_bus_error *error)
{
	(void)error;
	return files_method(message, userdata, JOB_DECRYPT, "decrypt");
}

int drive_method_verify(sd_bus_message *message, void *userdata, sd_bus_error *error)
{
	(void)error;
	return files_method(message, userdata, JOB_VERIFY, "verify");
}

int drive_method_recover(sd_bus_message *message, void *userdata, sd_bus_error *error)
{
	DriveFace *face = userdata;
	_cleanup_request_ Request *request = request_new(JOB_RECOVER);
	bool dry_run = false;
	Option options[] = {{.name = "dry-run", .type = 'b', .boolean = &dry_run}};
	const char *mode;
	int r;

	(void)error;
	if (!request)
		return bus_reply_errno(message, -ENOMEM);
	r = sd_bus_message_read(message, "s", &mode);
	if (r < 0)
		return bus_reply_errno(message, r);
	request->recovery_mode = recovery_mode_from_name(mode);
	if (request->recovery_mode == RECOVERY_MODE_INVALID)
		return invalid(message, "The mode is one of resume, rollback and settle.");
	if (!options_read(message, options, ELEMENTSOF(options)))
		return 1;
	request->flags = dry_run ? JOB_DRY_RUN : 0U;
	return call_begin(face->bus, message, face->drive, TAKE_PTR(request), "recover", run_transaction, 0);
}
