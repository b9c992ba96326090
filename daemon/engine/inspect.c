/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "engine/inspect.h"

#include "engine/file-attributes.h"
#include "util/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#define GROUP        256 /* files that are worked on together */
#define POOL_THREADS 4

/* One encrypted file of a group. */
typedef struct Item {
	Directory *directory;
	char *path;
	uint64_t size;
} Item;

typedef struct Inspection {
	Run run;
	Vfs *target; /* export: the host's table */
	int target_fd;
	Item items[GROUP];
	size_t n;
} Inspection;

static void items_clear(Inspection *inspection)
{
	for (size_t i = 0; i < inspection->n; i++) {
		directory_unref(inspection->items[i].directory);
		free(inspection->items[i].path);
	}
	inspection->n = 0;
}

/* Opens an encrypted file and its head. Reports what is wrong with it. */
static int item_open(Run *run, const Item *item, bool medium, Workspace *workspace, Stream *stream,
	Cipherfile **ret_file, Attributes **ret_attributes)
{
	const Volume *volume = run->volume;
	const HeadKeys keys = {volume->file_root, volume->drive_id, volume->epoch};
	int flags = medium ? run->context.medium_flags : 0, fd, r;
	Reason reason;

	fd = volume->vfs->open(volume->vfs, item->directory->fd, name_of_path(item->path),
		O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOATIME | flags, 0);
	if (fd < 0) {
		run_report(run, item->path,
			fd == -ENOENT ? REASON_GONE
			: fd == -EIO  ? REASON_IO
				      : REASON_UNREADABLE,
			-fd);
		return fd;
	}
	*stream = (Stream){
		.vfs = volume->vfs,
		.in_fd = fd,
		.in_direct = flags != 0,
		.out_fd = -1,
		.helpers = run->context.helpers,
		.stopped = run->context.stopped,
		.advanced = run->context.advanced,
		.userdata = run,
	};
	r = stream_start(stream, item->size, &keys, workspace, ret_file, ret_attributes, &reason);
	if (r < 0) {
		run_report(run, item->path, reason, r == -EBADMSG ? 0 : -r);
		volume->vfs->close(volume->vfs, fd);
		return r;
	}
	return 0;
}

static void report_stream(Run *run, const char *path, int error)
{
	if (error == -ECANCELED)
		return;
	run_report(
		run, path, error == -EBADMSG ? REASON_TAMPERED : REASON_IO, error == -EBADMSG ? 0 : -error);
}

/* Calls task for every encrypted file, in groups; they are counted first. */
static Outcome for_each_cipher(Inspection *inspection, PoolTask task)
{
	Run *run = &inspection->run;
	const Volume *volume = run->volume;
	_cleanup_pool_ Pool *pool = NULL;
	uint64_t files = 0, bytes = 0;
	int r;

	r = pool_new(run->options->threads ? run->options->threads : POOL_THREADS, true, &pool);
	for (Phase phase = PHASE_PREFLIGHT; r >= 0; phase = PHASE_RUNNING) {
		_cleanup_walk_ Walk *walk = NULL;
		WalkEntry entry;

		run_set_phase(run, phase);
		r = walk_new(volume->vfs, volume->root_fd, run->options->paths, run->options->n_paths, &walk);
		while (r >= 0 && (r = walk_next(walk, &entry)) > 0) {
			if (run_cancelled(run)) {
				r = -ECANCELED;
				break;
			}
			if (phase == PHASE_PREFLIGHT) {
				if (run_sort_out(run, &entry) && entry.kind == ENTRY_CIPHER) {
					files++;
					bytes += (uint64_t)entry.st.st_size;
				}
				continue;
			}
			if (entry.kind != ENTRY_CIPHER)
				continue;
			inspection->items[inspection->n] = (Item){
				.directory = directory_ref(entry.directory),
				.path = strdup(entry.path),
				.size = (uint64_t)entry.st.st_size,
			};
			if (!inspection->items[inspection->n++].path)
				r = -ENOMEM;
			else if (inspection->n == GROUP) {
				pool_run(pool, inspection->n, task, inspection);
				items_clear(inspection);
			}
		}
		if (phase == PHASE_PREFLIGHT) {
			run_set_totals(run, files, bytes);
			continue;
		}
		if (r >= 0)
			pool_run(pool, inspection->n, task, inspection);
		items_clear(inspection);
		break;
	}
	items_clear(inspection);
	if (r >= 0 && run_cancelled(run))
		r = -ECANCELED;
	return r < 0 ? run_outcome(run, r) : run_final_outcome(run);
}

static void task_verify(void *userdata, size_t i, Workspace *workspace)
{
	Inspection *inspection = userdata;
	Run *run = &inspection->run;
	const Item *item = &inspection->items[i];
	_cleanup_cipherfile_ Cipherfile *file = NULL;
	_cleanup_attributes_ Attributes *attributes = NULL;
	Stream stream;
	int r;

	if (run_cancelled(run) || item_open(run, item, true, workspace, &stream, &file, &attributes) < 0)
		return;
	r = stream_open(&stream, workspace);
	run->volume->vfs->close(run->volume->vfs, stream.in_fd);
	if (r < 0) {
		report_stream(run, item->path, r);
		return;
	}
	run_count(run, COUNT_VERIFIED, 1);
	run_advance(run, 1, 0);
}

static Outcome inspection_run(TransactionKind kind, Inspection *inspection, PoolTask task, Volume *volume,
	const TransactionOptions *options, const Observer *observer, TransactionResult *ret)
{
	Outcome outcome;

	for (size_t i = 0; i < options->n_paths; i++)
		if (!path_is_inside(options->paths[i])) {
			*ret = (TransactionResult){.pending = TRANSACTION_INVALID};
			return OUTCOME_INVALID_ARGUMENT;
		}
	outcome = run_init(&inspection->run, kind, volume, options, observer, ret);
	if (outcome == OUTCOME_DONE)
		outcome = for_each_cipher(inspection, task);
	run_clear(&inspection->run);
	return outcome;
}

Outcome transaction_verify(
	Volume *volume, const TransactionOptions *options, const Observer *observer, TransactionResult *ret)
{
	_cleanup_free_ Inspection *inspection = new0(Inspection, 1);

	if (!inspection)
		return OUTCOME_NO_MEMORY;
	return inspection_run(TRANSACTION_VERIFY, inspection, task_verify, volume, options, observer, ret);
}

Outcome transaction_survey(
	Volume *volume, const TransactionOptions *options, const Observer *observer, TransactionResult *ret)
{
	_cleanup_walk_ Walk *walk = NULL;
	uint64_t files = 0, bytes = 0;
	WalkEntry entry;
	Outcome outcome;
	Run run;
	int r;

	outcome = run_init(&run, TRANSACTION_SURVEY, volume, options, observer, ret);
	if (outcome != OUTCOME_DONE) {
		run_clear(&run);
		return outcome;
	}
	run_set_phase(&run, PHASE_RUNNING);
	r = walk_new(volume->vfs, volume->root_fd, options->paths, options->n_paths, &walk);
	while (r >= 0 && (r = walk_next(walk, &entry)) > 0) {
		bool cipher = entry.kind == ENTRY_CIPHER;

		if (run_cancelled(&run))
			r = -ECANCELED;
		if (!run_sort_out(&run, &entry))
			continue;
		run_count(&run, cipher ? COUNT_ENCRYPTED_FILES : COUNT_PLAIN_FILES, 1);
		run_count(
			&run, cipher ? COUNT_ENCRYPTED_BYTES : COUNT_PLAIN_BYTES, (uint64_t)entry.st.st_size);
		files++;
		bytes += (uint64_t)entry.st.st_size;
		run_advance(&run, 1, (uint64_t)entry.st.st_size);
	}
	run_set_totals(&run, files, bytes);
	outcome = r < 0 ? run_outcome(&run, r) : run_final_outcome(&run);
	ret->pending = recovery_hint(volume->vfs, volume->root_fd);
	run_clear(&run);
	return outcome;
}

/* ---- decrypting to elsewhere ---- */

/* Makes the folders of `path` below the target and opens the last one. */
static int open_target_folder(const Inspection *inspection, const char *path)
{
	const Vfs *target = inspection->target;
	_cleanup_free_ char *copy = strdup(path);
	int fd = target->open(target, inspection->target_fd, ".", O_RDONLY | O_DIRECTORY, 0);
	char *save = NULL;

	if (!copy) {
		if (fd >= 0)
			target->close(target, fd);
		return -ENOMEM;
	}
	for (char *part = strtok_r(copy, "/", &save); part && fd >= 0; part = strtok_r(NULL, "/", &save)) {
		int r = target->mkdir(target, fd, part, 0777), below;

		below = r < 0 && r != -EEXIST
				? r
				: target->open(target, fd, part, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
		target->close(target, fd);
		fd = below;
	}
	return fd;
}

static int write_target(const Inspection *inspection, const Item *item, const char *name, Stream *stream,
	const Attributes *attributes, Workspace *workspace, bool *ret_lost)
{
	const Vfs *target = inspection->target;
	Attributes harmless = *attributes;
	int dir_fd, r;

	dir_fd = open_target_folder(inspection, item->directory->path);
	if (dir_fd < 0)
		return dir_fd;
	stream->out_fd = target->open(target, dir_fd, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0600);
	if (stream->out_fd < 0) {
		target->close(target, dir_fd);
		return stream->out_fd;
	}
	r = stream_open(stream, workspace);
	if (r >= 0) {
		/* Nothing that was set on the drive may gain a right here. */
		harmless.mode &= 0777;
		*ret_lost = file_attributes_restore(target, stream->out_fd, &harmless, false) < 0;
	} else {
		(void)target->unlink(target, dir_fd, name, false);
	}
	target->close(target, stream->out_fd);
	target->close(target, dir_fd);
	return r;
}

static void task_export(void *userdata, size_t i, Workspace *workspace)
{
	Inspection *inspection = userdata;
	Run *run = &inspection->run;
	const Item *item = &inspection->items[i];
	_cleanup_cipherfile_ Cipherfile *file = NULL;
	_cleanup_attributes_ Attributes *attributes = NULL;
	char name[NAME_BYTES_MAX + 1];
	bool lost = false;
	Stream stream;
	int r;

	if (run_cancelled(run) || item_open(run, item, false, workspace, &stream, &file, &attributes) < 0)
		return;
	r = name_for_plain(name_of_path(item->path),
		attributes->present & ATTRIBUTE_PATH ? attributes->path : NULL, name);
	if (r >= 0)
		r = write_target(inspection, item, name, &stream, attributes, workspace, &lost);
	run->volume->vfs->close(run->volume->vfs, stream.in_fd);
	if (r == -EEXIST) {
		run_report(run, item->path, REASON_CLASH, 0);
	} else if (r == -ENOSPC || r == -EDQUOT) {
		run_report(run, item->path, REASON_NO_SPACE, 0);
	} else if (r < 0) {
		report_stream(run, item->path, r);
	} else {
		run_count(run, COUNT_DECRYPTED, 1);
		run_advance(run, 1, 0);
		if (lost)
			run_report(run, item->path, REASON_ATTRIBUTES, 0);
	}
}

Outcome export_run(
	Volume *volume, const TransactionOptions *options, const Observer *observer, TransactionResult *ret)
{
	_cleanup_free_ Inspection *inspection = new0(Inspection, 1);
	VfsPosix target;
	Outcome outcome;

	if (!inspection)
		return OUTCOME_NO_MEMORY;
	vfs_posix_init(&target, false, NULL);
	inspection->target = &target.vfs;
	inspection->target_fd = options->target_fd;
	outcome = inspection_run(TRANSACTION_VERIFY, inspection, task_export, volume, options, observer, ret);
	/* What was written is durable when we say so. */
	if ((outcome == OUTCOME_DONE || outcome == OUTCOME_PARTIAL) && syncfs(options->target_fd) < 0)
		return OUTCOME_FAILED;
	return outcome;
}
