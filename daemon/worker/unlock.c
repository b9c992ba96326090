/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "util/log.h"
#include "worker/jobs.h"
#include "worker/keys.h"
#include "worker/result.h"

#include <inttypes.h>
#include <string.h>

/* The slot that was opened asks for less than today's floor, or one of the two copies is damaged: better
 * ones, if they can be had. Not while a run is pending: its journal names drive.json as it is. */
static void mend(Worker *worker, const Secret *passphrase, const Secret *drive_key, Suite suite)
{
	const EnrollParameters parameters = {.suite = suite, .kdf_memory = worker->job.record.kdf_memory};
	const Vfs *vfs = &worker->vfs.vfs;
	Outcome outcome;

	if (worker->mount.read_only || recovery_hint(vfs, worker->mount.fd) != TRANSACTION_INVALID)
		return;
	outcome = drive_rewrap(vfs, worker->mount.fd, passphrase, drive_key, &parameters);
	if (outcome == OUTCOME_DONE)
		log_info("The drive's slot was re-wrapped, or its second copy mended.");
	else
		log_warning("The drive's metadata is weaker than it should be, and could not be mended: %s",
			outcome_text(outcome));
}

/* The drive decides how much memory it takes, and this is where that is said. */
static Outcome unlock_failed(Worker *worker, Outcome outcome)
{
	DriveFacts facts = {0};

	if (outcome == OUTCOME_NO_MEMORY &&
		drive_probe(&worker->vfs.vfs, worker->mount.fd, &facts) == OUTCOME_DONE && facts.kdf_memory)
		return result_set(&worker->result, outcome,
			"unlocking this drive needs %" PRIu64 " MiB of memory", facts.kdf_memory >> 20);
	return outcome;
}

Outcome job_unlock(Worker *worker)
{
	_cleanup_secret_ Secret *passphrase = NULL, *drive_key = NULL;
	DriveIdentity identity;
	bool weak_slot = false;
	DriveRecord drive = {.enrolled = 1};
	Outcome outcome;

	outcome = worker_read_passphrase(worker, &passphrase);
	if (outcome != OUTCOME_DONE)
		return outcome;
	outcome = drive_unlock(
		&worker->vfs.vfs, worker->mount.fd, passphrase, &identity, &drive_key, &weak_slot);
	if (outcome != OUTCOME_DONE)
		return unlock_failed(worker, outcome);
	if (weak_slot || identity.degraded)
		mend(worker, passphrase, drive_key, identity.suite);

	drive.suite = (uint32_t)identity.suite;
	drive.epoch = identity.epoch;
	memcpy(drive.id, identity.id, sizeof(drive.id));
	outcome = worker_send_drive(worker, &worker->vfs.vfs, &drive);
	return outcome == OUTCOME_DONE ? keys_send(worker->control, drive_key, &worker->result) : outcome;
}
