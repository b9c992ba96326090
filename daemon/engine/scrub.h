/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Overwriting plaintext in place before it is unlinked (I9). The pattern is keyed and different for every
 * file and sector, so that recovery can tell, sector by sector, what was overwritten from what was not: zeros
 * would be mistaken for a user's zeros.
 *
 * Key: BLAKE2b-256 keyed with the scrub subkey over "usbcrypt scrub 1" and the tag of the encrypted file's
 * last chunk. Sector i is blocks 8i..8i+7 of ChaCha20's keystream (RFC 8439's cipher, 64-bit nonce zero).
 */

#include "engine/pool.h"
#include "engine/vfs.h"

#define SCRUB_SECTOR 512

typedef struct ScrubKey {
	uint8_t bytes[32]; /* not secret from whoever holds the scrub subkey; worthless without the medium */
} ScrubKey;

void scrub_key_derive(const Secret *scrub_root, const uint8_t last_tag[SUITE_TAG_SIZE], ScrubKey *ret);

/* The pattern of `size` bytes (a multiple of SCRUB_SECTOR) from byte `offset` (likewise) on. */
void scrub_pattern(const ScrubKey *key, uint64_t offset, uint8_t *ret, size_t size);

typedef struct ScrubHelp {
	unsigned threads; /* that make the pattern of a large file, beside the caller's */
	void (*alive)(void *userdata, uint64_t bytes); /* after each segment. May be NULL */
	void *userdata;
} ScrubHelp;

/* Overwrites a file of `size` bytes through the end of its last cluster, from its start on. */
int scrub_file(const Vfs *vfs, int fd, uint64_t size, size_t cluster, const ScrubKey *key,
	const ScrubHelp *help, Workspace *workspace);

/* What the sectors of a scrubbed or half-scrubbed file are. */
typedef enum ScrubState {
	SCRUB_NONE,    /* no sector carries the pattern */
	SCRUB_PERHAPS, /* a cut-off one does, of less than a tag's length: that may be chance */
	SCRUB_SOME,    /* some do */
	SCRUB_MAX,
	SCRUB_INVALID = -1,
} ScrubState;

/* Looks for the pattern in the first `size` bytes of a file. Returns a ScrubState or a negative errno. */
int scrub_recognize(const Vfs *vfs, int fd, uint64_t size, const ScrubKey *key, Workspace *workspace);

/* 1: every sector of `size` bytes at `bytes` (which stand at `offset` of the file) equals `expected` or the
 * pattern; the last sector may be cut off. 0: one does not. */
int scrub_explains(
	const ScrubKey *key, uint64_t offset, const uint8_t *bytes, const uint8_t *expected, size_t size);
