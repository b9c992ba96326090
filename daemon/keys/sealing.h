/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The daemon's half of every stored key: XChaCha20-Poly1305 under a sealing key that never leaves this
 * process and is inaccessible between two uses. A sealed key is nonce (24) | ciphertext | tag (16); the
 * nonce is fresh for each sealing, the name it is stored under is associated data.
 */

#include "util/secret.h"

#define SEALED_OVERHEAD 40

typedef struct Sealing Sealing;

/* Draws a new sealing key. -ENOMEM, -EPERM when its memory cannot be locked. */
int sealing_new(Sealing **ret_sealing);

/* Wipes the sealing key: whatever it sealed is lost. Accepts NULL, returns NULL. */
Sealing *sealing_free(Sealing *sealing);
DEFINE_CLEANUP(Sealing *, sealing_free)

/* Writes secret_size(secret) + SEALED_OVERHEAD bytes to `sealed`, which holds `size`; another size is
 * -EINVAL. */
int sealing_seal(Sealing *sealing, const char *name, const Secret *secret, void *sealed, size_t size);

/* -EBADMSG when it was not sealed by this key under this name. */
int sealing_open(Sealing *sealing, const char *name, const void *sealed, size_t size, Secret **ret_secret);
