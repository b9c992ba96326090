/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "engine/names.h"
#include "engine/walk.h"
#include "worker/jobs.h"
#include "worker/result.h"

#include <string.h>

/* With drive.json goes the only key there is: nothing may be left, or be hidden from this user, that needs
 * it. */
typedef struct Doubts {
	Observer observer;
	bool unseen;    /* something could not be looked into */
	bool encrypted; /* something is encrypted, though no file of ours */
} Doubts;

static void doubts_progress(void *userdata, const Progress *progress)
{
	const Doubts *doubts = userdata;

	doubts->observer.progress(doubts->observer.userdata, progress);
}

static bool doubts_cancelled(void *userdata)
{
	const Doubts *doubts = userdata;

	return doubts->observer.cancelled(doubts->observer.userdata);
}

static void doubts_failure(void *userdata, const char *path, Reason reason, int error)
{
	Doubts *doubts = userdata;

	switch (reason) {
	case REASON_HARD_LINK:
	case REASON_SPECIAL:
		/* Left alone by every run; one with several names may have been encrypted before it got them.
		 */
		if (name_has_suffix(path))
			doubts->encrypted = true;
		break;
	case REASON_FOREIGN_MOUNT:
		break;
	default:
		doubts->unseen = true;
	}
	doubts->observer.failure(doubts->observer.userdata, path, reason, error);
}

/* What was renamed, or found again by a repair, needs the key as well. */
static Outcome find_renamed(Worker *worker)
{
	const Vfs *vfs = &worker->vfs.vfs;
	_cleanup_walk_ Walk *walk = NULL;
	WalkEntry entry;
	int r;

	r = walk_new(vfs, worker->mount.fd, NULL, 0, &walk);
	while (r >= 0 && (r = walk_next(walk, &entry)) > 0) {
		if (control_cancelled(worker->control))
			return OUTCOME_CANCELLED;
		if (entry.kind != ENTRY_PLAIN)
			continue;
		r = walk_has_magic(vfs, entry.directory->fd, entry.name);
		if (r > 0)
			return result_set(&worker->result, OUTCOME_FILES_ENCRYPTED,
				"%s is an encrypted file under another name: let it end in .ucr again",
				entry.path);
		if (r < 0)
			return result_set(&worker->result, OUTCOME_UNFIT_FILES,
				"%s could not be looked at: it may be encrypted", entry.path);
	}
	return r < 0 ? result_fail(&worker->result, r, "The drive could not be looked through")
		     : OUTCOME_DONE;
}

static Outcome unenroll_survey(Worker *worker, const DriveIdentity *identity)
{
	const TransactionOptions options = {.target_fd = -1};
	Doubts doubts = {.observer = control_observer(worker->control)};
	const Observer observer = {
		.userdata = &doubts,
		.progress = doubts_progress,
		.failure = doubts_failure,
		.cancelled = doubts_cancelled,
	};
	TransactionResult found = {.pending = TRANSACTION_INVALID};
	Volume volume = {
		.vfs = &worker->vfs.vfs,
		.root_fd = worker->mount.fd,
		.suite = identity->suite,
		.epoch = identity->epoch,
	};
	Outcome outcome;

	memcpy(volume.type, worker->job.record.filesystem, sizeof(volume.type));
	memcpy(volume.drive_id, identity->id, sizeof(volume.drive_id));
	memcpy(volume.metadata_digest, identity->digest, sizeof(volume.metadata_digest));
	outcome = transaction_survey(&volume, &options, &observer, &found);
	if (outcome != OUTCOME_DONE && outcome != OUTCOME_PARTIAL)
		return outcome;
	memcpy(worker->result.counts, found.counts, sizeof(worker->result.counts));

	if (found.counts[COUNT_ENCRYPTED_FILES] > 0 || doubts.encrypted)
		return OUTCOME_FILES_ENCRYPTED;
	if (doubts.unseen || found.counts[COUNT_FAILED] > 0)
		return result_set(&worker->result, OUTCOME_UNFIT_FILES,
			"some files could not be looked at: they may be encrypted");
	return find_renamed(worker);
}

Outcome job_unenroll(Worker *worker)
{
	_cleanup_secret_ Secret *passphrase = NULL, *drive_key = NULL;
	DriveIdentity identity;
	Outcome outcome;
	bool weak_slot;

	outcome = worker_read_passphrase(worker, &passphrase);
	if (outcome != OUTCOME_DONE)
		return outcome;
	outcome = drive_unlock(
		&worker->vfs.vfs, worker->mount.fd, passphrase, &identity, &drive_key, &weak_slot);
	if (outcome != OUTCOME_DONE)
		return outcome;

	if (recovery_hint(&worker->vfs.vfs, worker->mount.fd) != TRANSACTION_INVALID)
		return OUTCOME_INTERRUPTED;
	outcome = unenroll_survey(worker, &identity);
	if (outcome != OUTCOME_DONE)
		return outcome;
	/* An empty drive is also what a drive looks like that was pulled out a moment ago. */
	if (!worker->vfs.vfs.is_alive(&worker->vfs.vfs))
		return OUTCOME_DRIVE_GONE;
	if (control_cancelled(worker->control))
		return OUTCOME_CANCELLED;
	return drive_unenroll(&worker->vfs.vfs, worker->mount.fd);
}
