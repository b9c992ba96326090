/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "worker/keys.h"

#include "worker/result.h"

#include <errno.h>
#include <string.h>

void keys_clear(Keys *keys)
{
	for (size_t i = 0; i < SUBKEY_MAX; i++)
		keys->subkeys[i] = secret_free(keys->subkeys[i]);
}

Outcome keys_receive(Control *control, unsigned needed, Keys *ret_keys, ResultRecord *result)
{
	Keys keys = {0};
	Record *record;
	int r;

	r = control_receive(control, &record);
	if (r < 0)
		return result_fail(result, r, "no keys came");
	if (record->header.type != RECORD_KEYS || (record->keys.present & needed) != needed) {
		control_forget(control);
		return result_set(result, OUTCOME_INVALID_ARGUMENT, "the job came without its keys");
	}
	memcpy(keys.drive_id, record->keys.drive_id, sizeof(keys.drive_id));
	keys.epoch = record->keys.epoch;
	/* What came beyond what is needed is not kept. */
	for (unsigned i = 1; r >= 0 && i < SUBKEY_MAX; i++)
		if (needed & 1U << i)
			r = secret_new_take(record->keys.subkeys[i], SUBKEY_SIZE, &keys.subkeys[i]);
	control_forget(control);
	if (r < 0) {
		keys_clear(&keys);
		return result_set(result, OUTCOME_NO_MEMORY, "cannot lock memory for the keys");
	}
	*ret_keys = keys;
	return OUTCOME_DONE;
}

_Static_assert(sizeof(KeyRecord) == DRIVE_KEY_SIZE, "KEY is the key's bytes and no more");

Outcome keys_send(Control *control, const Secret *drive_key, ResultRecord *result)
{
	int r;

	r = control_send(control, RECORD_KEY, secret_view(drive_key), secret_size(drive_key), NULL, 0);
	return r < 0 ? result_fail(result, r, "cannot hand the key over") : OUTCOME_DONE;
}
