/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "keys/sealing.h"

#include "util/memory.h"

#include <errno.h>
#include <sodium.h>

#define NONCE_SIZE crypto_aead_xchacha20poly1305_ietf_NPUBBYTES

_Static_assert(SEALED_OVERHEAD == crypto_aead_xchacha20poly1305_ietf_NPUBBYTES +
					  crypto_aead_xchacha20poly1305_ietf_ABYTES,
	"the overhead is nonce and tag");

struct Sealing {
	Secret *key; /* concealed, but for the moments of its use */
};

Sealing *sealing_free(Sealing *sealing)
{
	if (!sealing)
		return NULL;
	sealing->key = secret_free(sealing->key);
	return mfree(sealing);
}

int sealing_new(Sealing **ret_sealing)
{
	_cleanup_(sealing_freep) Sealing *sealing = new0(Sealing, 1);
	int r;

	if (!sealing)
		return -ENOMEM;
	r = secret_new_random(crypto_aead_xchacha20poly1305_ietf_KEYBYTES, &sealing->key);
	if (r >= 0)
		r = secret_conceal(sealing->key);
	if (r < 0)
		return r;
	*ret_sealing = TAKE_PTR(sealing);
	return 0;
}

int sealing_seal(Sealing *sealing, const char *name, const Secret *secret, void *sealed, size_t size)
{
	uint8_t *nonce = sealed;
	int r;

	if (size != secret_size(secret) + SEALED_OVERHEAD)
		return -EINVAL;
	r = secret_expose(sealing->key);
	if (r < 0)
		return r;
	randombytes_buf(nonce, NONCE_SIZE);
	(void)crypto_aead_xchacha20poly1305_ietf_encrypt(nonce + NONCE_SIZE, NULL, secret_view(secret),
		secret_size(secret), (const uint8_t *)name, strlen(name), NULL, nonce,
		secret_view(sealing->key));
	return secret_conceal(sealing->key);
}

int sealing_open(Sealing *sealing, const char *name, const void *sealed, size_t size, Secret **ret_secret)
{
	_cleanup_secret_ Secret *secret = NULL;
	const uint8_t *nonce = sealed;
	int r, opened;

	if (size <= SEALED_OVERHEAD)
		return -EBADMSG;
	r = secret_new(size - SEALED_OVERHEAD, &secret);
	if (r < 0)
		return r;
	r = secret_expose(sealing->key);
	if (r < 0)
		return r;
	opened = crypto_aead_xchacha20poly1305_ietf_decrypt(secret_bytes(secret), NULL, NULL,
		nonce + NONCE_SIZE, size - NONCE_SIZE, (const uint8_t *)name, strlen(name), nonce,
		secret_view(sealing->key));
	r = secret_conceal(sealing->key);
	if (opened != 0)
		return -EBADMSG;
	if (r < 0)
		return r;
	*ret_secret = TAKE_PTR(secret);
	return 0;
}
