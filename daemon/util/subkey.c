/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "util/subkey.h"

#include <errno.h>
#include <sodium.h>

_Static_assert(DRIVE_KEY_SIZE == crypto_kdf_KEYBYTES, "a drive key is a crypto_kdf master key");

int subkey_derive(const Secret *drive_key, Subkey id, Secret **ret_subkey)
{
	static const char context[crypto_kdf_CONTEXTBYTES + 1] = "usbcrypt";
	_cleanup_secret_ Secret *subkey = NULL;
	int r;

	if (id <= 0 || id >= SUBKEY_MAX || secret_size(drive_key) != DRIVE_KEY_SIZE)
		return -EINVAL;
	r = secret_new(SUBKEY_SIZE, &subkey);
	if (r < 0)
		return r;
	if (crypto_kdf_derive_from_key(
		    secret_bytes(subkey), SUBKEY_SIZE, (uint64_t)id, context, secret_view(drive_key)) != 0)
		return -EINVAL;
	*ret_subkey = TAKE_PTR(subkey);
	return 0;
}
