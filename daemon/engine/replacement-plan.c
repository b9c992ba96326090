/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A replacement's beginning and end; the steps in between are in replacement.c. */

#include "engine/replacement.h"

#include "util/memory.h"

#include <errno.h>
#include <fcntl.h>

static uint64_t round_up(uint64_t size, uint64_t unit)
{
	return (size + unit - 1) / unit * unit;
}

uint64_t replacement_space(const ReplacementContext *context, const Replacement *replacement)
{
	return round_up(replacement->entry.new_size, context->cluster);
}

/* Reads a cipher file's head: its plaintext's name, size and time. */
static int plan_decrypt(
	const ReplacementContext *context, Replacement *replacement, Workspace *workspace, Reason *ret_reason)
{
	const Volume *volume = context->volume;
	const HeadKeys keys = {volume->file_root, volume->drive_id, volume->epoch};
	_cleanup_cipherfile_ Cipherfile *file = NULL;
	_cleanup_attributes_ Attributes *attributes = NULL;
	char plain_name[NAME_BYTES_MAX + 1];
	JournalEntry *entry = &replacement->entry;
	int fd, r;

	fd = volume->vfs->open(volume->vfs, replacement->directory->fd, replacement->name,
		O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOATIME, 0);
	if (fd < 0) {
		*ret_reason = fd == -EACCES || fd == -EPERM ? REASON_UNREADABLE : REASON_IO;
		return fd;
	}
	r = stream_read_head(volume->vfs, fd, false, entry->size, &keys, workspace, &file, &attributes,
		&entry->new_size, ret_reason);
	volume->vfs->close(volume->vfs, fd);
	if (r < 0)
		return r;
	if (context->only_run && (!(attributes->present & ATTRIBUTE_RUN) ||
					 memcmp(attributes->run, context->only_run, RUN_ID_SIZE) != 0))
		return -ENODATA;
	*ret_reason = REASON_TAMPERED;
	r = name_for_plain(replacement->name, attributes->present & ATTRIBUTE_PATH ? attributes->path : NULL,
		plain_name);
	if (r < 0)
		return r;
	if (!name_is_beside(plain_name, entry->path)) { /* "lost+found" in the root, for instance */
		*ret_reason = REASON_CLASH;
		return -EBADMSG;
	}
	entry->new_name = strdup(plain_name);
	if (!entry->new_name)
		return -ENOMEM;
	if (attributes->present & ATTRIBUTE_MTIME)
		entry->new_mtime = (struct timespec){attributes->mtime_sec, attributes->mtime_nsec};
	if (attributes->present & ATTRIBUTE_PATH) {
		size_t above = strlen(replacement->directory->path);

		replacement->moved = strcmp(name_of_path(attributes->path), plain_name) != 0 ||
				     strncmp(attributes->path, replacement->directory->path, above) != 0 ||
				     (size_t)(name_of_path(attributes->path) - attributes->path) !=
					     (above ? above + 1 : 0);
	}
	return 0;
}

int replacement_new(const ReplacementContext *context, const WalkEntry *found, uint64_t serial,
	Workspace *workspace, Replacement **ret, Reason *ret_reason)
{
	_cleanup_replacement_ Replacement *replacement = new0(Replacement, 1);
	char cipher_name[NAME_BYTES_MAX + 1];
	JournalEntry *entry;
	int r;

	*ret_reason = REASON_IO;
	if (!replacement)
		return -ENOMEM;
	entry = &replacement->entry;
	replacement->source_fd = replacement->new_fd = -1;
	replacement->reason = REASON_INVALID;
	replacement->directory = directory_ref(found->directory);
	replacement->source = found->st;
	entry->serial = serial;
	entry->size = (uint64_t)found->st.st_size;
	entry->mtime = found->st.st_mtim;
	entry->read_only = !(found->st.st_mode & S_IWUSR);
	entry->path = strdup(found->path);
	if (!entry->path)
		return -ENOMEM;
	replacement->name = name_of_path(entry->path);

	if (context->encrypting) {
		name_for_cipher(replacement->name, context->limit, cipher_name);
		entry->new_name = strdup(cipher_name);
		if (!entry->new_name)
			return -ENOMEM;
		/* The head's length is not known yet: a page is more than any ordinary one. */
		entry->new_size = cipherfile_sealed_size(4096, entry->size);
	} else {
		r = plan_decrypt(context, replacement, workspace, ret_reason);
		if (r < 0)
			return r;
	}
	*ret = TAKE_PTR(replacement);
	return 0;
}

int replacement_adopt(Directory *directory, const JournalEntry *entry, Replacement **ret)
{
	_cleanup_replacement_ Replacement *replacement = new0(Replacement, 1);

	if (!replacement)
		return -ENOMEM;
	replacement->state = REPLACEMENT_VERIFIED;
	replacement->source_fd = replacement->new_fd = -1;
	replacement->reason = REASON_INVALID;
	replacement->directory = directory_ref(directory);
	replacement->entry = *entry;
	replacement->entry.path = strdup(entry->path);
	replacement->entry.new_name = strdup(entry->new_name);
	if (!replacement->entry.path || !replacement->entry.new_name)
		return -ENOMEM;
	replacement->name = name_of_path(replacement->entry.path);
	*ret = TAKE_PTR(replacement);
	return 0;
}

Replacement *replacement_free(Replacement *replacement)
{
	const Vfs *vfs;

	if (!replacement)
		return NULL;
	vfs = replacement->directory->vfs;
	if (replacement->source_fd >= 0) {
		if (replacement->mode_lent && replacement->state != REPLACEMENT_UNLINKED)
			(void)vfs->chmod(vfs, replacement->source_fd, replacement->source.st_mode & 07777);
		vfs->close(vfs, replacement->source_fd);
	}
	if (replacement->new_fd >= 0)
		vfs->close(vfs, replacement->new_fd);
	directory_unref(replacement->directory);
	free(replacement->entry.path);
	free(replacement->entry.new_name);
	return mfree(replacement);
}
