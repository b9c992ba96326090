/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "keys/key-store.h"

#include "keys/keyring.h"
#include "keys/sealing.h"
#include "util/memory.h"
#include "util/subkey.h"

#include <errno.h>
#include <stdio.h>

#define SEALED_SIZE (DRIVE_KEY_SIZE + SEALED_OVERHEAD)

typedef struct StoredKey {
	struct StoredKey *next;
	int32_t serial;
	char name[]; /* "usbcrypt:sdb1_12" */
} StoredKey;

struct KeyStore {
	Sealing *sealing; /* NULL until the first key needs it */
	StoredKey *keys;
};

#define NAME_PREFIX "usbcrypt:"

int key_store_new(KeyStore **ret_store)
{
	KeyStore *store;
	int r = keyring_join();

	if (r < 0)
		return r;
	store = new0(KeyStore, 1);
	if (!store)
		return -ENOMEM;
	*ret_store = store;
	return 0;
}

KeyStore *key_store_free(KeyStore *store)
{
	if (!store)
		return NULL;
	key_store_forget_all(store);
	return mfree(store);
}

int key_store_prepare(KeyStore *store)
{
	return store->sealing ? 0 : sealing_new(&store->sealing);
}

static StoredKey **key_find(KeyStore *store, const char *name)
{
	StoredKey **at = &store->keys;

	while (*at && strcmp((*at)->name + strlen(NAME_PREFIX), name) != 0)
		at = &(*at)->next;
	return at;
}

/* The kernel counts seconds; what it is asked for is never less than what was meant. */
static unsigned seconds(uint64_t timeout)
{
	uint64_t rounded = timeout / USEC_PER_SEC + (timeout % USEC_PER_SEC != 0);

	return (unsigned)MIN(rounded, (uint64_t)INT32_MAX);
}

int key_store_put(KeyStore *store, const char *name, const Secret *drive_key, uint64_t timeout)
{
	_cleanup_free_ StoredKey *fresh = NULL;
	uint8_t sealed[SEALED_SIZE];
	size_t size = sizeof(NAME_PREFIX) + strlen(name);
	int32_t serial;
	int r;

	if (secret_size(drive_key) != DRIVE_KEY_SIZE)
		return -EINVAL;
	r = key_store_prepare(store);
	if (r < 0)
		return r;
	fresh = calloc(1, sizeof(StoredKey) + size);
	if (!fresh)
		return -ENOMEM;
	(void)snprintf(fresh->name, size, NAME_PREFIX "%s", name);

	r = sealing_seal(store->sealing, fresh->name, drive_key, sealed, sizeof(sealed));
	if (r < 0)
		return r;
	/* add_key() would update a key of that name in place and lose its timeout for a moment. */
	key_store_forget(store, name);
	r = keyring_put(fresh->name, sealed, sizeof(sealed), seconds(timeout), &serial);
	secret_wipe(sealed, sizeof(sealed));
	if (r < 0)
		return r;
	fresh->serial = serial;
	fresh->next = store->keys;
	store->keys = TAKE_PTR(fresh);
	return 0;
}

int key_store_get(KeyStore *store, const char *name, Secret **ret_drive_key)
{
	StoredKey *key = *key_find(store, name);
	uint8_t sealed[SEALED_SIZE];
	int r;

	if (!key || !store->sealing)
		return -ENOKEY;
	r = keyring_read(key->serial, sealed, sizeof(sealed));
	if (r >= 0)
		r = sealing_open(store->sealing, key->name, sealed, sizeof(sealed), ret_drive_key);
	secret_wipe(sealed, sizeof(sealed));
	return r;
}

bool key_store_has(const KeyStore *store, const char *name)
{
	for (const StoredKey *key = store->keys; key; key = key->next)
		if (strcmp(key->name + strlen(NAME_PREFIX), name) == 0)
			return true;
	return false;
}

int key_store_set_timeout(KeyStore *store, const char *name, uint64_t timeout)
{
	StoredKey *key = *key_find(store, name);

	return key ? keyring_set_timeout(key->serial, seconds(timeout)) : -ENOKEY;
}

void key_store_forget(KeyStore *store, const char *name)
{
	StoredKey **at = key_find(store, name), *key = *at;

	if (!key)
		return;
	*at = key->next;
	keyring_forget(key->serial);
	free(key);
}

void key_store_forget_all(KeyStore *store)
{
	store->sealing = sealing_free(store->sealing);
	while (store->keys)
		key_store_forget(store, store->keys->name + strlen(NAME_PREFIX));
}
