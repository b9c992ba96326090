/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The two transactions that change files in place. Their invariants are I1, I2, I9 and I10 of
 * TRANSACTIONS.md; the protocol is in rounds.c, its reasons in TRANSACTIONS.md.
 *
 *   transaction_encrypt() / transaction_decrypt()
 *     nothing pending? ---- no --> OUTCOME_INTERRUPTED
 *     preflight_run() ----- unfit --> OUTCOME_UNFIT_FILES, OUTCOME_NO_SPACE, …: nothing was changed
 *     journal_create(), the first time
 *     rounds_run() -------- done, in part, cancelled --> journal closed
 *                   \------ drive failed or left -----> journal pending, recovery_run() goes on
 */

#include "engine/transaction.h"

#include "engine/inspect.h"
#include "engine/preflight.h"
#include "engine/rounds.h"

#include <errno.h>
#include <string.h>

/* Whether a recovery has settled everything, and this run is what is to follow. */
static bool follows_on(const Run *run, const JournalRecord *latest)
{
	return latest->flags & JOURNAL_SETTLED && run->options->resumed &&
	       memcmp(latest->run, run->options->resumed, RUN_ID_SIZE) == 0;
}

/* Looks what the journal says is pending. *ret_journal stays NULL where there is none yet. */
static Outcome open_journal(Run *run, Journal **ret_journal)
{
	const Volume *volume = run->volume;
	_cleanup_journal_ Journal *journal = NULL;
	_cleanup_journal_record_ JournalRecord *latest = NULL;
	struct statvfs fs;
	int r;

	r = journal_open(volume->vfs, volume->root_fd, volume->journal_mac, volume->drive_id, &journal);
	if (r == -ENOENT) {
		r = volume->vfs->fstatvfs(volume->vfs, volume->root_fd, &fs);
		if (r >= 0)
			run->journal_space = journal_space((uint64_t)fs.f_blocks * fs.f_frsize);
		return r < 0 ? run_outcome(run, r) : OUTCOME_DONE;
	}
	if (r >= 0)
		r = journal_read(journal, 0, &latest);
	if (r < 0)
		return run_outcome(run, r);
	if (latest && !(latest->flags & JOURNAL_CLOSED) && !follows_on(run, latest)) {
		run->result->pending = latest->operation;
		return OUTCOME_INTERRUPTED;
	}
	/* A run that was killed may have left its "closed" in the caches alone: the next record takes the
	 * place of the one that is durable (T1). */
	if (latest && !run->options->dry_run)
		r = volume->vfs->barrier(volume->vfs, volume->root_fd);
	if (r < 0)
		return run_outcome(run, r);
	*ret_journal = TAKE_PTR(journal);
	return OUTCOME_DONE;
}

static Outcome replace_files(Run *run)
{
	const Volume *volume = run->volume;
	_cleanup_journal_ Journal *journal = NULL;
	_cleanup_walk_ Walk *walk = NULL;
	Preflight preflight;
	Outcome outcome;
	int r = 0;

	outcome = open_journal(run, &journal);
	if (outcome == OUTCOME_DONE)
		outcome = run_check_volume(
			run, run->options->resumed ? VOLUME_ALWAYS : VOLUME_IF_UNCLEAN, VOLUME_SOUND);
	if (outcome != OUTCOME_DONE)
		return outcome;
	outcome = preflight_run(run, &preflight);
	if (outcome != OUTCOME_DONE)
		return outcome;
	if (run->options->dry_run || preflight.files == 0)
		return run_final_outcome(run);

	if (!journal)
		r = journal_create(
			volume->vfs, volume->root_fd, volume->journal_mac, volume->drive_id, &journal);
	run->journal_space = 0;
	if (r >= 0)
		r = walk_new(volume->vfs, volume->root_fd, run->options->paths, run->options->n_paths, &walk);
	if (r < 0)
		return run_outcome(run, r);
	return rounds_run(run, journal, walk);
}

static Outcome transaction_run(TransactionKind kind, Volume *volume, const TransactionOptions *options,
	const Observer *observer, TransactionResult *ret)
{
	Outcome outcome;
	Run run;

	for (size_t i = 0; i < options->n_paths; i++)
		if (!path_is_inside(options->paths[i])) {
			*ret = (TransactionResult){.pending = TRANSACTION_INVALID};
			return OUTCOME_INVALID_ARGUMENT;
		}
	outcome = run_init(&run, kind, volume, options, observer, ret);
	if (outcome == OUTCOME_DONE)
		outcome = replace_files(&run);
	run_clear(&run);
	return outcome;
}

Outcome transaction_encrypt(
	Volume *volume, const TransactionOptions *options, const Observer *observer, TransactionResult *ret)
{
	return transaction_run(TRANSACTION_ENCRYPT, volume, options, observer, ret);
}

Outcome transaction_decrypt(
	Volume *volume, const TransactionOptions *options, const Observer *observer, TransactionResult *ret)
{
	if (options->target_fd >= 0)
		return export_run(volume, options, observer, ret);
	return transaction_run(TRANSACTION_DECRYPT, volume, options, observer, ret);
}
