/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "events.h"

#include "oracle.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EDIT_TIME 1800000000

typedef struct Event {
	World *world;
	unsigned at; /* a system call, or a changing one */
	unsigned file;
	bool happened;
	size_t synced;
} Event;

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

static void kill_at(Fs *fs, void *userdata, bool mutates)
{
	const Event *event = userdata;

	if (mutates && fs->mutations == event->at && !fs->dead)
		fs_kill(fs);
}

static void bystander_at(Fs *fs, void *userdata, bool mutates _unused_)
{
	Event *event = userdata;

	if (fs->calls != event->at || event->happened)
		return;
	event->synced = fs->log->n;
	event->happened =
		make_file(fs, DIRECTORY_ROOT, SECOND_NAME, event->world->second_bytes, BYSTANDER_SIZE);
	/* Before the first entry that was forced out nothing of it need be there. */
	while (event->happened && fs->log->entries[event->synced].kind != LOG_FORCE)
		event->synced++;
}

static void edit_at(Fs *fs, void *userdata, bool mutates _unused_)
{
	Event *event = userdata;

	if (fs->calls != event->at || event->happened)
		return;
	event->happened = edit_file(fs, &event->world->files[event->file], true);
	event->synced = fs->log->n - 1;
}

static void swap_at(Fs *fs, void *userdata, bool mutates _unused_)
{
	Event *event = userdata;
	File *file = &event->world->files[event->file];

	/* Between the last look at a name and its unlink() nothing can be done: no system has a funlink(). */
	if (fs->calls != event->at || event->happened || file->size == 0 || fs->unlinking ||
		fs_unlink(fs, file->directory, file->name) < 0)
		return;
	fs->clock += 10;
	for (size_t i = 0; i < file->size; i++)
		file->bytes[i] = (uint8_t)(file->bytes[i] + 3);
	event->happened = make_file(fs, file->directory, file->name, file->bytes, file->size);
	event->synced = fs->log->n - 1;
}

static void take_at(Fs *fs, void *userdata, bool mutates _unused_)
{
	Event *event = userdata;
	World *world = event->world;
	const File *file = &world->files[event->file];
	const char *name = world->scenario.kind == TRANSACTION_ENCRYPT ? file->cipher_name : file->name;
	DiskEntry found;

	if (fs->calls != event->at || event->happened || disk_find(fs->disk, file->directory, name, &found))
		return;
	fs->clock += 10;
	event->happened = make_file(fs, file->directory, name, world->second_bytes, BYSTANDER_SIZE);
	event->synced = fs->log->n - 1;
}

bool way_run(World *world, const char *text, Execution *execution, Way *ret)
{
	static const struct {
		const char *name;
		void (*hook)(Fs *fs, void *userdata, bool mutates);
		bool file, lenient, second;
	} hooks[] = {
		{"kill", kill_at, false, false, false},
		{"by", bystander_at, false, false, true},
		{"edit", edit_at, true, true, false},
		{"swap", swap_at, true, true, false},
		{"take", take_at, true, true, true},
	};
	Event event = {.world = world, .synced = SIZE_MAX};
	int damage;

	*ret = (Way){.synced = SIZE_MAX};
	execution_begin(execution, world, &world->start, NULL);
	execution->fs.hook_userdata = &event;
	for (size_t i = 0; i < ELEMENTSOF(hooks); i++) {
		size_t n = strlen(hooks[i].name);

		if (strncmp(text, hooks[i].name, n) != 0 ||
			(hooks[i].file ? sscanf(text + n, "%u@%u", &event.file, &event.at) != 2
				       : sscanf(text + n, "@%u", &event.at) != 1) ||
			event.file >= world->n_files)
			continue;
		execution->fs.hook = hooks[i].hook;
		ret->lenient = hooks[i].lenient;
		execution_transaction(execution);
		execution->fs.hook = NULL;
		ret->second = world->second = hooks[i].second && event.happened;
		ret->synced = event.happened ? event.synced : SIZE_MAX;
		return event.happened || hooks[i].hook == kill_at;
	}
	if (sscanf(text, "damage@%d", &damage) == 1) {
		execution->fs.damage_at = damage;
		ret->lenient = true;
	} else if (strcmp(text, "run") != 0) {
		return false;
	}
	execution_transaction(execution);
	return true;
}
