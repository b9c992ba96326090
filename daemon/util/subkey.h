/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The registry of what is derived from a drive key: crypto_kdf (keyed BLAKE2b, libsodium) with context
 * "usbcrypt". Numbers are part of the on-disk format and never change. Every job gets only the subkeys it
 * needs.
 */

#include "util/secret.h"

#define DRIVE_KEY_SIZE 32
#define SUBKEY_SIZE    32
#define DRIVE_ID_SIZE  16

typedef enum Subkey {
	SUBKEY_METADATA_MAC = 1, /* authenticates drive.json */
	SUBKEY_JOURNAL_MAC = 2,  /* authenticates journal records */
	SUBKEY_FILE_ROOT = 3,    /* every file's secret descends from it */
	SUBKEY_SCRUB_ROOT = 4,   /* every scrub pattern descends from it */
	SUBKEY_MAX,
	SUBKEY_INVALID = -1,
} Subkey;

/* Derives one subkey (SUBKEY_SIZE bytes) from a drive key (DRIVE_KEY_SIZE bytes; -EINVAL otherwise). */
int subkey_derive(const Secret *drive_key, Subkey id, Secret **ret_subkey);
