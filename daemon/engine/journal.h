/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The journal: which files a run is about to replace, has replaced, and is about to remove. Two files of
 * fixed size, .usbcrypt/a/journal and .usbcrypt/b/journal, overwritten in place in turn, so that journalling
 * never allocates. It proves intent and ownership, never validity (TRANSACTIONS.md).
 */

#include "engine/journal-record.h"
#include "engine/vfs.h"

typedef struct Journal Journal;

/* Opens the journal of a drive. -ENOENT: there is none yet, or none that a record was ever begun in.
 * `mac_key` must outlive it. */
int journal_open(const Vfs *vfs, int root_fd, const Secret *mac_key, const uint8_t drive_id[DRIVE_ID_SIZE],
	Journal **ret);

/* Makes one: zeros, then a barrier, so that a torn creation cannot read as a record. It is found again from
 * the first record on. -EEXIST: all names are taken by what creations that were cut short left. */
int journal_create(const Vfs *vfs, int root_fd, const Secret *mac_key, const uint8_t drive_id[DRIVE_ID_SIZE],
	Journal **ret);

/* Whether no record was written to it yet. */
bool journal_is_new(const Journal *journal);

Journal *journal_free(Journal *journal);
DEFINE_CLEANUP(Journal *, journal_free)
#define _cleanup_journal_ _cleanup_(journal_freep)

/* Reads the valid record with the highest sequence. 1: there is one; 0: the journal holds no record yet;
 * -EBADMSG: both files hold something that is no record of this drive. `flags`: what read_medium() returned,
 * or 0. */
int journal_read(Journal *journal, int flags, JournalRecord **ret_latest);

/* The path of the file that could not be read then, or NULL. Where the medium lost it after its barrier, and
 * not before that, it held the newest record. */
const char *journal_unreadable(const Journal *journal);

/* Builds a record: begin, entries list by list in JournalList's order, then write. journal_begin() takes
 * operation, flags, run, digest and scope from `head`; sequence and hash are the journal's own. */
int journal_begin(Journal *journal, const JournalRecord *head);
int journal_add(Journal *journal, JournalList list, const JournalEntry *entry);

/* Overwrites the older of the two files. Durable only after the next barrier. */
int journal_write(Journal *journal);

/* Whether the medium returns the record that was written last: once its barrier has passed. -EIO: it does
 * not. `flags` as for journal_read(). */
int journal_check(const Journal *journal, int flags);

/* What a record has room for beside its scope, in bytes: batches are planned by it. */
size_t journal_room(const Journal *journal);

/* Bytes that the two files take on a filesystem of this size. */
uint64_t journal_space(uint64_t filesystem_size);

/* What the newest record says is pending, without authentication: a hint. TRANSACTION_INVALID: nothing. */
TransactionKind journal_hint(const Vfs *vfs, int root_fd);
