/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A second reader of encrypted files, written from FORMAT.md alone: the oracle must not believe the engine.
 */

#include "util/macro.h"

#include <stdbool.h>

#define READER_PATH_MAX 4096

/* Decrypts a whole file in memory. `plain` has room for `size` bytes. False: it is not whole, not authentic,
 * or not of this drive. Suite 1 only. */
bool reader_open(const uint8_t file_root[32], const uint8_t drive_id[16], const uint8_t *bytes, size_t size,
	char path[READER_PATH_MAX + 1], uint8_t *plain, size_t *ret_size);
