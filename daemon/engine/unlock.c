/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "engine/unlock.h"

#include "util/memory.h"

#include <errno.h>

typedef struct Derived {
	uint8_t salt[KDF_SALT_SIZE];
	KdfParameters kdf;
	Secret *key;
} Derived;

typedef struct DerivedKeys {
	Derived items[COPY_MAX * METADATA_SLOTS_MAX];
	size_t n;
} DerivedKeys;

static void derived_keys_clear(DerivedKeys *keys)
{
	for (size_t i = 0; i < keys->n; i++)
		keys->items[i].key = secret_free(keys->items[i].key);
}
#define _cleanup_derived_keys_ _cleanup_(derived_keys_clear)

void unlocked_clear(Unlocked *unlocked)
{
	unlocked->drive_key = secret_free(unlocked->drive_key);
}

static int derive(DerivedKeys *keys, const Slot *slot, const Secret *passphrase, const Secret **ret_key)
{
	Derived *item;
	int r;

	for (size_t i = 0; i < keys->n; i++) {
		item = &keys->items[i];
		if (memcmp(item->salt, slot->salt, KDF_SALT_SIZE) == 0 &&
			item->kdf.memory == slot->kdf.memory && item->kdf.passes == slot->kdf.passes) {
			*ret_key = item->key;
			return 0;
		}
	}
	item = &keys->items[keys->n];
	r = kdf_derive(passphrase, slot->salt, &slot->kdf, &item->key);
	if (r < 0)
		return r;
	memcpy(item->salt, slot->salt, KDF_SALT_SIZE);
	item->kdf = slot->kdf;
	keys->n++;
	*ret_key = item->key;
	return 0;
}

/* 1: opened and authentic. 0: not by this passphrase. -EBADMSG: it was, and something was altered. */
static int unlock_slot(const Metadata *m, const Slot *slot, const Secret *derived, Secret **ret_drive_key)
{
	_cleanup_secret_ Secret *drive_key = NULL, *metadata_mac = NULL;
	int r;

	r = slot_open(slot, m->version, m->drive_id, derived, &drive_key);
	if (r == -EKEYREJECTED)
		return 0;
	if (r < 0)
		return r;
	r = subkey_derive(drive_key, SUBKEY_METADATA_MAC, &metadata_mac);
	if (r < 0)
		return r;
	if (!metadata_verify(m, metadata_mac))
		return -EBADMSG;
	*ret_drive_key = TAKE_PTR(drive_key);
	return 1;
}

static Outcome unlock_copy(const Metadata *m, const Secret *passphrase, DerivedKeys *keys, Unlocked *ret)
{
	Outcome outcome = OUTCOME_UNSUPPORTED; /* no slot of a known type */

	for (size_t i = 0; i < m->n_slots; i++) {
		const Slot *slot = &m->slots[i];
		const Secret *derived;
		int r;

		if (slot->epoch != m->epoch)
			continue;
		r = derive(keys, slot, passphrase, &derived);
		if (r < 0)
			return r == -ENOMEM ? OUTCOME_NO_MEMORY : OUTCOME_FAILED;
		r = unlock_slot(m, slot, derived, &ret->drive_key);
		if (r > 0) {
			ret->slot = i;
			return OUTCOME_DONE;
		}
		if (r < 0 && r != -EBADMSG)
			return OUTCOME_FAILED;
		if (r == -EBADMSG)
			outcome = OUTCOME_TAMPERED;
		else if (outcome != OUTCOME_TAMPERED)
			outcome = OUTCOME_WRONG_PASSPHRASE;
	}
	return outcome;
}

Outcome unlocked_find(const Copies *copies, const Secret *passphrase, Unlocked *ret_unlocked)
{
	_cleanup_derived_keys_ DerivedKeys keys = {};
	CopyName order[COPY_MAX];
	Outcome outcome = OUTCOME_INVALID;

	copies_order(copies, order);
	for (size_t i = 0; i < COPY_MAX; i++) {
		const Metadata *m = copies->metadata[order[i]];
		Outcome o;

		if (!m)
			continue;
		o = unlock_copy(m, passphrase, &keys, ret_unlocked);
		if (o == OUTCOME_DONE) {
			ret_unlocked->name = order[i];
			return m->suite == SUITE_INVALID ? OUTCOME_UNSUPPORTED : OUTCOME_DONE;
		}
		if (o == OUTCOME_NO_MEMORY || o == OUTCOME_FAILED)
			return o;
		/* Altered weighs more than wrong: it is said only to who knows the passphrase. */
		if (outcome == OUTCOME_INVALID || o == OUTCOME_TAMPERED ||
			(o == OUTCOME_WRONG_PASSPHRASE && outcome == OUTCOME_UNSUPPORTED))
			outcome = o;
	}
	return outcome == OUTCOME_INVALID ? copies_verdict(copies) : outcome;
}
