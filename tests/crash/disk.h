/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The model of a FAT drive's medium. It consists of *persist units*: FAT cells, directory slots, data
 * sectors. Each is written whole or not at all (or, for data, damaged); between two barriers they reach the
 * medium in any order, and each holds any of the versions that were written since. A disk is one value for
 * each unit, so that a crash state costs a copy of a few kilobytes.
 */

#include "util/macro.h"

#include <stdbool.h>

#define SECTOR_SIZE         512
#define SECTORS_PER_CLUSTER 2
#define CLUSTER_SIZE        (SECTOR_SIZE * SECTORS_PER_CLUSTER)
#define CLUSTERS_MAX        1408

/* Folders are as many and as large as the drive was made with. */
typedef enum DirectoryId {
	DIRECTORY_ROOT,
	DIRECTORY_OURS, /* .usbcrypt */
	DIRECTORY_A,    /* .usbcrypt/a */
	DIRECTORY_B,
	DIRECTORY_USER,  /* dir */
	DIRECTORY_OTHER, /* other */
	DIRECTORY_MAX,
} DirectoryId;

#define SLOTS_PER_DIRECTORY 200
#define SLOTS_MAX           (SLOTS_PER_DIRECTORY * DIRECTORY_MAX)

#define UNIT_FAT  0U
#define UNIT_SLOT ((unsigned)CLUSTERS_MAX)
#define UNIT_DATA ((unsigned)(CLUSTERS_MAX + SLOTS_MAX))
#define UNITS_MAX ((unsigned)(CLUSTERS_MAX + SLOTS_MAX + CLUSTERS_MAX * SECTORS_PER_CLUSTER))

/* On a drive on which it grows (a scenario's choice) DIRECTORY_USER has clusters behind its first slots, one
 * for so many. Each is linked by a unit of its own, and taken when its FAT cell says so: as with exFAT's
 * bitmap, one may be durable without the other. The links are the cells of the last clusters, which such a
 * drive does not have. */
#define EXTENTS_MAX  6
#define EXTENT_SLOTS 16
#define UNIT_LINK    ((unsigned)(CLUSTERS_MAX - EXTENTS_MAX))

/* FAT cells hold the next cluster's number or one of these. */
#define FAT_FREE 0U
#define FAT_END  UINT32_MAX

#define FAT_READ_ONLY 0x01 /* of a slot's attributes */

typedef enum SlotKind {
	SLOT_FREE,
	SLOT_DELETED,
	SLOT_LONG,  /* 13 characters of a long name */
	SLOT_SHORT, /* the entry itself */
} SlotKind;

typedef struct Slot {
	uint8_t kind;
	uint8_t ordinal; /* of a long name's slot, from 1 */
	uint8_t last;    /* the one with the name's end */
	uint8_t checksum;
	uint8_t attributes;
	uint8_t directory; /* DirectoryId, or 0 for a file */
	char text[14];     /* a piece of the long name, or the 8.3 alias */
	uint32_t start, size;
	int64_t mtime;
} Slot;

/* What units of slots and data hold: a number that stands for the bytes. */
#define CONTENT_ZERO 0U

typedef struct Disk {
	unsigned clusters;
	unsigned grows_at;   /* the slots of DIRECTORY_USER before it has clusters; 0: no folder grows */
	unsigned unreadable; /* a sector's unit, until it is written again; or 0 */
	uint32_t units[UNITS_MAX]; /* FAT cells: the value itself; others: a content */
} Disk;

static inline unsigned unit_of_slot(unsigned slot)
{
	return UNIT_SLOT + slot;
}

static inline unsigned unit_of_sector(unsigned cluster, unsigned sector)
{
	return UNIT_DATA + cluster * SECTORS_PER_CLUSTER + sector;
}

/* How many slots a folder shows: extents count up to the first that is not linked. */
unsigned disk_slots(const Disk *disk, DirectoryId directory);

/* The extent whose cluster this is, or -1. */
int disk_extent_of(const Disk *disk, uint32_t cluster);

/* Numbers for bytes: equal bytes, equal number. */
uint32_t content_of_slot(const Slot *slot);
uint32_t content_of_sector(const uint8_t bytes[SECTOR_SIZE]);
const Slot *content_slot(uint32_t content);
const uint8_t *content_sector(uint32_t content);
uint64_t content_hash(uint32_t content);

/* A number kept beside a content, 0 at first: for whoever wants to remember what it found there. */
uint32_t *content_note(uint32_t content);

/* Contents made after a mark can be forgotten again. */
size_t contents_mark(void);
void contents_release(size_t mark);

/* A sector that a power cut damaged. */
uint32_t content_damaged(unsigned unit);

/* Sums up what a disk holds: equal disks, equal sums. */
uint64_t disk_hash(const Disk *disk);
uint64_t disk_unit_hash(unsigned unit, uint32_t value);

/* One live entry of a directory. */
typedef struct DiskEntry {
	unsigned slot;   /* of the short entry */
	unsigned n_long; /* slots before it that belong to it */
	char name[256];  /* the long name, or the alias where that is torn or missing */
	Slot entry;
} DiskEntry;

/* The next entry at or behind *position. */
bool disk_next_entry(const Disk *disk, DirectoryId directory, unsigned *position, DiskEntry *ret);

/* Finds by long name or alias, case aside. */
bool disk_find(const Disk *disk, DirectoryId directory, const char *name, DiskEntry *ret);

/* Reads a file as it lies there. False: its chain is torn. *ret_allocated: all of its clusters are. */
bool disk_read(const Disk *disk, const Slot *entry, uint8_t *bytes, size_t size, bool *ret_allocated);

uint8_t alias_checksum(const char *alias);

/* As fsck.fat -a: a chain ends where it meets a free cluster, or one of a file that was met before. As
 * fsck.exfat -y: a folder does too. */
void disk_repair(Disk *disk);
