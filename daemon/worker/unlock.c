/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "util/log.h"
#include "worker/jobs.h"
#include "worker/keys.h"
#include "worker/result.h"

#include <string.h>

/* The slot that was opened asks for less than today's floor: a better one, if it can be had. */
static void rewrap(Worker *worker, const Secret *passphrase, const Secret *drive_key, Suite suite)
{
	const EnrollParameters parameters = {.suite = suite, .kdf_memory = worker->job.record.kdf_memory};
	Outcome outcome;

	if (worker->mount.read_only)
		return;
	outcome = drive_rewrap(&worker->vfs.vfs, worker->mount.fd, passphrase, drive_key, &parameters);
	if (outcome != OUTCOME_DONE)
		log_warning("The drive's slot is weaker than it should be, and could not be re-wrapped: %s",
			outcome_text(outcome));
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
		return outcome;
	if (weak_slot)
		rewrap(worker, passphrase, drive_key, identity.suite);

	drive.suite = (uint32_t)identity.suite;
	drive.epoch = identity.epoch;
	memcpy(drive.id, identity.id, sizeof(drive.id));
	outcome = worker_send_drive(worker, &worker->vfs.vfs, &drive);
	return outcome == OUTCOME_DONE ? keys_send(worker->control, drive_key, &worker->result) : outcome;
}
