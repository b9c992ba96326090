/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The encrypted file: fixed header | sealed attributes | chunks (FORMAT.md). These functions work on buffers
 * only; reading and writing is their caller's. Chunks are sealed as in STREAM (Hoang, Reyhanitabar, Rogaway,
 * Vizár 2015).
 */

#include "engine/attributes.h"
#include "engine/suite.h"
#include "util/outcome.h"
#include "util/subkey.h"

#include <stdbool.h>

#define CHUNK_SIZE            65536                         /* plaintext bytes of every chunk but the last */
#define CHUNK_SEALED_SIZE     (CHUNK_SIZE + SUITE_TAG_SIZE) /* the same chunk on the drive */
#define CIPHERFILE_MAGIC_SIZE 8

/* Bytes a reader needs before it can tell how long the head is. */
extern const size_t cipherfile_fixed_size;

/* The longest head (fixed header and sealed attributes together), in bytes. */
extern const size_t cipherfile_head_size_max;

/* An open encrypted file's keys and shape. Opaque: lives in locked memory. May be used from one thread at a
 * time; cipherfile_seal_chunk() and cipherfile_open_chunk() may be called from several threads at once. */
typedef struct Cipherfile Cipherfile;

Cipherfile *cipherfile_free(Cipherfile *file);
DEFINE_CLEANUP(Cipherfile *, cipherfile_free)
#define _cleanup_cipherfile_ _cleanup_(cipherfile_freep)

/* Begins a new file: draws file id and salt, derives its keys from `file_root` (SUBKEY_FILE_ROOT of `epoch`),
 * and builds its head, which the caller writes first. *ret_head (the caller's to free) holds *ret_size bytes.
 * Path and size must be among the attributes. -EOPNOTSUPP: the suite is not available here. -EMSGSIZE: the
 * attributes are too long. -EINVAL: an attribute is missing or out of bounds. -ENOMEM, -EPERM: no memory, or
 * none that can be locked. */
int cipherfile_create(const Secret *file_root, const uint8_t drive_id[DRIVE_ID_SIZE], uint32_t epoch,
	Suite suite, const Attributes *attributes, Cipherfile **ret_file, uint8_t **ret_head,
	size_t *ret_size);

/* Whether these first bytes of a file are those of an encrypted file (the magic alone is looked at). */
bool cipherfile_is_magic(const uint8_t *bytes, size_t size);

/* The length of the whole head, from its first cipherfile_fixed_size bytes, range-checked: at most
 * cipherfile_head_size_max. 0 when they are not those of an encrypted file of a known version. Nothing is
 * authenticated yet. */
size_t cipherfile_head_size(const uint8_t *fixed);

/* Opens a head (exactly cipherfile_head_size() bytes) in the order range checks, commitment, header MAC,
 * sealed attributes. Sets *ret_reason when it returns -EBADMSG: REASON_FOREIGN (another drive's id or key
 * epoch), REASON_UNSUPPORTED (version, suite, requires bits or a critical attribute unknown here) or
 * REASON_TAMPERED. Path and size are always among the attributes.
 * *ret_attributes is the caller's: attributes_free(). */
int cipherfile_open(const Secret *file_root, const uint8_t drive_id[DRIVE_ID_SIZE], uint32_t epoch,
	const uint8_t *head, size_t size, Cipherfile **ret_file, Attributes **ret_attributes,
	Reason *ret_reason);

size_t cipherfile_get_head_size(const Cipherfile *file);
Suite cipherfile_get_suite(const Cipherfile *file);

/* Seals chunk `index`: `size` plaintext bytes (CHUNK_SIZE, or for the last chunk 0..CHUNK_SIZE, and 0 only
 * when it is the file's only one) become size + SUITE_TAG_SIZE bytes at `sealed`. The tag is the last
 * SUITE_TAG_SIZE of them. */
int cipherfile_seal_chunk(const Cipherfile *file, uint64_t index, bool last, const uint8_t *plain,
	size_t size, uint8_t *sealed);

/* Opens chunk `index`: `size` sealed bytes (tag included) become size - SUITE_TAG_SIZE plaintext bytes at
 * `plain`. `plain` may be NULL: the chunk is authenticated only. -EBADMSG when it is not authentic, and then
 * nothing of it is to be used. */
int cipherfile_open_chunk(const Cipherfile *file, uint64_t index, bool last, const uint8_t *sealed,
	size_t size, uint8_t *plain);

/* Whether an encrypted file of `file_size` bytes is as long as its attributes say: -EBADMSG when bytes are
 * missing or too many. To be asked before the first chunk is read. */
int cipherfile_check_size(const Cipherfile *file, const Attributes *attributes, uint64_t file_size);

/* The size of the whole encrypted file for a plaintext of `plain_size` bytes behind a head of `head_size`. */
uint64_t cipherfile_sealed_size(size_t head_size, uint64_t plain_size);

/* The plaintext size of an encrypted file of `file_size` bytes with a head of `head_size`, from its length
 * alone (trustworthy only once the last chunk verified). -EBADMSG when no plaintext gives that length. */
int cipherfile_plain_size(size_t head_size, uint64_t file_size, uint64_t *ret_plain_size);
