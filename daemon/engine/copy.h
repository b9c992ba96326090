/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The two copies of drive.json on the drive: opening what may be anything, reading it, and writing one so
 * that it is durable and known to be. One copy is always left alone while the other is written.
 */

#include "engine/metadata.h"
#include "engine/vfs.h"

typedef enum CopyName {
	COPY_A,
	COPY_B,
	COPY_MAX,
} CopyName;

#define COPY_BUFFER_ALIGN 4096 /* of buffers for O_DIRECT */

/* ".usbcrypt/a", ".usbcrypt/a/drive.json" */
const char *copy_directory(CopyName name);
const char *copy_path(CopyName name);

/* What a negative errno from a drive means. `vfs` tells a gone drive from a failing one. */
Outcome copy_outcome(const Vfs *vfs, int error);

/* Opens a copy for reading, whatever lies in its place: OUTCOME_NOT_ENROLLED when nothing does,
 * OUTCOME_TAMPERED when it is not a regular file of METADATA_SIZE bytes (a link, a pipe, a device and a
 * folder included; none of them is opened or waited for). */
Outcome copy_open(const Vfs *vfs, int root_fd, CopyName name, int *ret_fd);

/* Reads and parses an open copy. Errors as copy_open() and metadata_parse(). */
Outcome copy_read(const Vfs *vfs, int fd, Metadata **ret_metadata);

/* Writes a copy (in place where there is one, of whatever size), makes it durable and reads it back from the
 * medium: OUTCOME_MEDIUM_FAILED when that gives other bytes. Its directory must exist. */
Outcome copy_write(const Vfs *vfs, int root_fd, CopyName name, const uint8_t bytes[METADATA_SIZE]);

/* Syncs an open file or directory where the filesystem can; one that cannot leaves it to the barrier. */
int copy_sync(const Vfs *vfs, int fd);

/* Both copies as they were found; `metadata` is NULL where `outcomes` is not OUTCOME_DONE. */
typedef struct Copies {
	Metadata *metadata[COPY_MAX];
	Outcome outcomes[COPY_MAX];
} Copies;

void copies_load(const Vfs *vfs, int root_fd, Copies *ret_copies);
void copies_clear(Copies *copies);
#define _cleanup_copies_ _cleanup_(copies_clear)

/* The order in which they are tried: the highest generation first, and of equals copy a. */
void copies_order(const Copies *copies, CopyName ret_order[COPY_MAX]);

/* The one to believe: the first in that order whose MAC is good. COPY_MAX when there is none. */
CopyName copies_believed(const Copies *copies, const Secret *metadata_mac);

/* What to say when none of them can even be parsed: OUTCOME_NOT_ENROLLED only when neither is there. */
Outcome copies_verdict(const Copies *copies);
