/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "keys/keyring.h"

#include "util/secret.h"

#include <errno.h>
#include <keyutils.h>
#include <string.h>

/* For the possessor alone, and without KEY_POS_LINK: it cannot be linked into another keyring. */
#define KEY_PERMISSIONS (KEY_POS_VIEW | KEY_POS_READ | KEY_POS_WRITE | KEY_POS_SEARCH | KEY_POS_SETATTR)

int keyring_join(void)
{
	key_serial_t keyring = keyctl_join_session_keyring(NULL);

	if (keyring < 0)
		return -errno;
	if (keyctl_setperm(keyring, KEY_POS_ALL) < 0)
		return -errno;
	return 0;
}

int keyring_put(const char *name, const void *payload, size_t size, unsigned timeout, int32_t *ret_serial)
{
	key_serial_t serial;
	int r;

	if (size == 0 || size > KEYRING_PAYLOAD_MAX)
		return -EINVAL;
	serial = add_key("user", name, payload, size, KEY_SPEC_SESSION_KEYRING);
	if (serial < 0)
		return -errno;
	if (keyctl_setperm(serial, KEY_PERMISSIONS) < 0 || keyctl_set_timeout(serial, timeout) < 0) {
		r = -errno;
		keyring_forget(serial);
		return r;
	}
	*ret_serial = serial;
	return 0;
}

int keyring_read(int32_t serial, void *payload, size_t size)
{
	/* One byte more than is wanted shows a payload that is too long. */
	char buffer[KEYRING_PAYLOAD_MAX + 1];
	long n;
	int r = 0;

	if (size > KEYRING_PAYLOAD_MAX)
		return -EINVAL;
	n = keyctl_read(serial, buffer, sizeof(buffer));
	if (n < 0)
		r = -errno;
	else if ((size_t)n != size)
		r = -EMSGSIZE;
	else
		memcpy(payload, buffer, size);
	secret_wipe(buffer, sizeof(buffer));
	return r;
}

int keyring_set_timeout(int32_t serial, unsigned timeout)
{
	return keyctl_set_timeout(serial, timeout) < 0 ? -errno : 0;
}

void keyring_forget(int32_t serial)
{
	(void)keyctl_revoke(serial);
	(void)keyctl_unlink(serial, KEY_SPEC_SESSION_KEYRING);
}
