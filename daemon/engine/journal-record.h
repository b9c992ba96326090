/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * One journal record: its parts, and their form in bytes (TRANSACTIONS.md, "The journal"). Nothing here reads
 * or writes a drive; engine/journal.h does.
 */

#include "engine/stream.h"
#include "util/report.h"

#define JOURNAL_HASH_SIZE 32
#define JOURNAL_MAC_SIZE  32

/* The lists of a record, in their order. In record k: */
typedef enum JournalList {
	JOURNAL_RETIRED,   /* batch k-2: its sources are being unlinked */
	JOURNAL_SCRUBBING, /* batch k-1: verified; its sources are being scrubbed */
	JOURNAL_SEALED,  /* batch k: its new files are written, durable once this record's barrier has passed
			  */
	JOURNAL_INTENT,  /* batch k+1: its new files will be made */
	JOURNAL_ABORTED, /* new files that were taken away again, should they come back */
	JOURNAL_LIST_MAX,
} JournalList;

typedef enum JournalFlag {
	JOURNAL_SCRUB = 1 << 0,         /* sources are scrubbed before they are unlinked */
	JOURNAL_CLOSED = 1 << 1,        /* nothing is pending */
	JOURNAL_SCOPE_MISSING = 1 << 2, /* the run was limited to more paths than a record holds */
	JOURNAL_SETTLED = 1 << 4,       /* recovered, and to be gone on with, or taken back */
	JOURNAL_ONLY_RUN = 1 << 3,      /* a decrypt of nothing but what the run of this identity encrypted */
} JournalFlag;

typedef struct JournalEntry {
	char *path;      /* the source, from the root */
	char *new_name;  /* the new file, in the same directory */
	uint64_t serial; /* of this file in its run: half of its content tag's key */
	uint64_t size;   /* the source */
	struct timespec mtime;
	bool read_only;    /* the source's owner may not write to it */
	uint64_t new_size; /* the new file; its mtime where it is a plaintext */
	struct timespec new_mtime;
	uint8_t last_tag[SUITE_TAG_SIZE]; /* of the encrypted one's last chunk; zero before it is sealed */
	uint8_t content_tag[CONTENT_TAG_SIZE]; /* of the plaintext */
} JournalEntry;

typedef struct JournalRecord {
	uint64_t sequence;
	TransactionKind operation; /* TRANSACTION_ENCRYPT or _DECRYPT */
	unsigned flags;
	uint8_t run[RUN_ID_SIZE];
	uint8_t previous[JOURNAL_HASH_SIZE];        /* hash of the record before it */
	uint8_t metadata_digest[JOURNAL_HASH_SIZE]; /* of drive.json as it was believed then */
	char **scope;
	size_t n_scope;
	JournalEntry *lists[JOURNAL_LIST_MAX];
	size_t n[JOURNAL_LIST_MAX];
} JournalRecord;

JournalRecord *journal_record_free(JournalRecord *record);
DEFINE_CLEANUP(JournalRecord *, journal_record_free)
#define _cleanup_journal_record_ _cleanup_(journal_record_freep)

/* Scopes above this many bytes are not recorded (JOURNAL_SCOPE_MISSING). */
#define JOURNAL_SCOPE_MAX (32 * 1024)

/* The shortest and the longest record, in bytes. */
#define JOURNAL_RECORD_MIN 180
#define JOURNAL_RECORD_MAX (1024 * 1024)

/* A record being built in a buffer of JOURNAL_RECORD_MAX bytes. */
typedef struct JournalBuilder {
	uint8_t *bytes;
	size_t limit; /* bytes that may be used */
	size_t used;
	JournalList list;
	uint32_t n[JOURNAL_LIST_MAX];
	char *last_path;
} JournalBuilder;

void journal_builder_clear(JournalBuilder *builder);

/* Begins with everything of `head` but its lists. */
int journal_builder_begin(
	JournalBuilder *builder, const JournalRecord *head, const uint8_t drive_id[DRIVE_ID_SIZE]);

/* Adds an entry; lists come in JournalList's order. -EMSGSIZE: the record is full. */
int journal_builder_add(JournalBuilder *builder, JournalList list, const JournalEntry *entry);

/* Closes the record: counts, size, MAC. Returns its size. */
size_t journal_builder_end(JournalBuilder *builder, const Secret *mac_key);

/* What an entry takes at most, in bytes. */
size_t journal_entry_size(const JournalEntry *entry);

/* Authenticates and parses the record at the start of `bytes`. 1: *ret is it, and *ret_size its size; 0:
 * there are zeros, no record was written yet; -EBADMSG: neither. Paths in it are relative and inside the
 * drive. */
int journal_record_parse(const uint8_t *bytes, size_t size, const Secret *mac_key,
	const uint8_t drive_id[DRIVE_ID_SIZE], JournalRecord **ret, size_t *ret_size);

/* What a record's first JOURNAL_RECORD_MIN bytes claim, unauthenticated: its size (0: they are none's);
 * whether it is one, its sequence, and what is pending (TRANSACTION_INVALID: nothing). */
size_t journal_record_size(const uint8_t *bytes);
bool journal_record_peek(const uint8_t *bytes, uint64_t *ret_sequence, TransactionKind *ret_pending);
