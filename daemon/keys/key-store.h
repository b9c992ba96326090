/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The drive keys of unlocked drives, by drive name. Each lies sealed in the kernel's keyring (keys/keyring.h)
 * under a sealing key of this process (keys/sealing.h): either half alone is useless.
 */

#include "util/secret.h"

#include <stdbool.h>

typedef struct KeyStore KeyStore;

/* Joins the private session keyring. Fails as keyring_join() does; nothing is locked in memory yet. */
int key_store_new(KeyStore **ret_store);

/* Forgets everything. Accepts NULL, returns NULL. */
KeyStore *key_store_free(KeyStore *store);
DEFINE_CLEANUP(KeyStore *, key_store_free)

/* Whether a key could be kept now: -ENOMEM or -EPERM when memory cannot be locked. Ask before a key is
 * derived. */
int key_store_prepare(KeyStore *store);

/* Keeps a drive key. The kernel forgets it after `timeout` microseconds (rounded up to seconds; 0: never). */
int key_store_put(KeyStore *store, const char *name, const Secret *drive_key, uint64_t timeout);

/* A copy of the drive key. -ENOKEY, -EKEYEXPIRED, -EKEYREVOKED when it is not there any more. */
int key_store_get(KeyStore *store, const char *name, Secret **ret_drive_key);

bool key_store_has(const KeyStore *store, const char *name);

/* The kernel's timeout starts anew. */
int key_store_set_timeout(KeyStore *store, const char *name, uint64_t timeout);

void key_store_forget(KeyStore *store, const char *name);

/* Also wipes the sealing key, which shreds every copy there may be of the sealed ones. */
void key_store_forget_all(KeyStore *store);
