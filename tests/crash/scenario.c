/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "scenario.h"

#include "engine/journal.h"
#include "engine/names.h"
#include "oracle.h"

#include <sodium.h>
#include <stdio.h>
#include <string.h>

#define FIRST_TIME 1000000000 /* of the files */
#define MOUNT_TIME 1700000000
#define ROOMY      260 /* clusters */
#define NEAR_FULL  52
#define JOURNALS   1024 /* clusters of two that are made anew */

uint8_t world_file_root[32];
uint8_t world_drive_id[16] = "model drive 0001";
static Secret *file_root, *journal_mac, *scrub_root;

/* ---- random numbers ---- */

static uint64_t random_state;

void random_seed(uint64_t seed)
{
	random_state = seed;
}

uint64_t random_next(void)
{
	uint64_t x = random_state += 0x9e3779b97f4a7c15ULL;

	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ULL;
	x = (x ^ x >> 27) * 0x94d049bb133111ebULL;
	return x ^ x >> 31;
}

static const char *model_random_name(void)
{
	return "seeded";
}

static uint32_t model_random(void)
{
	return (uint32_t)random_next();
}

static void model_random_buf(void *const buffer, const size_t size)
{
	uint8_t *bytes = buffer;

	for (size_t i = 0; i < size; i++)
		bytes[i] = (uint8_t)(random_next() >> 24);
}

int world_init_keys(void)
{
	static struct randombytes_implementation implementation = {
		.implementation_name = model_random_name,
		.random = model_random,
		.buf = model_random_buf,
	};
	int r;

	if (randombytes_set_implementation(&implementation) != 0)
		return -1;
	random_seed(1);
	r = secret_init();
	if (r >= 0)
		r = secret_new_random(SUBKEY_SIZE, &file_root);
	if (r >= 0)
		r = secret_new_random(SUBKEY_SIZE, &journal_mac);
	if (r >= 0)
		r = secret_new_random(SUBKEY_SIZE, &scrub_root);
	if (r >= 0)
		memcpy(world_file_root, secret_view(file_root), sizeof(world_file_root));
	return r;
}

/* ---- names of scenarios ---- */

static const char *const kinds[] = {"encrypt", "noscrub", "decrypt", "first", "growing"};
static const char *const folders[] = {"one", "two"};
static const char *const spaces[] = {"roomy", "full"};
static const char *const lengths[] = {"short", "long"};

void scenario_name(const Scenario *scenario, char ret[80])
{
	const char *kind = scenario->kind == TRANSACTION_DECRYPT ? kinds[2]
			   : scenario->first                     ? kinds[3]
			   : scenario->growing                   ? kinds[4]
								 : kinds[!scenario->scrub];

	(void)snprintf(ret, 80, "%s.%s.%s.%s.%u.%s", kind, folders[scenario->two_folders],
		spaces[scenario->near_full], lengths[scenario->long_names], scenario->batches,
		recovery_mode_name(scenario->mode));
}

bool scenario_parse(const char *name, Scenario *ret)
{
	for (unsigned i = 0; i < 5 * 2 * 2 * 2 * 3 * RECOVERY_MODE_MAX; i++) {
		Scenario scenario = {
			.kind = i % 5 == 2 ? TRANSACTION_DECRYPT : TRANSACTION_ENCRYPT,
			.scrub = i % 5 != 1 && i % 5 != 2,
			.first = i % 5 == 3,
			.growing = i % 5 == 4,
			.two_folders = i / 5 % 2,
			.near_full = i / 10 % 2,
			.long_names = i / 20 % 2,
			.batches = i / 40 % 3 + 1,
			.mode = (RecoveryMode)(i / 120),
		};
		char text[80];

		scenario_name(&scenario, text);
		if (strcmp(text, name) == 0) {
			*ret = scenario;
			return true;
		}
	}
	return false;
}

/* ---- the drive at the start ---- */

static unsigned next_slot[DIRECTORY_MAX];

static void put_directory(Disk *disk, DirectoryId parent, DirectoryId directory, const char *name)
{
	unsigned first = (unsigned)parent * SLOTS_PER_DIRECTORY;
	Slot slot = {.kind = SLOT_LONG, .ordinal = 1, .last = 1};
	Slot entry = {.kind = SLOT_SHORT, .attributes = 0x10, .directory = (uint8_t)directory};

	(void)snprintf(entry.text, sizeof(entry.text), "DIR%u", (unsigned)directory);
	(void)snprintf(slot.text, sizeof(slot.text), "%s", name);
	slot.checksum = alias_checksum(entry.text);
	disk->units[unit_of_slot(first + next_slot[parent]++)] = content_of_slot(&slot);
	disk->units[unit_of_slot(first + next_slot[parent]++)] = content_of_slot(&entry);
}

static void put_file(Fs *fs, DirectoryId directory, const char *name, const uint8_t *bytes, size_t size)
{
	int inode = fs_create(fs, directory, name);

	fs->clock = FIRST_TIME + 100 * (int64_t)size + 10 * name[2];
	if (inode < 0 || fs_write(fs, inode, bytes, size, 0) < 0)
		abort();
	fs_release(fs, inode);
}

/* A file that was longer once: what lies behind its end in its last cluster is plaintext too. */
static void fill_slack(Disk *disk, const File *file)
{
	uint8_t sector[SECTOR_SIZE];
	DiskEntry entry;
	uint32_t cluster;

	if (file->size == 0 ||
		(file->size - 1) / SECTOR_SIZE % SECTORS_PER_CLUSTER == SECTORS_PER_CLUSTER - 1)
		return;
	if (!disk_find(disk, file->directory, file->name, &entry))
		abort();
	for (cluster = entry.entry.start; disk->units[UNIT_FAT + cluster] != FAT_END;)
		cluster = disk->units[UNIT_FAT + cluster];
	memcpy(sector, file->bytes, sizeof(sector));
	disk->units[unit_of_sector(cluster, SECTORS_PER_CLUSTER - 1)] = content_of_sector(sector);
}

static void name_file(const World *world, File *file, unsigned i)
{
	size_t length = 0;

	file->directory = world->scenario.two_folders && i % 2 ? DIRECTORY_OTHER : DIRECTORY_USER;
	if (world->scenario
			.long_names) /* with its suffix the even ones are too long, the odd ones just fit */
		length = i % 2 ? 100 : 252;
	(void)snprintf(file->name, sizeof(file->name), "ph%u-", i);
	for (size_t n = strlen(file->name); n + 4 < length; n++) {
		file->name[n] = (char)('a' + n % 26);
		file->name[n + 1] = 0;
	}
	strcat(file->name, ".txt");
	name_for_cipher(file->name, name_limit("vfat"), file->cipher_name);
	(void)snprintf(file->path, sizeof(file->path), "%s/%s",
		file->directory == DIRECTORY_OTHER ? "other" : "dir", file->name);
}

static void make_files(World *world)
{
	static const size_t sizes[] = {700, 1500, 9, 0, 1024, 512};

	world->batch_files = world->scenario.batches == 3 ? 1 : 2;
	if (world->scenario.first && world->scenario.long_names) /* a record of more than a cluster */
		world->batch_files = 4;
	world->n_files = world->scenario.batches * world->batch_files;
	for (unsigned i = 0; i < world->n_files; i++) {
		File *file = &world->files[i];

		name_file(world, file, i);
		file->size = world->scenario.batches == 1 && i == 1 ? sizes[0]
								    : sizes[i]; /* as large as another one */
		randombytes_buf(file->bytes, file->size);
		if (file->size > 1024) /* a user's zeros must not be mistaken for anything of ours */
			memset(file->bytes + SECTOR_SIZE, 0, SECTOR_SIZE);
	}
	randombytes_buf(world->bystander, sizeof(world->bystander));
	randombytes_buf(world->second_bytes, sizeof(world->second_bytes));
}

/* As an earlier run left it, that came to its end. */
static void put_journal(const World *world, Fs *fs)
{
	_cleanup_journal_ Journal *journal = NULL;
	const JournalRecord closed = {.operation = TRANSACTION_ENCRYPT, .flags = JOURNAL_CLOSED};

	if (journal_create(&fs->vfs, fs_root(), world->volume.journal_mac, world->volume.drive_id, &journal) <
			0 ||
		journal_begin(journal, &closed) < 0 || journal_write(journal) < 0)
		abort();
}

void world_make(World *world, const Scenario *scenario)
{
	static const uint8_t zero;
	Fs fs;

	memset(world, 0, sizeof(*world));
	world->scenario = *scenario;
	world->paths[world->n_paths++] = "dir";
	if (scenario->two_folders)
		world->paths[world->n_paths++] = "other";
	world->volume = (Volume){
		.type = "vfat",
		.suite = SUITE_XCHACHA20_POLY1305,
		.epoch = 1,
		.file_root = file_root,
		.journal_mac = journal_mac,
		.scrub_root = scrub_root,
		.privileged = true,
	};
	memcpy(world->volume.drive_id, world_drive_id, sizeof(world_drive_id));
	random_seed(2);
	make_files(world);

	memset(next_slot, 0, sizeof(next_slot));
	world->start.clusters = CLUSTERS_MAX;
	put_directory(&world->start, DIRECTORY_ROOT, DIRECTORY_OURS, ".usbcrypt");
	put_directory(&world->start, DIRECTORY_ROOT, DIRECTORY_USER, "dir");
	put_directory(&world->start, DIRECTORY_ROOT, DIRECTORY_OTHER, "other");
	put_directory(&world->start, DIRECTORY_OURS, DIRECTORY_A, "a");
	put_directory(&world->start, DIRECTORY_OURS, DIRECTORY_B, "b");
	fs_mount(&fs, &world->start, NULL, POLICY_NEXT_FIT, FIRST_TIME);
	for (DirectoryId d = DIRECTORY_A; d <= DIRECTORY_B; d++)
		put_file(&fs, d, "drive.json", &zero, 1);
	if (!scenario->first)
		put_journal(world, &fs);
	put_file(&fs, DIRECTORY_ROOT, BYSTANDER_NAME, world->bystander, sizeof(world->bystander));
	for (unsigned i = 0; i < world->n_files; i++)
		put_file(&fs, world->files[i].directory, world->files[i].name, world->files[i].bytes,
			world->files[i].size);
	for (unsigned i = 0; i < world->n_files; i++)
		fill_slack(&world->start, &world->files[i]);
	world->start.clusters = fs.next_fit + 1 + ROOMY + (scenario->first ? JOURNALS : 0);
	if (scenario->first)
		oracle_fill(&world->start);

	if (scenario->kind == TRANSACTION_DECRYPT) {
		Execution *execution = calloc(1, sizeof(*execution));

		if (!execution)
			abort();
		world->scenario.kind = TRANSACTION_ENCRYPT;
		world->scenario.scrub = true;
		world->scenario.near_full = false;
		execution_begin(execution, world, &world->start, NULL);
		execution_transaction(execution);
		if (execution->outcome != OUTCOME_DONE)
			abort();
		world->start = execution->disk;
		execution_end(execution);
		free(execution);
		world->scenario = *scenario;
	}
	if (scenario->growing) {
		unsigned first = DIRECTORY_USER * SLOTS_PER_DIRECTORY, slots = SLOTS_PER_DIRECTORY;

		while (world->start.units[unit_of_slot(first + slots - 1)] == CONTENT_ZERO)
			slots--;
		world->start.grows_at = slots;
	}
	if (scenario->near_full) {
		unsigned free_clusters = 0;

		while (free_clusters < NEAR_FULL)
			free_clusters += world->start.units[UNIT_FAT + --world->start.clusters] == FAT_FREE;
	}
}

/* ---- runs ---- */

static void note_failure(void *userdata, const char *path, Reason reason, int error _unused_)
{
	Execution *execution = userdata;

	if (execution->n_failures == FAILURES_MAX)
		return;
	(void)snprintf(execution->failures[execution->n_failures].path, sizeof(execution->failures[0].path),
		"%s", path);
	execution->failures[execution->n_failures++].reason = reason;
}

void execution_inherit(Execution *execution, const Execution *earlier)
{
	memcpy(execution->failures, earlier->failures, sizeof(execution->failures));
	execution->n_failures = earlier->n_failures;
}

bool execution_named(const Execution *execution, const char *path)
{
	for (unsigned i = 0; i < execution->n_failures; i++)
		if (strcmp(execution->failures[i].path, path) == 0)
			return true;
	return false;
}

/* A mount is later than everything on the drive, so that nobody waits for a time to settle. */
static int64_t time_of_mount(const Disk *disk)
{
	int64_t latest = MOUNT_TIME;

	for (unsigned slot = 0; slot < SLOTS_MAX; slot++)
		if (disk->units[unit_of_slot(slot)] != CONTENT_ZERO)
			latest = MAX(latest, content_slot(disk->units[unit_of_slot(slot)])->mtime + 1000);
	return latest;
}

void execution_begin(Execution *execution, const World *world, const Disk *base, const Log *pending)
{
	execution->world = world;
	execution->n_failures = 0;
	execution->base = execution->disk = *base;
	for (size_t i = 0; pending && i < pending->n; i++) {
		const LogEntry *entry = &pending->entries[i];

		log_add(&execution->log, entry->kind, entry->unit, entry->value);
		if (entry->kind == LOG_WRITE)
			execution->disk.units[entry->unit] = entry->value;
	}
	fs_mount(&execution->fs, &execution->disk, &execution->log,
		world->scenario.near_full ? POLICY_LATEST_FREED : POLICY_NEXT_FIT,
		time_of_mount(&execution->disk));
}

void execution_end(Execution *execution)
{
	log_clear(&execution->log);
}

static TransactionOptions options_of(const World *world)
{
	return (TransactionOptions){
		.paths = world->paths,
		.n_paths = world->n_paths,
		.scrub = world->scenario.scrub,
		.target_fd = -1,
		.threads = 1,
		.batch_files = world->batch_files,
	};
}

void execution_transaction(Execution *execution)
{
	Volume volume = execution->world->volume;
	TransactionOptions options = options_of(execution->world);
	const Observer observer = {.userdata = execution, .failure = note_failure};

	random_seed(3);
	volume.vfs = &execution->fs.vfs;
	volume.root_fd = fs_root();
	execution->outcome = execution->world->scenario.kind == TRANSACTION_ENCRYPT
				     ? transaction_encrypt(&volume, &options, &observer, &execution->result)
				     : transaction_decrypt(&volume, &options, &observer, &execution->result);
}

void execution_recovery(Execution *execution)
{
	Volume volume = execution->world->volume;
	TransactionOptions options = options_of(execution->world);
	const Observer observer = {.userdata = execution, .failure = note_failure};

	random_seed(4);
	volume.vfs = &execution->fs.vfs;
	volume.root_fd = fs_root();
	execution->outcome = recovery_run(
		&volume, execution->world->scenario.mode, true, &options, &observer, &execution->result);
}
