/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "worker/exfat.h"

#include "engine/endian.h"
#include "util/log.h"
#include "util/memory.h"

#include <errno.h>
#include <unistd.h>

#define BOOT_SIZE     512
#define FIRST_CLUSTER 2
#define LAST_CLUSTERS UINT32_C(0xfffffff5) /* no volume has more */
#define CHAIN_END     UINT32_C(0xfffffff8) /* and all above it */
#define NOT_CLEAN     0x0002               /* of the boot sector's volume flags */

#define ENTRY_SIZE      32
#define ENTRY_END       0x00 /* and all behind it */
#define ENTRY_BITMAP    0x81
#define ENTRY_UPCASE    0x82
#define ENTRY_FILE      0x85
#define ENTRY_STREAM    0xc0
#define SECONDARY       0xc0 /* both bits: it belongs to the file before it */
#define IS_FOLDER       0x10 /* of a file's attributes */
#define CONTIGUOUS      0x02 /* of a stream's flags: the FAT says nothing of it */
#define SECONDARY_LEAST 2    /* a stream, and a name */

/* Clusters whose bits are looked at in one pass: two maps of 2 MiB, a pass for each two terabytes of the
 * clusters that large volumes have. */
#define WINDOW       (UINT32_C(1) << 24)
#define MAP_SIZE     (WINDOW / 8)
#define BUFFER_SIZE  65536
#define FAT_SIZE     4096
#define STEP_ENTRIES 8192
#define FOLDERS_MAX  ((size_t)1 << 22) /* that wait to be read: 128 MiB */
#define WHOLE_CHAIN  UINT64_MAX

typedef struct Chain {
	uint32_t first;
	uint64_t size; /* bytes; WHOLE_CHAIN: as long as the chain is */
	bool contiguous;
} Chain;

typedef struct Folder {
	Chain chain;
	uint64_t clusters;
} Folder;

/* A file's entries, which may reach over clusters. */
typedef struct EntrySet {
	unsigned expected; /* secondary entries to come; 0: no set has been begun */
	bool begun, folder;
	Chain chain;
} EntrySet;

struct ExfatCheck {
	int fd;
	uint64_t fat, heap; /* where they begin, in bytes */
	uint32_t clusters;
	uint32_t root;
	unsigned cluster_shift;

	bool again;        /* it is the second look */
	VolumeState found; /* in this look, so far */
	const char *what;  /* the worst of it; and its cluster */
	uint32_t where;

	uint32_t window;     /* its first cluster */
	uint8_t *of_folders; /* which clusters of the window they have */
	uint8_t *of_files;
	uint64_t claimed; /* clusters, in this pass */
	Chain bitmap;

	Folder *folders; /* to be read yet */
	size_t n_folders, allocated;

	bool reading; /* a folder */
	Folder folder;
	uint32_t cluster;
	uint64_t left;  /* clusters of it, with this one */
	size_t offset;  /* in the cluster: what follows the buffer */
	size_t at, end; /* of the buffer */
	EntrySet set;
	uint8_t buffer[BUFFER_SIZE];

	uint64_t fat_at; /* which part of the FAT this is */
	size_t fat_bytes;
	uint8_t fat_part[FAT_SIZE];
};

static int read_at(int fd, void *buffer, size_t size, uint64_t offset)
{
	size_t done = 0;

	while (done < size) {
		ssize_t n = pread(fd, (uint8_t *)buffer + done, size - done, (off_t)(offset + done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		done += (size_t)n;
	}
	return 0;
}

static int read_boot(int fd, uint8_t boot[BOOT_SIZE])
{
	int r = read_at(fd, boot, BOOT_SIZE, 0);

	if (r < 0)
		return r;
	return memcmp(boot + 3, "EXFAT   ", 8) == 0 ? 0 : -ENOTSUP;
}

bool exfat_is_clean(int fd)
{
	uint8_t boot[BOOT_SIZE];
	int r = read_boot(fd, boot);

	return r == -ENOTSUP || (r == 0 && !(get_le16(boot + 106) & NOT_CLEAN));
}

static void find(ExfatCheck *check, VolumeState state, const char *what, uint32_t cluster)
{
	if (state <= check->found)
		return;
	check->found = state;
	check->what = what;
	check->where = cluster;
}

/* ---- chains ---- */

static bool is_cluster(const ExfatCheck *check, uint32_t cluster)
{
	return cluster >= FIRST_CLUSTER && cluster - FIRST_CLUSTER < check->clusters;
}

static uint64_t cluster_offset(const ExfatCheck *check, uint32_t cluster)
{
	return check->heap + ((uint64_t)(cluster - FIRST_CLUSTER) << check->cluster_shift);
}

/* 0, which is none, where the FAT cannot be read. */
static uint32_t next_cluster(ExfatCheck *check, const Chain *chain, uint32_t cluster)
{
	uint64_t offset = (uint64_t)cluster * 4;

	if (chain->contiguous)
		return cluster + 1;
	if (offset - offset % FAT_SIZE != check->fat_at) {
		uint64_t bytes = ((uint64_t)check->clusters + FIRST_CLUSTER) * 4;

		check->fat_at = offset - offset % FAT_SIZE;
		check->fat_bytes = MIN(bytes - check->fat_at, (uint64_t)FAT_SIZE);
		if (read_at(check->fd, check->fat_part, check->fat_bytes, check->fat + check->fat_at) < 0) {
			check->fat_at = UINT64_MAX;
			return 0;
		}
	}
	return get_le32(check->fat_part + offset % FAT_SIZE);
}

/* False: it has an owner already. */
static bool claim(ExfatCheck *check, uint32_t cluster, bool folder)
{
	uint32_t at = cluster - check->window;
	uint8_t bit = (uint8_t)(1U << (at % 8));

	/* So that the passes that do not see it end as well. */
	if (++check->claimed > check->clusters)
		return false;
	if (cluster < check->window || at >= WINDOW)
		return true;
	if ((check->of_folders[at / 8] | check->of_files[at / 8]) & bit)
		return false;
	(folder ? check->of_folders : check->of_files)[at / 8] |= bit;
	return true;
}

/* Follows a chain to its end, which may lie behind the size: that is how far it is freed. Returns its
 * clusters. */
static uint64_t claim_chain(ExfatCheck *check, const Chain *chain, bool folder)
{
	uint64_t wanted, n = 0, mask = (UINT64_C(1) << check->cluster_shift) - 1;
	uint32_t cluster = chain->first;

	wanted = (chain->size >> check->cluster_shift) + ((chain->size & mask) > 0);
	if (wanted == 0 && cluster == 0)
		return 0;
	for (; is_cluster(check, cluster) && !(chain->contiguous && n == wanted); n++) {
		if (!claim(check, cluster, folder)) {
			find(check, VOLUME_DAMAGED, "two have the cluster", cluster);
			return 0;
		}
		cluster = next_cluster(check, chain, cluster);
	}
	if (chain->size == WHOLE_CHAIN ? cluster < CHAIN_END : n < wanted)
		find(check, folder ? VOLUME_DAMAGED : VOLUME_TORN, "a chain breaks off at", cluster);
	else if (!chain->contiguous && cluster < CHAIN_END)
		find(check, folder ? VOLUME_DAMAGED : VOLUME_TORN, "a chain leads to", cluster);
	else if (folder && chain->size != WHOLE_CHAIN && n > wanted)
		find(check, VOLUME_DAMAGED, "a folder's chain is longer than the folder, from cluster",
			chain->first);
	return n;
}

/* ---- folders ---- */

/* Claims it at once, so that no more of them can wait than there are clusters, whatever a hostile drive says.
 */
static int push_folder(ExfatCheck *check, const Chain *chain)
{
	uint64_t clusters = claim_chain(check, chain, true);
	int r;

	if (clusters == 0)
		return 0;
	if (check->n_folders == FOLDERS_MAX)
		return -ENOMEM;
	r = array_grow(&check->folders, &check->allocated, check->n_folders + 1, sizeof(*check->folders));
	if (r >= 0)
		check->folders[check->n_folders++] = (Folder){*chain, clusters};
	return r;
}

static void open_folder(ExfatCheck *check)
{
	check->folder = check->folders[--check->n_folders];
	check->left = check->folder.clusters;
	check->cluster = check->folder.chain.first;
	check->offset = check->at = check->end = 0;
	check->set = (EntrySet){0};
	check->reading = true;
}

/* NULL: the folder's end, or what cannot be read. */
static const uint8_t *next_entry(ExfatCheck *check)
{
	size_t cluster_size = (size_t)1 << check->cluster_shift;
	const uint8_t *entry;

	if (check->at == check->end) {
		if (check->offset == cluster_size && check->left > 0) {
			check->cluster = next_cluster(check, &check->folder.chain, check->cluster);
			check->offset = 0;
			check->left--;
		}
		if (check->left > 0 && !is_cluster(check, check->cluster))
			find(check, VOLUME_TORN, "a folder cannot be read, at cluster", check->cluster);
		if (check->left == 0 || !is_cluster(check, check->cluster))
			return NULL;
		check->at = 0;
		check->end = MIN(cluster_size - check->offset, (size_t)BUFFER_SIZE);
		if (read_at(check->fd, check->buffer, check->end,
			    cluster_offset(check, check->cluster) + check->offset) < 0) {
			find(check, VOLUME_TORN, "a folder cannot be read, at cluster", check->cluster);
			return NULL;
		}
		check->offset += check->end;
	}
	entry = check->buffer + check->at;
	check->at += ENTRY_SIZE;
	return entry[0] == ENTRY_END ? NULL : entry;
}

static Chain chain_of(const uint8_t *entry, bool contiguous)
{
	return (Chain){
		.first = get_le32(entry + 20),
		.size = MIN(get_le64(entry + 24), WHOLE_CHAIN - 1),
		.contiguous = contiguous,
	};
}

static void tear(ExfatCheck *check)
{
	if (check->set.expected > 0)
		find(check, VOLUME_TORN, "an entry is torn, in cluster", check->cluster);
	check->set = (EntrySet){0};
}

/* A file's second entry and those that follow it. False: it is none of them. */
static bool continue_set(ExfatCheck *check, const uint8_t *entry, int *ret)
{
	EntrySet *set = &check->set;

	*ret = 0;
	if (set->expected == 0 || (entry[0] & SECONDARY) != SECONDARY ||
		(set->begun && entry[0] != ENTRY_STREAM)) {
		tear(check);
		return false;
	}
	if (set->begun)
		set->chain = chain_of(entry, entry[1] & CONTIGUOUS);
	set->begun = false;
	if (--set->expected > 0)
		return true;
	if (set->folder)
		*ret = push_folder(check, &set->chain);
	else
		(void)claim_chain(check, &set->chain, false);
	return true;
}

static int look_at_entry(ExfatCheck *check, const uint8_t *entry)
{
	Chain chain;
	int r;

	if (continue_set(check, entry, &r))
		return r;
	switch (entry[0]) {
	case ENTRY_FILE:
		check->set = (EntrySet){
			.expected = entry[1],
			.begun = true,
			.folder = get_le16(entry + 4) & IS_FOLDER,
		};
		if (entry[1] < SECONDARY_LEAST)
			find(check, VOLUME_TORN, "an entry is torn, in cluster", check->cluster);
		return 0;
	case ENTRY_BITMAP:
	case ENTRY_UPCASE:
		if (check->folder.chain.first != check->root)
			return 0;
		chain = chain_of(entry, false);
		if (entry[0] == ENTRY_BITMAP)
			check->bitmap = chain;
		(void)claim_chain(check, &chain, true);
		return 0;
	default: /* a label, what is unused, what later versions bring */
		return 0;
	}
}

/* ---- the bitmap ---- */

/* One buffer of it; `at` is where, in the window's maps. */
static void compare_bits(ExfatCheck *check, size_t at, size_t size)
{
	for (size_t i = 0; i < size; i++) {
		uint8_t free_bits = (uint8_t)~check->buffer[i];
		uint32_t cluster = check->window + (uint32_t)(at + i) * 8;

		if (free_bits & check->of_folders[at + i])
			find(check, VOLUME_DAMAGED, "a folder's cluster counts as free, near", cluster);
		if (free_bits & check->of_files[at + i])
			find(check, VOLUME_TORN, "a file's cluster counts as free, near", cluster);
	}
}

static void compare_window(ExfatCheck *check)
{
	uint64_t first = (check->window - FIRST_CLUSTER) / 8;
	uint64_t end = MIN(first + MAP_SIZE, ((uint64_t)check->clusters + 7) / 8);
	uint32_t cluster = check->bitmap.first;
	uint64_t mask = (UINT64_C(1) << check->cluster_shift) - 1;

	if (check->bitmap.size == 0 || check->bitmap.size < end) {
		find(check, VOLUME_DAMAGED, "the allocation bitmap is missing, or short, from cluster",
			cluster);
		return;
	}
	for (uint64_t passed = first >> check->cluster_shift; passed > 0 && is_cluster(check, cluster);
		passed--)
		cluster = next_cluster(check, &check->bitmap, cluster);
	for (uint64_t at = first; at < end;) {
		size_t size = MIN(MIN(end - at, mask + 1 - (at & mask)), (uint64_t)BUFFER_SIZE);

		if (!is_cluster(check, cluster) ||
			read_at(check->fd, check->buffer, size,
				cluster_offset(check, cluster) + (at & mask)) < 0) {
			find(check, VOLUME_DAMAGED, "the allocation bitmap cannot be read, at cluster",
				cluster);
			return;
		}
		compare_bits(check, at - first, size);
		at += size;
		if ((at & mask) == 0)
			cluster = next_cluster(check, &check->bitmap, cluster);
	}
}

/* ---- the whole ---- */

static int begin_pass(ExfatCheck *check)
{
	memset(check->of_folders, 0, MAP_SIZE);
	memset(check->of_files, 0, MAP_SIZE);
	check->claimed = 0;
	check->bitmap = (Chain){0};
	check->n_folders = 0;
	check->reading = false;
	check->fat_at = UINT64_MAX;
	return push_folder(check, &(Chain){.first = check->root, .size = WHOLE_CHAIN});
}

static int begin_look(ExfatCheck *check)
{
	check->found = VOLUME_SOUND;
	check->window = FIRST_CLUSTER;
	return begin_pass(check);
}

/* 1: that was the last one. */
static int end_pass(ExfatCheck *check)
{
	if (check->found != VOLUME_DAMAGED)
		compare_window(check);
	if (check->found != VOLUME_DAMAGED && check->clusters - (check->window - FIRST_CLUSTER) > WINDOW) {
		check->window += WINDOW;
		return begin_pass(check);
	}
	if (check->found == VOLUME_SOUND)
		return 1;
	if (!check->again) {
		check->again = true;
		return begin_look(check);
	}
	log_warning("exFAT: %s %u", check->what, check->where);
	return 1;
}

int exfat_check_step(ExfatCheck *check, VolumeState *ret)
{
	for (unsigned i = 0; i < STEP_ENTRIES; i++) {
		const uint8_t *entry;
		int r = 0;

		if (check->found == VOLUME_DAMAGED || (!check->reading && check->n_folders == 0)) {
			r = end_pass(check);
			if (r > 0)
				*ret = check->found;
			return r;
		} else if (!check->reading) {
			open_folder(check);
		} else if ((entry = next_entry(check))) {
			r = look_at_entry(check, entry);
		} else {
			tear(check);
			check->reading = false;
		}
		if (r < 0)
			return r;
	}
	return 0;
}

int exfat_check_new(int fd, ExfatCheck **ret)
{
	_cleanup_exfat_check_ ExfatCheck *check = NULL;
	uint8_t boot[BOOT_SIZE];
	unsigned sector_shift;
	int r;

	r = read_boot(fd, boot);
	if (r < 0)
		return r;
	sector_shift = boot[108];
	if (sector_shift < 9 || sector_shift > 12 || boot[109] > 25 - sector_shift || boot[110] != 1)
		return -ENOTSUP;
	check = new0(ExfatCheck, 1);
	if (!check)
		return -ENOMEM;
	check->fd = fd;
	check->fat = (uint64_t)get_le32(boot + 80) << sector_shift;
	check->heap = (uint64_t)get_le32(boot + 88) << sector_shift;
	check->clusters = get_le32(boot + 92);
	check->root = get_le32(boot + 96);
	check->cluster_shift = sector_shift + boot[109];
	check->of_folders = new0(uint8_t, MAP_SIZE);
	check->of_files = new0(uint8_t, MAP_SIZE);
	if (!check->of_folders || !check->of_files)
		return -ENOMEM;
	if (check->clusters > LAST_CLUSTERS || !is_cluster(check, check->root))
		return -ENOTSUP;
	r = begin_look(check);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(check);
	return 0;
}

ExfatCheck *exfat_check_free(ExfatCheck *check)
{
	if (!check)
		return NULL;
	free(check->of_folders);
	free(check->of_files);
	free(check->folders);
	free(check);
	return NULL;
}
