/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "disk.h"

#include "util/memory.h"

#include <sodium.h>
#include <stdio.h>
#include <strings.h>

/* ---- contents ---- */

typedef struct Stored {
	uint64_t hash;
	uint32_t next; /* in its bucket */
	uint32_t note;
	uint8_t *bytes;
} Stored;

#define BUCKETS    (1U << 16)
#define STORED_MAX (1U << 21)

static Stored *stored;
static uint32_t *buckets;
static size_t n_stored;

static uint64_t mix(uint64_t x)
{
	x ^= x >> 30;
	x *= 0xbf58476d1ce4e5b9ULL;
	x ^= x >> 27;
	x *= 0x94d049bb133111ebULL;
	return x ^ x >> 31;
}

static uint64_t hash_bytes(const uint8_t *bytes)
{
	static const uint8_t key[crypto_shorthash_KEYBYTES] = "model disk";
	uint64_t hash;

	(void)crypto_shorthash((uint8_t *)&hash, bytes, SECTOR_SIZE, key);
	return hash;
}

static uint32_t content_put(const uint8_t *bytes)
{
	uint64_t hash;
	uint32_t *bucket;

	if (!stored) {
		static const uint8_t zeros[SECTOR_SIZE];

		stored = new0(Stored, STORED_MAX);
		buckets = new0(uint32_t, BUCKETS);
		if (!stored || !buckets)
			abort();
		memset(buckets, 0xff, BUCKETS * sizeof(*buckets));
		if (content_put(zeros) != CONTENT_ZERO)
			abort();
	}
	hash = hash_bytes(bytes);
	bucket = &buckets[hash % BUCKETS];
	for (uint32_t i = *bucket; i != UINT32_MAX; i = stored[i].next)
		if (stored[i].hash == hash && memcmp(stored[i].bytes, bytes, SECTOR_SIZE) == 0)
			return i;
	if (n_stored == STORED_MAX)
		abort();
	stored[n_stored] = (Stored){.hash = hash, .next = *bucket, .bytes = malloc(SECTOR_SIZE)};
	if (!stored[n_stored].bytes)
		abort();
	memcpy(stored[n_stored].bytes, bytes, SECTOR_SIZE);
	*bucket = (uint32_t)n_stored;
	return (uint32_t)n_stored++;
}

uint32_t content_of_sector(const uint8_t bytes[SECTOR_SIZE])
{
	return content_put(bytes);
}

uint32_t content_of_slot(const Slot *slot)
{
	uint8_t bytes[SECTOR_SIZE] = {0};

	memcpy(bytes, slot, sizeof(*slot));
	return content_put(bytes);
}

const Slot *content_slot(uint32_t content)
{
	return (const Slot *)(const void *)stored[content].bytes;
}

const uint8_t *content_sector(uint32_t content)
{
	return stored[content].bytes;
}

uint64_t content_hash(uint32_t content)
{
	return stored[content].hash;
}

uint32_t *content_note(uint32_t content)
{
	return &stored[content].note;
}

size_t contents_mark(void)
{
	return n_stored;
}

void contents_release(size_t mark)
{
	while (n_stored > mark) {
		Stored *last = &stored[--n_stored];

		/* Buckets are stacks: the newest content heads its own. */
		buckets[last->hash % BUCKETS] = last->next;
		free(last->bytes);
	}
}

uint32_t content_damaged(unsigned unit)
{
	uint8_t bytes[SECTOR_SIZE];

	for (size_t i = 0; i < sizeof(bytes); i += 8) {
		uint64_t x = mix(((uint64_t)unit << 16) + i + 0xdead);

		memcpy(bytes + i, &x, 8);
	}
	return content_put(bytes);
}

uint64_t disk_unit_hash(unsigned unit, uint32_t value)
{
	uint64_t what = unit < UNIT_SLOT ? value : content_hash(value);

	return mix(what + 0x9e3779b97f4a7c15ULL * (unit + 1));
}

uint64_t disk_hash(const Disk *disk)
{
	uint64_t sum = 0;

	for (unsigned unit = 0; unit < UNITS_MAX; unit++)
		sum += disk->units[unit] ? disk_unit_hash(unit, disk->units[unit]) : 0;
	return sum;
}

/* ---- what lies there ---- */

uint8_t alias_checksum(const char *alias)
{
	uint8_t sum = 0;

	for (; *alias; alias++)
		sum = (uint8_t)(((sum & 1) << 7 | sum >> 1) + *alias);
	return sum;
}

/* Puts the name together from the slots before the short one. Returns how many they are, 0: torn or none. */
static unsigned read_long_name(const Disk *disk, unsigned first, unsigned slot, const Slot *entry, char *name)
{
	size_t used = 0;
	uint8_t checksum = alias_checksum(entry->text);

	for (unsigned n = 1; slot >= first + n && n <= 20; n++) {
		const Slot *piece = content_slot(disk->units[unit_of_slot(slot - n)]);
		size_t length;

		if (piece->kind != SLOT_LONG || piece->ordinal != n || piece->checksum != checksum)
			return 0;
		length = strlen(piece->text);
		memcpy(name + used, piece->text, length + 1);
		used += length;
		if (piece->last)
			return n;
	}
	return 0;
}

unsigned disk_slots(const Disk *disk, DirectoryId directory)
{
	unsigned slots = disk->grows_at;

	if (directory != DIRECTORY_USER || slots == 0)
		return SLOTS_PER_DIRECTORY;
	for (unsigned k = 0; k < EXTENTS_MAX && disk->units[UNIT_LINK + k] != 0; k++)
		slots += EXTENT_SLOTS;
	return MIN(slots, (unsigned)SLOTS_PER_DIRECTORY);
}

int disk_extent_of(const Disk *disk, uint32_t cluster)
{
	for (unsigned k = 0; disk->grows_at && k < EXTENTS_MAX && disk->units[UNIT_LINK + k] != 0; k++)
		if (disk->units[UNIT_LINK + k] == cluster)
			return (int)k;
	return -1;
}

bool disk_next_entry(const Disk *disk, DirectoryId directory, unsigned *position, DiskEntry *ret)
{
	unsigned first = (unsigned)directory * SLOTS_PER_DIRECTORY, slots = disk_slots(disk, directory);

	for (unsigned i = *position; i < slots; i++) {
		uint32_t content = disk->units[unit_of_slot(first + i)];
		const Slot *slot;

		if (content == CONTENT_ZERO)
			continue;
		slot = content_slot(content);
		if (slot->kind != SLOT_SHORT)
			continue;
		*position = i + 1;
		ret->slot = first + i;
		ret->entry = *slot;
		ret->n_long = read_long_name(disk, first, first + i, slot, ret->name);
		if (ret->n_long == 0)
			(void)snprintf(ret->name, sizeof(ret->name), "%s", slot->text);
		return true;
	}
	return false;
}

bool disk_find(const Disk *disk, DirectoryId directory, const char *name, DiskEntry *ret)
{
	unsigned position = 0;

	while (disk_next_entry(disk, directory, &position, ret))
		if (strcasecmp(ret->name, name) == 0 || strcasecmp(ret->entry.text, name) == 0)
			return true;
	return false;
}

bool disk_read(const Disk *disk, const Slot *entry, uint8_t *bytes, size_t size, bool *ret_allocated)
{
	uint32_t cluster = entry->start;

	*ret_allocated = true;
	for (size_t offset = 0; offset < size; offset += CLUSTER_SIZE) {
		if (cluster == FAT_FREE || cluster == FAT_END || cluster >= disk->clusters)
			return false;
		for (unsigned s = 0; s < SECTORS_PER_CLUSTER; s++) {
			size_t at = offset + s * SECTOR_SIZE;

			if (at < size)
				memcpy(bytes + at, content_sector(disk->units[unit_of_sector(cluster, s)]),
					MIN((size_t)SECTOR_SIZE, size - at));
		}
		*ret_allocated &= disk->units[UNIT_FAT + cluster] != FAT_FREE;
		cluster = disk->units[UNIT_FAT + cluster];
	}
	return true;
}

static void repair_entry(Disk *disk, bool taken[CLUSTERS_MAX], const DiskEntry *entry)
{
	uint32_t cluster = entry->entry.start, before = 0;
	Slot slot = entry->entry;
	uint32_t n = 0;

	while (cluster != 0 && cluster != FAT_END) {
		if (cluster >= disk->clusters || taken[cluster] ||
			disk->units[UNIT_FAT + cluster] == FAT_FREE)
			break;
		taken[cluster] = true;
		n++;
		before = cluster;
		cluster = disk->units[UNIT_FAT + cluster];
	}
	if (cluster != FAT_END && before)
		disk->units[UNIT_FAT + before] = FAT_END;
	if (!before)
		slot.start = 0;
	slot.size = MIN(slot.size, n * CLUSTER_SIZE);
	disk->units[unit_of_slot(entry->slot)] = content_of_slot(&slot);
}

void disk_repair(Disk *disk)
{
	bool taken[CLUSTERS_MAX] = {0}, torn = false;

	for (unsigned k = 0; disk->grows_at && k < EXTENTS_MAX; k++) {
		uint32_t *link = &disk->units[UNIT_LINK + k];

		torn |= *link == 0 || disk->units[UNIT_FAT + *link] == FAT_FREE;
		if (torn)
			*link = 0;
		taken[*link] = true;
	}
	for (DirectoryId d = DIRECTORY_ROOT; d < DIRECTORY_MAX; d++) {
		unsigned position = 0;
		DiskEntry entry;

		while (disk_next_entry(disk, d, &position, &entry))
			if (!entry.entry.directory)
				repair_entry(disk, taken, &entry);
	}
}
