/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The steps behind the verification: the source is overwritten and removed, or the new file taken away again.
 */

#include "engine/replacement-steps.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

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
	replacement_stream(context, replacement, &stream);
	stream.out_fd = -1;
	stream.stopped = NULL;
	stream.advanced = context->alive;
	stream.plain_size = replacement->entry.size;
	r = stream_tag(&stream, workspace);
	if (r < 0 || memcmp(stream.content_tag, replacement->entry.content_tag, CONTENT_TAG_SIZE) != 0) {
		replacement_fail(replacement, r < 0 && r != -ESTALE ? REASON_IO : REASON_CHANGED, r);
		return false;
	}
	return true;
}

/* Whether the new file is still there: somebody may have taken it away since it was read back. It is known by
 * its size, for FAT's inode numbers change. */
static bool new_stands(const ReplacementContext *context, Replacement *replacement)
{
	const Vfs *vfs = context->volume->vfs;
	struct stat named;
	int r;

	if (context->recovering) /* which has just looked */
		return true;
	r = vfs->lstat(vfs, replacement->directory->fd, replacement->entry.new_name, &named);
	if (r >= 0 && S_ISREG(named.st_mode) &&
		(!context->encrypting || (uint64_t)named.st_size == replacement->entry.new_size))
		return true;
	if (r < 0 && r != -ENOENT) {
		replacement_fail(replacement, reason_of(r, REASON_IO), r);
		replacement->fatal = error_is_fatal(r);
		return false;
	}
	replacement->made = false; /* whatever is there now is not ours */
	replacement_fail(replacement, REASON_CHANGED, 0);
	return false;
}

/* Whether the source's name still means it: a file that was moved since is scrubbed under no other name. */
static bool source_stands(const ReplacementContext *context, Replacement *replacement)
{
	const Vfs *vfs = context->volume->vfs;
	struct stat named;
	int r;

	r = vfs->lstat(vfs, replacement->directory->fd, replacement->name, &named);
	if (r >= 0 && same_file(&named, &replacement->source))
		return true;
	if (r < 0 && r != -ENOENT) {
		replacement_fail(replacement, reason_of(r, REASON_IO), r);
		replacement->fatal = error_is_fatal(r);
	} else {
		replacement_fail(replacement, REASON_CHANGED, 0);
	}
	return false;
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
	if (!source_is_idle(context, replacement, workspace) || !new_stands(context, replacement) ||
		!source_stands(context, replacement))
		return;
	scrub_key_derive(volume->scrub_root, replacement->entry.last_tag, &key);
	/* What tells a scrub whose length alone has reached the medium from somebody's appending: the source
	 * is read-only from before it on, or has its recorded time back behind it. */
	if (context->unordered)
		(void)volume->vfs->chmod(
			volume->vfs, replacement->source_fd, replacement->source.st_mode & 07555);
	r = scrub_file(volume->vfs, replacement->source_fd, replacement->entry.size, context->cluster, &key,
		&(ScrubHelp){context->helpers, context->alive, context->userdata}, workspace);
	if (r >= 0 && !context->unordered)
		(void)volume->vfs->set_mtime(volume->vfs, replacement->source_fd, &replacement->entry.mtime);
	if (r >= 0)
		r = volume->vfs->fstat(volume->vfs, replacement->source_fd, &replacement->scrubbed);
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
	if (!scrubbed && (!source_is_idle(context, replacement, NULL) || !new_stands(context, replacement)))
		return;
	r = vfs->fstat(vfs, replacement->source_fd, &held);
	/* Somebody has written into the noise: an editor that had the file in its memory. Both stay. */
	if (r >= 0 && scrubbed &&
		(held.st_size != replacement->scrubbed.st_size ||
			!same_time(&held.st_mtim, &replacement->scrubbed.st_mtim))) {
		replacement_fail(replacement, REASON_EDITED, 0);
		return;
	}
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
	if (r >= 0 && replacement_is_edited(context, replacement, &named)) {
		replacement->made = false;
		return 0;
	}
	if (r >= 0 && same_file(&held, &named))
		r = unlink_held(context, replacement, replacement->entry.new_name, &replacement->new_fd);
	if (r == -ENOENT || r == -ELOOP) /* gone, or somebody else's by now */
		return vfs->is_alive(vfs) ? 0 : -ENODEV;
	return r;
}
