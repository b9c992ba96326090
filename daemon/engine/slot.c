/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "engine/slot.h"

#include "engine/endian.h"

#include <errno.h>
#include <sodium.h>

#define WRAP_KEY_SIZE crypto_aead_xchacha20poly1305_ietf_KEYBYTES

_Static_assert(
	SLOT_WRAPPED_SIZE == DRIVE_KEY_SIZE + crypto_aead_xchacha20poly1305_ietf_ABYTES, "wrapped size");
_Static_assert(KDF_KEY_SIZE == crypto_kdf_KEYBYTES, "what Argon2id makes is a crypto_kdf master key");

enum {
	KEY_WRAP = 1,
	KEY_COMMITMENT = 2,
};

static const char key_context[crypto_kdf_CONTEXTBYTES + 1] = "ucr-slot";
static const char associated_domain[] = "usbcrypt slot"; /* its NUL is not part of it */
static const uint8_t zero_nonce[crypto_aead_xchacha20poly1305_ietf_NPUBBYTES];

#define ASSOCIATED_SIZE (sizeof(associated_domain) - 1 + 4 + DRIVE_ID_SIZE + 4 + 4 + 4 + 8 + 4)

static void slot_associated(const Slot *slot, uint32_t version, const uint8_t drive_id[DRIVE_ID_SIZE],
	uint8_t associated[ASSOCIATED_SIZE])
{
	uint8_t *p = mempcpy(associated, associated_domain, sizeof(associated_domain) - 1);

	put_le32(p, version);
	p = mempcpy(p + 4, drive_id, DRIVE_ID_SIZE);
	put_le32(p, slot->id);
	put_le32(p + 4, slot->type);
	put_le32(p + 8, slot->epoch);
	put_le64(p + 12, slot->kdf.memory);
	put_le32(p + 20, slot->kdf.passes);
}

static int slot_subkey(const Secret *derived, uint64_t id, size_t size, Secret **ret_key)
{
	_cleanup_secret_ Secret *key = NULL;
	int r;

	if (secret_size(derived) != KDF_KEY_SIZE)
		return -EINVAL;
	r = secret_new(size, &key);
	if (r < 0)
		return r;
	if (crypto_kdf_derive_from_key(secret_bytes(key), size, id, key_context, secret_view(derived)) != 0)
		return -EINVAL;
	*ret_key = TAKE_PTR(key);
	return 0;
}

int slot_wrap(Slot *slot, uint32_t version, const uint8_t drive_id[DRIVE_ID_SIZE], const Secret *passphrase,
	const Secret *drive_key)
{
	_cleanup_secret_ Secret *derived = NULL, *wrap_key = NULL, *commitment = NULL;
	uint8_t associated[ASSOCIATED_SIZE];
	int r;

	if (secret_size(drive_key) != DRIVE_KEY_SIZE)
		return -EINVAL;
	randombytes_buf(slot->salt, sizeof(slot->salt));
	r = kdf_derive(passphrase, slot->salt, &slot->kdf, &derived);
	if (r < 0)
		return r;
	r = slot_subkey(derived, KEY_WRAP, WRAP_KEY_SIZE, &wrap_key);
	if (r < 0)
		return r;
	r = slot_subkey(derived, KEY_COMMITMENT, SLOT_COMMITMENT_SIZE, &commitment);
	if (r < 0)
		return r;
	memcpy(slot->commitment, secret_view(commitment), SLOT_COMMITMENT_SIZE);

	slot_associated(slot, version, drive_id, associated);
	if (crypto_aead_xchacha20poly1305_ietf_encrypt(slot->wrapped, NULL, secret_view(drive_key),
		    DRIVE_KEY_SIZE, associated, sizeof(associated), NULL, zero_nonce,
		    secret_view(wrap_key)) != 0)
		return -EINVAL;
	return 0;
}

int slot_open(const Slot *slot, uint32_t version, const uint8_t drive_id[DRIVE_ID_SIZE],
	const Secret *derived, Secret **ret_drive_key)
{
	_cleanup_secret_ Secret *wrap_key = NULL, *commitment = NULL, *drive_key = NULL;
	uint8_t associated[ASSOCIATED_SIZE];
	int r;

	r = slot_subkey(derived, KEY_COMMITMENT, SLOT_COMMITMENT_SIZE, &commitment);
	if (r < 0)
		return r;
	if (sodium_memcmp(secret_view(commitment), slot->commitment, SLOT_COMMITMENT_SIZE) != 0)
		return -EKEYREJECTED;
	r = slot_subkey(derived, KEY_WRAP, WRAP_KEY_SIZE, &wrap_key);
	if (r < 0)
		return r;
	r = secret_new(DRIVE_KEY_SIZE, &drive_key);
	if (r < 0)
		return r;
	slot_associated(slot, version, drive_id, associated);
	if (crypto_aead_xchacha20poly1305_ietf_decrypt(secret_bytes(drive_key), NULL, NULL, slot->wrapped,
		    SLOT_WRAPPED_SIZE, associated, sizeof(associated), zero_nonce,
		    secret_view(wrap_key)) != 0)
		return -EBADMSG;
	*ret_drive_key = TAKE_PTR(drive_key);
	return 0;
}
