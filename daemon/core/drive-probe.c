/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What a drive is, whose, and how full, as an unprivileged worker of the system user sees it. */

#include "core/drive.h"
#include "core/manager.h"
#include "util/clock.h"
#include "util/log.h"
#include "util/memory.h"

/* Whoever asks for other people's drives makes the daemon look again; not more often than this. */
#define PROBE_INTERVAL USEC_PER_SEC

static void on_probed(void *userdata, JobResult *result)
{
	Drive *drive = userdata;
	const DriveRecord *found = result->drive;

	drive->probe = NULL;
	drive->probe_request = request_free(drive->probe_request);
	if (drive->gone)
		return;
	if (found) {
		drive->known = true;
		drive->owner = found->owner;
		drive->size = found->size;
		drive->free = found->free;
		drive->enrolled = found->enrolled;
		drive->suite = found->enrolled ? found->suite : 0;
		drive->pending = found->pending == 0 ? TRANSACTION_INVALID : (TransactionKind)found->pending;
		memcpy(drive->id, found->id, DRIVE_ID_SIZE);
		log_debug("%s: owner %u, %s", drive->name, drive->owner,
			drive->enrolled ? "enrolled" : "not enrolled");
	} else {
		log_warning("%s: cannot find out what it is: %s", drive->name,
			result->message ? result->message : outcome_text(result->outcome));
	}
	drive_announce(drive, DRIVE_PROPERTIES_OF_PROBE | DRIVE_PROPERTY_RETRY_AT);
	/* The mount may have changed while the worker looked. */
	if (drive->probe_wanted)
		drive_probe(drive);
	if (drive_is_settled(drive))
		wait_list_wake(&drive->known_waiters);
}

void drive_probe(Drive *drive)
{
	Manager *manager = drive->manager;
	JobHandlers handlers = {.userdata = drive, .ended = on_probed};
	_cleanup_free_ JobParameters *parameters = NULL;
	int r;

	drive->probe_wanted = true;
	if (drive->gone || !drive->mount.present || !drive->mount.safe) {
		drive->probe_wanted = false;
		return;
	}
	/* Not beside a job, which changes what there is to see; and one at a time. */
	if (drive->probe || drive_is_busy(drive))
		return;
	drive->probe_wanted = false;

	drive->probe_request = request_new(JOB_PROBE);
	parameters = new0(JobParameters, 1);
	if (!drive->probe_request || !parameters) {
		drive->probe_request = request_free(drive->probe_request);
		return;
	}
	drive->probe_request->caller = (Caller){.uid = manager->system_uid, .gid = manager->system_gid};
	parameters->request = drive->probe_request;
	drive_describe(drive, parameters);
	r = job_new(manager->event, parameters, &handlers, &drive->probe);
	if (r < 0) {
		drive->probe_request = request_free(drive->probe_request);
		log_error("%s: cannot start %s: %s", drive->name, manager->config.worker_path,
			strerrordesc_np(-r));
	}
}

bool drive_probe_again(Drive *drive)
{
	uint64_t now = clock_usec(CLOCK_MONOTONIC);

	if (now < drive->probed_again + PROBE_INTERVAL)
		return drive->probe != NULL;
	drive->probed_again = now;
	drive_probe(drive);
	return drive->probe != NULL;
}
