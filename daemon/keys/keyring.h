/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The kernel's side of the key store: keys of type "user" in this process's private session keyring, for its
 * possessor only, each with a timeout that the kernel enforces. See keyrings(7), keyctl(2).
 */

#include "util/macro.h"

#define KEYRING_PAYLOAD_MAX 256

/* Joins a new, anonymous session keyring: keys in it die with this process, and other processes of root do
 * not possess them. Once, before the other functions. -ENOSYS and others where there are no keyrings. */
int keyring_join(void);

/* Adds or replaces a key. `timeout` is in seconds, 0: none. */
int keyring_put(const char *name, const void *payload, size_t size, unsigned timeout, int32_t *ret_serial);

/* -ENOKEY, -EKEYEXPIRED, -EKEYREVOKED when it is not there any more; -EMSGSIZE when it is not of `size`. */
int keyring_read(int32_t serial, void *payload, size_t size);

int keyring_set_timeout(int32_t serial, unsigned timeout);

/* Revokes it (nobody can read it from now on) and then takes it out of the keyring, without which it would be
 * collected five minutes later. Invalidating is refused for a revoked key. */
void keyring_forget(int32_t serial);
