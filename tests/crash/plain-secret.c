/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * util/secret.h on the ordinary heap: every run takes keys of its own, and locking pages for them would cost
 * more than the run itself. Takes the place of util/secret.c in the crash tests, where no secret is worth
 * keeping.
 */

#include "util/secret.h"

#include "util/memory.h"

#include <errno.h>
#include <sodium.h>

#define PAGE ((size_t)4096)

struct Secret {
	size_t size;
	size_t padding; /* to malloc's alignment */
	uint8_t bytes[];
};

int secret_init(void)
{
	return sodium_init() < 0 ? -ENOSYS : 0;
}

int secret_new(size_t size, Secret **ret_secret)
{
	Secret *secret;

	if (size == 0 || size > SECRET_SIZE_MAX)
		return -EINVAL;
	/* Slabs of keys are aligned to pages. */
	secret = size < PAGE ? calloc(1, sizeof(*secret) + size) : aligned_alloc(PAGE, PAGE + size);
	if (!secret)
		return -ENOMEM;
	if (size >= PAGE)
		memset(secret, 0, PAGE + size);
	secret->size = size;
	*ret_secret = secret;
	return 0;
}

int secret_new_random(size_t size, Secret **ret_secret)
{
	int r = secret_new(size, ret_secret);

	if (r >= 0)
		randombytes_buf(secret_bytes(*ret_secret), size);
	return r;
}

int secret_new_take(void *bytes, size_t size, Secret **ret_secret)
{
	int r = secret_new(size, ret_secret);

	if (r >= 0)
		memcpy(secret_bytes(*ret_secret), bytes, size);
	sodium_memzero(bytes, size);
	return r;
}

Secret *secret_free(Secret *secret)
{
	return mfree(secret);
}

uint8_t *secret_bytes(Secret *secret)
{
	return (uint8_t *)secret + (secret->size >= PAGE ? PAGE : offsetof(Secret, bytes));
}

const uint8_t *secret_view(const Secret *secret)
{
	return (const uint8_t *)secret + (secret->size >= PAGE ? PAGE : offsetof(Secret, bytes));
}

size_t secret_size(const Secret *secret)
{
	return secret->size;
}

void secret_truncate(Secret *secret, size_t size)
{
	secret->size = MIN(secret->size, size);
}

int secret_conceal(Secret *secret _unused_)
{
	return 0;
}

int secret_expose(Secret *secret _unused_)
{
	return 0;
}

void secret_wipe(void *bytes, size_t size)
{
	sodium_memzero(bytes, size);
}
