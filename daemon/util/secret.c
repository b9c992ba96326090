/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "util/secret.h"

#include <errno.h>
#include <sodium.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>

struct Secret {
	uint8_t *bytes; /* from sodium_malloc(): guard pages around, a canary before */
	size_t size;
	size_t allocated;
};

int secret_init(void)
{
	if (sodium_init() < 0)
		return -ENOSYS;
	if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
		return -errno;
	return 0;
}

int secret_new(size_t size, Secret **ret_secret)
{
	Secret *secret;

	if (size == 0 || size > SECRET_SIZE_MAX)
		return -EINVAL;

	secret = sodium_malloc(sizeof(*secret));
	if (!secret)
		return -ENOMEM;
	secret->bytes = sodium_malloc(size);
	if (!secret->bytes) {
		sodium_free(secret);
		return -ENOMEM;
	}
	secret->size = secret->allocated = size;

	/* sodium_malloc() returns memory even when it could not lock it: lock again, and look. */
	if (sodium_mlock(secret->bytes, size) != 0) {
		int r = errno == EPERM ? -EPERM : -ENOMEM;

		sodium_free(secret->bytes);
		sodium_free(secret);
		return r;
	}
	memset(secret->bytes, 0, size);
	*ret_secret = secret;
	return 0;
}

int secret_new_random(size_t size, Secret **ret_secret)
{
	int r = secret_new(size, ret_secret);

	if (r < 0)
		return r;
	randombytes_buf((*ret_secret)->bytes, size);
	return 0;
}

int secret_new_take(void *bytes, size_t size, Secret **ret_secret)
{
	int r = secret_new(size, ret_secret);

	if (r >= 0)
		memcpy((*ret_secret)->bytes, bytes, size);
	sodium_memzero(bytes, size);
	return r;
}

Secret *secret_free(Secret *secret)
{
	if (!secret)
		return NULL;
	(void)sodium_mprotect_readwrite(secret->bytes);
	sodium_memzero(secret->bytes, secret->allocated);
	sodium_free(secret->bytes); /* also unlocks, and aborts when the canary was overwritten */
	sodium_free(secret);
	return NULL;
}

uint8_t *secret_bytes(Secret *secret)
{
	return secret->bytes;
}

const uint8_t *secret_view(const Secret *secret)
{
	return secret->bytes;
}

size_t secret_size(const Secret *secret)
{
	return secret->size;
}

void secret_truncate(Secret *secret, size_t size)
{
	if (size >= secret->size)
		return;
	sodium_memzero(secret->bytes + size, secret->size - size);
	secret->size = size;
}

int secret_conceal(Secret *secret)
{
	return sodium_mprotect_noaccess(secret->bytes) == 0 ? 0 : -errno;
}

int secret_expose(Secret *secret)
{
	return sodium_mprotect_readwrite(secret->bytes) == 0 ? 0 : -errno;
}

void secret_wipe(void *bytes, size_t size)
{
	sodium_memzero(bytes, size);
}
