/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The drive as a whole: .usbcrypt/{a,b}/drive.json, and what enrolling, unlocking and leaving mean for it.
 * All of it runs in a short-lived worker. Order of belief for what is read: FORMAT.md, "Reading drive.json".
 */

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
	Suite suite;
	uint32_t version;
} DriveFacts;

/* What an authenticated drive.json says. */
typedef struct DriveIdentity {
	uint8_t id[DRIVE_ID_SIZE];
	Suite suite;
	uint32_t epoch;
	uint64_t generation;
	uint8_t digest[32]; /* BLAKE2b-256 of the copy that was believed; journal records name it */
} DriveIdentity;

typedef struct EnrollParameters {
	Suite suite;
	uint64_t kdf_memory; /* bytes; 0: choose for this machine (256 MiB, or 64 MiB below 2 GiB) */
	uint32_t kdf_passes; /* 0: calibrate to about one second */
} EnrollParameters;

/* Looks for .usbcrypt below an open root directory. A drive that is not enrolled is OUTCOME_DONE with
 * enrolled false. OUTCOME_TAMPERED: something is there that no reader can make sense of. */
Outcome drive_probe(const Vfs *vfs, int root_fd, DriveFacts *ret_facts);

/* Makes a drive key, wraps it under the passphrase and makes both copies durable, each followed by a barrier
 * and read back (I3). A failure takes away again what it had made. */
Outcome drive_enroll(const Vfs *vfs, int root_fd, const Secret *passphrase,
	const EnrollParameters *parameters, DriveIdentity *ret_identity, Secret **ret_drive_key);

/* Proves the passphrase and unwraps the drive key. Reads only; a wrong passphrase changes no byte.
 * WRONG_PASSPHRASE: no slot's commitment matches, and nothing says how close it was. *ret_rewrap: the slot
 * that matched is below today's floor, see drive_rewrap(). */
Outcome drive_unlock(const Vfs *vfs, int root_fd, const Secret *passphrase, DriveIdentity *ret_identity,
	Secret **ret_drive_key, bool *ret_rewrap);

/* Re-wraps the drive key in the slot that the passphrase opens with today's KDF parameters. */
Outcome drive_rewrap(const Vfs *vfs, int root_fd, const Secret *passphrase, const Secret *drive_key,
	const EnrollParameters *parameters);

/* Authenticates drive.json with the metadata MAC key, as a transaction does before it starts. */
Outcome drive_identify(const Vfs *vfs, int root_fd, const Secret *metadata_mac, DriveIdentity *ret_identity);

/* Removes .usbcrypt, after its caller has proved the passphrase and that no encrypted file is left. */
Outcome drive_unenroll(const Vfs *vfs, int root_fd);

/* A passphrase as keys are derived from it: one trailing newline stripped, Unicode NFC where it is valid
 * UTF-8. -EMSGSIZE above 1024 bytes, -EINVAL when nothing is left. */
int passphrase_normalize(Secret **passphrase);
