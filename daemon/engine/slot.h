/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * A slot of drive.json: the drive key of one epoch, wrapped under a passphrase.
 *
 *   passphrase --Argon2id--> 32 bytes --crypto_kdf "ucr-slot"--> wrap key (1), commitment (2)
 *
 * The commitment is compared before the key is unwrapped, since XChaCha20-Poly1305 alone does not commit to a
 * key (partitioning oracles: Len, Grubbs, Ristenpart 2021). Every wrapping draws a salt, so a wrap key is
 * used once and its nonce is zero.
 */

#include "engine/kdf.h"
#include "util/subkey.h"

#define SLOT_COMMITMENT_SIZE 32
#define SLOT_WRAPPED_SIZE    (DRIVE_KEY_SIZE + 16)

typedef enum SlotType {
	SLOT_PASSPHRASE = 1,
} SlotType;

typedef struct Slot {
	uint32_t id;
	uint32_t type; /* SlotType */
	uint32_t epoch;
	KdfParameters kdf;
	uint8_t salt[KDF_SALT_SIZE];
	uint8_t commitment[SLOT_COMMITMENT_SIZE];
	uint8_t wrapped[SLOT_WRAPPED_SIZE];
} Slot;

/* Fills in salt, commitment and wrapped; id, type, epoch and kdf are the caller's. Errors as kdf_derive(). */
int slot_wrap(Slot *slot, uint32_t version, const uint8_t drive_id[DRIVE_ID_SIZE], const Secret *passphrase,
	const Secret *drive_key);

/* Opens the slot with what kdf_derive() made of a passphrase, the slot's salt and parameters.
 * -EKEYREJECTED: the commitment differs (another passphrase). -EBADMSG: it is the passphrase, but what is
 * wrapped was altered. -ENOMEM, -EPERM: no memory can be locked. */
int slot_open(const Slot *slot, uint32_t version, const uint8_t drive_id[DRIVE_ID_SIZE],
	const Secret *derived, Secret **ret_drive_key);
