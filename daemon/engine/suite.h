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

#define SUITE_KEY_SIZE 32
#define SUITE_TAG_SIZE 16

/* "xchacha20-poly1305", "chacha20-poly1305", "aes-256-gcm"; NULL for an unknown one. */
const char *suite_name(Suite suite);
Suite suite_from_name(const char *name);

/* Whether this machine can compute it. False for unknown ones. */
bool suite_available(Suite suite);
