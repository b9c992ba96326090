/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "worker/jobs.h"
#include "worker/keys.h"
#include "worker/result.h"

#include <string.h>

/* A survey needs no key, and a drive that is not enrolled can be surveyed. */
static Outcome transact_probe(Volume *volume)
{
	DriveFacts facts = {0};
	Outcome outcome;

	outcome = drive_probe(volume->vfs, volume->root_fd, &facts);
	if (outcome != OUTCOME_DONE)
		return outcome;
	if (facts.enrolled) {
		memcpy(volume->drive_id, facts.id, sizeof(volume->drive_id));
		volume->suite = facts.suite;
	}
	return OUTCOME_DONE;
}

/* Takes the keys, and makes sure that this is the drive they belong to before one of them is used. */
static Outcome transact_identify(Worker *worker, Volume *volume, Keys *keys)
{
	DriveIdentity identity;
	Outcome outcome;

	outcome = keys_receive(worker->control, job_subkeys(&worker->job), keys, &worker->result);
	if (outcome != OUTCOME_DONE)
		return outcome;
	outcome = drive_identify(volume->vfs, volume->root_fd, keys->subkeys[SUBKEY_METADATA_MAC], &identity);
	if (outcome != OUTCOME_DONE)
		return outcome;
	if (memcmp(identity.id, keys->drive_id, sizeof(identity.id)) != 0 || identity.epoch != keys->epoch)
		return result_set(
			&worker->result, OUTCOME_TAMPERED, "this is not the drive that was unlocked");

	memcpy(volume->drive_id, identity.id, sizeof(volume->drive_id));
	memcpy(volume->metadata_digest, identity.digest, sizeof(volume->metadata_digest));
	volume->suite = identity.suite;
	volume->epoch = identity.epoch;
	volume->file_root = keys->subkeys[SUBKEY_FILE_ROOT];
	volume->journal_mac = keys->subkeys[SUBKEY_JOURNAL_MAC];
	volume->scrub_root = keys->subkeys[SUBKEY_SCRUB_ROOT];
	return OUTCOME_DONE;
}

static Outcome transact_run(Worker *worker, Volume *volume, TransactionResult *result)
{
	const JobRecord *job = &worker->job.record;
	const Observer observer = control_observer(worker->control);
	const TransactionOptions options = {
		.paths = (const char *const *)worker->job.paths,
		.n_paths = job->n_paths,
		.scrub = !(job->flags & JOB_NO_SCRUB),
		.skip_unfit = job->flags & JOB_SKIP_UNFIT,
		.dry_run = job->flags & JOB_DRY_RUN,
		.unverified_medium = job->flags & JOB_UNVERIFIED_MEDIUM,
		.target_fd = worker->target_fd,
	};

	switch (job->kind) {
	case JOB_SURVEY:
		return transaction_survey(volume, &options, &observer, result);
	case JOB_ENCRYPT:
		return transaction_encrypt(volume, &options, &observer, result);
	case JOB_DECRYPT:
		return transaction_decrypt(volume, &options, &observer, result);
	case JOB_VERIFY:
		return transaction_verify(volume, &options, &observer, result);
	case JOB_RECOVER:
		return recovery_run(volume, (RecoveryMode)job->recovery_mode, job->flags & JOB_MAY_DECRYPT,
			&options, &observer, result);
	default:
		return OUTCOME_INVALID_ARGUMENT;
	}
}

Outcome job_transact(Worker *worker)
{
	TransactionResult result = {.pending = TRANSACTION_INVALID};
	Keys keys = {0};
	Volume volume = {
		.vfs = &worker->vfs.vfs,
		.root_fd = worker->mount.fd,
		.privileged = worker->job.record.uid == 0,
	};
	Outcome outcome;

	memcpy(volume.type, worker->job.record.filesystem, sizeof(volume.type));
	volume.type[sizeof(volume.type) - 1] = 0;

	if (job_subkeys(&worker->job))
		outcome = transact_identify(worker, &volume, &keys);
	else
		outcome = transact_probe(&volume);
	if (outcome == OUTCOME_DONE) {
		outcome = transact_run(worker, &volume, &result);
		memcpy(worker->result.counts, result.counts, sizeof(worker->result.counts));
		/* A run that changes nothing, or never began, leaves what was pending as it was. */
		if (result.pending == TRANSACTION_INVALID)
			result.pending = recovery_hint(volume.vfs, volume.root_fd);
		worker->result.pending = result.pending > 0 ? (uint32_t)result.pending : 0;
	}
	keys_clear(&keys);
	return outcome;
}
