/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Judges a disk without the engine. A file counts as whole where some entry holds, byte for byte, what it
 * held at the start, as plaintext or as an encrypted file that the second reader opens.
 */

#include "scenario.h"

typedef struct FileState {
	bool plain, cipher;           /* whole in this form */
	bool plain_name, cipher_name; /* something has its name */
} FileState;

typedef struct Look {
	FileState files[FILES_MAX];
	bool bystander, second;
	unsigned n_whole;
	char trouble[400]; /* the first entry that is none of ours, points into free space, or shares clusters
			    */
} Look;

/* `allocated`: only what the FAT says is taken counts as whole. */
void oracle_look(const World *world, const Disk *disk, bool allocated, Look *ret);

/* I1, at any instant. NULL: it holds. Otherwise what does not, valid until the next call. */
const char *oracle_instant(const World *world, const Disk *disk);

/* What must hold when a run or a recovery has ended. `closed`: it says that nothing is pending.
 * `damaged`: a sector was, so that what is left of a file may be taken for somebody else's. */
const char *oracle_end(const World *world, const Execution *execution, bool closed, bool damaged);

/* Fills all free clusters, as whoever uses the drive next may do. */
void oracle_fill(Disk *disk);
