/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Secrets: memory that is locked, guard-paged, left out of core files and wiped (invariant I8).
 *
 * A Secret is opaque on purpose: it cannot be printed, copied to a char * by accident, or put into JSON. Its
 * bytes are reached only through secret_bytes(), and only where a primitive needs them.
 */

#include "util/macro.h"

#include <stdbool.h>

typedef struct Secret Secret;

/* The longest secret: a passphrase as code points while it is normalised, or a slab of many keys. */
#define SECRET_SIZE_MAX 8192

/* Initialises libsodium and makes this process undumpable. Call once, before any other function here. */
int secret_init(void);

/* Allocates a zeroed secret of `size` bytes (1..SECRET_SIZE_MAX). Fails with -ENOMEM or -EPERM when the
 * memory cannot be locked: an unlocked secret never exists. */
int secret_new(size_t size, Secret **ret_secret);

/* As secret_new(), with random content. */
int secret_new_random(size_t size, Secret **ret_secret);

/* As secret_new(), copying `bytes`; the source is wiped, so that one copy remains. */
int secret_new_take(void *bytes, size_t size, Secret **ret_secret);

/* Wipes, unlocks and frees. Accepts NULL, returns NULL. */
Secret *secret_free(Secret *secret);
DEFINE_CLEANUP(Secret *, secret_free)
#define _cleanup_secret_ _cleanup_(secret_freep)

/* The secret's bytes, valid while it lives. Not to be copied into memory that is not a Secret. */
uint8_t *secret_bytes(Secret *secret);
const uint8_t *secret_view(const Secret *secret);
size_t secret_size(const Secret *secret);

/* Shortens the secret to its first `size` bytes and wipes the rest. */
void secret_truncate(Secret *secret, size_t size);

/* Makes the bytes inaccessible until the next secret_expose(): for keys that rest between two uses. */
int secret_conceal(Secret *secret);
int secret_expose(Secret *secret);

/* Wipes ordinary memory in a way the compiler keeps. */
void secret_wipe(void *bytes, size_t size);
