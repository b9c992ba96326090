/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */

#include "device/device.h"
#include "device/mount-table.h"
#include "skip.h"
#include "util/memory.h"

#include <errno.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

/* As real kernels wrote them, names changed. */
static const char *const text =
	"22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/root rw\n"
	"36 22 0:31 / /proc rw,nosuid,nodev,noexec,relatime - proc proc rw\n"
	"97 22 8:17 / /media/anna/My\\040Stick\\134x rw,nosuid,nodev,relatime shared:50 master:3 - vfat "
	"/dev/sdb1 "
	"rw,fmask=0022,errors=remount-ro\n"
	"98 22 8:17 /photos /srv/photos rw,relatime - vfat /dev/sdb1 rw\n"
	"99 22 0:52 /@ /media/b rw,nosuid,nodev - btrfs /dev/sdc1 rw,subvolid=256,subvol=/@\n"
	"100 22 8:49 / /media/n rw,nosuid,nodev - fuseblk /dev/sdd1 rw,user_id=0,allow_other,blksize=4096\n"
	"101 22 0:60 / /home/eve/mnt rw,nosuid,nodev - fuse.sshfs /dev/sdd1 rw,user_id=1001\n"
	"102 22 8:65 / /media/r rw,nosuid - ext4 /dev/sde1 ro,errors=remount-ro\n"
	"103 22 0:61 / /mnt/none rw - tmpfs  rw,size=1k\n";

static MountTable *parse(const char *from)
{
	MountTable *table = NULL;

	assert_int_equal(mount_table_parse(from, &table), 0);
	return table;
}

static void real_lines_are_read(void **state)
{
	_cleanup_mount_table_ MountTable *table = parse(text);
	const Mount *mount;

	(void)state;
	assert_int_equal(mount_table_size(table), 9);
	mount = mount_table_get(table, 2);
	assert_int_equal(mount->id, 97);
	assert_int_equal(mount->number, makedev(8, 17));
	assert_string_equal(mount->point, "/media/anna/My Stick\\x");
	assert_string_equal(mount->type, "vfat");
	assert_string_equal(mount->source, "/dev/sdb1");
	assert_true(mount->nosuid && mount->nodev && !mount->read_only);
	assert_true(mount_is_whole(mount));
	assert_string_equal(mount_table_get(table, 8)->source, "");
}

static void a_part_of_a_drive_is_not_the_drive(void **state)
{
	_cleanup_mount_table_ MountTable *table = parse(text);
	const Mount *mount = mount_table_get(table, 3);

	(void)state;
	assert_true(mount_is_of(mount, makedev(8, 17), "/dev/sdb1"));
	assert_false(mount_is_whole(mount));
	assert_false(mount->nosuid || mount->nodev);
}

static void a_btrfs_is_known_by_its_source(void **state)
{
	_cleanup_mount_table_ MountTable *table = parse(text);
	const Mount *mount = mount_table_get(table, 4);

	(void)state;
	assert_true(mount_is_of(mount, makedev(8, 33), "/dev/sdc1"));
	assert_false(mount_is_of(mount, makedev(8, 34), "/dev/sdc2"));
	assert_true(mount_is_whole(mount));
}

static void fuseblk_is_known_by_its_source_and_plain_fuse_never(void **state)
{
	_cleanup_mount_table_ MountTable *table = parse(text);

	(void)state;
	assert_true(mount_is_of(mount_table_get(table, 5), makedev(8, 49), "/dev/sdd1"));
	assert_false(mount_is_of(mount_table_get(table, 5), makedev(8, 49), "/dev/other"));
	assert_false(mount_is_of(mount_table_get(table, 6), makedev(8, 49), "/dev/sdd1"));
}

static void a_driver_that_adds_its_name_to_fuseblk_is_fuseblk(void **state)
{
	_cleanup_mount_table_ MountTable *table =
		parse("100 22 8:49 / /media/n rw,nosuid,nodev - fuseblk.fuse2fs /dev/sdd1 rw,user_id=0\n");

	(void)state;
	assert_string_equal(mount_table_get(table, 0)->type, "fuseblk");
	assert_true(mount_is_of(mount_table_get(table, 0), makedev(8, 49), "/dev/sdd1"));
}

static void either_kind_of_read_only_counts(void **state)
{
	_cleanup_mount_table_ MountTable *table = parse(text);

	(void)state;
	assert_true(mount_table_get(table, 7)->read_only);
	assert_true(mount_table_get(table, 7)->nosuid);
	assert_false(mount_table_get(table, 7)->nodev);
	table = mount_table_free(table);
	table = parse("1 0 8:1 / /a ro,nodev,nosuidx - ext4 /dev/sda1 rw\n");
	assert_true(mount_table_get(table, 0)->read_only);
	assert_false(mount_table_get(table, 0)->nosuid);
}

/* As it was seen in the table of a service with ProtectSystem=strict and ReadWritePaths=-/media, which was
 * started after the drive was mounted. */
static void what_no_path_leads_to_is_hidden(void **state)
{
	_cleanup_mount_table_ MountTable *table =
		parse("100 1 0:20 / / ro - overlay root rw\n"
		      "120 100 8:1 / /media/alice/STICK rw,nosuid,nodev - vfat /dev/sda1 rw\n"
		      "121 100 0:20 /media /media rw - overlay root rw\n"
		      "122 121 8:1 / /media/alice/STICK rw,nosuid,nodev - vfat /dev/sda1 rw\n"
		      "123 121 8:2 / /media/alice/STICKER rw,nosuid,nodev - vfat /dev/sda2 rw\n"
		      "124 121 8:3 / /media/alice/under rw,nosuid,nodev - vfat /dev/sda3 rw\n"
		      "125 124 8:4 / /media/alice/under rw,nosuid,nodev - vfat /dev/sda4 rw\n"
		      "126 125 8:5 / /media/alice/under/deep rw,nosuid,nodev - vfat /dev/sda5 rw\n");
	static const bool hidden[] = {false, true, false, false, false, true, false, false};

	(void)state;
	for (size_t i = 0; i < ELEMENTSOF(hidden); i++)
		assert_int_equal(mount_is_hidden(table, mount_table_get(table, i)), hidden[i]);
}

static void what_makes_no_sense_is_ebadmsg(void **state)
{
	static const char *const bad[] = {"x", "1 0 8:1 / /a rw", "1 0 8:1 / /a rw -",
		"1 0 8:1 / /a rw - ext4", "1 0 8:1 / /a rw - ext4 src", "1 0 8 / /a rw - ext4 src rw",
		"z 0 8:1 / /a rw - ext4 src rw"};

	(void)state;
	for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
		MountTable *table = NULL;

		assert_int_equal(mount_table_parse(bad[i], &table), -EBADMSG);
		assert_null(table);
	}
}

static void this_process_has_a_root(void **state)
{
	_cleanup_mount_table_ MountTable *table = NULL;
	bool found = false;

	(void)state;
	assert_int_equal(mount_table_read(&table), 0);
	for (size_t i = 0; i < mount_table_size(table); i++)
		found = found || strcmp(mount_table_get(table, i)->point, "/") == 0;
	assert_true(found);
}

static void count(void *userdata)
{
	(*(int *)userdata)++;
}

static void a_mount_wakes_the_watch(void **state)
{
	sd_event_source *source = NULL;
	sd_event *event = NULL;
	int changes = 0;

	(void)state;
	if (unshare(CLONE_NEWNS) < 0)
		skip_because("no right to a mount namespace of its own");
	assert_int_equal(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
	assert_true(sd_event_new(&event) >= 0);
	assert_int_equal(mount_table_watch(event, count, &changes, &source), 0);
	while (sd_event_run(event, 0) > 0)
		;
	changes = 0;
	assert_int_equal(mount("none", "/mnt", "tmpfs", 0, NULL), 0);
	assert_true(sd_event_run(event, 5 * USEC_PER_SEC) > 0);
	assert_true(changes > 0);
	while (sd_event_run(event, 0) > 0)
		;
	changes = 0;
	assert_int_equal(umount("/mnt"), 0);
	assert_true(sd_event_run(event, 5 * USEC_PER_SEC) > 0);
	assert_true(changes > 0);
	sd_event_source_disable_unref(source);
	sd_event_unref(event);
}

static void labels_are_decoded_as_udev_encoded_them(void **state)
{
	(void)state;
	static const char *const cases[][2] = {{"My\\x20Stick", "My Stick"}, {"a\\x5cx41", "a\\x41"},
		{"\\x0", "\\x0"}, {"\\x00a", "\\x00a"}, {"\\xc3\\xa4", "\xc3\xa4"}, {"%n%n", "%n%n"},
		{"", ""}, {"\\", "\\"}, {"\\xg1", "\\xg1"}};

	for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
		_cleanup_free_ char *decoded = device_decode(cases[i][0]);

		assert_string_equal(decoded, cases[i][1]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(real_lines_are_read),
		cmocka_unit_test(a_part_of_a_drive_is_not_the_drive),
		cmocka_unit_test(a_btrfs_is_known_by_its_source),
		cmocka_unit_test(fuseblk_is_known_by_its_source_and_plain_fuse_never),
		cmocka_unit_test(a_driver_that_adds_its_name_to_fuseblk_is_fuseblk),
		cmocka_unit_test(either_kind_of_read_only_counts),
		cmocka_unit_test(what_no_path_leads_to_is_hidden),
		cmocka_unit_test(what_makes_no_sense_is_ebadmsg),
		cmocka_unit_test(this_process_has_a_root),
		cmocka_unit_test(a_mount_wakes_the_watch),
		cmocka_unit_test(labels_are_decoded_as_udev_encoded_them),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
