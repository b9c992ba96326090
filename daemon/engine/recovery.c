/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Recovery (TRANSACTIONS.md holds the table, and why trust, not readability, decides). Every step removes
 * only what is redundant, so that a run of recovery that is interrupted itself is simply run again:
 *
 *   barrier -> read the journal -> classify every listed file, writing nothing (classify.c)
 *     -> put back what a scrub left on untouched sources: size, time, mode
 *     -> scrub what is to be scrubbed -> record what a pattern has promoted -> barrier
 *     -> unlink what is to go, descriptors held -> barrier
 *     -> "closed", "settled", or the list of what stays pending -> barrier -> close the descriptors
 *     -> resume: the interrupted transaction again; roll back: the ordinary transaction the other way
 *     -> "closed", if that had nothing to do
 */

#include "engine/classify.h"
#include "engine/journal.h"
#include "util/memory.h"

#include <errno.h>

typedef struct Recovery {
	Run run;
	Journal *journal;
	JournalRecord *latest;
	Finding *findings;
	size_t n, allocated;
	Strays strays;
	Workspace workspace;
} Recovery;

TransactionKind recovery_hint(const Vfs *vfs, int root_fd)
{
	return journal_hint(vfs, root_fd);
}

/* ---- what the journal lists ---- */

static int add_finding(Recovery *recovery, JournalEntry *entry, bool trusted)
{
	int r = array_grow(
		&recovery->findings, &recovery->allocated, recovery->n + 1, sizeof(*recovery->findings));

	if (r < 0)
		return r;
	recovery->findings[recovery->n] = (Finding){.entry = entry, .trusted = trusted, .order = recovery->n};
	recovery->n++;
	return 0;
}

static int compare_findings(const void *a, const void *b)
{
	const Finding *left = a, *right = b;
	int r = strcmp(left->entry->path, right->entry->path);

	if (r != 0)
		return r;
	return left->order < right->order ? -1 : left->order > right->order;
}

/* Every listed file once: one that is abandoned may be listed again as sealed, or intended. */
static int list_findings(Recovery *recovery)
{
	static const struct {
		JournalList list;
		bool trusted;
	} order[] = {
		{JOURNAL_SEALED, false},
		{JOURNAL_INTENT, false},
		{JOURNAL_ABORTED, false},
		{JOURNAL_SCRUBBING, true},
		{JOURNAL_RETIRED, true},
	};
	const JournalRecord *latest = recovery->latest;
	size_t kept = 0;

	for (size_t l = 0; l < ELEMENTSOF(order); l++)
		for (size_t i = 0; i < latest->n[order[l].list]; i++) {
			int r = add_finding(recovery, &latest->lists[order[l].list][i], order[l].trusted);

			if (r < 0)
				return r;
		}
	if (recovery->n == 0) /* as behind "settled" */
		return 0;
	qsort(recovery->findings, recovery->n, sizeof(*recovery->findings), compare_findings);
	for (size_t i = 0; i < recovery->n; i++)
		if (kept == 0 || strcmp(recovery->findings[kept - 1].entry->path,
					 recovery->findings[i].entry->path) != 0)
			recovery->findings[kept++] = recovery->findings[i];
	recovery->n = kept;
	return 0;
}

/* ---- what is written about it ---- */

/* Lists what was found, with its trust. What stays pending alone, or everything. */
static int write_findings(Recovery *recovery, unsigned flags, bool pending_only)
{
	JournalRecord head = *recovery->latest;
	int r;

	head.flags &= ~(unsigned)JOURNAL_SETTLED;
	head.flags |= flags;
	r = journal_begin(recovery->journal, &head);
	for (int trusted = 1; trusted >= 0; trusted--)
		for (size_t i = 0; i < recovery->n && r >= 0; i++) {
			const Finding *finding = &recovery->findings[i];

			if ((pending_only ? finding->action == ACTION_KEEP : !finding->leftover) &&
				finding->trusted == (trusted == 1))
				r = journal_add(recovery->journal,
					trusted ? JOURNAL_SCRUBBING : JOURNAL_SEALED, finding->entry);
		}
	return r < 0 ? r : journal_write(recovery->journal);
}

/* A source whose pattern proved its new file's trust takes the proof along when it goes: a recovery that is
 * interrupted then must find it in the journal. */
static int write_promotions(Recovery *recovery)
{
	if (recovery->run.doubtful)
		return 0;
	for (size_t i = 0; i < recovery->n; i++)
		if (recovery->findings[i].promoted)
			return write_findings(recovery, 0, false);
	return 0;
}

/* ---- settling ---- */

static void keep_pending(Finding *finding, Reason reason)
{
	finding->action = ACTION_KEEP;
	finding->reason = reason;
}

static int settle(Recovery *recovery)
{
	Run *run = &recovery->run;
	const Volume *volume = run->volume;
	int r;

	for (size_t i = 0; i < recovery->n; i++) {
		Finding *finding = &recovery->findings[i];

		if (finding->restore && replacement_restore_source(&run->context, finding->replacement) < 0)
			keep_pending(finding, finding->replacement->reason);
		if (finding->action != ACTION_FINISH)
			continue;
		if (replacement_open_source(&run->context, finding->replacement) < 0) {
			keep_pending(finding, finding->replacement->reason);
			continue;
		}
		if (!run->context.scrub)
			continue;
		replacement_scrub(&run->context, finding->replacement, &recovery->workspace);
		replacement_sync_source(&run->context, finding->replacement);
		if (finding->replacement->fatal)
			return -EIO;
		if (finding->replacement->state != REPLACEMENT_SCRUBBED)
			keep_pending(finding, finding->replacement->reason);
	}
	r = write_promotions(recovery);
	if (r >= 0)
		r = volume->vfs->barrier(volume->vfs, volume->root_fd);
	if (r < 0)
		return r;

	for (size_t i = 0; i < recovery->n; i++) {
		Finding *finding = &recovery->findings[i];

		if (finding->action == ACTION_FINISH) {
			replacement_unlink(&run->context, finding->replacement);
			if (finding->replacement->state != REPLACEMENT_UNLINKED)
				keep_pending(finding, finding->replacement->reason);
		} else if (finding->action == ACTION_DROP_NEW) {
			finding->replacement->made = true;
			if (replacement_abandon(&run->context, finding->replacement) < 0)
				keep_pending(finding, REASON_PENDING);
		}
		if ((finding->action == ACTION_FINISH || finding->action == ACTION_DROP_NEW) &&
			!finding->leftover)
			run_count(run, COUNT_SETTLED, 1);
	}
	return volume->vfs->barrier(volume->vfs, volume->root_fd);
}

/* "closed"; or that it is settled, where another transaction follows; or what stays pending with its trust.
 */
static int write_end(Recovery *recovery, bool followed)
{
	const Volume *volume = recovery->run.volume;
	bool pending = false;
	int r;

	for (size_t i = 0; i < recovery->n; i++)
		pending |= recovery->findings[i].action == ACTION_KEEP;
	/* The next attempt must know as well that a newer record may have been lost. */
	if (pending && recovery->run.doubtful)
		return pending;
	r = write_findings(recovery, pending ? 0 : followed ? JOURNAL_SETTLED : JOURNAL_CLOSED, true);
	if (r >= 0)
		r = volume->vfs->barrier(volume->vfs, volume->root_fd);
	return r < 0 ? r : pending;
}

static void report_findings(Recovery *recovery)
{
	for (size_t i = 0; i < recovery->n; i++) {
		const Finding *finding = &recovery->findings[i];

		if (finding->reason != REASON_INVALID)
			run_report(&recovery->run, finding->entry->path, finding->reason, 0);
	}
}

/* ---- the whole ---- */

/* A torn record, which counts for nothing, must not go on looking pending to who has no key. */
static int close_torn_record(Recovery *recovery)
{
	const Volume *volume = recovery->run.volume;
	JournalRecord head = {
		.operation = journal_hint(volume->vfs, volume->root_fd),
		.flags = JOURNAL_CLOSED,
	};
	int r;

	if (head.operation == TRANSACTION_INVALID || recovery->run.options->dry_run)
		return 0;
	memcpy(head.metadata_digest, volume->metadata_digest, sizeof(head.metadata_digest));
	r = journal_begin(recovery->journal, &head);
	if (r >= 0)
		r = journal_write(recovery->journal);
	if (r >= 0)
		r = volume->vfs->barrier(volume->vfs, volume->root_fd);
	return r;
}

/* Reads what is pending. DONE with *ret_nothing: nothing is. */
static Outcome read_journal(Recovery *recovery, bool *ret_nothing)
{
	Run *run = &recovery->run;
	const Volume *volume = run->volume;
	int r;

	/* What a daemon that died had written, but not yet synced, becomes durable and then counts. */
	*ret_nothing = false;
	r = volume->vfs->barrier(volume->vfs, volume->root_fd);
	if (r >= 0)
		r = journal_open(volume->vfs, volume->root_fd, volume->journal_mac, volume->drive_id,
			&recovery->journal);
	if (r == -ENOENT) {
		*ret_nothing = true;
		return OUTCOME_DONE;
	}
	if (r >= 0)
		r = journal_read(recovery->journal, run->context.medium_flags, &recovery->latest);
	if (r < 0)
		return run_outcome(run, r);
	run->doubtful = journal_unreadable(recovery->journal);
	if (run->doubtful)
		run_report(run, journal_unreadable(recovery->journal), REASON_MEDIUM_FAILED, EIO);
	*ret_nothing = r == 0 || recovery->latest->flags & JOURNAL_CLOSED;
	if (*ret_nothing)
		r = close_torn_record(recovery);
	return r < 0 ? run_outcome(run, r) : OUTCOME_DONE;
}

/* It ends before its end, for whatever reason. */
static Outcome stays_pending(Recovery *recovery, int error)
{
	Outcome outcome = run_outcome(&recovery->run, error);

	recovery->run.result->pending = recovery->latest->operation;
	return outcome == OUTCOME_DRIVE_GONE ? outcome : OUTCOME_INTERRUPTED;
}

static int classify_one(Recovery *recovery, size_t i)
{
	if (run_cancelled(&recovery->run))
		return -ECANCELED;
	return classify(
		&recovery->run, recovery->findings, recovery->n, i, &recovery->strays, &recovery->workspace);
}

/* A folder may hold more torn names than one for each file that misses its own: which is whose cannot always
 * be told, and each goes that may be some file's whose source is whole. */
static int classify_leftovers(Recovery *recovery, size_t of)
{
	const Finding *first = &recovery->findings[of];
	int r = 0;

	while (r >= 0 && !first->trusted && recovery->n < recovery->allocated &&
		(first->action == ACTION_NONE || first->action == ACTION_DROP_NEW)) {
		Finding *more = &recovery->findings[recovery->n];

		*more = (Finding){.entry = first->entry, .leftover = true, .order = recovery->n};
		recovery->n++;
		r = classify_one(recovery, recovery->n - 1);
		if (r >= 0 && more->action == ACTION_DROP_NEW)
			continue;
		replacement_free(more->replacement);
		recovery->n--;
		break;
	}
	return r;
}

static int classify_all(Recovery *recovery)
{
	size_t n = recovery->n;
	int r;

	/* Room for leftovers: findings must not move any more. */
	r = array_grow(&recovery->findings, &recovery->allocated, 2 * n + 1, sizeof(*recovery->findings));
	for (size_t i = 0; i < n && r >= 0; i++) {
		r = classify_one(recovery, i);
		run_advance(&recovery->run, 1, 0);
	}
	/* Only FAT has aliases. */
	for (size_t i = 0; recovery->run.context.unordered && i < n && r >= 0; i++)
		r = classify_leftovers(recovery, i);
	return r;
}

static Outcome recover(Recovery *recovery, bool followed, bool *ret_settled)
{
	Run *run = &recovery->run;
	Outcome outcome;
	int r;

	/* Files that were being written are torn, as a rule: what follows looks again, when they are gone. */
	outcome = run_check_volume(run, VOLUME_ALWAYS, VOLUME_TORN);
	if (outcome != OUTCOME_DONE) {
		run->result->pending = recovery->latest->operation;
		return outcome == OUTCOME_CANCELLED ? OUTCOME_INTERRUPTED : outcome;
	}
	r = run_adopt(run, recovery->latest->run);
	if (r >= 0)
		r = list_findings(recovery);
	if (r >= 0)
		r = workspace_init(&recovery->workspace);
	if (r >= 0)
		run_set_totals(run, recovery->n, 0);
	if (r >= 0)
		r = classify_all(recovery);
	if (r < 0)
		return stays_pending(recovery, r);
	if (run->options->dry_run) {
		report_findings(recovery);
		return run_final_outcome(run);
	}
	r = settle(recovery);
	report_findings(recovery);
	if (r >= 0)
		r = write_end(recovery, followed);
	if (r < 0)
		return stays_pending(recovery, r);
	if (r > 0) {
		run->result->pending = recovery->latest->operation;
		return OUTCOME_INTERRUPTED;
	}
	*ret_settled = true;
	return run_final_outcome(run);
}

static void recovery_clear(Recovery *recovery)
{
	/* Only now: until here their clusters could not be used again. */
	for (size_t i = 0; i < recovery->n; i++)
		replacement_free(recovery->findings[i].replacement);
	free(recovery->findings);
	strays_clear(&recovery->strays);
	journal_free(recovery->journal);
	workspace_clear(&recovery->workspace);
	run_clear(&recovery->run);
}

/* Where nothing had to follow, or not now, "settled" is still the last word. */
static int close_settled(const Volume *volume)
{
	_cleanup_journal_record_ JournalRecord *latest = NULL;
	_cleanup_journal_ Journal *journal = NULL;
	int r;

	r = journal_open(volume->vfs, volume->root_fd, volume->journal_mac, volume->drive_id, &journal);
	if (r >= 0)
		r = journal_read(journal, 0, &latest);
	if (r <= 0 || !(latest->flags & JOURNAL_SETTLED))
		return r;
	latest->flags = (latest->flags & ~(unsigned)JOURNAL_SETTLED) | JOURNAL_CLOSED;
	r = journal_begin(journal, latest);
	if (r >= 0)
		r = journal_write(journal);
	if (r >= 0)
		r = volume->vfs->barrier(volume->vfs, volume->root_fd);
	return r;
}

/* The ordinary transaction that brings the run to its end, or back. */
static Outcome follow_up(const JournalRecord *record, RecoveryMode mode, Volume *volume,
	const TransactionOptions *options, const Observer *observer, TransactionResult *result)
{
	bool encrypting = (record->operation == TRANSACTION_ENCRYPT) == (mode == RECOVERY_RESUME);
	TransactionResult more;
	Outcome outcome;
	TransactionOptions follow = {
		.paths = (const char *const *)record->scope,
		.n_paths = record->n_scope,
		/* A run the other way takes back what was decrypted: that is scrubbed as any plaintext is. */
		.scrub = mode == RECOVERY_ROLLBACK || record->flags & JOURNAL_SCRUB,
		.skip_unfit = true,
		.unverified_medium = options->unverified_medium,
		.only_run = !encrypting && (mode == RECOVERY_ROLLBACK || record->flags & JOURNAL_ONLY_RUN)
				    ? record->run
				    : NULL,
		.resumed = record->run,
		.target_fd = -1,
		.threads = options->threads,
		.batch_files = options->batch_files,
	};

	outcome = encrypting ? transaction_encrypt(volume, &follow, observer, &more)
			     : transaction_decrypt(volume, &follow, observer, &more);
	for (int i = 0; i < COUNT_MAX; i++)
		result->counts[i] += more.counts[i];
	result->pending = more.pending;
	if ((outcome == OUTCOME_DONE || outcome == OUTCOME_PARTIAL || outcome == OUTCOME_CANCELLED ||
		    outcome == OUTCOME_NO_SPACE) &&
		close_settled(volume) < 0)
		outcome = OUTCOME_INTERRUPTED;
	if (result->pending == TRANSACTION_INVALID)
		result->pending = recovery_hint(volume->vfs, volume->root_fd);
	return outcome;
}

Outcome recovery_run(Volume *volume, RecoveryMode mode, bool may_decrypt, const TransactionOptions *options,
	const Observer *observer, TransactionResult *ret)
{
	_cleanup_journal_record_ JournalRecord *latest = NULL;
	Recovery recovery = {0};
	bool nothing = false, settled = false, towards_plaintext = false, followed = false;
	Outcome outcome, more;

	outcome = run_init(&recovery.run, TRANSACTION_RECOVER, volume, options, observer, ret);
	/* Nothing is written that would have to be read back. */
	if (outcome == OUTCOME_DONE) {
		run_set_phase(&recovery.run, PHASE_RECOVERING);
		outcome = read_journal(&recovery, &nothing);
	}
	if (outcome == OUTCOME_DONE && !nothing) {
		bool encrypt = recovery.latest->operation == TRANSACTION_ENCRYPT;

		recovery.run.context.encrypting = encrypt;
		recovery.run.context.scrub = encrypt && recovery.latest->flags & JOURNAL_SCRUB;
		recovery.run.context.recovering = true;
		recovery.run.may_decrypt = may_decrypt;
		towards_plaintext = mode == (encrypt ? RECOVERY_ROLLBACK : RECOVERY_RESUME);
		if (towards_plaintext && !may_decrypt) {
			ret->pending = recovery.latest->operation;
			outcome = OUTCOME_NOT_AUTHORIZED;
		} else {
			/* What a lost record alone listed may be torn: nothing is allocated before that was
			 * repaired. */
			followed = mode != RECOVERY_SETTLE && !recovery.run.doubtful &&
				   !(recovery.latest->flags & JOURNAL_SCOPE_MISSING);
			outcome = recover(&recovery, followed, &settled);
		}
	}
	latest = TAKE_PTR(recovery.latest);
	recovery_clear(&recovery);
	if (!settled || !followed)
		return outcome;
	more = follow_up(latest, mode, volume, options, observer, ret);
	return more == OUTCOME_DONE ? outcome : more;
}
