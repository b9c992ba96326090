/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "engine/replacement.h"

#include "engine/file-attributes.h"
#include "util/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#define SOURCE_FLAGS (O_NOFOLLOW | O_NONBLOCK | O_NOATIME)

/* Whether an error of a write, or of a barrier, means that the drive itself failed. */
static bool error_is_fatal(int error)
{
	return error == -EIO || error == -EROFS || error == -ENODEV || error == -ENXIO || error == -ENOMEM;
}

static void replacement_fail(Replacement *replacement, Reason reason, int error)
{
	replacement->state = REPLACEMENT_FAILED;
	replacement->reason = reason;
	replacement->error = error < 0 ? -error : error;
}

static Reason reason_of(int error, Reason otherwise)
{
	switch (error) {
	case -EACCES:
	case -EPERM:
		return otherwise;
	case -ETXTBSY:
	case -EBUSY:
		return REASON_IN_USE;
	case -ENOENT:
		return REASON_GONE;
	case -EEXIST:
		return REASON_CLASH;
	case -ENOSPC:
	case -EDQUOT:
		return REASON_NO_SPACE;
	case -EFBIG:
		return REASON_TOO_LARGE;
	case -ENAMETOOLONG:
		return REASON_PATH_TOO_LONG;
	case -ESTALE:
	case -ELOOP:
		return REASON_CHANGED;
	case -EBADMSG:
		return REASON_TAMPERED;
	default:
		return REASON_IO;
	}
}

static bool same_file(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

static bool unchanged(const struct stat *a, const struct stat *b)
{
	return same_file(a, b) && a->st_size == b->st_size && a->st_mtim.tv_sec == b->st_mtim.tv_sec &&
	       a->st_mtim.tv_nsec == b->st_mtim.tv_nsec && a->st_ctim.tv_sec == b->st_ctim.tv_sec &&
	       a->st_ctim.tv_nsec == b->st_ctim.tv_nsec;
}

/* A mode with write bits: FAT takes all of them, as far as its mount has any, or none. */
static mode_t writable_mode(const ReplacementContext *context, mode_t mode)
{
	return (mode & 07777) | (context->unordered ? 0222 : S_IWUSR);
}

/* A source that its owner may not write is made writable by its owner: scrubbing needs that. */
static int open_read_only_source(const ReplacementContext *context, Replacement *replacement)
{
	const Vfs *vfs = context->volume->vfs;
	int dir_fd = replacement->directory->fd, fd, r;
	struct stat st;

	fd = vfs->open(vfs, dir_fd, replacement->name, O_RDONLY | SOURCE_FLAGS, 0);
	if (fd < 0)
		return fd;
	r = vfs->fstat(vfs, fd, &st);
	if (r >= 0 && (!same_file(&st, &replacement->source) || st.st_uid != geteuid()))
		r = -EACCES;
	if (r >= 0 && context->recovering && !unchanged(&st, &replacement->source))
		r = -ESTALE;
	/* Its mode may be a scrub's mark: the time takes its place before it goes. */
	if (r >= 0 && context->recovering)
		r = vfs->set_mtime(vfs, fd, &replacement->entry.mtime);
	if (r >= 0)
		r = vfs->chmod(vfs, fd, writable_mode(context, st.st_mode));
	if (r < 0) {
		vfs->close(vfs, fd);
		return r;
	}
	r = vfs->open(vfs, dir_fd, replacement->name, O_RDWR | SOURCE_FLAGS, 0);
	if (r < 0)
		(void)vfs->chmod(vfs, fd, st.st_mode & 07777);
	else
		replacement->mode_lent = true;
	vfs->close(vfs, fd);
	return r;
}

/* Opens the source, and looks whether it is still the file that was planned. */
int replacement_open_source(const ReplacementContext *context, Replacement *replacement)
{
	const Vfs *vfs = context->volume->vfs;
	bool write = context->encrypting && context->scrub;
	struct stat st;
	int fd, r;

	fd = vfs->open(vfs, replacement->directory->fd, replacement->name,
		(write ? O_RDWR : O_RDONLY) | SOURCE_FLAGS, 0);
	if (write && (fd == -EACCES || fd == -EPERM)) {
		fd = open_read_only_source(context, replacement);
		if (fd == -EACCES || fd == -EPERM) {
			replacement_fail(replacement, REASON_NOT_WRITABLE, fd);
			return -EACCES;
		}
	}
	if (fd < 0) {
		replacement_fail(replacement, reason_of(fd, REASON_UNREADABLE), fd);
		return fd;
	}
	replacement->source_fd = fd;
	r = vfs->fstat(vfs, fd, &st);
	if (r < 0) {
		replacement_fail(replacement, REASON_IO, r);
		return r;
	}
	/* The mode that is kept is the one from before it was lent; its ctime is the one from after. */
	if (replacement->mode_lent)
		st.st_mode = replacement->source.st_mode;
	/* A recovery has read it already: since then nobody may have written to it. */
	if (!S_ISREG(st.st_mode) || !same_file(&st, &replacement->source) ||
		st.st_size != replacement->source.st_size ||
		(context->recovering && !replacement->mode_lent && !unchanged(&st, &replacement->source))) {
		replacement_fail(replacement, REASON_CHANGED, 0);
		return -ESTALE;
	}
	replacement->source = st;
	if (!context->recovering)
		replacement->entry.mtime = st.st_mtim;
	return 0;
}

/* Makes the new file; it must not exist. */
static int make_new(const ReplacementContext *context, Replacement *replacement, mode_t mode)
{
	const Volume *volume = context->volume;
	const Vfs *vfs = volume->vfs;
	int fd;

	fd = vfs->open(vfs, replacement->directory->fd, replacement->entry.new_name,
		O_RDWR | O_NOFOLLOW | O_NOATIME | O_CREAT | O_EXCL, mode);
	if (fd < 0) {
		/* It may be there all the same: recovery will look. */
		replacement->fatal = error_is_fatal(fd);
		return fd;
	}
	replacement->new_fd = fd;
	replacement->made = true;
	return 0;
}

/* ---- writing ---- */

static void stream_prepare(const ReplacementContext *context, const Replacement *replacement, Stream *stream)
{
	*stream = (Stream){
		.vfs = context->volume->vfs,
		.in_fd = replacement->source_fd,
		.out_fd = replacement->new_fd,
		.tagger = {.key = context->tag_key, .serial = replacement->entry.serial},
		.helpers = context->helpers,
		.stopped = context->stopped,
		.advanced = context->advanced,
		.userdata = context->userdata,
	};
}

static int write_cipher(const ReplacementContext *context, Replacement *replacement, Workspace *workspace)
{
	const Volume *volume = context->volume;
	const Vfs *vfs = volume->vfs;
	_cleanup_cipherfile_ Cipherfile *file = NULL;
	_cleanup_free_ uint8_t *head = NULL;
	Attributes attributes;
	struct stat now;
	size_t head_size;
	Stream stream;
	int r;

	r = file_attributes_take(
		vfs, replacement->source_fd, &replacement->source, replacement->entry.path, &attributes);
	memcpy(attributes.run, context->run, RUN_ID_SIZE);
	attributes.present |= ATTRIBUTE_RUN;
	if (r >= 0)
		r = cipherfile_create(volume->file_root, volume->drive_id, volume->epoch, volume->suite,
			&attributes, &file, &head, &head_size);
	attributes_clear(&attributes);
	if (r == -EMSGSIZE)
		replacement_fail(replacement, REASON_UNSUPPORTED, -r);
	if (r < 0)
		return r;
	r = make_new(context, replacement, (replacement->source.st_mode & 0666) | 0600);
	if (r < 0) {
		replacement_fail(replacement, reason_of(r, REASON_NOT_WRITABLE), r);
		return r;
	}
	if (volume->privileged)
		(void)vfs->chown(
			vfs, replacement->new_fd, replacement->source.st_uid, replacement->source.st_gid);

	stream_prepare(context, replacement, &stream);
	stream.file = file;
	stream.plain_size = replacement->entry.size;
	r = stream_seal(&stream, head, head_size, workspace);
	if (r < 0)
		return r;
	replacement->entry.new_size = cipherfile_sealed_size(head_size, replacement->entry.size);
	memcpy(replacement->entry.last_tag, stream.last_tag, SUITE_TAG_SIZE);
	memcpy(replacement->entry.content_tag, stream.content_tag, CONTENT_TAG_SIZE);

	r = vfs->fstat(vfs, replacement->source_fd, &now);
	if (r >= 0 && !unchanged(&now, &replacement->source))
		r = -ESTALE;
	return r;
}

static int write_plain(const ReplacementContext *context, Replacement *replacement, Workspace *workspace)
{
	const Volume *volume = context->volume;
	const Vfs *vfs = volume->vfs;
	const HeadKeys keys = {volume->file_root, volume->drive_id, volume->epoch};
	_cleanup_cipherfile_ Cipherfile *file = NULL;
	_cleanup_attributes_ Attributes *attributes = NULL;
	Reason reason;
	struct stat made, now;
	Stream stream;
	int r;

	stream_prepare(context, replacement, &stream);
	r = stream_start(&stream, replacement->entry.size, &keys, workspace, &file, &attributes, &reason);
	if (r < 0) {
		replacement_fail(replacement, reason, r);
		return r;
	}
	r = make_new(context, replacement, 0600);
	if (r < 0) {
		replacement_fail(replacement, reason_of(r, REASON_NOT_WRITABLE), r);
		return r;
	}
	stream.out_fd = replacement->new_fd;
	r = vfs->fstat(vfs, replacement->new_fd, &made);
	/* Read-only says that it is not complete: recovery need not wonder whose its bytes are. */
	if (r >= 0 && context->unordered)
		(void)vfs->chmod(vfs, replacement->new_fd, made.st_mode & 07555);
	if (r >= 0)
		r = stream_open(&stream, workspace);
	if (r < 0)
		return r;
	memcpy(replacement->entry.last_tag, stream.last_tag, SUITE_TAG_SIZE);
	memcpy(replacement->entry.content_tag, stream.content_tag, CONTENT_TAG_SIZE);
	replacement->attributes_lost =
		file_attributes_restore(vfs, replacement->new_fd, attributes, volume->privileged) < 0;
	/* As the filesystem keeps it: its clock may be coarser. */
	r = vfs->fstat(vfs, replacement->new_fd, &now);
	if (r >= 0 && context->unordered && !(now.st_mode & 0222) && !attributes_are_read_only(attributes))
		r = vfs->chmod(vfs, replacement->new_fd, made.st_mode & 07777);
	if (r < 0)
		return r;
	replacement->entry.new_size = stream.plain_size;
	replacement->entry.new_mtime = now.st_mtim;
	return 0;
}

void replacement_close(const ReplacementContext *context, Replacement *replacement)
{
	const Vfs *vfs = context->volume->vfs;
	int r = 0;

	if (replacement->new_fd < 0)
		return;
	/* Not sooner: a sync of one file may write out another's entry, and long before its data. */
	if (context->sync_each && replacement->state == REPLACEMENT_WRITTEN)
		r = vfs->fsync(vfs, replacement->new_fd);
	vfs->close(vfs, replacement->new_fd);
	replacement->new_fd = -1;
	if (r < 0) {
		replacement_fail(replacement, reason_of(r, REASON_IO), r);
		replacement->fatal = error_is_fatal(r);
	}
}

void replacement_write(const ReplacementContext *context, Replacement *replacement, Workspace *workspace)
{
	int r;

	if (replacement->state != REPLACEMENT_PLANNED || context->stopped(context->userdata))
		return;
	if (replacement_open_source(context, replacement) < 0)
		return;
	r = context->encrypting ? write_cipher(context, replacement, workspace)
				: write_plain(context, replacement, workspace);
	if (!context->close_later || r < 0)
		replacement_close(context, replacement);
	if (r < 0) {
		if (r == -ECANCELED)
			replacement_fail(replacement, REASON_INVALID, 0); /* nobody's fault, and no news */
		else if (replacement->state != REPLACEMENT_FAILED)
			replacement_fail(replacement, reason_of(r, REASON_UNREADABLE), r);
		/* Reading a bad sector is the file's misfortune; not being able to write is the drive's. */
		replacement->fatal |= replacement->made && error_is_fatal(r);
		return;
	}
	replacement->state = REPLACEMENT_WRITTEN;
}

/* ---- reading back ---- */

void replacement_verify(const ReplacementContext *context, Replacement *replacement, Workspace *workspace)
{
	const Volume *volume = context->volume;
	const Vfs *vfs = volume->vfs;
	const HeadKeys keys = {volume->file_root, volume->drive_id, volume->epoch};
	_cleanup_cipherfile_ Cipherfile *file = NULL;
	_cleanup_attributes_ Attributes *attributes = NULL;
	Reason reason;
	Stream stream;
	struct stat st;
	bool edited;
	int fd, r;

	if (replacement->state != REPLACEMENT_WRITTEN)
		return;
	if (!context->verify) {
		replacement->state = REPLACEMENT_VERIFIED;
		return;
	}
	fd = vfs->open(vfs, replacement->directory->fd, replacement->entry.new_name,
		O_RDONLY | O_NOFOLLOW | O_NOATIME | context->medium_flags, 0);
	if (fd < 0) {
		replacement_fail(replacement, reason_of(fd, REASON_UNREADABLE), fd);
		return;
	}
	stream_prepare(context, replacement, &stream);
	stream.in_fd = fd;
	stream.in_direct = context->medium_flags != 0;
	stream.out_fd = -1;
	stream.stopped = NULL; /* what is written is brought to its end */
	stream.advanced = NULL;
	r = vfs->fstat(vfs, fd, &st);
	if (r >= 0 && (uint64_t)st.st_size != replacement->entry.new_size)
		r = -EBADMSG;
	if (r >= 0 && context->encrypting) {
		r = stream_start(
			&stream, replacement->entry.new_size, &keys, workspace, &file, &attributes, &reason);
		if (r >= 0)
			r = stream_open(&stream, workspace);
	} else if (r >= 0) {
		stream.plain_size = replacement->entry.new_size;
		r = stream_tag(&stream, workspace);
	}
	if (r >= 0 && memcmp(stream.content_tag, replacement->entry.content_tag, CONTENT_TAG_SIZE) != 0)
		r = -EBADMSG;
	/* It bears its final name already: somebody may have begun to work with it. Both forms stay then. */
	edited = r < 0 && !context->encrypting && vfs->fstat(vfs, fd, &st) >= 0 &&
		 (st.st_mtim.tv_sec != replacement->entry.new_mtime.tv_sec ||
			 st.st_mtim.tv_nsec != replacement->entry.new_mtime.tv_nsec);
	vfs->close(vfs, fd);
	if (edited) {
		replacement_fail(replacement, REASON_EDITED, 0);
		replacement->made = false;
		return;
	}
	if (r < 0) {
		replacement_fail(replacement, REASON_MEDIUM_FAILED, r);
		replacement->fatal = error_is_fatal(r);
		return;
	}
	replacement->state = REPLACEMENT_VERIFIED;
}

/* ---- letting the source go ---- */

/* Whether this descriptor's file is still the one that was read, and nobody else has it open. Without a
 * workspace, where there are no leases, its times have to do. */
static bool source_is_idle(const ReplacementContext *context, Replacement *replacement, Workspace *workspace)
{
	const Vfs *vfs = context->volume->vfs;
	struct stat now;
	Stream stream;
	int r;

	r = vfs->lease(vfs, replacement->source_fd);
	replacement->leased = r >= 0;
	if (r == -EAGAIN || r == -EBUSY) {
		replacement_fail(replacement, REASON_IN_USE, 0);
		return false;
	}
	r = vfs->fstat(vfs, replacement->source_fd, &now);
	if (r < 0 || !unchanged(&now, &replacement->source)) {
		replacement_fail(replacement, r < 0 ? REASON_IO : REASON_CHANGED, r);
		return false;
	}
	/* The lease may have been broken since: then somebody is waiting to open it. */
	if (replacement->leased && !vfs->lease_holds(vfs, replacement->source_fd)) {
		replacement_fail(replacement, REASON_IN_USE, 0);
		return false;
	}
	if (replacement->leased || !workspace || context->recovering)
		return true;
	/* No leases here: read it once more. */
	stream_prepare(context, replacement, &stream);
	stream.out_fd = -1;
	stream.stopped = NULL;
	stream.advanced = NULL;
	stream.plain_size = replacement->entry.size;
	r = stream_tag(&stream, workspace);
	if (r < 0 || memcmp(stream.content_tag, replacement->entry.content_tag, CONTENT_TAG_SIZE) != 0) {
		replacement_fail(replacement, r < 0 && r != -ESTALE ? REASON_IO : REASON_CHANGED, r);
		return false;
	}
	return true;
}

static void scrub_ended(Replacement *replacement, int r)
{
	if (r < 0) {
		/* Half overwritten: only its encrypted form is whole now, and recovery knows the pattern. */
		replacement_fail(replacement, REASON_IO, r);
		replacement->fatal = true;
		return;
	}
	replacement->state = REPLACEMENT_SCRUBBED;
}

void replacement_scrub(const ReplacementContext *context, Replacement *replacement, Workspace *workspace)
{
	const Volume *volume = context->volume;
	ScrubKey key;
	int r;

	if (replacement->state != REPLACEMENT_VERIFIED)
		return;
	if (!source_is_idle(context, replacement, workspace))
		return;
	scrub_key_derive(volume->scrub_root, replacement->entry.last_tag, &key);
	/* What tells a scrub whose length alone has reached the medium from somebody's appending: the source
	 * is read-only from before it on, or has its recorded time back behind it. */
	if (context->unordered)
		(void)volume->vfs->chmod(
			volume->vfs, replacement->source_fd, replacement->source.st_mode & 07555);
	r = scrub_file(volume->vfs, replacement->source_fd, replacement->entry.size, context->cluster, &key,
		context->helpers, workspace);
	if (r >= 0 && !context->unordered)
		(void)volume->vfs->set_mtime(volume->vfs, replacement->source_fd, &replacement->entry.mtime);
	scrub_ended(replacement, r);
}

void replacement_sync_source(const ReplacementContext *context, Replacement *replacement)
{
	if (context->sync_each && replacement->state == REPLACEMENT_SCRUBBED)
		scrub_ended(replacement,
			context->volume->vfs->fsync(context->volume->vfs, replacement->source_fd));
}

int replacement_restore_source(const ReplacementContext *context, Replacement *replacement)
{
	const Vfs *vfs = context->volume->vfs;
	int r;

	r = replacement_open_source(context, replacement);
	if (r < 0)
		return r;
	if ((uint64_t)replacement->source.st_size != replacement->entry.size)
		r = vfs->truncate(vfs, replacement->source_fd, replacement->entry.size);
	if (r >= 0)
		r = vfs->set_mtime(vfs, replacement->source_fd, &replacement->entry.mtime);
	if (r >= 0 && replacement->entry.read_only != !(replacement->source.st_mode & S_IWUSR)) {
		replacement->source.st_mode = replacement->entry.read_only
						      ? replacement->source.st_mode & ~(mode_t)0222
						      : writable_mode(context, replacement->source.st_mode);
		(void)vfs->chmod(vfs, replacement->source_fd, replacement->source.st_mode & 07777);
		replacement->mode_lent = false;
	}
	if (r >= 0 && context->sync_each)
		r = vfs->fsync(vfs, replacement->source_fd);
	if (r < 0)
		replacement_fail(replacement, REASON_IO, r);
	return r;
}

/* Unlinks a file that is held open. FUSE's library would only rename it (.fuse_hidden*), and that name would
 * survive a pulled plug: there it is closed first. Nothing of ours is allocated before the barrier that
 * follows, and fuseblk waits for the close. */
static int unlink_held(
	const ReplacementContext *context, const Replacement *replacement, const char *name, int *fd)
{
	const Vfs *vfs = context->volume->vfs;

	if (context->sync_each) {
		vfs->close(vfs, *fd);
		*fd = -1;
	}
	return vfs->unlink(vfs, replacement->directory->fd, name, false);
}

void replacement_unlink(const ReplacementContext *context, Replacement *replacement)
{
	const Vfs *vfs = context->volume->vfs;
	bool scrubbed = replacement->state == REPLACEMENT_SCRUBBED;
	struct stat held, named;
	int r;

	if (!scrubbed && replacement->state != REPLACEMENT_VERIFIED)
		return;
	if (!scrubbed && !source_is_idle(context, replacement, NULL))
		return;
	r = vfs->fstat(vfs, replacement->source_fd, &held);
	if (r >= 0)
		r = vfs->lstat(vfs, replacement->directory->fd, replacement->name, &named);
	if (r >= 0 && !same_file(&held, &named)) {
		/* Somebody put another file there: that one is theirs, and stays. */
		replacement_fail(replacement, REASON_EDITED, 0);
		return;
	}
	if (r >= 0)
		r = unlink_held(context, replacement, replacement->name, &replacement->source_fd);
	if (r < 0 && r != -ENOENT) {
		replacement_fail(replacement, reason_of(r, REASON_NOT_WRITABLE), r);
		/* An overwritten source that cannot be removed is recovery's business. */
		replacement->fatal = scrubbed || error_is_fatal(r);
		return;
	}
	replacement->state = REPLACEMENT_UNLINKED;
}

/* Held open until its deletion is durable: its clusters must not be used before. */
static int hold_new(const ReplacementContext *context, Replacement *replacement)
{
	const Vfs *vfs = context->volume->vfs;
	int dir_fd = replacement->directory->fd, fd;

	if (replacement->new_fd >= 0)
		return 0;
	fd = vfs->open(vfs, dir_fd, replacement->entry.new_name, O_RDONLY | O_NOFOLLOW | O_NOATIME, 0);
	if (fd == -EACCES || fd == -EPERM) /* a mode that was restored may be unreadable */
		fd = vfs->open(vfs, dir_fd, replacement->entry.new_name, O_PATH | O_NOFOLLOW, 0);
	if (fd < 0)
		return fd;
	replacement->new_fd = fd;
	return 0;
}

int replacement_abandon(const ReplacementContext *context, Replacement *replacement)
{
	const Vfs *vfs = context->volume->vfs;
	struct stat held, named;
	int r;

	if (!replacement->made)
		return 0;
	r = hold_new(context, replacement);
	if (r >= 0)
		r = vfs->fstat(vfs, replacement->new_fd, &held);
	if (r >= 0)
		r = vfs->lstat(vfs, replacement->directory->fd, replacement->entry.new_name, &named);
	/* Somebody has begun to work with what was found to be nobody's. */
	if (r >= 0 && replacement->seen && !unchanged(&named, &replacement->found_new))
		return -ESTALE;
	if (r >= 0 && same_file(&held, &named))
		r = unlink_held(context, replacement, replacement->entry.new_name, &replacement->new_fd);
	if (r == -ENOENT || r == -ELOOP) /* gone, or somebody else's by now */
		return vfs->is_alive(vfs) ? 0 : -ENODEV;
	return r;
}
