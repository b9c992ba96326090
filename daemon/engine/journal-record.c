/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A record, little-endian (TRANSACTIONS.md, "The journal"):
 *
 *   offset  size
 *        0     8  magic "UCRJRNL1"
 *        8     4  size of the record, MAC included
 *       12     4  flags
 *       16     4  operation
 *       20     4  number of scope paths
 *       24     8  sequence
 *       32    16  drive id
 *       48    16  run id
 *       64    32  hash of the record before it
 *       96    32  digest of drive.json
 *      128    20  number of entries of each list
 *      148        scope paths: length (2), bytes
 *                 entries, list by list
 *     -32    32   MAC: BLAKE2b-256 keyed with the journal subkey, over everything before it
 */

#include "engine/journal-record.h"

#include "engine/drive.h"
#include "engine/endian.h"
#include "engine/names.h"
#include "util/memory.h"

#include <errno.h>
#include <sodium.h>

#define NSEC_READ_ONLY  (UINT32_C(1) << 31) /* in an entry's nanoseconds, which leave two bits free */
#define MAGIC           "UCRJRNL1"
#define FIXED_SIZE      148
#define PATH_LENGTH_MAX ATTRIBUTES_PATH_MAX
#define ENTRIES_MAX     65536
#define ENTRY_FIXED     80 /* bytes before an entry's strings */
#define ENTRY_LENGTHS   6  /* shared prefix, rest of the path, new name: two bytes each */

_Static_assert(JOURNAL_RECORD_MIN == FIXED_SIZE + JOURNAL_MAC_SIZE, "the shortest record has no entry");

static void entry_clear(JournalEntry *entry)
{
	free(entry->path);
	free(entry->new_name);
}

JournalRecord *journal_record_free(JournalRecord *record)
{
	if (!record)
		return NULL;
	for (size_t i = 0; i < record->n_scope; i++)
		free(record->scope[i]);
	free(record->scope);
	for (int list = 0; list < JOURNAL_LIST_MAX; list++) {
		for (size_t i = 0; i < record->n[list]; i++)
			entry_clear(&record->lists[list][i]);
		free(record->lists[list]);
	}
	return mfree(record);
}

typedef struct Reader {
	const uint8_t *p;
	size_t left;
} Reader;

static const uint8_t *take(Reader *reader, size_t size)
{
	const uint8_t *p = reader->p;

	if (size > reader->left)
		return NULL;
	reader->p += size;
	reader->left -= size;
	return p;
}

/* A string whose first `shared` bytes are those of `before`. */
static int take_string(Reader *reader, const char *before, size_t shared, size_t size, char **ret)
{
	const uint8_t *bytes = take(reader, size);
	char *text;

	if (!bytes || shared > (before ? strlen(before) : 0) || shared + size > PATH_LENGTH_MAX ||
		memchr(bytes, 0, size))
		return -EBADMSG;
	text = malloc(shared + size + 1);
	if (!text)
		return -ENOMEM;
	if (shared > 0)
		memcpy(text, before, shared);
	memcpy(text + shared, bytes, size);
	text[shared + size] = 0;
	*ret = text;
	return 0;
}

static int read_entry(Reader *reader, const char *before, JournalEntry *entry)
{
	const uint8_t *p = take(reader, ENTRY_FIXED);
	int r;

	if (!p)
		return -EBADMSG;
	entry->serial = get_le64(p + 0);
	entry->size = get_le64(p + 8);
	entry->mtime.tv_sec = (time_t)get_le64(p + 16);
	entry->mtime.tv_nsec = (long)(get_le32(p + 24) & ~NSEC_READ_ONLY);
	entry->read_only = get_le32(p + 24) & NSEC_READ_ONLY;
	entry->new_size = get_le64(p + 28);
	entry->new_mtime.tv_sec = (time_t)get_le64(p + 36);
	entry->new_mtime.tv_nsec = (long)get_le32(p + 44);
	memcpy(entry->last_tag, p + 48, sizeof(entry->last_tag));
	memcpy(entry->content_tag, p + 64, sizeof(entry->content_tag));
	p = take(reader, ENTRY_LENGTHS);
	if (!p)
		return -EBADMSG;
	r = take_string(reader, before, get_le16(p), get_le16(p + 2), &entry->path);
	if (r < 0)
		return r;
	r = take_string(reader, NULL, 0, get_le16(p + 4), &entry->new_name);
	if (r < 0)
		return r;
	return path_is_inside(entry->path) && name_is_beside(entry->new_name, entry->path) ? 0 : -EBADMSG;
}

static int parse_lists(Reader *reader, const uint8_t *counts, JournalRecord *record)
{
	for (int list = 0; list < JOURNAL_LIST_MAX; list++) {
		uint32_t n = get_le32(counts + 4 * list);
		const char *before = NULL;

		if (n > ENTRIES_MAX || n > reader->left / ENTRY_FIXED)
			return -EBADMSG;
		record->lists[list] = new0(JournalEntry, MAX(n, 1U));
		if (!record->lists[list])
			return -ENOMEM;
		for (uint32_t i = 0; i < n; i++) {
			JournalEntry *entry = &record->lists[list][i];
			int r;

			record->n[list]++; /* counted first: a half-read entry is freed too */
			r = read_entry(reader, before, entry);
			if (r < 0)
				return r;
			before = entry->path;
		}
	}
	return reader->left == 0 ? 0 : -EBADMSG;
}

/* Parses an authenticated record of `size` bytes, MAC left out. */
static int parse_record(const uint8_t *bytes, size_t size, JournalRecord **ret)
{
	_cleanup_journal_record_ JournalRecord *record = new0(JournalRecord, 1);
	Reader reader = {.p = bytes + FIXED_SIZE, .left = size - FIXED_SIZE};
	uint32_t operation = get_le32(bytes + 16), n_scope = get_le32(bytes + 20);
	int r;

	if (!record)
		return -ENOMEM;
	if (operation != TRANSACTION_ENCRYPT && operation != TRANSACTION_DECRYPT)
		return -EBADMSG;
	record->flags = get_le32(bytes + 12);
	record->operation = (TransactionKind)operation;
	record->sequence = get_le64(bytes + 24);
	memcpy(record->run, bytes + 48, sizeof(record->run));
	memcpy(record->previous, bytes + 64, sizeof(record->previous));
	memcpy(record->metadata_digest, bytes + 96, sizeof(record->metadata_digest));

	if (n_scope > reader.left / 2)
		return -EBADMSG;
	record->scope = new0(char *, MAX(n_scope, 1U));
	if (!record->scope)
		return -ENOMEM;
	for (uint32_t i = 0; i < n_scope; i++) {
		const uint8_t *p = take(&reader, 2);

		if (!p)
			return -EBADMSG;
		r = take_string(&reader, NULL, 0, get_le16(p), &record->scope[i]);
		if (r < 0)
			return r;
		record->n_scope++;
		if (!path_is_inside(record->scope[i]))
			return -EBADMSG;
	}
	r = parse_lists(&reader, bytes + 128, record);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(record);
	return 0;
}

int journal_record_parse(const uint8_t *bytes, size_t size, const Secret *mac_key,
	const uint8_t drive_id[DRIVE_ID_SIZE], JournalRecord **ret, size_t *ret_size)
{
	uint8_t mac[JOURNAL_MAC_SIZE];
	size_t used;
	int r;

	if (size < JOURNAL_RECORD_MIN)
		return -EBADMSG;
	if (sodium_is_zero(bytes, FIXED_SIZE))
		return 0;
	used = get_le32(bytes + 8);
	if (memcmp(bytes, MAGIC, 8) != 0 || used < JOURNAL_RECORD_MIN || used > size)
		return -EBADMSG;
	if (memcmp(bytes + 32, drive_id, DRIVE_ID_SIZE) != 0)
		return -EBADMSG;
	(void)crypto_generichash(
		mac, sizeof(mac), bytes, used - JOURNAL_MAC_SIZE, secret_view(mac_key), secret_size(mac_key));
	if (sodium_memcmp(mac, bytes + used - JOURNAL_MAC_SIZE, JOURNAL_MAC_SIZE) != 0)
		return -EBADMSG;
	r = parse_record(bytes, used - JOURNAL_MAC_SIZE, ret);
	if (r < 0)
		return r;
	*ret_size = used;
	return 1;
}

size_t journal_record_size(const uint8_t *bytes)
{
	size_t size = get_le32(bytes + 8);

	return memcmp(bytes, MAGIC, 8) == 0 && size >= JOURNAL_RECORD_MIN ? size : 0;
}

bool journal_record_peek(const uint8_t *bytes, uint64_t *ret_sequence, TransactionKind *ret_pending)
{
	uint32_t operation = get_le32(bytes + 16);

	if (memcmp(bytes, MAGIC, 8) != 0 ||
		(operation != TRANSACTION_ENCRYPT && operation != TRANSACTION_DECRYPT))
		return false;
	*ret_sequence = get_le64(bytes + 24);
	*ret_pending =
		get_le32(bytes + 12) & JOURNAL_CLOSED ? TRANSACTION_INVALID : (TransactionKind)operation;
	return true;
}

size_t journal_entry_size(const JournalEntry *entry)
{
	return ENTRY_FIXED + ENTRY_LENGTHS + strlen(entry->path) + strlen(entry->new_name);
}

void journal_builder_clear(JournalBuilder *builder)
{
	builder->bytes = mfree(builder->bytes);
	builder->last_path = mfree(builder->last_path);
}

int journal_builder_begin(
	JournalBuilder *builder, const JournalRecord *head, const uint8_t drive_id[DRIVE_ID_SIZE])
{
	size_t scope_size = 0;
	uint32_t flags = head->flags;
	uint8_t *p;

	if (!builder->bytes)
		builder->bytes = new0(uint8_t, JOURNAL_RECORD_MAX);
	if (!builder->bytes)
		return -ENOMEM;
	for (size_t i = 0; i < head->n_scope; i++)
		scope_size += 2 + strlen(head->scope[i]);
	if (scope_size > JOURNAL_SCOPE_MAX)
		flags |= JOURNAL_SCOPE_MISSING;

	p = builder->bytes;
	memset(p, 0, FIXED_SIZE);
	memcpy(p, MAGIC, 8);
	put_le32(p + 12, flags);
	put_le32(p + 16, (uint32_t)head->operation);
	put_le32(p + 20, flags & JOURNAL_SCOPE_MISSING ? 0 : (uint32_t)head->n_scope);
	put_le64(p + 24, head->sequence);
	memcpy(p + 32, drive_id, DRIVE_ID_SIZE);
	memcpy(p + 48, head->run, RUN_ID_SIZE);
	memcpy(p + 64, head->previous, JOURNAL_HASH_SIZE);
	memcpy(p + 96, head->metadata_digest, JOURNAL_HASH_SIZE);
	p += FIXED_SIZE;
	for (size_t i = 0; i < head->n_scope && !(flags & JOURNAL_SCOPE_MISSING); i++) {
		size_t n = strlen(head->scope[i]);

		put_le16(p, (uint16_t)n);
		memcpy(p + 2, head->scope[i], n);
		p += 2 + n;
	}
	builder->used = (size_t)(p - builder->bytes);
	builder->list = 0;
	memset(builder->n, 0, sizeof(builder->n));
	builder->last_path = mfree(builder->last_path);
	return 0;
}

int journal_builder_add(JournalBuilder *builder, JournalList list, const JournalEntry *entry)
{
	size_t path_size = strlen(entry->path), name_size = strlen(entry->new_name);
	size_t shared = 0;
	uint8_t *p = builder->bytes + builder->used;
	char *copy;

	if (list < builder->list)
		return -EINVAL;
	if (builder->used + journal_entry_size(entry) + JOURNAL_MAC_SIZE > builder->limit)
		return -EMSGSIZE;
	if (list != builder->list)
		builder->last_path = mfree(builder->last_path);
	builder->list = list;
	if (builder->last_path)
		while (builder->last_path[shared] && builder->last_path[shared] == entry->path[shared])
			shared++;

	put_le64(p + 0, entry->serial);
	put_le64(p + 8, entry->size);
	put_le64(p + 16, (uint64_t)entry->mtime.tv_sec);
	put_le32(p + 24, (uint32_t)entry->mtime.tv_nsec | (entry->read_only ? NSEC_READ_ONLY : 0));
	put_le64(p + 28, entry->new_size);
	put_le64(p + 36, (uint64_t)entry->new_mtime.tv_sec);
	put_le32(p + 44, (uint32_t)entry->new_mtime.tv_nsec);
	memcpy(p + 48, entry->last_tag, sizeof(entry->last_tag));
	memcpy(p + 64, entry->content_tag, sizeof(entry->content_tag));
	p += ENTRY_FIXED;
	put_le16(p, (uint16_t)shared);
	put_le16(p + 2, (uint16_t)(path_size - shared));
	put_le16(p + 4, (uint16_t)name_size);
	p += ENTRY_LENGTHS;
	memcpy(p, entry->path + shared, path_size - shared);
	p += path_size - shared;
	memcpy(p, entry->new_name, name_size);
	p += name_size;

	copy = strdup(entry->path);
	if (!copy)
		return -ENOMEM;
	free(builder->last_path);
	builder->last_path = copy;
	builder->used = (size_t)(p - builder->bytes);
	builder->n[list]++;
	return 0;
}

size_t journal_builder_end(JournalBuilder *builder, const Secret *mac_key)
{
	size_t size = builder->used + JOURNAL_MAC_SIZE;

	put_le32(builder->bytes + 8, (uint32_t)size);
	for (int list = 0; list < JOURNAL_LIST_MAX; list++)
		put_le32(builder->bytes + 128 + 4 * list, builder->n[list]);
	(void)crypto_generichash(builder->bytes + builder->used, JOURNAL_MAC_SIZE, builder->bytes,
		builder->used, secret_view(mac_key), secret_size(mac_key));
	return size;
}
