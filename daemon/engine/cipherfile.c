/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "engine/cipherfile.h"

#include "engine/endian.h"
#include "engine/keypool.h"
#include "util/memory.h"

#include <errno.h>
#include <sodium.h>

#define VERSION 1

/* The fixed header, little-endian (FORMAT.md, "Encrypted file"). */
enum {
	HEADER_MAGIC = 0,
	HEADER_VERSION = 8,          /* u16 */
	HEADER_SUITE = 10,           /* u16 */
	HEADER_REQUIRES = 12,        /* u32, bits */
	HEADER_SIZE = 16,            /* u32: of the fixed header */
	HEADER_ATTRIBUTES_SIZE = 20, /* u32: sealed, tag included */
	HEADER_CHUNK_SIZE = 24,      /* u32 */
	HEADER_EPOCH = 28,           /* u32 */
	HEADER_DRIVE_ID = 32,
	HEADER_FILE_ID = 48,
	HEADER_SALT = 64,
	HEADER_COMMITMENT = 96,
	HEADER_MAC = 128, /* over all that stands before it */
	HEADER_END = 160,
};

#define FILE_ID_SIZE    16
#define SALT_SIZE       32
#define COMMITMENT_SIZE 32
#define MAC_SIZE        32

static const uint8_t magic[CIPHERFILE_MAGIC_SIZE] = {0x8a, 'U', 'C', 'R', '\r', '\n', 0x1a, '\n'};
static const char secret_domain[] = "usbcrypt file secret"; /* its NUL is not part of it */
static const char key_context[crypto_kdf_CONTEXTBYTES + 1] = "ucr-file";

enum {
	KEY_CHUNKS = 1,
	KEY_ATTRIBUTES = 2,
	KEY_HEADER_MAC = 3,
	KEY_COMMITMENT = 4,
	KEY_MAX,
};

const size_t cipherfile_fixed_size = HEADER_END;
const size_t cipherfile_head_size_max = HEADER_END + ATTRIBUTES_SIZE_MAX + SUITE_TAG_SIZE;

/* What lives as long as the file is open: one slot of locked memory. */
struct Cipherfile {
	SuiteKey chunks;
	size_t head_size;
};

/* What lives only while a head is built or opened: another slot. */
typedef struct HeadKeys {
	uint8_t secret[crypto_kdf_KEYBYTES];
	uint8_t keys[KEY_MAX][SUITE_KEY_SIZE]; /* [0] is unused */
} HeadKeys;

_Static_assert((int)HEADER_SALT == (int)HEADER_FILE_ID + FILE_ID_SIZE, "the salt follows the file id");
_Static_assert(sizeof(struct Cipherfile) <= KEYPOOL_SLOT_SIZE, "fits a slot");
_Static_assert(sizeof(HeadKeys) <= KEYPOOL_SLOT_SIZE, "fits a slot");
_Static_assert(_Alignof(struct Cipherfile) <= KEYPOOL_SLOT_ALIGN, "a slot is aligned for it");

static HeadKeys *head_keys_free(HeadKeys *keys)
{
	return keypool_give(keys);
}
DEFINE_CLEANUP(HeadKeys *, head_keys_free)
#define _cleanup_head_keys_ _cleanup_(head_keys_freep)

Cipherfile *cipherfile_free(Cipherfile *file)
{
	return keypool_give(file);
}

/* The file's keys, from the drive's file root and what the header says. */
static int head_keys_derive(const Secret *file_root, const uint8_t *header, HeadKeys **ret_keys)
{
	_cleanup_head_keys_ HeadKeys *keys = NULL;
	uint8_t input[sizeof(secret_domain) - 1 + 2 + 2 + 4 + DRIVE_ID_SIZE + FILE_ID_SIZE + SALT_SIZE];
	uint8_t *p = input;
	void *slot;
	int r;

	if (secret_size(file_root) != SUBKEY_SIZE)
		return -EINVAL;
	r = keypool_take(&slot);
	if (r < 0)
		return r;
	keys = slot;

	p = mempcpy(p, secret_domain, sizeof(secret_domain) - 1);
	p = mempcpy(p, header + HEADER_VERSION, 2 + 2); /* version and suite */
	p = mempcpy(p, header + HEADER_EPOCH, 4);
	/* Drive id, file id and salt stand side by side. */
	memcpy(p, header + HEADER_DRIVE_ID, DRIVE_ID_SIZE + FILE_ID_SIZE + SALT_SIZE);

	r = crypto_generichash(keys->secret, sizeof(keys->secret), input, sizeof(input),
		secret_view(file_root), SUBKEY_SIZE);
	for (uint64_t id = 1; r == 0 && id < KEY_MAX; id++)
		r = crypto_kdf_derive_from_key(keys->keys[id], SUITE_KEY_SIZE, id, key_context, keys->secret);
	/* BLAKE2b's state, with the key in it, lay on the stack. */
	sodium_stackzero(1024);
	if (r != 0)
		return -EINVAL;
	*ret_keys = TAKE_PTR(keys);
	return 0;
}

static int header_mac(const HeadKeys *keys, const uint8_t *header, uint8_t mac[MAC_SIZE])
{
	int r = crypto_generichash(
		mac, MAC_SIZE, header, HEADER_MAC, keys->keys[KEY_HEADER_MAC], SUITE_KEY_SIZE);

	return r == 0 ? 0 : -EINVAL;
}

static int cipherfile_new(const HeadKeys *keys, Suite suite, size_t head_size, Cipherfile **ret_file)
{
	_cleanup_cipherfile_ Cipherfile *file = NULL;
	void *slot;
	int r;

	r = keypool_take(&slot);
	if (r < 0)
		return r;
	file = slot;
	file->head_size = head_size;
	r = suite_key_init(&file->chunks, suite, keys->keys[KEY_CHUNKS]);
	if (r < 0)
		return r;
	*ret_file = TAKE_PTR(file);
	return 0;
}

/* The key is used once, so the nonce is zero. */
static const uint8_t attributes_nonce[crypto_aead_xchacha20poly1305_ietf_NPUBBYTES];

int cipherfile_create(const Secret *file_root, const uint8_t drive_id[DRIVE_ID_SIZE], uint32_t epoch,
	Suite suite, const Attributes *attributes, Cipherfile **ret_file, uint8_t **ret_head,
	size_t *ret_size)
{
	const unsigned required = ATTRIBUTE_PATH | ATTRIBUTE_SIZE;
	_cleanup_cipherfile_ Cipherfile *file = NULL;
	_cleanup_head_keys_ HeadKeys *keys = NULL;
	_cleanup_free_ uint8_t *plain = NULL, *head = NULL;
	size_t plain_size, sealed_size;
	int r;

	if (!suite_available(suite))
		return -EOPNOTSUPP;
	if ((attributes->present & required) != required || epoch == 0)
		return -EINVAL;
	r = attributes_encode(attributes, &plain, &plain_size);
	if (r < 0)
		return r;
	sealed_size = plain_size + SUITE_TAG_SIZE;
	head = new0(uint8_t, HEADER_END + sealed_size);
	if (!head)
		return -ENOMEM;

	memcpy(head + HEADER_MAGIC, magic, sizeof(magic));
	put_le16(head + HEADER_VERSION, VERSION);
	put_le16(head + HEADER_SUITE, (uint16_t)suite);
	put_le32(head + HEADER_SIZE, HEADER_END);
	put_le32(head + HEADER_ATTRIBUTES_SIZE, (uint32_t)sealed_size);
	put_le32(head + HEADER_CHUNK_SIZE, CHUNK_SIZE);
	put_le32(head + HEADER_EPOCH, epoch);
	memcpy(head + HEADER_DRIVE_ID, drive_id, DRIVE_ID_SIZE);
	/* The salt follows the file id: one draw, one system call. */
	randombytes_buf(head + HEADER_FILE_ID, FILE_ID_SIZE + SALT_SIZE);

	r = head_keys_derive(file_root, head, &keys);
	if (r < 0)
		return r;
	memcpy(head + HEADER_COMMITMENT, keys->keys[KEY_COMMITMENT], COMMITMENT_SIZE);
	r = header_mac(keys, head, head + HEADER_MAC);
	if (r < 0)
		return r;
	if (crypto_aead_xchacha20poly1305_ietf_encrypt(head + HEADER_END, NULL, plain, plain_size, head,
		    HEADER_END, NULL, attributes_nonce, keys->keys[KEY_ATTRIBUTES]) != 0)
		return -EINVAL;
	r = cipherfile_new(keys, suite, HEADER_END + sealed_size, &file);
	if (r < 0)
		return r;
	*ret_file = TAKE_PTR(file);
	*ret_head = TAKE_PTR(head);
	*ret_size = HEADER_END + sealed_size;
	return 0;
}

bool cipherfile_is_magic(const uint8_t *bytes, size_t size)
{
	return size >= sizeof(magic) && memcmp(bytes, magic, sizeof(magic)) == 0;
}

size_t cipherfile_head_size(const uint8_t *fixed)
{
	uint32_t size;

	if (!cipherfile_is_magic(fixed, sizeof(magic)) || get_le16(fixed + HEADER_VERSION) != VERSION ||
		get_le32(fixed + HEADER_SIZE) != HEADER_END)
		return 0;
	size = get_le32(fixed + HEADER_ATTRIBUTES_SIZE);
	if (size < SUITE_TAG_SIZE || size > ATTRIBUTES_SIZE_MAX + SUITE_TAG_SIZE)
		return 0;
	return HEADER_END + size;
}

/* What can be said of a header before its keys are known. REASON_INVALID: nothing is wrong with it. */
static Reason header_check(
	const uint8_t *head, size_t size, const uint8_t drive_id[DRIVE_ID_SIZE], uint32_t epoch)
{
	if (size < HEADER_END || !cipherfile_is_magic(head, size))
		return REASON_TAMPERED;
	if (get_le16(head + HEADER_VERSION) != VERSION)
		return REASON_UNSUPPORTED;
	if (cipherfile_head_size(head) != size || get_le32(head + HEADER_CHUNK_SIZE) != CHUNK_SIZE)
		return REASON_TAMPERED;
	if (!suite_available((Suite)get_le16(head + HEADER_SUITE)) || get_le32(head + HEADER_REQUIRES) != 0)
		return REASON_UNSUPPORTED;
	if (memcmp(head + HEADER_DRIVE_ID, drive_id, DRIVE_ID_SIZE) != 0 ||
		get_le32(head + HEADER_EPOCH) != epoch)
		return REASON_FOREIGN;
	return REASON_INVALID;
}

static int refuse(Reason reason, Reason *ret_reason)
{
	*ret_reason = reason;
	return -EBADMSG;
}

int cipherfile_open(const Secret *file_root, const uint8_t drive_id[DRIVE_ID_SIZE], uint32_t epoch,
	const uint8_t *head, size_t size, Cipherfile **ret_file, Attributes **ret_attributes,
	Reason *ret_reason)
{
	const unsigned required = ATTRIBUTE_PATH | ATTRIBUTE_SIZE;
	_cleanup_cipherfile_ Cipherfile *file = NULL;
	_cleanup_attributes_ Attributes *attributes = NULL;
	_cleanup_head_keys_ HeadKeys *keys = NULL;
	_cleanup_free_ uint8_t *plain = NULL;
	uint8_t mac[MAC_SIZE];
	size_t sealed_size;
	Reason reason;
	int r;

	reason = header_check(head, size, drive_id, epoch);
	if (reason != REASON_INVALID)
		return refuse(reason, ret_reason);

	r = head_keys_derive(file_root, head, &keys);
	if (r < 0)
		return r;
	if (sodium_memcmp(head + HEADER_COMMITMENT, keys->keys[KEY_COMMITMENT], COMMITMENT_SIZE) != 0)
		return refuse(REASON_TAMPERED, ret_reason);
	r = header_mac(keys, head, mac);
	if (r < 0)
		return r;
	if (sodium_memcmp(head + HEADER_MAC, mac, MAC_SIZE) != 0)
		return refuse(REASON_TAMPERED, ret_reason);

	sealed_size = size - HEADER_END;
	plain = malloc(sealed_size);
	if (!plain)
		return -ENOMEM;
	if (crypto_aead_xchacha20poly1305_ietf_decrypt(plain, NULL, NULL, head + HEADER_END, sealed_size,
		    head, HEADER_END, attributes_nonce, keys->keys[KEY_ATTRIBUTES]) != 0)
		return refuse(REASON_TAMPERED, ret_reason);
	r = attributes_decode(plain, sealed_size - SUITE_TAG_SIZE, &attributes);
	if (r == -EOPNOTSUPP)
		return refuse(REASON_UNSUPPORTED, ret_reason);
	if (r == -EBADMSG || (r >= 0 && (attributes->present & required) != required))
		return refuse(REASON_TAMPERED, ret_reason);
	if (r < 0)
		return r;

	r = cipherfile_new(keys, (Suite)get_le16(head + HEADER_SUITE), size, &file);
	if (r < 0)
		return r;
	*ret_file = TAKE_PTR(file);
	*ret_attributes = TAKE_PTR(attributes);
	return 0;
}

size_t cipherfile_get_head_size(const Cipherfile *file)
{
	return file->head_size;
}

Suite cipherfile_get_suite(const Cipherfile *file)
{
	return file->chunks.suite;
}

/* STREAM: zeros || counter || whether it is the last, at the end of the suite's nonce. */
static void chunk_nonce(Suite suite, uint64_t index, bool last, uint8_t nonce[SUITE_NONCE_SIZE_MAX])
{
	size_t n = suite_nonce_size(suite);

	memset(nonce, 0, SUITE_NONCE_SIZE_MAX);
	put_be64(nonce + n - 9, index);
	nonce[n - 1] = last;
}

/* Whole chunks but for the last; an empty one only where the file is empty. */
static bool chunk_size_is_valid(uint64_t index, bool last, size_t size)
{
	if (!last)
		return size == CHUNK_SIZE;
	return size <= CHUNK_SIZE && (size > 0 || index == 0);
}

int cipherfile_seal_chunk(
	const Cipherfile *file, uint64_t index, bool last, const uint8_t *plain, size_t size, uint8_t *sealed)
{
	uint8_t nonce[SUITE_NONCE_SIZE_MAX];

	if (!chunk_size_is_valid(index, last, size))
		return -EINVAL;
	chunk_nonce(file->chunks.suite, index, last, nonce);
	return suite_seal(&file->chunks, nonce, NULL, 0, plain, size, sealed);
}

int cipherfile_open_chunk(
	const Cipherfile *file, uint64_t index, bool last, const uint8_t *sealed, size_t size, uint8_t *plain)
{
	uint8_t nonce[SUITE_NONCE_SIZE_MAX];

	if (size < SUITE_TAG_SIZE || !chunk_size_is_valid(index, last, size - SUITE_TAG_SIZE))
		return -EBADMSG;
	chunk_nonce(file->chunks.suite, index, last, nonce);
	return suite_open(&file->chunks, nonce, NULL, 0, sealed, size, plain);
}

int cipherfile_check_size(const Cipherfile *file, const Attributes *attributes, uint64_t file_size)
{
	uint64_t plain_size;
	int r;

	r = cipherfile_plain_size(file->head_size, file_size, &plain_size);
	if (r < 0)
		return r;
	return plain_size == attributes->size ? 0 : -EBADMSG;
}

uint64_t cipherfile_sealed_size(size_t head_size, uint64_t plain_size)
{
	uint64_t chunks = plain_size == 0 ? 1 : (plain_size - 1) / CHUNK_SIZE + 1;

	return head_size + plain_size + chunks * SUITE_TAG_SIZE;
}

int cipherfile_plain_size(size_t head_size, uint64_t file_size, uint64_t *ret_plain_size)
{
	uint64_t body, chunks, rest;

	if (file_size > INT64_MAX || file_size < head_size + SUITE_TAG_SIZE)
		return -EBADMSG;
	body = file_size - head_size;
	chunks = (body - 1) / CHUNK_SEALED_SIZE + 1;
	rest = body - (chunks - 1) * CHUNK_SEALED_SIZE; /* of the last chunk, 1..CHUNK_SEALED_SIZE */
	if (rest < SUITE_TAG_SIZE || (rest == SUITE_TAG_SIZE && chunks > 1))
		return -EBADMSG;
	*ret_plain_size = body - chunks * SUITE_TAG_SIZE;
	return 0;
}
