/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "worker/worker.h"

#include "util/fd.h"
#include "util/log.h"
#include "util/memory.h"
#include "worker/environment.h"
#include "worker/jobs.h"
#include "worker/passphrase-pipe.h"
#include "worker/privilege.h"
#include "worker/result.h"
#include "worker/sandbox.h"
#include "worker/scratch.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>

#define DEPARTURE_MS      1000 /* what the kernel may take from the first error to the device's end */
#define DEPARTURE_STEP_MS 20

static void worker_clear(Worker *worker)
{
	worker->held = held_free(worker->held);
	worker->policy = policy_free(worker->policy);
	worker->node_link = node_link_free(worker->node_link);
	worker->target_fd = safe_close(worker->target_fd);
	node_close(&worker->node);
	mount_close(&worker->mount);
	job_clear(&worker->job);
}

Outcome worker_read_passphrase(Worker *worker, Secret **ret_passphrase)
{
	Outcome outcome;

	outcome = passphrase_pipe_read(JOB_FD_PASSPHRASE, worker->control, ret_passphrase, &worker->result);
	safe_close(JOB_FD_PASSPHRASE);
	return outcome;
}

Outcome worker_send_drive(Worker *worker, const Vfs *vfs, DriveRecord *drive)
{
	TransactionKind pending;
	int r;

	pending = drive->enrolled ? recovery_hint(vfs, worker->mount.fd) : TRANSACTION_INVALID;
	drive->pending = worker->result.pending = pending > 0 ? (uint32_t)pending : 0;
	drive->owner = worker->mount.owner;
	r = mount_refresh(&worker->mount);
	if (r < 0)
		return result_fail(&worker->result, r, "cannot look at the mounted drive");
	drive->size = worker->mount.size;
	drive->free = worker->mount.free;
	drive->read_only = worker->mount.read_only;
	r = control_send(worker->control, RECORD_DRIVE, drive, sizeof(*drive), NULL, 0);
	return r < 0 ? result_fail(&worker->result, r, "cannot report the drive") : OUTCOME_DONE;
}

/* As root: what nobody else may open. Nothing of what is opened here is parsed before the drop. */
static Outcome worker_open_as_root(Worker *worker)
{
	const JobRecord *job = &worker->job.record;
	Outcome outcome;
	int r;

	switch (job->kind) {
	case JOB_NODE:
		return node_open(job, &worker->node, &worker->result);
	case JOB_PROBE:
		/* CAP_FOWNER for O_NOATIME: looking at a drive must not write to it. */
		r = privilege_narrow(CAPABILITY(CAP_DAC_READ_SEARCH) | CAPABILITY(CAP_FOWNER));
		if (r < 0)
			return result_fail(&worker->result, r, "cannot give up capabilities");
		outcome = mount_open(job, &worker->mount, &worker->result);
		if (outcome != OUTCOME_DONE)
			return outcome;
		r = held_new(worker->mount.fd, &worker->held);
		return r < 0 ? result_fail(&worker->result, r, "cannot open the drive") : OUTCOME_DONE;
	default:
		return OUTCOME_DONE;
	}
}

static Outcome worker_drop(Worker *worker)
{
	const JobRecord *job = &worker->job.record;
	int r;

	r = privilege_leave_keyring();
	if (r < 0)
		return result_fail(&worker->result, r, "cannot leave the daemon's keyring");
	r = privilege_drop(job->uid, job->gid, job->groups, job->n_groups, CAPABILITIES_ROOT);
	if (r < 0)
		return result_fail(&worker->result, r, "cannot become user %u", job->uid);
	return OUTCOME_DONE;
}

/* As the caller: the drive, and what of the host is needed later. */
static Outcome worker_open_as_caller(Worker *worker)
{
	const JobRecord *job = &worker->job.record;
	Outcome outcome;
	int r;

	outcome = mount_open(job, &worker->mount, &worker->result);
	if (outcome != OUTCOME_DONE)
		return outcome;
	if (worker->mount.read_only && job_changes_drive(&worker->job))
		return OUTCOME_READ_ONLY;

	if (job->flags & JOB_HAS_TARGET) {
		outcome =
			mount_open_target(&worker->mount, JOB_FD_TARGET, &worker->target_fd, &worker->result);
		safe_close(JOB_FD_TARGET);
		if (outcome != OUTCOME_DONE)
			return outcome;
	}
	if (job->flags & JOB_HAS_NODE) {
		r = node_link_new(JOB_FD_NODE, &worker->node_link);
		if (r < 0)
			return result_fail(&worker->result, r, "cannot reach the node helper");
	}
	if (job->kind == JOB_ENROLL) {
		r = scratch_lock();
		if (r < 0)
			return result_set(&worker->result, OUTCOME_NO_MEMORY,
				"cannot lock memory for the passphrase: %s", strerrordesc_np(-r));
		r = policy_load(job->passphrase_min_length, job->passphrase_min_classes, &worker->policy);
		if (r < 0)
			return result_fail(&worker->result, r, "cannot load the passphrase policy");
	}
	vfs_posix_init(&worker->vfs, strcmp(job->filesystem, "fuseblk") == 0,
		worker->node_link ? node_link_vfs(worker->node_link) : NULL);
	return OUTCOME_DONE;
}

static Outcome worker_enter_sandbox(Worker *worker)
{
	ConfinedPath paths[3 + POLICY_DICTIONARY_FILES];
	_cleanup_close_ int metadata_fd = -1;
	Access access = job_access(&worker->job);
	size_t n = 0;
	int r;

	if (access != ACCESS_NOTHING)
		paths[n++] = (ConfinedPath){.fd = worker->mount.fd, .access = access};
	if (worker->job.traits->mends_metadata) {
		const Vfs *vfs = &worker->vfs.vfs;

		metadata_fd = vfs->open(
			vfs, worker->mount.fd, USBCRYPT_DIRECTORY, O_RDONLY | O_DIRECTORY | O_NOATIME, 0);
		if (metadata_fd >= 0) /* what is wrong with it otherwise is found out later */
			paths[n++] = (ConfinedPath){.fd = metadata_fd, .access = ACCESS_CHANGE};
	}
	if (worker->target_fd >= 0)
		paths[n++] = (ConfinedPath){.fd = worker->target_fd, .access = ACCESS_CHANGE};
	if (worker->policy) {
		int fds[POLICY_DICTIONARY_FILES];
		size_t n_fds = policy_dictionary(worker->policy, fds);

		for (size_t i = 0; i < n_fds; i++)
			paths[n++] = (ConfinedPath){.fd = fds[i], .access = ACCESS_READ};
	}
	r = sandbox_enter(paths, n, access == ACCESS_NOTHING ? FILTER_HELD : FILTER_DRIVE);
	if (r < 0) {
		(void)result_fail(&worker->result, r, "cannot close the sandbox (is Landlock enabled?)");
		return OUTCOME_REFUSED_ENVIRONMENT;
	}
	return OUTCOME_DONE;
}

static Outcome worker_check_tracer(Worker *worker)
{
	pid_t tracer = 0;
	int r;

	if (!worker->job.record.refuse_traced || !job_holds_secrets(&worker->job))
		return OUTCOME_DONE;
	r = environment_tracer(&tracer);
	if (r < 0)
		return result_fail(&worker->result, r, "cannot see whether this process is traced");
	if (tracer != 0)
		return result_set(&worker->result, OUTCOME_REFUSED_ENVIRONMENT,
			"process %d traces the worker: it would see keys", (int)tracer);
	return OUTCOME_DONE;
}

static Outcome worker_prepare(Worker *worker)
{
	bool node_helper = worker->job.record.kind == JOB_NODE;
	Outcome outcome;

	if (environment_take_descriptors(worker->job.record.flags, node_helper) < 0)
		return result_set(&worker->result, OUTCOME_INVALID_ARGUMENT, "a descriptor is missing");
	outcome = worker_check_tracer(worker);
	if (outcome == OUTCOME_DONE)
		outcome = worker_open_as_root(worker);
	if (outcome == OUTCOME_DONE)
		outcome = worker_drop(worker);
	if (outcome == OUTCOME_DONE && !worker->job.traits->system_user)
		outcome = worker_open_as_caller(worker);
	if (outcome == OUTCOME_DONE)
		outcome = worker_enter_sandbox(worker);
	return outcome;
}

static Outcome worker_work(Worker *worker)
{
	switch (worker->job.record.kind) {
	case JOB_PROBE:
		return job_probe(worker);
	case JOB_NODE:
		return node_serve(&worker->node, JOB_FD_NODE, worker->control, &worker->result);
	case JOB_ENROLL:
		return job_enroll(worker);
	case JOB_UNENROLL:
		return job_unenroll(worker);
	case JOB_UNLOCK:
		return job_unlock(worker);
	default:
		return job_transact(worker);
	}
}

static bool drive_is_there(const Worker *worker)
{
	return !worker->node_link || worker->vfs.vfs.is_alive(&worker->vfs.vfs);
}

/* A drive that is being pulled out fails before the kernel says that it is gone. */
static bool drive_departs(const Worker *worker)
{
	for (int ms = 0; ms < DEPARTURE_MS && drive_is_there(worker); ms += DEPARTURE_STEP_MS)
		(void)poll(NULL, 0, DEPARTURE_STEP_MS);
	return !drive_is_there(worker);
}

/* A drive that was pulled out answers with all kinds of errors, and with none: ask whether it is there. */
static Outcome worker_judge(Worker *worker, Outcome outcome)
{
	switch (outcome) {
	case OUTCOME_CANCELLED:
	case OUTCOME_WRONG_PASSPHRASE:
	case OUTCOME_WEAK_PASSPHRASE:
	case OUTCOME_INVALID_ARGUMENT:
	case OUTCOME_TIMED_OUT:
		return outcome;
	case OUTCOME_FAILED:
	case OUTCOME_FILESYSTEM_DAMAGED: /* or could not be read */
		return drive_departs(worker) ? OUTCOME_DRIVE_GONE : outcome;
	default:
		return drive_is_there(worker) ? outcome : OUTCOME_DRIVE_GONE;
	}
}

int worker_run(Control *control)
{
	Worker worker = {
		.control = control,
		.mount = MOUNT_NULL,
		.node = NODE_NULL,
		.target_fd = -1,
	};
	Outcome outcome;
	int r;

	r = job_receive(control, &worker.job);
	if (r == -ECANCELED)
		return r;
	if (r < 0) {
		outcome = result_set(&worker.result, OUTCOME_INVALID_ARGUMENT, "the job makes no sense");
	} else {
		outcome = worker_prepare(&worker);
		if (outcome == OUTCOME_DONE) {
			r = control_send(control, RECORD_READY, NULL, 0, NULL, 0);
			outcome = r < 0 ? OUTCOME_CANCELLED : worker_judge(&worker, worker_work(&worker));
		}
	}

	if (worker.mount.fd >= 0 && mount_refresh(&worker.mount) == 0) {
		worker.result.size = worker.mount.size;
		worker.result.free = worker.mount.free;
	}
	worker.result.outcome = (uint32_t)outcome;
	if (outcome == OUTCOME_FAILED)
		log_error("%s failed: %s", worker.job.traits ? worker.job.traits->name : "job",
			worker.result.message[0] ? worker.result.message : "see above");
	control_flush(control);
	r = control_send(control, RECORD_RESULT, &worker.result, sizeof(worker.result), NULL, 0);
	worker_clear(&worker);
	return r;
}
