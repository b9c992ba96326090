/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/job.h"

#include "core/suite-name.h"
#include "core/worker.h"
#include "util/escape.h"
#include "util/fd.h"
#include "util/log.h"
#include "util/memory.h"

#include <errno.h>
#include <sys/socket.h>

#define DEADLINE_READY      (60 * USEC_PER_SEC)
#define DEADLINE_PROBE      (30 * USEC_PER_SEC)
#define DEADLINE_PASSPHRASE (300 * USEC_PER_SEC)
/* A transaction may last for days, but not without a word: a slow barrier takes minutes at worst. A worker
 * that was stopped with SIGSTOP by its user is caught here, too. */
#define DEADLINE_SILENCE    (900 * USEC_PER_SEC)
#define DEADLINE_CANCEL     (60 * USEC_PER_SEC)
#define DEADLINE_EXIT       (30 * USEC_PER_SEC)

struct Job {
	JobHandlers handlers;
	const Request *request;
	JobKind kind;
	Worker *worker, *helper;
	Secret *keys;
	bool ready, cancelling;
	/* What came. */
	bool has_drive, has_result;
	DriveRecord drive;
	ResultRecord result;
	Secret *drive_key;
};

Job *job_free(Job *job)
{
	if (!job)
		return NULL;
	job->worker = worker_free(job->worker);
	job->helper = worker_free(job->helper);
	job->keys = secret_free(job->keys);
	job->drive_key = secret_free(job->drive_key);
	return mfree(job);
}

static bool job_reads_passphrase(const Job *job)
{
	return job->kind == JOB_ENROLL || job->kind == JOB_UNENROLL || job->kind == JOB_UNLOCK;
}

static bool pending_is_valid(uint32_t pending)
{
	return pending == 0 || pending == TRANSACTION_ENCRYPT || pending == TRANSACTION_DECRYPT;
}

static TransactionKind pending_kind(uint32_t pending)
{
	return pending == 0 ? TRANSACTION_INVALID : (TransactionKind)pending;
}

/* Ends the job: handlers.ended is called, and the job is gone. */
static void job_end(Job *job, Outcome outcome, const char *message)
{
	JobResult result = {
		.outcome = outcome,
		.message = message && *message ? message : NULL,
		.complete = job->has_result,
		.pending = pending_kind(job->result.pending),
		.size = job->result.size,
		.free = job->result.free,
		.counts = job->result.counts,
		.drive = job->has_drive ? &job->drive : NULL,
	};

	result.drive_key = TAKE_PTR(job->drive_key);
	job->worker = worker_free(job->worker);
	job->helper = worker_free(job->helper);
	job->handlers.ended(job->handlers.userdata, &result);
	result.drive_key = secret_free(result.drive_key);
	(void)job_free(job);
}

void job_kill(Job *job, Outcome outcome)
{
	job_end(job, outcome, NULL);
}

void job_cancel(Job *job)
{
	if (job->cancelling || job->has_result)
		return;
	job->cancelling = true;
	if (worker_send(job->worker, RECORD_CANCEL, NULL, 0, NULL, 0) < 0)
		log_warning("A worker (process %d) cannot be asked to stop", (int)worker_pid(job->worker));
	(void)worker_set_deadline(job->worker, DEADLINE_CANCEL);
}

static int on_ready(Job *job)
{
	int r;

	if (job->ready)
		return -EBADMSG;
	job->ready = true;
	if (job->keys) {
		r = worker_send_now(job->worker, RECORD_KEYS, secret_view(job->keys), secret_size(job->keys));
		job->keys = secret_free(job->keys);
		/* A worker that is gone already is seen by its end. */
		if (r < 0 && r != -EPIPE)
			return r;
	}
	if (job->kind == JOB_PROBE)
		return worker_set_deadline(job->worker, DEADLINE_PROBE);
	return worker_set_deadline(
		job->worker, job_reads_passphrase(job) ? DEADLINE_PASSPHRASE : DEADLINE_SILENCE);
}

static int on_drive(Job *job, const DriveRecord *drive)
{
	if (job->has_drive || (job->kind != JOB_PROBE && job->kind != JOB_ENROLL && job->kind != JOB_UNLOCK))
		return -EBADMSG;
	if (drive->enrolled > 1 || drive->read_only > 1 || !pending_is_valid(drive->pending) ||
		(drive->suite != 0 && !suite_number_name(drive->suite)[0]))
		return -EBADMSG;
	job->drive = *drive;
	job->has_drive = true;
	return 0;
}

static int on_key(Job *job, const KeyRecord *key)
{
	int r;

	if (job->drive_key || (job->kind != JOB_ENROLL && job->kind != JOB_UNLOCK))
		return -EBADMSG;
	r = secret_new(DRIVE_KEY_SIZE, &job->drive_key);
	if (r < 0)
		return r;
	memcpy(secret_bytes(job->drive_key), key->drive_key, DRIVE_KEY_SIZE);
	return 0;
}

static int on_result(Job *job, const ResultRecord *result)
{
	if (result->outcome >= OUTCOME_MAX || !pending_is_valid(result->pending))
		return -EBADMSG;
	job->result = *result;
	job->has_result = true;
	return worker_set_deadline(job->worker, DEADLINE_EXIT);
}

static int on_record(void *userdata, const Record *record)
{
	Job *job = userdata;

	/* Nothing comes after a result. Before READY there may be one: the sandbox could not be closed. */
	if (job->has_result)
		return -EBADMSG;
	if (!job->ready && record->header.type != RECORD_READY && record->header.type != RECORD_RESULT)
		return -EBADMSG;
	if (job->ready && !job_reads_passphrase(job) && job->kind != JOB_PROBE)
		(void)worker_set_deadline(job->worker, job->cancelling ? DEADLINE_CANCEL : DEADLINE_SILENCE);

	switch (record->header.type) {
	case RECORD_READY:
		return on_ready(job);
	case RECORD_PROGRESS:
		if (record->progress.phase >= PHASE_MAX)
			return -EBADMSG;
		if (job->handlers.progress)
			job->handlers.progress(job->handlers.userdata, &record->progress);
		return 0;
	case RECORD_FAILURE:
		if (record->failure.head.reason >= REASON_MAX || record->failure.head.error < 0)
			return -EBADMSG;
		if (job->handlers.failure)
			job->handlers.failure(job->handlers.userdata, record->failure.path,
				(Reason)record->failure.head.reason, record->failure.head.error);
		return 0;
	case RECORD_DRIVE:
		return on_drive(job, &record->drive);
	case RECORD_KEY:
		return on_key(job, &record->key);
	case RECORD_RESULT:
		return on_result(job, &record->result);
	default:
		return -EBADMSG;
	}
}

static void on_ended(void *userdata, WorkerEnd end)
{
	Job *job = userdata;
	_cleanup_free_ char *message = NULL;
	Outcome outcome;

	job->worker = NULL;
	if (job->has_result && end != WORKER_VIOLATION) {
		outcome = (Outcome)job->result.outcome;
		message = escape_string(job->result.message);
		if (outcome == OUTCOME_FAILED)
			log_error("%s failed: %s (%s)", job_kind_name(job->kind),
				message && *message ? message : "no message",
				job->result.error > 0 ? strerrorname_np(job->result.error) : "no error code");
		/* Success without what it was for is none. */
		if (outcome == OUTCOME_DONE && (job->kind == JOB_ENROLL || job->kind == JOB_UNLOCK) &&
			!(job->has_drive && job->drive_key)) {
			log_error("A worker reported success without a key");
			outcome = OUTCOME_FAILED;
		}
		job_end(job, outcome, message);
		return;
	}

	if (end == WORKER_VIOLATION) {
		log_error("A worker for %s broke the protocol and was killed", job_kind_name(job->kind));
		/* Whatever it sent is not to be used. */
		job->has_drive = job->has_result = false;
		job->drive_key = secret_free(job->drive_key);
	} else {
		log_error("A worker for %s ended without a result", job_kind_name(job->kind));
	}
	/* What it left on the drive is for the recovery to see. */
	job_end(job, job->ready && request_writes(job->request) ? OUTCOME_INTERRUPTED : OUTCOME_FAILED,
		"The worker ended unexpectedly; the log of usbcryptd says more.");
}

/* The helper says READY and, at its end, RESULT; there is nothing to learn from it. A worker whose helper is
 * gone gets an error for its next barrier. */
static int on_helper_record(void *userdata, const Record *record)
{
	(void)userdata;
	if (record->header.type == RECORD_RESULT && record->result.outcome != OUTCOME_DONE &&
		record->result.outcome < OUTCOME_MAX) {
		_cleanup_free_ char *message = escape_string(record->result.message);

		log_warning("The node helper ended: %s (%s)", outcome_name((Outcome)record->result.outcome),
			message && *message ? message : "no message");
	}
	return record->header.type == RECORD_READY || record->header.type == RECORD_RESULT ? 0 : -EBADMSG;
}

static void on_helper_ended(void *userdata, WorkerEnd end)
{
	Job *job = userdata;

	(void)end;
	job->helper = NULL;
}

static int helper_start(Job *job, sd_event *event, const JobParameters *parameters, int *ret_node_fd)
{
	WorkerHandlers handlers = {job, on_helper_record, on_helper_ended};
	_cleanup_free_ JobRecord *record = new0(JobRecord, 1);
	_cleanup_close_ int near = -1, far = -1;
	WorkerFiles files = {-1, -1, -1};
	int pair[2], r;

	if (!record)
		return -ENOMEM;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	near = pair[0];
	far = pair[1];
	*record = parameters->record;
	record->kind = JOB_NODE;
	record->flags = JOB_HAS_NODE;
	record->uid = parameters->system_uid;
	record->gid = parameters->system_gid;
	record->n_groups = 0;
	record->n_paths = 0;

	files.node_fd = near;
	r = worker_new(event, parameters->config->worker_path, &files, &handlers, &job->helper);
	if (r >= 0)
		r = worker_send(job->helper, RECORD_JOB, record, sizeof(*record), NULL, 0);
	if (r >= 0)
		r = worker_send(job->helper, RECORD_START, NULL, 0, NULL, 0);
	if (r >= 0)
		*ret_node_fd = TAKE_FD(far);
	return r;
}

static void record_complete(JobRecord *record, const JobParameters *parameters)
{
	const Request *request = parameters->request;
	const Config *config = parameters->config;

	record->kind = request->kind;
	record->flags = request->flags;
	if (request->passphrase_fd >= 0)
		record->flags |= JOB_HAS_PASSPHRASE;
	if (request->target_fd >= 0)
		record->flags |= JOB_HAS_TARGET;
	if (parameters->node_helper)
		record->flags |= JOB_HAS_NODE;
	record->uid = request->caller.uid;
	record->gid = request->caller.gid;
	record->n_groups = (uint32_t)request->caller.n_groups;
	for (size_t i = 0; i < request->caller.n_groups; i++)
		record->groups[i] = request->caller.groups[i];
	record->suite = request->suite;
	record->recovery_mode = (uint32_t)request->recovery_mode;
	record->n_paths = (uint32_t)request->n_paths;
	record->passphrase_min_length = (uint32_t)config->passphrase_min_length;
	record->passphrase_min_classes = (uint32_t)config->passphrase_min_classes;
	record->refuse_traced = config->traced == POLICY_REFUSE;
	record->kdf_memory = config->kdf_memory;
}

int job_new(sd_event *event, JobParameters *parameters, const JobHandlers *handlers, Job **ret_job)
{
	_cleanup_secret_ Secret *keys = TAKE_PTR(parameters->keys);
	const Request *request = parameters->request;
	_cleanup_(job_freep) Job *job = new0(Job, 1);
	WorkerHandlers worker_handlers = {job, on_record, on_ended};
	_cleanup_close_ int node_fd = -1;
	WorkerFiles files = {request->passphrase_fd, request->target_fd, -1};
	int r;

	if (!job)
		return -ENOMEM;
	job->handlers = *handlers;
	job->request = request;
	job->kind = request->kind;
	job->keys = TAKE_PTR(keys);

	if (parameters->node_helper) {
		r = helper_start(job, event, parameters, &node_fd);
		if (r < 0)
			return r;
	}
	files.node_fd = node_fd;
	record_complete(&parameters->record, parameters);
	r = worker_new(event, parameters->config->worker_path, &files, &worker_handlers, &job->worker);
	if (r >= 0)
		r = worker_send(
			job->worker, RECORD_JOB, &parameters->record, sizeof(parameters->record), NULL, 0);
	for (size_t i = 0; i < request->n_paths && r >= 0; i++)
		r = worker_send(
			job->worker, RECORD_PATH, NULL, 0, request->paths[i], strlen(request->paths[i]));
	if (r >= 0)
		r = worker_send(job->worker, RECORD_START, NULL, 0, NULL, 0);
	if (r >= 0)
		r = worker_set_deadline(job->worker, DEADLINE_READY);
	if (r < 0)
		return r;
	*ret_job = TAKE_PTR(job);
	return 0;
}
