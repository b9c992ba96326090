/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "engine/keypool.h"

#include "util/secret.h"

#include <pthread.h>
#include <string.h>

typedef union Slot {
	uint8_t bytes[KEYPOOL_SLOT_SIZE];
	union Slot *next; /* while it is free */
} Slot;

#define SLOTS_PER_SLAB (SECRET_SIZE_MAX / KEYPOOL_SLOT_SIZE)

_Static_assert(KEYPOOL_SLOT_SIZE % KEYPOOL_SLOT_ALIGN == 0, "slots keep the alignment of their slab");
/* sodium_malloc() ends its memory at a page's end, so that a slab of whole pages is aligned to a page. */
_Static_assert(SECRET_SIZE_MAX % 4096 == 0, "slabs are whole pages");

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static Slot *free_slots;

int keypool_take(void **ret_slot)
{
	Slot *slot;
	int r = 0;

	(void)pthread_mutex_lock(&lock);
	if (!free_slots) {
		Secret *slab;

		r = secret_new(SECRET_SIZE_MAX, &slab);
		if (r >= 0) {
			Slot *slots = (Slot *)(void *)secret_bytes(slab);

			/* The slab is never given back: the handle is not needed any more, and its slots
			 * stay reachable through this list. */
			for (size_t i = 0; i < SLOTS_PER_SLAB; i++) {
				slots[i].next = free_slots;
				free_slots = &slots[i];
			}
		}
	}
	slot = free_slots;
	if (slot)
		free_slots = slot->next;
	(void)pthread_mutex_unlock(&lock);
	if (!slot)
		return r;
	slot->next = NULL;
	*ret_slot = slot;
	return 0;
}

void *keypool_give(void *slot)
{
	Slot *s = slot;

	if (!s)
		return NULL;
	secret_wipe(s, sizeof(*s));
	(void)pthread_mutex_lock(&lock);
	s->next = free_slots;
	free_slots = s;
	(void)pthread_mutex_unlock(&lock);
	return NULL;
}
