/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "engine/replacement-steps.h"

#include "engine/file-attributes.h"
#include "util/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#define SOURCE_FLAGS (O_NOFOLLOW | O_NONBLOCK | O_NOATIME)

bool error_is_fatal(int error)
{
	return error == -EIO || error == -EROFS || error == -ENODEV || error == -ENXIO || error == -ENOMEM;
}

void replacement_fail(Replacement *replacement, Reason reason, int error)
{
	replacement->state = REPLACEMENT_FAILED;
	replacement->reason = reason;
	replacement->error = error < 0 ? -error : error;
}

Reason reason_of(int error, Reason otherwise)
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

bool replacement_is_edited(
	const ReplacementContext *context, const Replacement *replacement, const struct stat *now)
{
	return !context->encrypting && replacement->complete &&
	       !same_time(&now->st_mtim, &replacement->entry.new_mtime);
}

mode_t writable_mode(const ReplacementContext *context, mode_t mode)
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
	/* Nobody may have written to it since it was planned, which was when its last write was old enough
	 * for another one to show; or since a recovery has read it. */
	if (!S_ISREG(st.st_mode) || !same_file(&st, &replacement->source) ||
		st.st_size != replacement->source.st_size ||
		(context->recovering ? !replacement->mode_lent && !unchanged(&st, &replacement->source)
				     : !same_time(&st.st_mtim, &replacement->source.st_mtim))) {
		replacement_fail(replacement, REASON_CHANGED, 0);
		return -ESTALE;
	}
	replacement->source = st;
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

void replacement_stream(const ReplacementContext *context, const Replacement *replacement, Stream *ret)
{
	*ret = (Stream){
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

	replacement_stream(context, replacement, &stream);
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

	replacement_stream(context, replacement, &stream);
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
	replacement->complete = true;
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
	replacement_stream(context, replacement, &stream);
	stream.in_fd = fd;
	stream.in_direct = context->medium_flags != 0;
	stream.out_fd = -1;
	stream.stopped = NULL; /* what is written is brought to its end */
	stream.advanced = context->alive;
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
	edited = r < 0 && vfs->fstat(vfs, fd, &st) >= 0 && replacement_is_edited(context, replacement, &st);
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
