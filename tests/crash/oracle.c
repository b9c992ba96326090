/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "oracle.h"

#include "reader.h"

#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define READ_MAX   16384
#define CACHE_SIZE 4096
#define FOREIGN    "it is none of the user's files"

/* ---- contents of files ---- */

typedef struct Opened {
	uint64_t key;
	uint64_t path, plain; /* hashes; 0: it does not open */
} Opened;

static uint64_t hash_of(const void *bytes, size_t size)
{
	static const uint8_t key[crypto_shorthash_KEYBYTES] = "oracle";
	uint64_t hash;

	(void)crypto_shorthash((uint8_t *)&hash, bytes, size, key);
	return hash | 1;
}

/* What an encrypted file opens to; the same bytes are opened once. */
static Opened open_cached(const uint8_t *bytes, size_t size)
{
	static Opened cache[CACHE_SIZE];
	uint64_t key = hash_of(bytes, size);
	Opened *opened = &cache[key / 2 % CACHE_SIZE];
	static uint8_t plain[READ_MAX];
	char path[READER_PATH_MAX + 1];
	size_t plain_size;

	if (opened->key == key)
		return *opened;
	*opened = (Opened){.key = key};
	if (reader_open(world_file_root, world_drive_id, bytes, size, path, plain, &plain_size)) {
		opened->path = hash_of(path, strlen(path));
		opened->plain = hash_of(plain, plain_size);
	}
	return *opened;
}

/* ---- a look at the whole disk ---- */

typedef struct Looking {
	const World *world;
	const Disk *disk;
	Look *look;
	bool allocated;
	uint16_t owners[CLUSTERS_MAX]; /* slot + 1 of the entry that has it */
} Looking;

static void trouble(Looking *looking, const char *what, const char *name)
{
	if (!*looking->look->trouble)
		(void)snprintf(looking->look->trouble, sizeof(looking->look->trouble), "%s: %s", what, name);
}

static void own_extents(Looking *looking)
{
	const Disk *disk = looking->disk;

	for (unsigned k = 0; disk->grows_at && k < EXTENTS_MAX && disk->units[UNIT_LINK + k] != 0; k++) {
		uint32_t cluster = disk->units[UNIT_LINK + k];

		if (disk->units[UNIT_FAT + cluster] == FAT_FREE || looking->owners[cluster])
			trouble(looking, "it lies in a free or a shared cluster", "a folder");
		looking->owners[cluster] = UINT16_MAX;
	}
}

/* Follows an entry's chain; false where it is torn, shared or free. */
static bool own_clusters(Looking *looking, const DiskEntry *entry)
{
	uint32_t cluster = entry->entry.start;
	size_t n = 0, want = (entry->entry.size + CLUSTER_SIZE - 1) / CLUSTER_SIZE;

	for (; cluster != FAT_END && cluster != 0; n++) {
		if (cluster >= looking->disk->clusters || n > CLUSTERS_MAX) {
			trouble(looking, "its chain leads astray", entry->name);
			return false;
		}
		if (looking->owners[cluster]) {
			trouble(looking, "it shares a cluster", entry->name);
			return false;
		}
		looking->owners[cluster] = (uint16_t)(entry->slot + 1);
		cluster = looking->disk->units[UNIT_FAT + cluster];
		if (cluster == FAT_FREE) {
			trouble(looking, "it points into free space", entry->name);
			return false;
		}
	}
	if (n < want)
		trouble(looking, "its chain is too short", entry->name);
	return n >= want;
}

/* What a creation of the journal that was cut short left: it has no record, or another one came after it. */
static bool is_unused_journal(const Disk *disk, DirectoryId directory, const DiskEntry *entry)
{
	static const char magic[] = "UCRJRNL1", name[] = "journal";
	uint32_t start = entry->entry.start;
	unsigned position = 0;
	DiskEntry other;

	if (strncasecmp(entry->name, name, strlen(name)) != 0)
		return false;
	while (disk_next_entry(disk, directory, &position, &other))
		if (strncasecmp(other.name, name, strlen(name)) == 0 &&
			strcasecmp(other.name, entry->name) > 0)
			return true;
	return entry->entry.size < strlen(magic) || start == 0 || start >= disk->clusters ||
	       memcmp(content_sector(disk->units[unit_of_sector(start, 0)]), magic, strlen(magic)) != 0;
}

static void look_at_content(
	Looking *looking, DirectoryId directory, const DiskEntry *entry, const uint8_t *bytes, bool readable)
{
	const World *world = looking->world;
	size_t size = entry->entry.size;
	bool known = false;

	for (unsigned i = 0; i < world->n_files; i++) {
		const File *file = &world->files[i];
		FileState *state = &looking->look->files[i];

		if (file->directory != directory)
			continue;
		if (strcmp(entry->name, file->name) == 0) {
			state->plain_name = true;
			if (readable && size == file->size && memcmp(bytes, file->bytes, size) == 0)
				known = true;
		}
		if (strcmp(entry->name, file->cipher_name) == 0)
			state->cipher_name = true;
		if (readable && size == file->size && memcmp(bytes, file->bytes, size) == 0)
			state->plain = true;
	}
	if (readable && size > 8 && bytes[0] == 0x8a && memcmp(bytes + 1, "UCR", 3) == 0) {
		Opened opened = open_cached(bytes, size);

		/* It may have been encrypted in its turn. */
		looking->look->second |=
			opened.path && opened.plain == hash_of(world->second_bytes, BYSTANDER_SIZE);
		for (unsigned i = 0; i < world->n_files && opened.path; i++) {
			const File *file = &world->files[i];

			if (opened.path != hash_of(file->path, strlen(file->path)) ||
				opened.plain != hash_of(file->bytes, file->size))
				continue;
			looking->look->files[i].cipher = true;
			known |= strcmp(entry->name, file->cipher_name) == 0 && file->directory == directory;
		}
	}
	if (!known)
		trouble(looking, FOREIGN, entry->name);
}

void oracle_look(const World *world, const Disk *disk, bool allocated, Look *ret)
{
	Looking looking = {.world = world, .disk = disk, .look = ret, .allocated = allocated};
	static uint8_t bytes[READ_MAX];

	memset(ret, 0, sizeof(*ret));
	own_extents(&looking);
	for (DirectoryId d = DIRECTORY_ROOT; d < DIRECTORY_MAX; d++) {
		unsigned position = 0;
		DiskEntry entry;

		while (disk_next_entry(disk, d, &position, &entry)) {
			bool taken, readable, owned;
			size_t size = entry.entry.size;

			if (entry.entry.directory)
				continue;
			/* What a creation of the journal that was cut short left is not used, nor given back.
			 */
			if (d != DIRECTORY_ROOT && d < DIRECTORY_USER && is_unused_journal(disk, d, &entry))
				continue;
			owned = own_clusters(&looking, &entry);
			if (d != DIRECTORY_ROOT && d < DIRECTORY_USER)
				continue;
			readable = size <= READ_MAX && disk_read(disk, &entry.entry, bytes, size, &taken) &&
				   (!allocated || owned);
			if (readable && size == BYSTANDER_SIZE) {
				ret->bystander |=
					d == DIRECTORY_ROOT && memcmp(bytes, world->bystander, size) == 0;
				ret->second |= memcmp(bytes, world->second_bytes, size) == 0;
			}
			if (d != DIRECTORY_ROOT)
				look_at_content(&looking, d, &entry, bytes, readable);
		}
	}
	for (unsigned i = 0; i < world->n_files; i++)
		ret->n_whole += ret->files[i].plain || ret->files[i].cipher;
}

static const char *find_lost(const World *world, const Look *look, const char *when)
{
	static char text[600];

	for (unsigned i = 0; i < world->n_files; i++)
		if (!look->files[i].plain && !look->files[i].cipher) {
			(void)snprintf(text, sizeof(text), "%s: %.40s is lost", when, world->files[i].path);
			return text;
		}
	if (!look->bystander || (world->second && !look->second)) {
		(void)snprintf(text, sizeof(text), "%s: a file of the bystander's is lost", when);
		return text;
	}
	return NULL;
}

const char *oracle_instant(const World *world, const Disk *disk)
{
	Look look;

	oracle_look(world, disk, false, &look);
	return find_lost(world, &look, "I1 in the crash state");
}

void oracle_fill(Disk *disk)
{
	uint32_t filler = content_damaged(0);

	for (unsigned k = 0; disk->grows_at && k < EXTENTS_MAX; k++)
		if (disk->units[UNIT_FAT + disk->units[UNIT_LINK + k]] == FAT_FREE)
			memset(&disk->units[unit_of_slot(DIRECTORY_USER * SLOTS_PER_DIRECTORY +
							 disk->grows_at + k * EXTENT_SLOTS)],
				0, EXTENT_SLOTS * sizeof(disk->units[0]));
	for (unsigned c = 1; c < disk->clusters; c++)
		if (disk->units[UNIT_FAT + c] == FAT_FREE)
			for (unsigned s = 0; s < SECTORS_PER_CLUSTER; s++)
				disk->units[unit_of_sector(c, s)] = filler;
}

/* ---- I9 ---- */

/* Which files' plaintext a sector begins with, as bits; the highest bit: looked at already. */
static uint32_t plaintext_in(const World *world, uint32_t content)
{
	uint32_t *note = content_note(content);

	if (*note)
		return *note;
	*note = 1U << 31;
	for (unsigned i = 0; i < world->n_files; i++)
		for (size_t offset = 0; offset + 16 <= world->files[i].size; offset += SECTOR_SIZE)
			if (!sodium_is_zero(world->files[i].bytes + offset, 16) &&
				memcmp(content_sector(content), world->files[i].bytes + offset, 16) == 0)
				*note |= 1U << i;
	return *note;
}

static const char *find_plaintext(const World *world, const Disk *disk, const Look *look)
{
	static char text[200];
	uint32_t found = 0;

	for (unsigned unit = UNIT_DATA; unit < UNIT_DATA + disk->clusters * SECTORS_PER_CLUSTER; unit++)
		if (disk->units[unit] != CONTENT_ZERO)
			found |= plaintext_in(world, disk->units[unit]);
	for (unsigned i = 0; i < world->n_files; i++)
		if (found & 1U << i && look->files[i].cipher && !look->files[i].plain_name) {
			(void)snprintf(text, sizeof(text), "I9: plaintext of %.40s is left in a sector",
				world->files[i].path);
			return text;
		}
	return NULL;
}

const char *oracle_end(const World *world, const Execution *execution, bool closed, bool damaged)
{
	static Disk filled;
	static char text[700];
	const char *violation;
	Look look;

	oracle_look(world, &execution->disk, true, &look);
	violation = find_lost(world, &look, closed ? "at the end" : "still pending");
	if (violation || !closed)
		return violation;
	if (*look.trouble && !(damaged && strncmp(look.trouble, FOREIGN, strlen(FOREIGN)) == 0)) {
		(void)snprintf(text, sizeof(text), "at the end: %s", look.trouble);
		return text;
	}
	for (unsigned i = 0; i < world->n_files && !damaged; i++)
		if (look.files[i].plain_name && look.files[i].cipher_name &&
			!execution_named(execution, world->files[i].path)) {
			(void)snprintf(text, sizeof(text), "at the end: both forms of %.40s, unreported",
				world->files[i].path);
			return text;
		}
	if (!damaged && world->scenario.kind == TRANSACTION_ENCRYPT && world->scenario.scrub &&
		world->scenario.mode != RECOVERY_ROLLBACK) {
		violation = find_plaintext(world, &execution->disk, &look);
		if (violation)
			return violation;
	}
	filled = execution->disk;
	oracle_fill(&filled);
	oracle_look(world, &filled, true, &look);
	return find_lost(world, &look, "after the drive was filled up");
}
