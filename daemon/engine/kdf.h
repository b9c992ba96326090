/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * From a passphrase to a key: Argon2id 1.3 (RFC 9106), one lane, 32 bytes out.
 *
 * Its working memory is libsodium's: mapped for one call, not locked (it is as large as the parameters say,
 * so that on a machine with swap parts of it may be written there), and unmapped at the end; the kernel
 * zeroes the pages before anybody else gets them. No core file holds it: the process is undumpable
 * (secret_init()). libsodium also keeps the 32 bytes of its result in an ordinary allocation for the call,
 * wiped before it is freed.
 */

#include "util/secret.h"

#include <stdbool.h>

#define KDF_SALT_SIZE 16
#define KDF_KEY_SIZE  32

/* What a reader accepts. The drive names the parameters before anything of it is authenticated: these bounds
 * are what keeps a hostile one from asking for a day or a terabyte. */
#define KDF_MEMORY_MIN   ((uint64_t)64 << 20) /* bytes */
#define KDF_MEMORY_MAX   ((uint64_t)1 << 30)
#define KDF_MEMORY_STEP  ((uint64_t)1024) /* Argon2 counts in KiB */
#define KDF_PASSES_MIN   2U
#define KDF_PASSES_MAX   16U
#define KDF_COST_SUM_MAX ((uint64_t)1 << 34) /* bytes times passes, summed over a drive's slots */

/* A slot that costs less is re-wrapped at the next unlock. Bytes times passes: 64 MiB, three times. */
#define KDF_COST_FLOOR (3 * KDF_MEMORY_MIN)

/* What a new slot is given, unless its maker says otherwise. */
#define KDF_MEMORY_USUAL  ((uint64_t)256 << 20)
#define KDF_MEMORY_SMALL  KDF_MEMORY_MIN /* on machines with less than KDF_MACHINE_SMALL bytes */
#define KDF_MACHINE_SMALL ((uint64_t)2 << 30)
#define KDF_COST_CHOSEN   (KDF_COST_SUM_MAX / 8) /* at most, so that eight such slots are acceptable */

typedef struct KdfParameters {
	uint64_t memory; /* bytes */
	uint32_t passes;
} KdfParameters;

bool kdf_parameters_are_valid(const KdfParameters *parameters);
uint64_t kdf_cost(const KdfParameters *parameters);

/* Derives KDF_KEY_SIZE bytes. -EINVAL: parameters out of bounds. -ENOMEM: parameters->memory bytes are not to
 * be had. -EPERM: no memory can be locked for the key. */
int kdf_derive(const Secret *passphrase, const uint8_t salt[KDF_SALT_SIZE], const KdfParameters *parameters,
	Secret **ret_key);

/* Chooses parameters for a new slot: `memory` bytes (0: for this machine), and `passes` (0: as many as take
 * about a second here, found by a trial). -EINVAL when the choice is out of bounds, -ENOMEM as above. */
int kdf_choose(uint64_t memory, uint32_t passes, KdfParameters *ret_parameters);
