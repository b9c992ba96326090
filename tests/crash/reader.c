/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "reader.h"

#include <sodium.h>
#include <string.h>

#define HEADER     160
#define CHUNK      65536
#define TAG        16
#define NONCE      24
#define PATH_TYPE  1
#define SIZE_TYPE  2
#define KNOWN_MAX  8
#define CRITICAL   0x8000U
#define ATTRIBUTES 65536

static uint64_t le(const uint8_t *p, int n)
{
	uint64_t value = 0;

	for (int i = n - 1; i >= 0; i--)
		value = value << 8 | p[i];
	return value;
}

static bool header_is_good(const uint8_t *h, size_t size, const uint8_t drive_id[16])
{
	static const uint8_t magic[8] = {0x8a, 0x55, 0x43, 0x52, 0x0d, 0x0a, 0x1a, 0x0a};

	return size >= HEADER && memcmp(h, magic, 8) == 0 && le(h + 8, 2) == 1 && le(h + 10, 2) == 1 &&
	       le(h + 12, 4) == 0 && le(h + 16, 4) == HEADER && le(h + 20, 4) >= 16 &&
	       le(h + 20, 4) <= 65552 && le(h + 24, 4) == CHUNK && le(h + 28, 4) == 1 &&
	       memcmp(h + 32, drive_id, 16) == 0;
}

static bool read_attributes(const uint8_t *p, size_t size, char path[READER_PATH_MAX + 1], uint64_t *ret_size)
{
	bool has_path = false, has_size = false;

	while (size > 0) {
		unsigned type, length;

		if (size < 4)
			return false;
		type = (unsigned)le(p, 2);
		length = (unsigned)le(p + 2, 2);
		p += 4;
		size -= 4;
		if (length > size)
			return false;
		if ((type & ~CRITICAL) == PATH_TYPE) {
			if (length == 0 || length > READER_PATH_MAX)
				return false;
			memcpy(path, p, length);
			path[length] = 0;
			has_path = true;
		} else if ((type & ~CRITICAL) == SIZE_TYPE) {
			if (length != 8)
				return false;
			*ret_size = le(p, 8);
			has_size = true;
		} else if (type & CRITICAL && (type & ~CRITICAL) > KNOWN_MAX) {
			return false;
		}
		p += length;
		size -= length;
	}
	return has_path && has_size;
}

bool reader_open(const uint8_t file_root[32], const uint8_t drive_id[16], const uint8_t *bytes, size_t size,
	char path[READER_PATH_MAX + 1], uint8_t *plain, size_t *ret_size)
{
	static const uint8_t zeros[NONCE];
	uint8_t secret[32], keys[5][32], mac[32], attributes[ATTRIBUTES];
	crypto_generichash_state state;
	unsigned long long n;
	uint64_t plain_size = 0, done = 0;
	size_t sealed, at;

	if (!header_is_good(bytes, size, drive_id))
		return false;
	(void)crypto_generichash_init(&state, file_root, 32, 32);
	(void)crypto_generichash_update(&state, (const uint8_t *)"usbcrypt file secret", 20);
	(void)crypto_generichash_update(&state, bytes + 8, 4);
	(void)crypto_generichash_update(&state, bytes + 28, 4);
	(void)crypto_generichash_update(&state, bytes + 32, 64);
	(void)crypto_generichash_final(&state, secret, sizeof(secret));
	for (unsigned id = 1; id <= 4; id++)
		(void)crypto_kdf_derive_from_key(keys[id], 32, id, "ucr-file", secret);
	if (memcmp(keys[4], bytes + 96, 32) != 0)
		return false;
	(void)crypto_generichash(mac, 32, bytes, 128, keys[3], 32);
	if (memcmp(mac, bytes + 128, 32) != 0)
		return false;

	sealed = (size_t)le(bytes + 20, 4);
	if (size < HEADER + sealed ||
		crypto_aead_xchacha20poly1305_ietf_decrypt(
			attributes, &n, NULL, bytes + HEADER, sealed, bytes, HEADER, zeros, keys[2]) != 0 ||
		!read_attributes(attributes, (size_t)n, path, &plain_size))
		return false;

	at = HEADER + sealed;
	for (uint64_t index = 0;; index++) {
		size_t left = size - at, chunk = MIN(left, (size_t)CHUNK + TAG);
		uint8_t nonce[NONCE] = {0};

		if (chunk < TAG || (chunk == TAG && index > 0))
			return false;
		for (int i = 0; i < 8; i++)
			nonce[22 - i] = (uint8_t)(index >> (8 * i));
		nonce[23] = left == chunk;
		if (crypto_aead_xchacha20poly1305_ietf_decrypt(
			    plain + done, &n, NULL, bytes + at, chunk, NULL, 0, nonce, keys[1]) != 0)
			return false;
		done += n;
		at += chunk;
		if (left == chunk)
			break;
	}
	*ret_size = (size_t)done;
	return done == plain_size;
}
