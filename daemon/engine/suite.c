/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "engine/suite.h"

#include <errno.h>
#include <sodium.h>
#include <string.h>

_Static_assert(crypto_aead_xchacha20poly1305_ietf_KEYBYTES == SUITE_KEY_SIZE, "key size");
_Static_assert(crypto_aead_chacha20poly1305_ietf_KEYBYTES == SUITE_KEY_SIZE, "key size");
_Static_assert(crypto_aead_aes256gcm_KEYBYTES == SUITE_KEY_SIZE, "key size");
_Static_assert(crypto_aead_xchacha20poly1305_ietf_ABYTES == SUITE_TAG_SIZE, "tag size");
_Static_assert(crypto_aead_chacha20poly1305_ietf_ABYTES == SUITE_TAG_SIZE, "tag size");
_Static_assert(crypto_aead_aes256gcm_ABYTES == SUITE_TAG_SIZE, "tag size");
_Static_assert(crypto_aead_xchacha20poly1305_ietf_NPUBBYTES <= SUITE_NONCE_SIZE_MAX, "nonce size");
_Static_assert(sizeof(crypto_aead_aes256gcm_state) <= sizeof(((SuiteKey *)0)->schedule), "schedule size");

typedef struct SuiteEntry {
	const char *name;
	size_t nonce_size;
} SuiteEntry;

static const SuiteEntry suites[SUITE_MAX] = {
	[SUITE_XCHACHA20_POLY1305] = {"xchacha20-poly1305", crypto_aead_xchacha20poly1305_ietf_NPUBBYTES},
	[SUITE_CHACHA20_POLY1305] = {"chacha20-poly1305", crypto_aead_chacha20poly1305_ietf_NPUBBYTES},
	[SUITE_AES_256_GCM] = {"aes-256-gcm", crypto_aead_aes256gcm_NPUBBYTES},
};

static const SuiteEntry *suite_entry(Suite suite)
{
	return suite > 0 && suite < SUITE_MAX ? &suites[suite] : NULL;
}

const char *suite_name(Suite suite)
{
	const SuiteEntry *entry = suite_entry(suite);

	return entry ? entry->name : NULL;
}

Suite suite_from_name(const char *name)
{
	for (int i = 1; i < SUITE_MAX; i++)
		if (strcmp(suites[i].name, name) == 0)
			return (Suite)i;
	return SUITE_INVALID;
}

bool suite_available(Suite suite)
{
	if (suite == SUITE_AES_256_GCM)
		return crypto_aead_aes256gcm_is_available() == 1;
	return suite_entry(suite) != NULL;
}

size_t suite_nonce_size(Suite suite)
{
	const SuiteEntry *entry = suite_entry(suite);

	return entry ? entry->nonce_size : 0;
}

int suite_key_init(SuiteKey *key, Suite suite, const uint8_t bytes[SUITE_KEY_SIZE])
{
	if (!suite_available(suite))
		return -EOPNOTSUPP;
	key->suite = suite;
	memcpy(key->bytes, bytes, SUITE_KEY_SIZE);
	/* The expansion of an AES key and of its GHASH tables costs as much as a small file's chunk: once. */
	if (suite == SUITE_AES_256_GCM &&
		crypto_aead_aes256gcm_beforenm((crypto_aead_aes256gcm_state *)(void *)key->schedule, bytes) !=
			0)
		return -EOPNOTSUPP;
	return 0;
}

int suite_seal(const SuiteKey *key, const uint8_t *nonce, const void *associated, size_t associated_size,
	const uint8_t *plain, size_t size, uint8_t *sealed)
{
	int r = -1;

	switch (key->suite) {
	case SUITE_XCHACHA20_POLY1305:
		r = crypto_aead_xchacha20poly1305_ietf_encrypt(
			sealed, NULL, plain, size, associated, associated_size, NULL, nonce, key->bytes);
		break;
	case SUITE_CHACHA20_POLY1305:
		r = crypto_aead_chacha20poly1305_ietf_encrypt(
			sealed, NULL, plain, size, associated, associated_size, NULL, nonce, key->bytes);
		break;
	case SUITE_AES_256_GCM:
		r = crypto_aead_aes256gcm_encrypt_afternm(sealed, NULL, plain, size, associated,
			associated_size, NULL, nonce,
			(const crypto_aead_aes256gcm_state *)(const void *)key->schedule);
		break;
	case SUITE_MAX:
	case SUITE_INVALID:
		break;
	}
	return r == 0 ? 0 : -EINVAL;
}

int suite_open(const SuiteKey *key, const uint8_t *nonce, const void *associated, size_t associated_size,
	const uint8_t *sealed, size_t size, uint8_t *plain)
{
	int r = -1;

	if (size < SUITE_TAG_SIZE)
		return -EBADMSG;
	switch (key->suite) {
	case SUITE_XCHACHA20_POLY1305:
		r = crypto_aead_xchacha20poly1305_ietf_decrypt(
			plain, NULL, NULL, sealed, size, associated, associated_size, nonce, key->bytes);
		break;
	case SUITE_CHACHA20_POLY1305:
		r = crypto_aead_chacha20poly1305_ietf_decrypt(
			plain, NULL, NULL, sealed, size, associated, associated_size, nonce, key->bytes);
		break;
	case SUITE_AES_256_GCM:
		r = crypto_aead_aes256gcm_decrypt_afternm(plain, NULL, NULL, sealed, size, associated,
			associated_size, nonce,
			(const crypto_aead_aes256gcm_state *)(const void *)key->schedule);
		break;
	case SUITE_MAX:
	case SUITE_INVALID:
		break;
	}
	return r == 0 ? 0 : -EBADMSG;
}
