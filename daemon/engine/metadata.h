/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The content of drive.json, as bytes: line 1 is JSON, line 2 the MAC over line 1's bytes, the rest padding
 * (FORMAT.md, "drive.json"). Reading and writing the two copies is engine/copy.h's.
 */

#include "engine/slot.h"
#include "engine/suite.h"
#include "util/outcome.h"

#include <stdbool.h>

#define METADATA_SIZE       16384 /* bytes of drive.json, always */
#define METADATA_VERSION    1
#define METADATA_SLOTS_MAX  8
#define METADATA_NUMBER_MAX 0x7fffffffU /* ids, epochs */

typedef struct Metadata {
	uint32_t version;
	uint64_t generation;
	uint8_t drive_id[DRIVE_ID_SIZE];
	Suite suite; /* SUITE_INVALID: one that is not known here */
	uint32_t epoch;
	Slot slots[METADATA_SLOTS_MAX]; /* those of known types */
	size_t n_slots;
	uint8_t digest[32]; /* BLAKE2b-256 of all METADATA_SIZE bytes it was parsed from */

	uint8_t mac[32];
	char *line; /* what the MAC is over */
	size_t line_size;
	void *tree; /* cJSON *: everything, also what is not known here */
} Metadata;

Metadata *metadata_free(Metadata *metadata);
DEFINE_CLEANUP(Metadata *, metadata_free)
#define _cleanup_metadata_ _cleanup_(metadata_freep)

/* Checks every range and every form; nothing is authenticated yet. OUTCOME_TAMPERED: it is none.
 * OUTCOME_UNSUPPORTED: another version, or an unknown entry in `requires`. OUTCOME_FAILED: no memory. */
Outcome metadata_parse(const uint8_t *bytes, size_t size, Metadata **ret_metadata);

/* Whether the MAC is that of SUBKEY_METADATA_MAC of the drive's key. */
bool metadata_verify(const Metadata *metadata, const Secret *metadata_mac);

/* A new drive's: generation 1, epoch 1, and the one slot. */
int metadata_new(
	const uint8_t drive_id[DRIVE_ID_SIZE], Suite suite, const Slot *slot, Metadata **ret_metadata);

/* Replaces the slot of the same id (-ENOENT), keeping members of it that are not known here. */
int metadata_replace_slot(Metadata *metadata, const Slot *slot);

/* Sets the generation, and prints with its MAC: METADATA_SIZE bytes. -EMSGSIZE when it does not fit. */
int metadata_format(
	Metadata *metadata, uint64_t generation, const Secret *metadata_mac, uint8_t bytes[METADATA_SIZE]);
