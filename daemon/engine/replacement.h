/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * One file on its way from one form to the other: the *source*, which will go, and the *new file*, which
 * replaces it (P and C when encrypting, C and P when decrypting). Here are the steps that TRANSACTIONS.md
 * orders; each does its part and notes in the replacement how it went. Steps marked [pool] may run for
 * several replacements at once.
 */

#include "engine/journal-record.h"
#include "engine/names.h"
#include "engine/scrub.h"
#include "engine/transaction.h"
#include "engine/walk.h"

typedef enum ReplacementState {
	REPLACEMENT_PLANNED,  /* listed in an intent; nothing was made */
	REPLACEMENT_WRITTEN,  /* the new file is complete, not yet durable */
	REPLACEMENT_VERIFIED, /* the medium returned what was written */
	REPLACEMENT_SCRUBBED, /* the source is overwritten */
	REPLACEMENT_UNLINKED, /* the source's name is gone; its descriptor is still held */
	REPLACEMENT_FAILED,   /* left out: reason and error say why. A new file that exists is to be abandoned
			       */
	REPLACEMENT_STATE_MAX,
} ReplacementState;

typedef struct Replacement {
	ReplacementState state;
	Directory *directory;
	JournalEntry entry;
	const char *name; /* the source's, inside entry.path */
	struct stat source;
	struct stat scrubbed; /* the source, behind its scrub */
	int source_fd;        /* held until the source's deletion is durable */
	int new_fd;    /* while it is written; and again while an abandoned one's deletion is not durable */
	bool made;     /* the new file exists, and is ours to take away again */
	bool complete; /* entry.new_mtime is the new file's */
	bool leased;
	bool mode_lent; /* the source was made writable by us */
	bool fatal;     /* the drive failed, not this file: the run must stop */
	bool seen;      /* recovery: found_new says what was decided about */
	struct stat found_new;
	bool moved;
	bool attributes_lost;
	Reason reason;
	int error; /* positive errno or 0 */
} Replacement;

/* What the steps share. */
typedef struct ReplacementContext {
	const Volume *volume;
	bool encrypting;
	bool scrub;
	bool sync_each;   /* fuseblk: a barrier needs an fsync of every file written */
	bool close_later; /* closing a file written takes long (FAT), or syncing it (fuseblk):
			     replacement_close() does it, in a pool of its own */
	bool unordered;   /* FAT, exFAT: an entry may reach the medium before the data it stands for */
	size_t cluster;   /* bytes */
	NameLimit limit;
	int medium_flags;        /* how to open a file to read it from the medium */
	bool verify;             /* false: there is no way to (--unverified-medium) */
	bool recovering;         /* sources may be half overwritten */
	const uint8_t *only_run; /* decrypting: only files of this run */
	const Secret *tag_key;
	uint8_t run[RUN_ID_SIZE];
	unsigned helpers; /* threads for one large file */
	void *userdata;   /* for those below */
	bool (*stopped)(void *userdata);
	void (*advanced)(void *userdata, uint64_t plain_bytes);
	void (*alive)(void *userdata, uint64_t bytes); /* work goes on that no byte is counted for */
} ReplacementContext;

/* Plans one file that was found by a walk. The entry's path, sizes, times and names are set; for a decrypt
 * that means reading the head. *ret_reason says why not when it returns -EBADMSG (or another errno). */
int replacement_new(const ReplacementContext *context, const WalkEntry *found, uint64_t serial,
	Workspace *workspace, Replacement **ret, Reason *ret_reason);

/* Takes one up again that a journal lists; state is VERIFIED. */
int replacement_adopt(Directory *directory, const JournalEntry *entry, Replacement **ret);

/* Opens the source, for writing where it is to be scrubbed, and looks whether it is still the file of
 * `source`. Notes why not. */
int replacement_open_source(const ReplacementContext *context, Replacement *replacement);

/* Gives a source its size, time and write bits back that a scrub changed before its pattern got to the
 * medium. Notes why not. */
int replacement_restore_source(const ReplacementContext *context, Replacement *replacement);

/* Closes what is still open, and gives a source its mode back that was lent one. */
Replacement *replacement_free(Replacement *replacement);
DEFINE_CLEANUP(Replacement *, replacement_free)
#define _cleanup_replacement_ _cleanup_(replacement_freep)

/* [pool] Writes the new file and keeps the source's descriptor. PLANNED -> WRITTEN or FAILED; stays PLANNED
 * when it was stopped before it made anything. */
void replacement_write(const ReplacementContext *context, Replacement *replacement, Workspace *workspace);

/* [pool] Syncs (where each has to be) and closes the new file, where the context says later. WRITTEN stays,
 * or FAILED. */
void replacement_close(const ReplacementContext *context, Replacement *replacement);

/* [pool] Reads the new file back from the medium. WRITTEN -> VERIFIED or FAILED. */
void replacement_verify(const ReplacementContext *context, Replacement *replacement, Workspace *workspace);

/* [pool] The source is unchanged and not in use: overwrite it. VERIFIED -> SCRUBBED or FAILED. */
void replacement_scrub(const ReplacementContext *context, Replacement *replacement, Workspace *workspace);

/* [pool] Syncs a source that was overwritten, where each has to be. SCRUBBED stays, or FAILED. */
void replacement_sync_source(const ReplacementContext *context, Replacement *replacement);

/* [pool] Unlinks the source, if its name still means it. SCRUBBED or VERIFIED -> UNLINKED or FAILED. A new
 * file whose source was scrubbed or edited stays then; any other is to be abandoned. */
void replacement_unlink(const ReplacementContext *context, Replacement *replacement);

/* Takes a failed replacement's new file away again, if it made one, holding its descriptor: it is to be
 * listed as aborted until the next barrier. A negative errno: it is still there, which is recovery's
 * business. */
int replacement_abandon(const ReplacementContext *context, Replacement *replacement);

/* The bytes its new file takes, rounded up to clusters. */
uint64_t replacement_space(const ReplacementContext *context, const Replacement *replacement);
