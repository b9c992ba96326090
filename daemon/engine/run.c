/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "engine/run.h"

#include "util/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <unistd.h>

#define FAT_FILE_MAX  ((uint64_t)UINT32_MAX)
#define HELPERS       3
#define SETTLING_TIME 3 /* seconds: FAT keeps times in steps of two */
#define LOOKS         3 /* at a volume's allocation, while it does not look sound */

static bool run_is_fat(const Run *run)
{
	return strcmp(run->volume->type, "vfat") == 0 || strcmp(run->volume->type, "msdos") == 0;
}

static bool stopped(void *userdata)
{
	return run_cancelled(userdata);
}

static void advanced(void *userdata, uint64_t plain_bytes)
{
	run_advance(userdata, 0, plain_bytes);
}

static void alive(void *userdata, uint64_t bytes _unused_)
{
	run_advance(userdata, 0, 0);
}

/* Filesystems that overwrite a file's blocks in place. */
static bool overwrites_in_place(const char *type)
{
	static const char *const types[] = {
		"vfat", "msdos", "exfat", "ntfs3", "fuseblk", "ext2", "ext3", "ext4"};

	for (size_t i = 0; i < ELEMENTSOF(types); i++)
		if (strcmp(type, types[i]) == 0)
			return true;
	return false;
}

/* Tries whether files can be opened the way that reads the medium; drive.json is always there. */
static int find_medium_flags(const Volume *volume)
{
	const Vfs *vfs = volume->vfs;
	int flags = vfs->read_medium(vfs, volume->root_fd), fd;

	if (flags <= 0)
		return flags;
	fd = vfs->open(vfs, volume->root_fd, USBCRYPT_DIRECTORY "/a/drive.json",
		O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOATIME | flags, 0);
	if (fd < 0)
		return fd == -EINVAL ? -EOPNOTSUPP : fd;
	vfs->close(vfs, fd);
	return flags;
}

Outcome run_init(Run *run, TransactionKind kind, Volume *volume, const TransactionOptions *options,
	const Observer *observer, TransactionResult *result)
{
	uint8_t id[RUN_ID_SIZE];
	struct statvfs fs;
	int r;

	*run = (Run){.volume = volume, .options = options, .observer = observer, .result = result};
	*result = (TransactionResult){.pending = TRANSACTION_INVALID};
	pthread_mutex_init(&run->lock, NULL);
	randombytes_buf(run->report_key, sizeof(run->report_key));

	r = volume->vfs->fstatvfs(volume->vfs, volume->root_fd, &fs);
	if (r < 0)
		return run_outcome(run, r);
	run->context = (ReplacementContext){
		.volume = volume,
		.encrypting = kind == TRANSACTION_ENCRYPT,
		.scrub = kind == TRANSACTION_ENCRYPT && options->scrub,
		.sync_each = strcmp(volume->type, "fuseblk") == 0,
		.close_later = strcmp(volume->type, "fuseblk") == 0 || run_is_fat(run),
		.unordered = run_is_fat(run) || strcmp(volume->type, "exfat") == 0,
		.cluster = MAX((size_t)fs.f_bsize, (size_t)SCRUB_SECTOR),
		.limit = name_limit(volume->type),
		.only_run = options->only_run,
		.verify = true,
		.helpers = HELPERS,
		.userdata = run,
		.stopped = stopped,
		.advanced = advanced,
		.alive = alive,
	};
	/* Serials are half of the content tags' keys: two runs of one identity must not share them. */
	randombytes_buf(&run->next_serial, sizeof(run->next_serial));
	randombytes_buf(id, sizeof(id));
	r = run_adopt(run, options->resumed ? options->resumed : id);
	if (r < 0)
		return run_outcome(run, r);
	if (run->context.scrub && !overwrites_in_place(volume->type))
		run_count(run, COUNT_SCRUB_NOT_PROMISED, 1);

	r = find_medium_flags(volume);
	if (r == -EOPNOTSUPP) {
		run->context.verify = false;
		if (!options->unverified_medium &&
			(kind == TRANSACTION_ENCRYPT || kind == TRANSACTION_DECRYPT))
			return OUTCOME_UNVERIFIED_MEDIUM;
	} else if (r < 0) {
		return run_outcome(run, r);
	} else {
		run->context.medium_flags = r;
	}
	return OUTCOME_DONE;
}

int run_adopt(Run *run, const uint8_t id[RUN_ID_SIZE])
{
	Secret *key = NULL;
	int r = 0;

	memcpy(run->context.run, id, RUN_ID_SIZE);
	if (run->volume->scrub_root)
		r = stream_tag_key(run->volume->scrub_root, id, &key);
	if (r < 0)
		return r;
	secret_free(run->tag_key);
	run->context.tag_key = run->tag_key = key;
	return 0;
}

void run_clear(Run *run)
{
	directory_unref(run->asked);
	free(run->reported);
	secret_free(run->tag_key);
	pthread_mutex_destroy(&run->lock);
	*run = (Run){0};
}

static void run_tell(Run *run)
{
	if (run->observer->progress)
		run->observer->progress(run->observer->userdata, &run->progress);
}

void run_set_phase(Run *run, Phase phase)
{
	pthread_mutex_lock(&run->lock);
	run->progress.phase = phase;
	run_tell(run);
	pthread_mutex_unlock(&run->lock);
}

void run_set_totals(Run *run, uint64_t files, uint64_t bytes)
{
	pthread_mutex_lock(&run->lock);
	run->progress.files_total = files;
	run->progress.bytes_total = bytes;
	run_tell(run);
	pthread_mutex_unlock(&run->lock);
}

void run_advance(Run *run, uint64_t files, uint64_t bytes)
{
	pthread_mutex_lock(&run->lock);
	run->progress.files_done += files;
	run->progress.bytes_done += bytes;
	run_tell(run);
	pthread_mutex_unlock(&run->lock);
}

void run_count(Run *run, Count count, uint64_t n)
{
	pthread_mutex_lock(&run->lock);
	run->result->counts[count] += n;
	pthread_mutex_unlock(&run->lock);
}

bool run_cancelled(const Run *run)
{
	return run->observer->cancelled && run->observer->cancelled(run->observer->userdata);
}

/* ---- reports ---- */

/* Puts a hash into the set. False: it was there. When memory ends, everything counts as new. */
static bool reported_add(Run *run, uint64_t hash)
{
	size_t i;

	if ((run->n_reported + 1) * 2 > run->reported_size) {
		size_t size = MAX(run->reported_size * 2, (size_t)64);
		uint64_t *grown = new0(uint64_t, size);

		if (!grown)
			return true;
		for (size_t k = 0; k < run->reported_size; k++) {
			if (run->reported[k] == 0)
				continue;
			i = run->reported[k] & (size - 1);
			while (grown[i] != 0)
				i = (i + 1) & (size - 1);
			grown[i] = run->reported[k];
		}
		free(run->reported);
		run->reported = grown;
		run->reported_size = size;
	}
	for (i = hash & (run->reported_size - 1); run->reported[i] != 0;
		i = (i + 1) & (run->reported_size - 1))
		if (run->reported[i] == hash)
			return false;
	run->reported[i] = hash;
	run->n_reported++;
	return true;
}

void run_report(Run *run, const char *path, Reason reason, int error)
{
	uint64_t hash;

	(void)crypto_shorthash((uint8_t *)&hash, (const uint8_t *)path, strlen(path), run->report_key);
	pthread_mutex_lock(&run->lock);
	if (reported_add(run, hash | 1)) {
		if (reason == REASON_MOVED) {
			run->result->counts[COUNT_MOVED]++;
		} else if (reason != REASON_ATTRIBUTES) {
			run->progress.files_failed++;
			run->result->counts[COUNT_FAILED]++;
		}
		if (run->observer->failure)
			run->observer->failure(run->observer->userdata, path, reason, error);
	}
	pthread_mutex_unlock(&run->lock);
}

/* The preflight and the run itself see the same entries: they are counted once. */
static void count_entry(Run *run, Count count)
{
	if (!run->counted)
		run_count(run, count, 1);
}

bool run_sort_out(Run *run, const WalkEntry *entry)
{
	switch (entry->kind) {
	case ENTRY_PLAIN:
	case ENTRY_CIPHER:
		return true;
	case ENTRY_HARD_LINK:
		count_entry(run, COUNT_HARD_LINKS);
		/* It stays as it is: for an encrypt that means readable, and must be said. */
		if (run->context.encrypting || name_has_suffix(entry->name))
			run_report(run, entry->path, REASON_HARD_LINK, 0);
		return false;
	case ENTRY_SYMLINK:
		count_entry(run, COUNT_SYMLINKS);
		return false;
	case ENTRY_SPECIAL:
		count_entry(run, COUNT_SPECIAL);
		return false;
	case ENTRY_FOREIGN_MOUNT:
		count_entry(run, COUNT_FOREIGN_MOUNTS);
		return false;
	case ENTRY_FAILED:
	default:
		run_report(run, entry->path, entry->reason, entry->error);
		return false;
	}
}

/* ---- planning ---- */

/* Whether files can be made in this folder, and those of others removed. */
static bool directory_is_writable(Run *run, Directory *directory)
{
	const Vfs *vfs = run->volume->vfs;

	if (run->asked != directory) {
		directory_unref(run->asked);
		run->asked = directory_ref(directory);
		run->asked_writable = vfs->access(vfs, directory->fd, ".", W_OK | X_OK) >= 0;
	}
	return run->asked_writable;
}

/* In a folder with the sticky bit only a file's or the folder's owner may remove it. */
static bool sticky_forbids(const Run *run, const WalkEntry *entry)
{
	struct stat dir;

	return !run->volume->privileged && entry->st.st_uid != geteuid() &&
	       run->volume->vfs->fstat(run->volume->vfs, entry->directory->fd, &dir) >= 0 &&
	       dir.st_mode & S_ISVTX && dir.st_uid != geteuid();
}

/* What speaks against replacing a planned file, or REASON_INVALID. */
static Reason find_obstacle(Run *run, const WalkEntry *entry, const Replacement *replacement)
{
	const Vfs *vfs = run->volume->vfs;
	bool own = entry->st.st_uid == geteuid();
	struct stat st;

	if (strlen(entry->directory->path) + 1 + strlen(replacement->entry.new_name) > ATTRIBUTES_PATH_MAX)
		return REASON_PATH_TOO_LONG;
	if (run_is_fat(run) && replacement->entry.new_size > FAT_FILE_MAX)
		return REASON_TOO_LARGE;
	if (vfs->access(vfs, entry->directory->fd, entry->name, R_OK) < 0)
		return REASON_UNREADABLE;
	/* Its owner can make it writable for as long as that takes. */
	if (run->context.scrub && !own && vfs->access(vfs, entry->directory->fd, entry->name, W_OK) < 0)
		return REASON_NOT_WRITABLE;
	if (!directory_is_writable(run, entry->directory) || sticky_forbids(run, entry))
		return REASON_NOT_WRITABLE;
	if (vfs->lstat(vfs, entry->directory->fd, replacement->entry.new_name, &st) != -ENOENT)
		return REASON_CLASH;
	return REASON_INVALID;
}

/* FAT's times miss quick edits: a file that was just written is looked at again when its time has settled. */
static int wait_until_settled(Run *run, WalkEntry *entry)
{
	const Vfs *vfs = run->volume->vfs;
	struct timespec now, pause = {.tv_nsec = 50 * 1000 * 1000};

	for (;;) {
		vfs->now(vfs, CLOCK_REALTIME, &now);
		if (!run_is_fat(run) || run->options->dry_run || run_cancelled(run) ||
			now.tv_sec - entry->st.st_mtim.tv_sec >= SETTLING_TIME ||
			entry->st.st_mtim.tv_sec > now.tv_sec)
			return 0;
		(void)clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
		vfs->now(vfs, CLOCK_REALTIME, &now);
		if (now.tv_sec - entry->st.st_mtim.tv_sec >= SETTLING_TIME)
			return vfs->lstat(vfs, entry->directory->fd, entry->name, &entry->st);
	}
}

int run_plan(Run *run, const WalkEntry *found, Workspace *workspace, Replacement **ret, bool *ret_blocks)
{
	_cleanup_replacement_ Replacement *replacement = NULL;
	WalkEntry entry = *found;
	Reason reason;
	int r;

	*ret_blocks = false;
	if (!run_sort_out(run, &entry)) {
		*ret_blocks = entry.kind == ENTRY_FAILED;
		return 0;
	}
	if ((entry.kind == ENTRY_CIPHER) == run->context.encrypting)
		return 0;
	if (run->progress.phase == PHASE_RUNNING && wait_until_settled(run, &entry) < 0) {
		run_report(run, entry.path, REASON_GONE, 0);
		return 0;
	}
	r = replacement_new(&run->context, &entry, run->next_serial, workspace, &replacement, &reason);
	if (r == -ENOMEM)
		return r;
	if (r == -ENODATA)
		return 0;
	if (r < 0) {
		/* What cannot be decrypted at all must not keep the rest from it. */
		*ret_blocks = reason == REASON_UNREADABLE;
		run_report(run, entry.path, reason, r == -EBADMSG ? 0 : -r);
		return 0;
	}
	reason = find_obstacle(run, &entry, replacement);
	if (reason != REASON_INVALID) {
		*ret_blocks = true;
		run_report(run, entry.path, reason, 0);
		return 0;
	}
	run->next_serial++;
	*ret = TAKE_PTR(replacement);
	return 1;
}

/* ---- outcomes ---- */

int run_free_space(const Run *run, uint64_t *ret_free)
{
	struct statvfs fs;
	int r = run->volume->vfs->fstatvfs(run->volume->vfs, run->volume->root_fd, &fs);

	if (r < 0)
		return r;
	*ret_free = (uint64_t)fs.f_bavail * fs.f_frsize;
	return 0;
}

Outcome run_outcome(const Run *run, int error)
{
	if (!run->volume->vfs->is_alive(run->volume->vfs))
		return OUTCOME_DRIVE_GONE;
	switch (error) {
	case -ENOMEM:
	case -EAGAIN:
		return OUTCOME_NO_MEMORY;
	case -EROFS:
		return OUTCOME_READ_ONLY;
	case -ENODEV:
	case -ENXIO:
		return OUTCOME_DRIVE_GONE;
	case -ENOSPC:
	case -EDQUOT:
		return OUTCOME_NO_SPACE;
	case -ECANCELED:
		return OUTCOME_CANCELLED;
	case -EBADMSG:
		return OUTCOME_TAMPERED;
	case -EACCES:
	case -EPERM:
		return OUTCOME_NOT_AUTHORIZED;
	default:
		return OUTCOME_FAILED;
	}
}

/* One look: a VolumeState, or a negative errno. */
static int look_at_volume(Run *run, VolumeQuestion question)
{
	const Vfs *vfs = run->volume->vfs;
	int r;

	while ((r = vfs->check(vfs, question)) == -EINPROGRESS) {
		if (run_cancelled(run))
			return -ECANCELED;
		run_advance(run, 0, 0);
		question = VOLUME_GO_ON;
	}
	return r;
}

Outcome run_check_volume(Run *run, VolumeQuestion question, VolumeState tolerated)
{
	const Volume *volume = run->volume;
	int r = 0;

	/* The kernel writes a folder that has grown before it writes its size: what was found may be no more
	 * than that. */
	for (int i = 0; i < LOOKS; i++) {
		if (i > 0)
			r = volume->vfs->barrier(volume->vfs, volume->root_fd);
		if (r >= 0)
			r = look_at_volume(run, question);
		if (r < 0)
			return run_outcome(run, r);
		if ((VolumeState)r <= tolerated)
			return OUTCOME_DONE;
	}
	return OUTCOME_FILESYSTEM_DAMAGED;
}

Outcome run_final_outcome(const Run *run)
{
	if (run->result->counts[COUNT_FAILED] > 0 || run->result->counts[COUNT_MOVED] > 0)
		return OUTCOME_PARTIAL;
	return OUTCOME_DONE;
}
