/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "worker/jobs.h"
#include "worker/result.h"

#include <string.h>

/* Everything that is looked at was opened by root and is held; what looks is the system user, who can open
 * nothing any more. */
Outcome job_probe(Worker *worker)
{
	const Vfs *vfs = held_vfs(worker->held);
	DriveFacts facts = {0};
	DriveRecord drive = {0};
	Outcome outcome;

	outcome = drive_probe(vfs, worker->mount.fd, &facts);
	if (outcome != OUTCOME_DONE && outcome != OUTCOME_TAMPERED && outcome != OUTCOME_UNSUPPORTED)
		return outcome;

	/* A drive whose metadata is damaged or too new is still somebody's: whose it is and how full is said.
	 */
	drive.enrolled = facts.enrolled;
	if (outcome == OUTCOME_DONE && facts.enrolled) {
		drive.suite = facts.suite > 0 ? (uint32_t)facts.suite : 0;
		memcpy(drive.id, facts.id, sizeof(drive.id));
	}
	if (worker_send_drive(worker, vfs, &drive) != OUTCOME_DONE)
		return OUTCOME_CANCELLED;
	return outcome;
}
