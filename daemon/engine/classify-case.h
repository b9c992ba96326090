/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What classify.c and classify-stray.c share: the file that is being decided about, and what can be told of
 * its forms. */

#include "engine/classify.h"
#include "engine/form.h"

typedef struct Case {
	Run *run;
	Finding *finding;
	const Finding *all; /* n of them, with this one */
	size_t n;
	Workspace *workspace;
	Strays *strays;
	Directory *directory;
	Form source, new;
	const ScrubKey *scrub_key;
	Workspace scratch;                /* for the form that is compared with the one being decrypted */
	bool zeros_explain;               /* a hole that was never written counts as ours */
	bool learned;                     /* the tag is what the new file itself says, no record */
	uint8_t last_tag[SUITE_TAG_SIZE]; /* of the encrypted form that was whole */
	bool abandoned;                   /* the new file, trusted, was being taken away again */
	bool writable; /* the plaintext of the encrypted form, once that has been looked at, is */
} Case;

/* Opens both forms, by their names or, where a power cut left no more, by aliases. */
int case_open_forms(Case *c);

/* 0: every sector of the plain form is the encrypted one's, or ours otherwise; -ESTALE: not; another errno:
 * the encrypted form is not whole, or one cannot be read. */
int compare_forms(Case *c, const Form *cipher);

/* Which path the head of an encrypted file of that size names, as malloc()ed text; NULL: it cannot be told.
 * -EBADMSG: it has none. Reads no more than the first cluster: what follows may be a torn chain, and meeting
 * one turns the filesystem read-only. head_is_of_this: 1: this finding's; 0: another's, or it cannot be told.
 */
int head_path(Case *c, const char *name, uint64_t size_of_file, char **ret_path);
int head_is_of_this(Case *c, const char *name, uint64_t size_of_file);

/* Whether the plaintext of the encrypted source is one that its owner may write to: only that bears a mark.
 */
bool plain_is_writable(Case *c);

/* Whether nobody but us has written to the new plaintext. */
bool new_is_ours(Case *c);

/* Whether the new plaintext is the recorded one, and no longer. A negative errno: it cannot be read. */
int plain_is_as_written(Case *c);
