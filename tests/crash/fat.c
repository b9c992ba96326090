/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fat.h"

#include "util/memory.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <strings.h>

void log_add(Log *log, LogKind kind, unsigned unit, uint32_t value)
{
	if (array_grow(&log->entries, &log->allocated, log->n + 1, sizeof(*log->entries)) < 0)
		abort();
	log->entries[log->n++] = (LogEntry){kind, unit, value};
}

void log_clear(Log *log)
{
	free(log->entries);
	*log = (Log){0};
}

static void put_unit(Fs *fs, unsigned unit, uint32_t value)
{
	if (fs->log)
		log_add(fs->log, LOG_WRITE, unit, value);
	if (fs->overlay_unit == unit)
		fs->overlay_unit = UNITS_MAX;
	if (fs->disk->unreadable == unit)
		fs->disk->unreadable = 0;
	fs->disk->units[unit] = value;
}

/* Whether a file has this cluster. */
static bool is_taken_by_file(const Fs *fs, uint32_t cluster)
{
	for (DirectoryId d = DIRECTORY_ROOT; d < DIRECTORY_MAX; d++) {
		unsigned position = 0;
		DiskEntry entry;

		while (disk_next_entry(fs->disk, d, &position, &entry)) {
			uint32_t c = entry.entry.start;

			for (; c != 0 && c < fs->disk->clusters; c = fs->disk->units[UNIT_FAT + c])
				if (c == cluster)
					return true;
		}
	}
	return false;
}

/* Where a folder's cluster counted as free, a file may have it too: whoever writes there overwrites the
 * other. */
static void put(Fs *fs, unsigned unit, uint32_t value)
{
	unsigned first = DIRECTORY_USER * SLOTS_PER_DIRECTORY + fs->disk->grows_at;

	put_unit(fs, unit, value);
	if (fs->disk->grows_at == 0)
		return;
	if (unit >= UNIT_DATA) {
		unsigned sector = (unit - UNIT_DATA) % SECTORS_PER_CLUSTER,
			 half = EXTENT_SLOTS / SECTORS_PER_CLUSTER;
		int k = disk_extent_of(fs->disk, (unit - UNIT_DATA) / SECTORS_PER_CLUSTER);

		for (unsigned i = 0; k >= 0 && i < half; i++)
			put_unit(fs, unit_of_slot(first + (unsigned)k * EXTENT_SLOTS + sector * half + i),
				CONTENT_ZERO);
	} else if (unit >= unit_of_slot(first) &&
		   unit < unit_of_slot((DIRECTORY_USER + 1) * SLOTS_PER_DIRECTORY)) {
		unsigned at = unit - unit_of_slot(first);
		uint32_t cluster = fs->disk->units[UNIT_LINK + at / EXTENT_SLOTS];
		unsigned sector =
			unit_of_sector(cluster, at % EXTENT_SLOTS / (EXTENT_SLOTS / SECTORS_PER_CLUSTER));

		if (cluster != 0 && is_taken_by_file(fs, cluster))
			put_unit(fs, sector, content_damaged(sector));
	}
}

static void put_slot(Fs *fs, unsigned slot, const Slot *value)
{
	put(fs, unit_of_slot(slot), content_of_slot(value));
}

/* errors=remount-ro */
static int fs_error(Fs *fs)
{
	fs->read_only = true;
	return -EIO;
}

void fs_mount(Fs *fs, Disk *disk, Log *log, Policy policy, int64_t clock)
{
	memset(fs, 0, sizeof(*fs));
	fs->disk = disk;
	fs->log = log;
	fs->policy = policy;
	fs->clock = clock;
	fs->leases = true;
	fs->damage_at = -1;
	fs->overlay_unit = UNITS_MAX;
	for (unsigned c = 1; c < disk->clusters; c++)
		if (disk->units[UNIT_FAT + c] != FAT_FREE)
			fs->next_fit = c;
	fs_fill_table(fs);
}

/* ---- clusters ---- */

unsigned fs_free_clusters(const Fs *fs)
{
	unsigned n = 0;

	for (unsigned c = 1; c < fs->disk->clusters; c++)
		n += fs->disk->units[UNIT_FAT + c] == FAT_FREE;
	return n;
}

/* Whether a chain that is torn, or an entry, leads to a cluster that is free. */
static bool is_awaited(const Fs *fs, uint32_t cluster)
{
	for (unsigned c = 1; c < fs->disk->clusters; c++)
		if (fs->disk->units[UNIT_FAT + c] == cluster)
			return true;
	if (disk_extent_of(fs->disk, cluster) >= 0)
		return true;
	for (unsigned slot = 0; slot < SLOTS_MAX; slot++) {
		const Slot *entry = content_slot(fs->disk->units[unit_of_slot(slot)]);

		if (entry->kind == SLOT_SHORT && entry->start == cluster)
			return true;
	}
	for (int i = 0; i < INODES_MAX; i++)
		if (fs->inodes[i].used && fs->inodes[i].entry.start == cluster)
			return true;
	return false;
}

static bool can_take(const Fs *fs, unsigned cluster)
{
	return cluster != 0 && fs->disk->units[UNIT_FAT + cluster] == FAT_FREE &&
	       !(fs->avoid_torn && is_awaited(fs, cluster));
}

static int take_cluster(Fs *fs, unsigned *ret)
{
	unsigned found = 0;

	while (fs->policy == POLICY_LATEST_FREED && fs->n_freed > 0 && !found) {
		unsigned c = fs->freed[--fs->n_freed];

		if (can_take(fs, c))
			found = c;
	}
	for (unsigned i = 1; i < fs->disk->clusters && !found; i++) {
		unsigned c = (fs->next_fit + i) % fs->disk->clusters;

		if (can_take(fs, c))
			found = c;
	}
	if (!found)
		return -ENOSPC;
	fs->next_fit = found;
	put(fs, UNIT_FAT + found, FAT_END);
	*ret = found;
	return 0;
}

/* Gives a chain back, as far as it holds together. */
static void free_chain(Fs *fs, uint32_t cluster)
{
	fs->chains_freed += cluster != FAT_END && cluster != 0;
	while (cluster != FAT_END && cluster != 0) {
		uint32_t next = cluster < fs->disk->clusters ? fs->disk->units[UNIT_FAT + cluster] : FAT_FREE;

		if (next == FAT_FREE) {
			(void)fs_error(fs);
			return;
		}
		put(fs, UNIT_FAT + cluster, FAT_FREE);
		if (fs->n_freed < CLUSTERS_MAX)
			fs->freed[fs->n_freed++] = cluster;
		cluster = next;
	}
}

/* The n-th cluster of a file. 0: its chain ends before; UINT32_MAX: it is torn. */
static uint32_t chain_at(const Fs *fs, uint32_t start, unsigned n)
{
	uint32_t cluster = start;

	while (cluster != 0 && cluster != FAT_END && n-- > 0) {
		if (cluster >= fs->disk->clusters)
			return UINT32_MAX;
		cluster = fs->disk->units[UNIT_FAT + cluster];
		if (cluster == FAT_FREE)
			return UINT32_MAX;
	}
	return cluster == FAT_END ? 0 : cluster;
}

/* ---- names ---- */

static bool alias_is_taken(const Fs *fs, DirectoryId directory, const char *alias)
{
	DiskEntry found;

	return disk_find(fs->disk, directory, alias, &found);
}

static void make_alias(const Fs *fs, DirectoryId directory, const char *name, char alias[14])
{
	const char *dot = strrchr(name, '.');
	char base[7] = "", extension[4] = "";
	size_t n = 0;

	/* The journal's alias is its name, but for the case. Other short names are treated as long ones: that
	 * is the worse case. */
	if (strncmp(name, "journal", strlen("journal")) == 0) {
		for (n = 0; n < 8 && name[n]; n++)
			alias[n] = (char)toupper((unsigned char)name[n]);
		alias[n] = 0;
		return;
	}
	for (const char *c = name; *c && c != dot && n < 6; c++)
		if (isalnum((unsigned char)*c))
			base[n++] = (char)toupper((unsigned char)*c);
	n = 0;
	for (const char *c = dot ? dot + 1 : ""; *c && n < 3; c++)
		if (isalnum((unsigned char)*c))
			extension[n++] = (char)toupper((unsigned char)*c);
	for (unsigned i = 1; i < 10; i++) {
		(void)snprintf(alias, 14, "%.6s~%u%s%.3s", base, i, *extension ? "." : "", extension);
		if (!alias_is_taken(fs, directory, alias))
			return;
	}
	abort();
}

/* A cluster more for the folder that grows: zeros, then its link. */
static int grow(Fs *fs, DirectoryId directory)
{
	unsigned slots = disk_slots(fs->disk, directory),
		 extent = (slots - fs->disk->grows_at) / EXTENT_SLOTS;
	unsigned cluster;
	int r;

	if (directory != DIRECTORY_USER || fs->disk->grows_at == 0 || extent >= EXTENTS_MAX ||
		slots + EXTENT_SLOTS > SLOTS_PER_DIRECTORY)
		return -ENOSPC;
	r = take_cluster(fs, &cluster);
	if (r < 0)
		return r;
	for (unsigned i = 0; i < EXTENT_SLOTS; i++)
		put(fs, unit_of_slot((unsigned)directory * SLOTS_PER_DIRECTORY + slots + i), CONTENT_ZERO);
	put(fs, UNIT_LINK + extent, cluster);
	if (extent + 1 < EXTENTS_MAX) /* the chain ends here, whatever a cut has left behind it */
		put(fs, UNIT_LINK + extent + 1, 0);
	return 0;
}

/* n slots in a row that are free. */
static int find_slots(Fs *fs, DirectoryId directory, unsigned n, unsigned *ret)
{
	unsigned first = (unsigned)directory * SLOTS_PER_DIRECTORY, run = 0;

	for (unsigned i = 0; i < SLOTS_PER_DIRECTORY; i++) {
		int r = i < disk_slots(fs->disk, directory) ? 0 : grow(fs, directory);

		const Slot *slot = content_slot(fs->disk->units[unit_of_slot(first + i)]);

		if (r < 0)
			return r;
		run = slot->kind == SLOT_FREE || slot->kind == SLOT_DELETED ? run + 1 : 0;
		if (run == n) {
			*ret = first + i + 1 - n;
			return 0;
		}
	}
	return -ENOSPC;
}

/* ---- inodes ---- */

static int get_inode(Fs *fs, unsigned slot, const Slot *entry)
{
	int unused = -1;

	for (int i = 0; i < INODES_MAX; i++) {
		Inode *inode = &fs->inodes[i];

		if (inode->used && !inode->unlinked && inode->slot == slot) {
			inode->references++;
			return i;
		}
		if (!inode->used && unused < 0)
			unused = i;
	}
	if (unused < 0)
		return -ENFILE;
	fs->inodes[unused] = (Inode){
		.used = true,
		.references = 1,
		.slot = slot,
		.entry = *entry,
		.number = slot + SLOTS_MAX * (fs->generations[slot] + 1),
	};
	return unused;
}

int fs_lookup(Fs *fs, DirectoryId directory, const char *name)
{
	DiskEntry found;

	if (!disk_find(fs->disk, directory, name, &found))
		return -ENOENT;
	if (found.entry.directory)
		return -EISDIR;
	return get_inode(fs, found.slot, &found.entry);
}

int fs_create(Fs *fs, DirectoryId directory, const char *name)
{
	unsigned n_long = (unsigned)(strlen(name) + 12) / 13, first;
	Slot slot;
	char alias[14] = "";
	int r;

	r = find_slots(fs, directory, n_long + 1, &first);
	if (r < 0)
		return r;
	make_alias(fs, directory, name, alias);
	for (unsigned n = n_long; n >= 1; n--) {
		memset(&slot, 0, sizeof(slot));
		slot.kind = SLOT_LONG;
		slot.ordinal = (uint8_t)n;
		slot.last = n == n_long;
		slot.checksum = alias_checksum(alias);
		(void)snprintf(slot.text, sizeof(slot.text), "%.13s", name + (size_t)(n - 1) * 13);
		put_slot(fs, first + n_long - n, &slot);
	}
	memset(&slot, 0, sizeof(slot));
	slot.kind = SLOT_SHORT;
	slot.attributes = 0x20;
	memcpy(slot.text, alias, sizeof(slot.text));
	slot.mtime = fs->clock & ~1;
	fs->generations[first + n_long]++;
	put_slot(fs, first + n_long, &slot);
	return get_inode(fs, first + n_long, &slot);
}

void fs_update(Fs *fs, int i)
{
	const Inode *inode = &fs->inodes[i];

	if (!inode->unlinked)
		put_slot(fs, inode->slot, &inode->entry);
}

void fs_release(Fs *fs, int i)
{
	Inode *inode = &fs->inodes[i];

	if (--inode->references > 0)
		return;
	inode->used = false;
	if (inode->unlinked)
		free_chain(fs, inode->entry.start);
}

ssize_t fs_read(Fs *fs, int i, uint8_t *bytes, size_t size, uint64_t offset, bool direct)
{
	const Inode *inode = &fs->inodes[i];
	uint32_t cluster = 0;
	size_t done = 0;

	if (offset >= inode->entry.size)
		return 0;
	size = (size_t)MIN((uint64_t)size, inode->entry.size - offset);
	while (done < size) {
		uint64_t at = offset + done;
		size_t within = (size_t)(at % SECTOR_SIZE), n = MIN(SECTOR_SIZE - within, size - done);
		uint32_t content;
		unsigned unit;

		if (cluster == 0)
			cluster = chain_at(fs, inode->entry.start, (unsigned)(at / CLUSTER_SIZE));
		if (cluster == 0 || cluster >= fs->disk->clusters)
			return fs_error(fs);
		unit = unit_of_sector(cluster, (unsigned)(at % CLUSTER_SIZE / SECTOR_SIZE));
		if (unit == fs->disk->unreadable)
			return -EIO;
		content = !direct && unit == fs->overlay_unit ? fs->overlay : fs->disk->units[unit];
		if (content == CONTENT_ZERO) /* a journal is little else */
			memset(bytes + done, 0, n);
		else
			memcpy(bytes + done, content_sector(content) + within, n);
		done += n;
		if ((offset + done) % CLUSTER_SIZE == 0)
			cluster = done < size ? chain_at(fs, cluster, 1) : 0;
		if (done < size && cluster == 0)
			return fs_error(fs);
	}
	return (ssize_t)done;
}

/* The cluster for `at`, which is taken when the file ends before it. */
static int cluster_for_write(Fs *fs, Inode *inode, uint64_t at, uint32_t *ret)
{
	unsigned n = (unsigned)(at / CLUSTER_SIZE);
	uint32_t cluster = inode->entry.start ? chain_at(fs, inode->entry.start, n) : 0;
	unsigned taken;
	int r;

	if (cluster == UINT32_MAX)
		return fs_error(fs);
	if (cluster == 0) {
		r = take_cluster(fs, &taken);
		if (r < 0)
			return r;
		if (n == 0)
			inode->entry.start = taken;
		else
			put(fs, UNIT_FAT + chain_at(fs, inode->entry.start, n - 1), taken);
		cluster = taken;
	}
	*ret = cluster;
	return 0;
}

ssize_t fs_write(Fs *fs, int i, const uint8_t *bytes, size_t size, uint64_t offset)
{
	Inode *inode = &fs->inodes[i];
	size_t done = 0;
	int r = 0;

	while (done < size) {
		uint64_t at = offset + done;
		size_t within = (size_t)(at % SECTOR_SIZE), n = MIN(SECTOR_SIZE - within, size - done);
		uint8_t sector[SECTOR_SIZE] = {0};
		uint32_t cluster, content;
		unsigned unit;

		r = cluster_for_write(fs, inode, at, &cluster);
		if (r < 0)
			break;
		unit = unit_of_sector(cluster, (unsigned)(at % CLUSTER_SIZE / SECTOR_SIZE));
		/* What lies behind the file's end in its last sector is zeros. */
		if (at - within < inode->entry.size)
			memcpy(sector, content_sector(fs->disk->units[unit]), SECTOR_SIZE);
		memcpy(sector + within, bytes + done, n);
		content = content_of_sector(sector);
		if (fs->damage_at >= 0 && !fs->in_hook && fs->sectors_written++ == fs->damage_at) {
			put(fs, unit, content_damaged(unit));
			fs->overlay_unit = unit;
			fs->overlay = content;
		} else {
			put(fs, unit, content);
		}
		done += n;
	}
	if (done > 0) {
		inode->entry.size = (uint32_t)MAX((uint64_t)inode->entry.size, offset + done);
		inode->entry.mtime = fs->clock & ~1;
		fs_update(fs, i);
	}
	return done > 0 ? (ssize_t)done : r;
}

int fs_shorten(Fs *fs, int i, uint32_t size)
{
	Inode *inode = &fs->inodes[i];
	uint32_t last = size - 1, cluster;

	if (size == 0 || size > inode->entry.size ||
		last / CLUSTER_SIZE != (inode->entry.size - 1) / CLUSTER_SIZE)
		return -EOPNOTSUPP;
	cluster = chain_at(fs, inode->entry.start, last / CLUSTER_SIZE);
	if (cluster == UINT32_MAX)
		return fs_error(fs);
	if (size % SECTOR_SIZE != 0) {
		unsigned unit = unit_of_sector(cluster, last % CLUSTER_SIZE / SECTOR_SIZE);
		uint8_t sector[SECTOR_SIZE] = {0};

		memcpy(sector, content_sector(fs->disk->units[unit]), size % SECTOR_SIZE);
		put(fs, unit, content_of_sector(sector));
	}
	inode->entry.size = size;
	inode->entry.mtime = fs->clock & ~1;
	fs_update(fs, i);
	return 0;
}

int fs_unlink(Fs *fs, DirectoryId directory, const char *name)
{
	DiskEntry found;
	Slot deleted;
	int i;

	if (!disk_find(fs->disk, directory, name, &found))
		return -ENOENT;
	i = get_inode(fs, found.slot, &found.entry);
	if (i < 0)
		return i;
	for (unsigned n = 0; n <= found.n_long; n++) {
		deleted = *content_slot(fs->disk->units[unit_of_slot(found.slot - n)]);
		deleted.kind = SLOT_DELETED;
		put_slot(fs, found.slot - n, &deleted);
	}
	fs->inodes[i].unlinked = true;
	fs_release(fs, i);
	return 0;
}

void fs_sync_file(Fs *fs, int i)
{
	const Inode *inode = &fs->inodes[i];
	uint32_t cluster = inode->entry.start;

	if (!fs->log)
		return;
	for (unsigned c = 1; c < fs->disk->clusters; c++)
		log_add(fs->log, LOG_FORCE, UNIT_FAT + c, fs->disk->units[UNIT_FAT + c]);
	for (unsigned k = 0; fs->disk->grows_at && k < EXTENTS_MAX; k++)
		log_add(fs->log, LOG_FORCE, UNIT_LINK + k, fs->disk->units[UNIT_LINK + k]);
	if (!inode->unlinked)
		log_add(fs->log, LOG_FORCE, unit_of_slot(inode->slot),
			fs->disk->units[unit_of_slot(inode->slot)]);
	while (cluster != 0 && cluster != FAT_END && cluster < fs->disk->clusters) {
		for (unsigned s = 0; s < SECTORS_PER_CLUSTER; s++) {
			unsigned unit = unit_of_sector(cluster, s);

			log_add(fs->log, LOG_FORCE, unit, fs->disk->units[unit]);
		}
		cluster = fs->disk->units[UNIT_FAT + cluster];
	}
}

void fs_kill(Fs *fs)
{
	fs->dead = true;
	for (int i = 0; i < INODES_MAX; i++)
		if (fs->inodes[i].used) {
			fs->inodes[i].references = 1;
			fs_release(fs, i);
		}
	memset(fs->handles, 0, sizeof(fs->handles));
}

bool fs_is_busy(const Fs *fs, DirectoryId directory, const char *name)
{
	DiskEntry found;

	if (!disk_find(fs->disk, directory, name, &found))
		return false;
	for (int i = 0; i < HANDLES_MAX; i++) {
		const Handle *handle = &fs->handles[i];
		const Inode *inode;

		if (!handle->used || handle->inode < 0)
			continue;
		inode = &fs->inodes[handle->inode];
		if (!inode->unlinked && inode->slot == found.slot &&
			(inode->leased || handle->flags & O_CREAT))
			return true;
	}
	return false;
}
