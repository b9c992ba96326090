/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "worker/jobs.h"
#include "worker/keys.h"
#include "worker/result.h"
#include "worker/scratch.h"

#include <string.h>

/* What can be refused without a passphrase. */
static Outcome enroll_check(Worker *worker, Suite *ret_suite)
{
	const uint32_t asked = worker->job.record.suite;
	DriveFacts facts = {0};
	Outcome outcome;

	if (asked >= SUITE_MAX)
		return result_set(&worker->result, OUTCOME_INVALID_ARGUMENT, "there is no suite %u", asked);
	*ret_suite = asked ? (Suite)asked : SUITE_XCHACHA20_POLY1305;
	if (!suite_available(*ret_suite))
		return result_set(&worker->result, OUTCOME_UNSUPPORTED, "this machine cannot compute %s",
			suite_name(*ret_suite));

	outcome = drive_probe(&worker->vfs.vfs, worker->mount.fd, &facts);
	if (outcome == OUTCOME_DONE && facts.enrolled)
		return OUTCOME_ALREADY_ENROLLED;
	return outcome;
}

Outcome job_enroll(Worker *worker)
{
	_cleanup_secret_ Secret *passphrase = NULL, *drive_key = NULL;
	EnrollParameters parameters = {.kdf_memory = worker->job.record.kdf_memory};
	DriveRecord drive = {.enrolled = 1};
	DriveIdentity identity;
	Outcome outcome;

	outcome = enroll_check(worker, &parameters.suite);
	if (outcome != OUTCOME_DONE)
		return outcome;
	outcome = worker_read_passphrase(worker, &passphrase);
	if (outcome != OUTCOME_DONE)
		return outcome;
	outcome = policy_check(worker->policy, passphrase, &worker->result);
	scratch_wipe_stack();
	if (outcome != OUTCOME_DONE)
		return outcome;
	if (control_cancelled(worker->control))
		return OUTCOME_CANCELLED; /* the last moment at which nothing has changed */

	outcome = drive_enroll(
		&worker->vfs.vfs, worker->mount.fd, passphrase, &parameters, &identity, &drive_key);
	if (outcome != OUTCOME_DONE)
		return outcome;

	drive.suite = (uint32_t)identity.suite;
	drive.epoch = identity.epoch;
	memcpy(drive.id, identity.id, sizeof(drive.id));
	outcome = worker_send_drive(worker, &worker->vfs.vfs, &drive);
	return outcome == OUTCOME_DONE ? keys_send(worker->control, drive_key, &worker->result) : outcome;
}
