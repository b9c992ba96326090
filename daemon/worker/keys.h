/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The keys that come to a worker, only when its sandbox is closed, and the one that leaves it. */

#include "worker/control.h"

typedef struct Keys {
	uint8_t drive_id[DRIVE_ID_SIZE];
	uint32_t epoch;
	Secret *subkeys[SUBKEY_MAX]; /* by Subkey; NULL: not given */
} Keys;

/* Waits for KEYS. `needed` are SUBKEY_* bits. INVALID_ARGUMENT: another record, or too few keys. */
Outcome keys_receive(Control *control, unsigned needed, Keys *ret_keys, ResultRecord *result);
void keys_clear(Keys *keys);

/* Hands the drive key to the daemon (KEY), out of locked memory. */
Outcome keys_send(Control *control, const Secret *drive_key, ResultRecord *result);
