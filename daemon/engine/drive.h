/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The drive as a whole: .usbcrypt/{a,b}/drive.json, and what enrolling, unlocking and leaving mean for it.
 * All of it runs in a short-lived worker. Order of belief for what is read: FORMAT.md, "Reading drive.json".
 */

#include "engine/passphrase.h"
#include "engine/suite.h"
#include "engine/vfs.h"
#include "util/outcome.h"
#include "util/subkey.h"

#include <stdbool.h>

#define USBCRYPT_DIRECTORY ".usbcrypt"

/* What can be said of a drive without its key: a hint, nothing of it is authenticated. */
typedef struct DriveFacts {
	bool enrolled;
	uint8_t id[DRIVE_ID_SIZE];
	Suite suite; /* SUITE_INVALID: one that is not known here */
	uint32_t version;
	uint64_t kdf_memory; /* bytes that unlocking needs, for OUTCOME_NO_MEMORY's message */
} DriveFacts;

/* What an authenticated drive.json says. */
typedef struct DriveIdentity {
	uint8_t id[DRIVE_ID_SIZE];
	Suite suite;
	uint32_t epoch;
	uint64_t generation;
	uint8_t digest[32]; /* BLAKE2b-256 of the copy that was believed; journal records name it */
	bool degraded;      /* the other copy is missing, damaged or older: drive_rewrap() mends that too */
} DriveIdentity;

typedef struct EnrollParameters {
	Suite suite;
	uint64_t kdf_memory; /* bytes; 0: choose for this machine (256 MiB, or 64 MiB below 2 GiB) */
	uint32_t kdf_passes; /* 0: calibrate to about one second */
} EnrollParameters;

/* Probing in two steps, for a worker that gives its privileges up between them: the first opens and looks at
 * file types only, the second parses, and closes. */
typedef struct DriveFiles {
	int fds[2]; /* -1 where `outcomes` is not OUTCOME_DONE */
	Outcome outcomes[2];
} DriveFiles;
void drive_open(const Vfs *vfs, int root_fd, DriveFiles *ret_files);
Outcome drive_probe_files(const Vfs *vfs, DriveFiles *files, DriveFacts *ret_facts);

/* Looks for .usbcrypt below an open root directory. A drive that is not enrolled is OUTCOME_DONE with
 * enrolled false. OUTCOME_TAMPERED: something is there that no reader can make sense of. OUTCOME_UNSUPPORTED:
 * a version of the format that is not known here. */
static inline Outcome drive_probe(const Vfs *vfs, int root_fd, DriveFacts *ret_facts)
{
	DriveFiles files;

	drive_open(vfs, root_fd, &files);
	return drive_probe_files(vfs, &files, ret_facts);
}

/* Makes a drive key, wraps it under the passphrase (normalised already) and makes both copies durable, each
 * followed by a barrier and read back (I3). A failure takes away again what it had made. What an interrupted
 * enroll left, which no file was encrypted with yet, is replaced. OUTCOME_ALREADY_ENROLLED, or
 * OUTCOME_TAMPERED where .usbcrypt holds something else; OUTCOME_UNSUPPORTED: the suite is not available
 * here; OUTCOME_INVALID_ARGUMENT: KDF parameters out of bounds; OUTCOME_NO_MEMORY. */
Outcome drive_enroll(const Vfs *vfs, int root_fd, const Secret *passphrase,
	const EnrollParameters *parameters, DriveIdentity *ret_identity, Secret **ret_drive_key);

/* Proves the passphrase (normalised already) and unwraps the drive key. Reads only; a wrong passphrase
 * changes no byte. OUTCOME_WRONG_PASSPHRASE: no slot's commitment matches, and nothing says how close it was.
 * OUTCOME_NO_MEMORY: DriveFacts.kdf_memory says how much it takes. *ret_rewrap: the slot that matched is
 * below today's floor, see drive_rewrap(). */
Outcome drive_unlock(const Vfs *vfs, int root_fd, const Secret *passphrase, DriveIdentity *ret_identity,
	Secret **ret_drive_key, bool *ret_rewrap);

/* Re-wraps the drive key in the slot that the passphrase opens with today's KDF parameters, under a higher
 * generation, one copy after the other. Slots and members that are not known here are kept. Also mends a copy
 * that is missing or damaged. */
Outcome drive_rewrap(const Vfs *vfs, int root_fd, const Secret *passphrase, const Secret *drive_key,
	const EnrollParameters *parameters);

/* Authenticates drive.json with the metadata MAC key, as a transaction does before it starts. */
Outcome drive_identify(const Vfs *vfs, int root_fd, const Secret *metadata_mac, DriveIdentity *ret_identity);

/* Removes .usbcrypt, after its caller has proved the passphrase and that no encrypted file is left.
 * OUTCOME_TAMPERED when it holds anything that is not ours: then nothing of it is removed. */
Outcome drive_unenroll(const Vfs *vfs, int root_fd);
