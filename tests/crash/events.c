/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "events.h"

#include "oracle.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EDIT_TIME 1800000000

/* Overwrites a file in place, as an editor may. False: it is not there, or nobody gets at it now. */
static bool edit_file(Fs *fs, File *file, bool sync)
{
	int inode;

	if (file->size == 0 || fs_is_busy(fs, file->directory, file->name))
		return false;
	inode = fs_lookup(fs, file->directory, file->name);
	if (inode < 0)
		return false;
	fs->clock += 10;
	/* Whoever insists makes it writable first. */
	fs->inodes[inode].entry.attributes &= (uint8_t)~FAT_READ_ONLY;
	for (size_t i = 0; i < file->size; i++)
		file->bytes[i] = (uint8_t)(file->bytes[i] + 1);
	if (fs_write(fs, inode, file->bytes, file->size, 0) != (ssize_t)file->size)
		abort();
	if (sync)
		fs_sync_file(fs, inode);
	fs_release(fs, inode);
	return true;
}

bool edit_state(World *world, Disk *disk, unsigned i)
{
	static Fs fs;
	Look look;

	oracle_look(world, disk, true, &look);
	if (!look.files[i].plain || !look.files[i].plain_name)
		return false;
	fs_mount(&fs, disk, NULL, POLICY_NEXT_FIT, EDIT_TIME);
	return edit_file(&fs, &world->files[i], false);
}

/* Makes a file of `size` bytes and fsyncs it. */
static bool make_file(Fs *fs, DirectoryId directory, const char *name, const uint8_t *bytes, size_t size)
{
	int inode;

	if (fs_free_clusters(fs) * CLUSTER_SIZE < size)
		return false;
	inode = fs_create(fs, directory, name);
	if (inode < 0 || fs_write(fs, inode, bytes, size, 0) != (ssize_t)size)
		return false;
	fs_sync_file(fs, inode);
	fs_release(fs, inode);
	return true;
}

bool bystander_state(const World *world, Disk *disk)
{
	static Fs fs;

	fs_mount(&fs, disk, NULL, POLICY_NEXT_FIT, EDIT_TIME);
	fs.next_fit = 0;
	return make_file(&fs, DIRECTORY_ROOT, SECOND_NAME, world->second_bytes, BYSTANDER_SIZE);
}

/* ---- what may happen ---- */

typedef bool (*Happening)(const Events *events, Event *event, Fs *fs, bool mutates);

struct EventKind {
	const char *name;
	Happening happen; /* true: it has come to pass */
	bool file, lenient, partial, second;
	bool may_fail; /* it is as well when it does not */
};

static bool kill_at(const Events *events _unused_, Event *event, Fs *fs, bool mutates)
{
	if (!mutates || fs->mutations != event->at || fs->dead)
		return false;
	fs_kill(fs);
	return true;
}

/* Takes what was freed last, whatever the filesystem would have chosen: the worst case. */
static bool make_second(const Events *events, Event *event, Fs *fs)
{
	Policy policy = fs->policy;
	bool made;

	event->synced = fs->log->n;
	fs->policy = POLICY_LATEST_FREED;
	fs->avoid_torn = true; /* else it harms itself, whatever anybody recovers */
	made = make_file(fs, DIRECTORY_ROOT, SECOND_NAME, events->world->second_bytes, BYSTANDER_SIZE);
	fs->policy = policy;
	fs->avoid_torn = false;
	/* Before the first entry that was forced out nothing of it need be there. */
	while (made && fs->log->entries[event->synced].kind != LOG_FORCE)
		event->synced++;
	return made;
}

static bool bystander_at(const Events *events, Event *event, Fs *fs, bool mutates _unused_)
{
	return fs->calls == event->at && make_second(events, event, fs);
}

static bool grab_at(const Events *events, Event *event, Fs *fs, bool mutates _unused_)
{
	return fs->chains_freed > event->at && make_second(events, event, fs);
}

/* Whether what is held open is what the user knows: nobody goes on with what is noise, or gone. */
static bool is_as_known(Fs *fs, int inode, const File *file)
{
	static uint8_t bytes[FILE_SIZE_MAX];

	return !fs->inodes[inode].unlinked && fs->inodes[inode].entry.size == file->size &&
	       fs_read(fs, inode, bytes, file->size, 0, false) == (ssize_t)file->size &&
	       memcmp(bytes, file->bytes, file->size) == 0;
}

static bool edit_at(const Events *events, Event *event, Fs *fs, bool mutates _unused_)
{
	File *file = &events->world->files[event->file];
	Look look;

	if (fs->calls != event->at)
		return false;
	if (events->recovering) {
		/* Nothing but a lease helps between a last look and an unlink(). Nobody works on with what is
		 * noise, and who writes to a torn file loses that anyway. */
		oracle_look(events->world, fs->disk, true, &look);
		if (fs->call == CALL_UNLINK || !look.files[event->file].plain ||
			!look.files[event->file].plain_name)
			return false;
	}
	if (!edit_file(fs, file, true))
		return false;
	event->synced = fs->log->n - 1;
	return true;
}

static bool swap_at(const Events *events, Event *event, Fs *fs, bool mutates _unused_)
{
	File *file = &events->world->files[event->file];

	/* Between the last look at a name and its unlink() nothing can be done: no system has a funlink(). */
	if (fs->calls != event->at || file->size == 0 || fs->call == CALL_UNLINK ||
		fs_unlink(fs, file->directory, file->name) < 0)
		return false;
	fs->clock += 10;
	for (size_t i = 0; i < file->size; i++)
		file->bytes[i] = (uint8_t)(file->bytes[i] + 3);
	if (!make_file(fs, file->directory, file->name, file->bytes, file->size))
		return false;
	event->synced = fs->log->n - 1;
	return true;
}

static bool take_at(const Events *events, Event *event, Fs *fs, bool mutates _unused_)
{
	const World *world = events->world;
	const File *file = &world->files[event->file];
	const char *name = world->scenario.kind == TRANSACTION_ENCRYPT ? file->cipher_name : file->name;
	DiskEntry found;

	if (fs->calls != event->at || disk_find(fs->disk, file->directory, name, &found))
		return false;
	fs->clock += 10;
	if (!make_file(fs, file->directory, name, world->second_bytes, BYSTANDER_SIZE))
		return false;
	event->synced = fs->log->n - 1;
	return true;
}

static bool hold_at(const Events *events, Event *event, Fs *fs, bool mutates _unused_)
{
	const File *file = &events->world->files[event->file];

	if (event->inode >= 0) {
		if (fs->call != CALL_BARRIER || fs->barriers < event->until)
			return false;
		fs_release(fs, event->inode);
		return true;
	}
	if (fs->calls != event->at || fs_is_busy(fs, file->directory, file->name))
		return false;
	event->inode = fs_lookup(fs, file->directory, file->name);
	event->until = fs->barriers + 1;
	return false;
}

static bool open_at(const Events *events, Event *event, Fs *fs, bool mutates _unused_)
{
	File *file = &events->world->files[event->file];

	if (event->inode < 0) {
		bool leased;
		int inode;

		if (fs->calls != event->at || file->size == 0)
			return false;
		inode = fs_lookup(fs, file->directory, file->name);
		if (inode < 0)
			return false;
		leased = fs->inodes[inode].leased;
		/* A file that is being made opens for nobody. Whoever comes when the engine has had its last
		 * look waits for it to let go, and finds what it made of the file. */
		if (!is_as_known(fs, inode, file) || fs->inodes[inode].entry.attributes & FAT_READ_ONLY ||
			(leased ? fs->call != CALL_FSTAT || fs->inodes[inode].asked
				: fs_is_busy(fs, file->directory, file->name))) {
			fs_release(fs, inode);
			return false;
		}
		fs->inodes[inode].leased = false;
		event->inode = inode;
		return false;
	}
	if (fs->call != CALL_BARRIER)
		return false;
	fs->clock += 10;
	for (size_t i = 0; i < file->size; i++)
		file->bytes[i] = (uint8_t)(file->bytes[i] + 5);
	if (fs_write(fs, event->inode, file->bytes, file->size, 0) != (ssize_t)file->size)
		abort();
	fs_sync_file(fs, event->inode);
	event->synced = fs->log->n - 1;
	fs_release(fs, event->inode);
	event->inode = -1;
	return true;
}

static bool quiet_at(const Events *events, Event *event, Fs *fs, bool mutates _unused_)
{
	File *file = &events->world->files[event->file];
	int64_t mtime;
	int inode;

	fs->leases = false;
	if (fs->call != CALL_BARRIER || fs->barriers != event->at || file->size == 0)
		return false;
	inode = fs_lookup(fs, file->directory, file->name);
	if (inode < 0)
		return false;
	if (!is_as_known(fs, inode, file)) {
		fs_release(fs, inode);
		return false;
	}
	for (size_t i = 0; i < file->size; i++)
		file->bytes[i] = (uint8_t)(file->bytes[i] + 7);
	mtime = fs->inodes[inode].entry.mtime;
	if (fs_write(fs, inode, file->bytes, file->size, 0) != (ssize_t)file->size)
		abort();
	fs->inodes[inode].entry.mtime = mtime;
	fs_update(fs, inode);
	fs_sync_file(fs, inode);
	event->synced = fs->log->n - 1;
	fs_release(fs, inode);
	return true;
}

static bool damage_at(const Events *events _unused_, Event *event, Fs *fs, bool mutates _unused_)
{
	fs->damage_at = (int)event->at;
	return true;
}

static const EventKind event_kinds[] = {
	{.name = "kill", .happen = kill_at, .may_fail = true},
	{.name = "by", .happen = bystander_at, .second = true},
	{.name = "grab", .happen = grab_at, .second = true},
	{.name = "edit", .happen = edit_at, .file = true, .lenient = true},
	{.name = "swap", .happen = swap_at, .file = true, .lenient = true},
	{.name = "take", .happen = take_at, .file = true, .lenient = true, .second = true},
	{.name = "hold", .happen = hold_at, .file = true, .partial = true},
	{.name = "open", .happen = open_at, .file = true, .lenient = true},
	{.name = "quiet", .happen = quiet_at, .file = true, .lenient = true},
	{.name = "damage", .happen = damage_at, .lenient = true, .may_fail = true},
};

/* ---- */

static bool event_parse(const World *world, const char *text, Event *ret, unsigned *ret_length)
{
	for (size_t i = 0; i < ELEMENTSOF(event_kinds); i++) {
		const EventKind *kind = &event_kinds[i];
		size_t n = strlen(kind->name);
		int length = 0;

		*ret = (Event){.kind = kind, .synced = SIZE_MAX, .inode = -1};
		if (strncmp(text, kind->name, n) != 0 ||
			(kind->file ? sscanf(text + n, "%u@%u%n", &ret->file, &ret->at, &length) != 2
				    : sscanf(text + n, "@%u%n", &ret->at, &length) != 1) ||
			ret->file >= world->n_files)
			continue;
		*ret_length = (unsigned)n + (unsigned)length;
		return true;
	}
	return false;
}

bool events_parse(World *world, const char *text, Events *ret, unsigned *ret_length)
{
	unsigned length;

	*ret = (Events){.world = world};
	*ret_length = 0;
	do {
		if (!event_parse(world, text + *ret_length, &ret->items[ret->n], &length))
			return false;
		ret->n++;
		*ret_length += length;
	} while (text[*ret_length] == '+' && ret->n < EVENTS_MAX && ++*ret_length);
	return true;
}

static void happen(Fs *fs, void *userdata, bool mutates)
{
	Events *events = userdata;

	for (unsigned i = 0; i < events->n; i++) {
		Event *event = &events->items[i];

		if (!event->happened)
			event->happened = event->kind->happen(events, event, fs, mutates);
	}
}

void events_begin(Events *events, Execution *execution)
{
	execution->fs.hook_userdata = events;
	execution->fs.hook = events->n > 0 ? happen : NULL;
}

bool events_end(Events *events, Execution *execution, Way *ret)
{
	bool all = true;

	execution->fs.hook = NULL;
	*ret = (Way){.synced = SIZE_MAX};
	for (unsigned i = 0; i < events->n; i++) {
		const Event *event = &events->items[i];

		all &= event->happened || event->kind->may_fail;
		ret->lenient |= event->kind->lenient;
		ret->partial |= event->kind->partial;
		if (!event->happened || event->synced == SIZE_MAX)
			continue;
		ret->second |= event->kind->second;
		ret->synced = ret->synced == SIZE_MAX ? event->synced : MAX(ret->synced, event->synced);
	}
	events->world->second |= ret->second;
	return all;
}

bool way_run(World *world, const char *text, Execution *execution, Way *ret)
{
	Events events = {.world = world};
	unsigned length = 0;

	if (strcmp(text, "run") != 0 && (!events_parse(world, text, &events, &length) || text[length]))
		return false;
	execution_begin(execution, world, &world->start, NULL);
	events_begin(&events, execution);
	execution_transaction(execution);
	return events_end(&events, execution, ret);
}

bool unreadable_state(Disk *disk, bool second, bool last)
{
	DiskEntry entry;
	uint32_t cluster, size;
	const uint8_t *head;

	if (!disk_find(disk, second ? DIRECTORY_B : DIRECTORY_A, "journal", &entry))
		return false;
	cluster = entry.entry.start;
	head = content_sector(disk->units[unit_of_sector(cluster, 0)]);
	size = (uint32_t)head[8] | (uint32_t)head[9] << 8 | (uint32_t)head[10] << 16;
	if (last && (size <= SECTOR_SIZE || size > entry.entry.size))
		return false;
	size = last ? (size - 1) / SECTOR_SIZE : 0;
	for (; size >= SECTORS_PER_CLUSTER; size -= SECTORS_PER_CLUSTER)
		cluster = disk->units[UNIT_FAT + cluster];
	disk->unreadable = unit_of_sector(cluster, size);
	return true;
}

static bool rot(Disk *disk, DirectoryId directory, const char *name, uint64_t where)
{
	DiskEntry entry;
	uint32_t cluster;
	unsigned unit;

	if (!disk_find(disk, directory, name, &entry) || entry.entry.size == 0)
		return false;
	where %= (entry.entry.size + SECTOR_SIZE - 1) / SECTOR_SIZE;
	cluster = entry.entry.start;
	for (; where >= SECTORS_PER_CLUSTER; where -= SECTORS_PER_CLUSTER)
		cluster = disk->units[UNIT_FAT + cluster];
	unit = unit_of_sector(cluster, (unsigned)where);
	disk->units[unit] = content_damaged(unit);
	return true;
}

bool rot_state(const World *world, Disk *disk, unsigned i, bool source, uint64_t where)
{
	bool encrypting = world->scenario.kind == TRANSACTION_ENCRYPT;
	const File *file = &world->files[i];
	Look look;

	oracle_look(world, disk, true, &look);
	return look.files[i].plain && look.files[i].cipher && look.files[i].plain_name &&
	       look.files[i].cipher_name && !(source && encrypting) &&
	       rot(disk, file->directory, encrypting != source ? file->cipher_name : file->name, where);
}

bool rot_last_state(const World *world, Disk *disk, unsigned i, uint64_t where)
{
	const File *file = &world->files[i];
	Look look;

	oracle_look(world, disk, true, &look);
	return look.files[i].cipher && look.files[i].cipher_name && !look.files[i].plain_name &&
	       !look.files[i].plain && rot(disk, file->directory, file->cipher_name, where);
}
