/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The AEAD suites a file can be encrypted with. Numbers are part of the format. All have 32-byte keys and
 * 16-byte tags. There is no null cipher, and never will be.
 */

#include "util/macro.h"

#include <stdbool.h>

typedef enum Suite {
	SUITE_XCHACHA20_POLY1305 = 1, /* draft-irtf-cfrg-xchacha; the default */
	SUITE_CHACHA20_POLY1305 = 2,  /* RFC 8439 */
	SUITE_AES_256_GCM = 3,        /* NIST SP 800-38D; only where libsodium finds AES-NI and CLMUL */
	SUITE_MAX,
	SUITE_INVALID = -1,
} Suite;

#define SUITE_KEY_SIZE       32
#define SUITE_TAG_SIZE       16
#define SUITE_NONCE_SIZE_MAX 24

/* "xchacha20-poly1305", "chacha20-poly1305", "aes-256-gcm"; NULL for an unknown one. */
const char *suite_name(Suite suite);
Suite suite_from_name(const char *name);

/* Whether this machine can compute it. False for unknown ones. */
bool suite_available(Suite suite);

/* Bytes of a nonce: 24, 12, 12; 0 for an unknown suite. */
size_t suite_nonce_size(Suite suite);

/* A key made ready for use (AES: its expanded schedule). It is a secret: it must lie in locked memory, see
 * keypool.h, and is wiped by its owner. Any number of threads may use one at the same time. */
typedef struct SuiteKey {
	uint8_t schedule[512] __attribute__((aligned(64)));
	uint8_t bytes[SUITE_KEY_SIZE];
	Suite suite;
} SuiteKey;

/* Sets `key` up from SUITE_KEY_SIZE bytes. -EOPNOTSUPP: the suite is not available here. */
int suite_key_init(SuiteKey *key, Suite suite, const uint8_t bytes[SUITE_KEY_SIZE]);

/* Seals `size` bytes to size + SUITE_TAG_SIZE at `sealed`, the tag last. `nonce` has the suite's size and
 * must be used once with a key. `plain` and `sealed` may be the same address. */
int suite_seal(const SuiteKey *key, const uint8_t *nonce, const void *associated, size_t associated_size,
	const uint8_t *plain, size_t size, uint8_t *sealed);

/* Opens `size` bytes (tag included) to size - SUITE_TAG_SIZE at `plain`; NULL authenticates only. -EBADMSG
 * when they are not authentic; what `plain` then holds is zeros or untouched. */
int suite_open(const SuiteKey *key, const uint8_t *nonce, const void *associated, size_t associated_size,
	const uint8_t *sealed, size_t size, uint8_t *plain);
