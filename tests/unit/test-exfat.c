/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The look at exFAT's allocation: a small volume, made here by the specification, is damaged in the ways in
 * which power cuts were seen to damage real ones, and in every other way by chance. (Volumes that mkfs.exfat
 * has made: tests/fault/test_worker_node.py; what the kernel leaves behind: tests/vm.)
 */

#include "fixture.h"

#include "engine/endian.h"
#include "util/log.h"
#include "worker/exfat.h"

#include <sys/mman.h>

#define SECTOR  512U
#define CLUSTER 1024U
#define SLOTS   (CLUSTER / 32) /* of a cluster */
#define FAT_AT  (24 * SECTOR)
#define END     UINT32_MAX
#define VOLUME  256U /* clusters */
#define MANY    (UINT32_C(1) << 24)

enum { /* clusters */
	BITMAP = 2,
	UPCASE = 3,
	ROOT = 4,
	ALBUM = 6, /* and 9 */
	LETTER = 20,
	PHOTO = 30, /* 32, 31 */
	INNER = 40, /* and 41 */
	DEEP = 50,
	FREE = 100,
};

typedef struct Image {
	int fd;
	uint32_t clusters;
	uint64_t heap;
	unsigned at_root, at_album, at_inner; /* the next free slot of a folder */
} Image;

static void put(const Image *image, uint64_t offset, const void *bytes, size_t size)
{
	assert_int_equal(pwrite(image->fd, bytes, size, (off_t)offset), size);
}

static void link_cluster(const Image *image, uint32_t cluster, uint32_t next)
{
	uint8_t bytes[4];

	put_le32(bytes, next);
	put(image, FAT_AT + (uint64_t)cluster * 4, bytes, sizeof(bytes));
}

static uint64_t offset_of(const Image *image, uint32_t cluster)
{
	return image->heap + (uint64_t)(cluster - 2) * CLUSTER;
}

static void mark(const Image *image, uint32_t cluster, bool used)
{
	uint64_t offset = offset_of(image, BITMAP) + (cluster - 2) / 8;
	uint8_t byte = 0, bit = (uint8_t)(1U << ((cluster - 2) % 8));

	assert_true(pread(image->fd, &byte, 1, (off_t)offset) == 1);
	byte = (uint8_t)(used ? byte | bit : byte & ~bit);
	put(image, offset, &byte, 1);
}

/* Takes a chain, which ends at 0. */
static void take(const Image *image, const uint32_t *chain)
{
	for (; *chain; chain++) {
		mark(image, *chain, true);
		link_cluster(image, chain[0], chain[1] ? chain[1] : END);
	}
}

static void put_slot(const Image *image, const uint32_t *folder, unsigned slot, const uint8_t entry[32])
{
	put(image, offset_of(image, folder[slot / SLOTS]) + slot % SLOTS * 32, entry, 32);
}

/* A file's, or a folder's, three entries. */
static void add(const Image *image, const uint32_t *folder, unsigned *slot, bool is_folder, bool contiguous,
	uint32_t first, uint64_t size)
{
	uint8_t file[32] = {0x85, 2}, stream[32] = {0xc0, contiguous ? 3 : 1, 0, 1},
		name[32] = {0xc1, 0, 'x'};

	put_le16(file + 4, is_folder ? 0x10 : 0x20);
	put_le64(stream + 8, size);
	put_le32(stream + 20, first);
	put_le64(stream + 24, size);
	put_slot(image, folder, (*slot)++, file);
	put_slot(image, folder, (*slot)++, stream);
	put_slot(image, folder, (*slot)++, name);
}

static const uint32_t root_chain[] = {ROOT, 5, 0}, album_chain[] = {ALBUM, 9, 0},
		      inner_chain[] = {INNER, 41, 0}, photo_chain[] = {PHOTO, 32, 31, 0},
		      upcase_chain[] = {UPCASE, 0};

static void add_table(const Image *image, uint8_t type, uint32_t first, uint64_t size, unsigned slot)
{
	uint8_t entry[32] = {type};

	put_le32(entry + 20, first);
	put_le64(entry + 24, size);
	put_slot(image, root_chain, slot, entry);
}

static void make_boot(const Image *image)
{
	uint8_t boot[SECTOR] = {0xeb, 0x76, 0x90, 'E', 'X', 'F', 'A', 'T', ' ', ' ', ' '};

	put_le32(boot + 80, FAT_AT / SECTOR);
	put_le32(boot + 88, (uint32_t)(image->heap / SECTOR));
	put_le32(boot + 92, image->clusters);
	put_le32(boot + 96, ROOT);
	boot[108] = 9;
	boot[109] = 1;
	boot[110] = 1;
	put(image, 0, boot, sizeof(boot));
}

static void make(Image *image, uint32_t clusters)
{
	uint32_t bitmap_size = (clusters + 7) / 8;

	*image = (Image){.fd = memfd_create("exfat", MFD_CLOEXEC), .clusters = clusters};
	image->heap = (FAT_AT + ((uint64_t)clusters + 2) * 4 + CLUSTER) & ~(uint64_t)(CLUSTER - 1);
	assert_true(image->fd >= 0);
	assert_int_equal(ftruncate(image->fd, (off_t)offset_of(image, clusters + 2)), 0);
	make_boot(image);
	link_cluster(image, BITMAP, END);
	mark(image, BITMAP, true);
	take(image, upcase_chain);
	take(image, root_chain);
	take(image, album_chain);
	take(image, photo_chain);
	add_table(image, 0x81, BITMAP, bitmap_size, 0);
	add_table(image, 0x82, UPCASE, 512, 1);
	image->at_root = 2;
	add(image, root_chain, &image->at_root, true, false, ALBUM, 2 * CLUSTER);
	add(image, root_chain, &image->at_root, false, true, LETTER, 4 * CLUSTER + 1);
	for (uint32_t c = LETTER; c <= LETTER + 4; c++)
		mark(image, c, true);
	for (unsigned i = 0; i < 9; i++) /* their entries reach over two clusters */
		add(image, root_chain, &image->at_root, false, false, 0, 0);
	assert_true(image->at_root > SLOTS);
	add(image, album_chain, &image->at_album, false, false, PHOTO, 2 * CLUSTER + 7);
	add(image, album_chain, &image->at_album, true, true, INNER, 2 * CLUSTER);
	mark(image, INNER, true);
	mark(image, INNER + 1, true);
	image->at_inner = SLOTS - 2;
	for (unsigned i = 0; i < image->at_inner; i++)
		put_slot(image, inner_chain, i, (const uint8_t[32]){0x05}); /* removed */
	add(image, inner_chain, &image->at_inner, false, true, DEEP, 1);
	mark(image, DEEP, true);
}

static VolumeState look(const Image *image)
{
	_cleanup_exfat_check_ ExfatCheck *check = NULL;
	VolumeState state = VOLUME_SOUND;
	int r;

	assert_int_equal(exfat_check_new(image->fd, &check), 0);
	while ((r = exfat_check_step(check, &state)) == 0)
		;
	assert_int_equal(r, 1);
	return state;
}

/* ---- damage ---- */

static void nothing(Image *image _unused_)
{
}

static void free_album_end(Image *image)
{
	mark(image, 9, false);
}

static void free_inner(Image *image)
{
	mark(image, INNER, false);
}

static void free_root_end(Image *image)
{
	mark(image, 5, false);
}

static void free_letter_end(Image *image)
{
	mark(image, LETTER + 4, false);
}

static void free_deep(Image *image)
{
	mark(image, DEEP, false);
}

static void shorten_album(Image *image)
{
	link_cluster(image, ALBUM, END);
}

static void lengthen_album(Image *image)
{
	link_cluster(image, 9, FREE);
	link_cluster(image, FREE, END);
	mark(image, FREE, true);
}

static void break_album(Image *image)
{
	link_cluster(image, ALBUM, 0);
}

static void shorten_photo(Image *image)
{
	link_cluster(image, PHOTO, END);
}

static void break_photo(Image *image)
{
	link_cluster(image, 32, VOLUME + 2);
}

static void lengthen_photo(Image *image)
{
	link_cluster(image, 31, FREE);
	link_cluster(image, FREE, END);
	mark(image, FREE, true);
}

static void lead_photo_astray(Image *image)
{
	link_cluster(image, 31, LETTER);
	link_cluster(image, LETTER, END);
}

static void loop_photo(Image *image)
{
	link_cluster(image, 31, PHOTO);
}

static void loop_root(Image *image)
{
	link_cluster(image, 5, ROOT);
}

static void share_letter(Image *image)
{
	add(image, album_chain, &image->at_album, false, true, LETTER + 4, 1);
}

static void nest_album(Image *image)
{
	add(image, inner_chain, &image->at_inner, true, false, ALBUM, 2 * CLUSTER);
}

static void tear_entry(Image *image)
{
	put_slot(image, album_chain, image->at_album, (const uint8_t[32]){0x85, 2});
	image->at_album++;
	add(image, album_chain, &image->at_album, false, false, 0, 0);
}

static void tear_last_entry(Image *image)
{
	put_slot(image, album_chain, image->at_album, (const uint8_t[32]){0x85, 2});
}

static void lose_stream(Image *image)
{
	put_slot(image, album_chain, image->at_album, (const uint8_t[32]){0x85, 2});
	put_slot(image, album_chain, image->at_album + 1, (const uint8_t[32]){0xc1});
	put_slot(image, album_chain, image->at_album + 2, (const uint8_t[32]){0xc1});
}

static void leave_stray_name(Image *image)
{
	put_slot(image, album_chain, image->at_album, (const uint8_t[32]){0xc1});
}

static void reach_too_far(Image *image)
{
	add(image, album_chain, &image->at_album, false, true, VOLUME, UINT64_MAX);
}

static void lose_bitmap(Image *image)
{
	add_table(image, 0x01, BITMAP, VOLUME / 8, 0);
}

static void shorten_bitmap(Image *image)
{
	add_table(image, 0x81, BITMAP, VOLUME / 8 - 1, 0);
}

static void break_bitmap(Image *image)
{
	add_table(image, 0x81, 0, VOLUME / 8, 0);
}

static void what_power_cuts_leave_is_told_apart(void **state _unused_)
{
	static const struct {
		void (*damage)(Image *image);
		const char *what;
		VolumeState expected;
	} cases[] = {
		{nothing, "nothing", VOLUME_SOUND},
		{free_album_end, "a folder's new cluster counts as free", VOLUME_DAMAGED},
		{free_inner, "a contiguous folder's cluster counts as free", VOLUME_DAMAGED},
		{free_root_end, "the root's does", VOLUME_DAMAGED},
		{free_letter_end, "a file's last cluster counts as free", VOLUME_TORN},
		{free_deep, "a file's in a folder's folder does", VOLUME_TORN},
		{shorten_album, "a folder's chain is shorter than the folder", VOLUME_DAMAGED},
		{lengthen_album, "it is longer", VOLUME_DAMAGED},
		{break_album, "it leads nowhere", VOLUME_DAMAGED},
		{shorten_photo, "a file's chain is shorter than the file", VOLUME_TORN},
		{break_photo, "it leads out of the volume", VOLUME_TORN},
		{lengthen_photo, "it is longer: somebody writes", VOLUME_SOUND},
		{lead_photo_astray, "it leads into another file", VOLUME_DAMAGED},
		{loop_photo, "it leads back", VOLUME_DAMAGED},
		{loop_root, "the root's leads back", VOLUME_DAMAGED},
		{share_letter, "two files share a cluster", VOLUME_DAMAGED},
		{nest_album, "a folder is within itself", VOLUME_DAMAGED},
		{tear_entry, "another entry stands within a torn one", VOLUME_TORN},
		{tear_last_entry, "the folder ends within one", VOLUME_TORN},
		{lose_stream, "its second entry is missing", VOLUME_TORN},
		{leave_stray_name, "a removed one's name stayed", VOLUME_SOUND},
		{reach_too_far, "a file is larger than the volume", VOLUME_TORN},
		{lose_bitmap, "there is no bitmap", VOLUME_DAMAGED},
		{shorten_bitmap, "it is too short", VOLUME_DAMAGED},
		{break_bitmap, "it is nowhere", VOLUME_DAMAGED},
	};

	for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
		VolumeState found;
		Image image;

		make(&image, VOLUME);
		cases[i].damage(&image);
		found = look(&image);
		if (found != cases[i].expected)
			fail_msg("%s: %d", cases[i].what, (int)found);
		(void)close(image.fd);
	}
}

static void what_is_there_for_a_moment_does_not_count(void **state _unused_)
{
	_cleanup_exfat_check_ ExfatCheck *check = NULL;
	VolumeState found = VOLUME_DAMAGED;
	Image image;
	int r;

	make(&image, VOLUME);
	mark(&image, 9, false);
	assert_int_equal(exfat_check_new(image.fd, &check), 0);
	assert_int_equal(exfat_check_step(check, &found), 0);
	mark(&image, 9, true);
	while ((r = exfat_check_step(check, &found)) == 0)
		;
	assert_int_equal(r, 1);
	assert_int_equal(found, VOLUME_SOUND);
	(void)close(image.fd);
}

static void a_volume_of_many_clusters_is_looked_at_in_passes(void **state _unused_)
{
	static const struct {
		uint32_t cluster;
		bool used, again;
		VolumeState expected;
	} cases[] = {
		{MANY + 5000, true, false, VOLUME_SOUND},
		{MANY + 5000, false, false, VOLUME_TORN},
		{MANY + 5000, true, true, VOLUME_DAMAGED},
		{DEEP + 1, false, false, VOLUME_TORN},
	};

	for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
		static const uint32_t bitmap_first = 100000;
		uint32_t size = (MANY + 8000 + 7) / 8;
		Image image;

		make(&image, MANY + 8000);
		/* The bitmap is where it was, and behind: make() used its first cluster alone. */
		for (uint32_t c = 1; c * CLUSTER < size; c++) {
			link_cluster(&image, c == 1 ? BITMAP : bitmap_first + c - 1, bitmap_first + c);
			link_cluster(&image, bitmap_first + c, END);
		}
		for (uint32_t c = 1; c * CLUSTER < size; c++) {
			uint8_t all[CLUSTER];

			memset(all, 0xff, sizeof(all));
			put(&image, offset_of(&image, bitmap_first + c), all, sizeof(all));
		}
		add(&image, root_chain, &image.at_root, false, true, cases[i].cluster, 1);
		if (cases[i].again)
			add(&image, root_chain, &image.at_root, false, true, cases[i].cluster, 1);
		if (cases[i].cluster < MANY) {
			mark(&image, cases[i].cluster, cases[i].used);
		} else if (!cases[i].used) {
			uint32_t at = (cases[i].cluster - 2) / 8;
			uint8_t none = 0;

			put(&image, offset_of(&image, bitmap_first + at / CLUSTER) + at % CLUSTER, &none, 1);
		}
		assert_int_equal(look(&image), cases[i].expected);
		(void)close(image.fd);
	}
}

static void cleanliness_is_the_volumes_own_word(void **state _unused_)
{
	Image image;

	make(&image, VOLUME);
	assert_true(exfat_is_clean(image.fd));
	put(&image, 106, "\2", 1);
	assert_false(exfat_is_clean(image.fd));
	put(&image, 3, "NTFS    ", 8);
	assert_true(exfat_is_clean(image.fd));
	(void)close(image.fd);
}

static void what_is_none_of_exfat_or_makes_no_sense_is_not_looked_at(void **state _unused_)
{
	static const struct {
		unsigned at;
		uint8_t bytes[5];
		size_t size;
	} cases[] = {
		{3, "MSDOS", 5},                   /* another filesystem's */
		{92, {0xff, 0xff, 0xff, 0xff}, 4}, /* too many clusters */
		{96, {1}, 4},                      /* the root is nowhere */
		{108, {8}, 1}, {108, {13}, 1},     /* sectors */
		{109, {26}, 1},                    /* clusters */
		{110, {2}, 1},                     /* FATs */
	};

	for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
		ExfatCheck *check = NULL;
		Image image;

		make(&image, VOLUME);
		put(&image, cases[i].at, cases[i].bytes, cases[i].size);
		assert_int_equal(exfat_check_new(image.fd, &check), -ENOTSUP);
		assert_null(check);
		(void)close(image.fd);
	}
}

/* Bytes of folders, the FAT, the bitmap, the boot sector: it comes to an end, within what is its own. */
static void damage_by_chance_is_survived(void **state _unused_)
{
	for (unsigned round = 0; round < 4000; round++) {
		ExfatCheck *check = NULL;
		VolumeState found = VOLUME_SOUND;
		unsigned steps = 0;
		Image image;
		int r;

		make(&image, VOLUME);
		for (unsigned n = 1 + randombytes_uniform(8); n > 0; n--) {
			static const uint32_t clusters[] = {BITMAP, ROOT, 5, ALBUM, 9, INNER, 41};
			uint32_t kind = randombytes_uniform(8);
			uint8_t byte = (uint8_t)randombytes_uniform(256);
			uint64_t at = kind == 0 ? 64 + randombytes_uniform(64)
				      : kind < 3
					      ? FAT_AT + randombytes_uniform(4 * 60)
					      : offset_of(&image,
							clusters[randombytes_uniform(ELEMENTSOF(clusters))]) +
							randombytes_uniform(CLUSTER);

			put(&image, at, &byte, 1);
		}
		r = exfat_check_new(image.fd, &check);
		assert_true(r == 0 || r == -ENOTSUP);
		while (r == 0 && (r = exfat_check_step(check, &found)) == 0)
			assert_true(++steps < 100000);
		assert_true(r == 1 || r == -ENOTSUP);
		exfat_check_free(check);
		(void)close(image.fd);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_power_cuts_leave_is_told_apart),
		cmocka_unit_test(what_is_there_for_a_moment_does_not_count),
		cmocka_unit_test(a_volume_of_many_clusters_is_looked_at_in_passes),
		cmocka_unit_test(cleanliness_is_the_volumes_own_word),
		cmocka_unit_test(what_is_none_of_exfat_or_makes_no_sense_is_not_looked_at),
		cmocka_unit_test(damage_by_chance_is_survived),
	};

	if (sodium_init() < 0)
		return 1;
	log_setup("test-exfat", LOG_LEVEL_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
