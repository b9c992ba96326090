/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "engine/copy.h"

#include "engine/drive.h"
#include "util/memory.h"

#include <errno.h>
#include <fcntl.h>

#define METADATA_NAME "drive.json"

/* How every file of a stranger is opened: waiting for nothing, controlling nothing, changing no time. */
#define FLAGS_CAREFUL (O_NONBLOCK | O_NOCTTY | O_NOFOLLOW | O_CLOEXEC)

const char *copy_directory(CopyName name)
{
	return name == COPY_A ? USBCRYPT_DIRECTORY "/a" : USBCRYPT_DIRECTORY "/b";
}

const char *copy_path(CopyName name)
{
	return name == COPY_A ? USBCRYPT_DIRECTORY "/a/" METADATA_NAME
			      : USBCRYPT_DIRECTORY "/b/" METADATA_NAME;
}

Outcome copy_outcome(const Vfs *vfs, int error)
{
	if (error >= 0)
		return OUTCOME_DONE;
	if (!vfs->is_alive(vfs))
		return OUTCOME_DRIVE_GONE;
	switch (-error) {
	case ENODEV:
		return OUTCOME_DRIVE_GONE;
	case ENOSPC:
	case EDQUOT:
		return OUTCOME_NO_SPACE;
	case EROFS:
		return OUTCOME_READ_ONLY;
	case EACCES:
	case EPERM:
		return OUTCOME_NOT_AUTHORIZED;
	/* What openat2() says where a link, a mount, a socket or a file stands in the way. */
	case ELOOP:
	case EXDEV:
	case ENXIO:
	case ENOTDIR:
	case EISDIR:
	case EBADMSG:
		return OUTCOME_TAMPERED;
	default:
		return OUTCOME_FAILED;
	}
}

static int open_careful(const Vfs *vfs, int dir_fd, const char *path, int flags)
{
	int fd = vfs->open(vfs, dir_fd, path, flags | FLAGS_CAREFUL | O_NOATIME, 0);

	/* O_NOATIME is its owner's alone. */
	if (fd == -EPERM)
		fd = vfs->open(vfs, dir_fd, path, flags | FLAGS_CAREFUL, 0);
	return fd;
}

Outcome copy_open(const Vfs *vfs, int root_fd, CopyName name, int *ret_fd)
{
	struct stat s;
	int dir_fd, fd, r;

	dir_fd = open_careful(vfs, root_fd, copy_directory(name), O_RDONLY | O_DIRECTORY);
	if (dir_fd == -ENOENT)
		return vfs->is_alive(vfs) ? OUTCOME_NOT_ENROLLED : OUTCOME_DRIVE_GONE;
	if (dir_fd < 0)
		return copy_outcome(vfs, dir_fd);

	/* Looked at before it is opened: opening a device can do things, even where nodev is forgotten. */
	r = vfs->lstat(vfs, dir_fd, METADATA_NAME, &s);
	vfs->close(vfs, dir_fd);
	if (r == -ENOENT)
		return vfs->is_alive(vfs) ? OUTCOME_NOT_ENROLLED : OUTCOME_DRIVE_GONE;
	if (r < 0)
		return copy_outcome(vfs, r);
	if (!S_ISREG(s.st_mode))
		return OUTCOME_TAMPERED;

	fd = open_careful(vfs, root_fd, copy_path(name), O_RDONLY);
	if (fd < 0)
		return copy_outcome(vfs, fd);
	r = vfs->fstat(vfs, fd, &s);
	if (r < 0 || !S_ISREG(s.st_mode) || s.st_size != METADATA_SIZE) {
		vfs->close(vfs, fd);
		return r < 0 ? copy_outcome(vfs, r) : OUTCOME_TAMPERED;
	}
	*ret_fd = fd;
	return OUTCOME_DONE;
}

Outcome copy_read(const Vfs *vfs, int fd, Metadata **ret_metadata)
{
	_cleanup_free_ uint8_t *bytes = NULL;
	ssize_t n;

	bytes = malloc(METADATA_SIZE);
	if (!bytes)
		return OUTCOME_FAILED;
	n = vfs_read_full(vfs, fd, bytes, METADATA_SIZE, 0);
	if (n < 0)
		return copy_outcome(vfs, (int)n);
	return metadata_parse(bytes, (size_t)n, ret_metadata);
}

int copy_sync(const Vfs *vfs, int fd)
{
	int r = vfs->fsync(vfs, fd);

	return r == -EINVAL || r == -EBADF || r == -EOPNOTSUPP || r == -ENOSYS ? 0 : r;
}

/* The directory and those above it: what a filesystem whose barrier is made of single fsyncs needs. */
static int sync_directories(const Vfs *vfs, int root_fd, CopyName name)
{
	const char *paths[] = {copy_directory(name), USBCRYPT_DIRECTORY};
	int r;

	for (size_t i = 0; i < ELEMENTSOF(paths); i++) {
		int fd = open_careful(vfs, root_fd, paths[i], O_RDONLY | O_DIRECTORY);

		if (fd < 0)
			return fd;
		r = copy_sync(vfs, fd);
		vfs->close(vfs, fd);
		if (r < 0)
			return r;
	}
	return copy_sync(vfs, root_fd);
}

static int write_bytes(const Vfs *vfs, int root_fd, CopyName name, const uint8_t *bytes)
{
	struct stat s;
	int fd, r;

	fd = vfs->open(vfs, root_fd, copy_path(name), O_WRONLY | FLAGS_CAREFUL, 0);
	if (fd == -ENOENT)
		fd = vfs->open(
			vfs, root_fd, copy_path(name), O_WRONLY | O_CREAT | O_EXCL | FLAGS_CAREFUL, 0600);
	if (fd < 0)
		return fd;
	r = vfs->fstat(vfs, fd, &s);
	if (r >= 0 && !S_ISREG(s.st_mode))
		r = -EBADMSG;
	if (r >= 0)
		r = vfs_write_full(vfs, fd, bytes, METADATA_SIZE, 0);
	if (r >= 0 && s.st_size > METADATA_SIZE)
		r = vfs->truncate(vfs, fd, METADATA_SIZE);
	if (r >= 0)
		r = copy_sync(vfs, fd);
	vfs->close(vfs, fd);
	return r;
}

/* Reads the copy back: `flags` is O_DIRECT, or 0 where there is no such thing. */
static int read_bytes(const Vfs *vfs, int root_fd, CopyName name, int flags, uint8_t *bytes)
{
	ssize_t n;
	int fd;

	fd = open_careful(vfs, root_fd, copy_path(name), O_RDONLY | flags);
	if (fd < 0)
		return fd;
	n = vfs_read_full(vfs, fd, bytes, METADATA_SIZE, 0);
	vfs->close(vfs, fd);
	if (n < 0)
		return (int)n;
	return n == METADATA_SIZE ? 0 : -ENODATA;
}

static Outcome read_back(const Vfs *vfs, int root_fd, CopyName name, const uint8_t *expected)
{
	_cleanup_free_ uint8_t *bytes = NULL;
	int flags, r;

	bytes = aligned_alloc(COPY_BUFFER_ALIGN, METADATA_SIZE);
	if (!bytes)
		return OUTCOME_FAILED;
	memset(bytes, 0, METADATA_SIZE);

	flags = vfs->read_medium(vfs, root_fd);
	r = flags < 0 ? flags : read_bytes(vfs, root_fd, name, flags, bytes);
	/* Where nothing reads past the caches, what they hold is all that can be compared. */
	if (r == -EINVAL || r == -EOPNOTSUPP)
		r = read_bytes(vfs, root_fd, name, 0, bytes);
	if (r == -ENODATA)
		return OUTCOME_MEDIUM_FAILED;
	if (r < 0)
		return copy_outcome(vfs, r);
	return memcmp(bytes, expected, METADATA_SIZE) == 0 ? OUTCOME_DONE : OUTCOME_MEDIUM_FAILED;
}

Outcome copy_write(const Vfs *vfs, int root_fd, CopyName name, const uint8_t bytes[METADATA_SIZE])
{
	int r;

	r = write_bytes(vfs, root_fd, name, bytes);
	if (r >= 0)
		r = sync_directories(vfs, root_fd, name);
	if (r >= 0)
		r = vfs->barrier(vfs, root_fd);
	if (r < 0)
		return copy_outcome(vfs, r);
	return read_back(vfs, root_fd, name, bytes);
}

void copies_load(const Vfs *vfs, int root_fd, Copies *ret_copies)
{
	for (CopyName name = COPY_A; name < COPY_MAX; name++) {
		int fd = -1;

		ret_copies->metadata[name] = NULL;
		ret_copies->outcomes[name] = copy_open(vfs, root_fd, name, &fd);
		if (ret_copies->outcomes[name] != OUTCOME_DONE)
			continue;
		ret_copies->outcomes[name] = copy_read(vfs, fd, &ret_copies->metadata[name]);
		vfs->close(vfs, fd);
	}
}

void copies_clear(Copies *copies)
{
	for (CopyName name = COPY_A; name < COPY_MAX; name++)
		copies->metadata[name] = metadata_free(copies->metadata[name]);
}

void copies_order(const Copies *copies, CopyName ret_order[COPY_MAX])
{
	const Metadata *a = copies->metadata[COPY_A], *b = copies->metadata[COPY_B];
	bool b_first = b && (!a || b->generation > a->generation);

	ret_order[0] = b_first ? COPY_B : COPY_A;
	ret_order[1] = b_first ? COPY_A : COPY_B;
}

CopyName copies_believed(const Copies *copies, const Secret *metadata_mac)
{
	CopyName order[COPY_MAX];

	copies_order(copies, order);
	for (size_t i = 0; i < COPY_MAX; i++) {
		const Metadata *m = copies->metadata[order[i]];

		if (m && metadata_verify(m, metadata_mac))
			return order[i];
	}
	return COPY_MAX;
}

Outcome copies_verdict(const Copies *copies)
{
	static const Outcome weight[] = {OUTCOME_DRIVE_GONE, OUTCOME_UNSUPPORTED, OUTCOME_FAILED,
		OUTCOME_NOT_AUTHORIZED, OUTCOME_TAMPERED, OUTCOME_NOT_ENROLLED};

	for (size_t i = 0; i < ELEMENTSOF(weight); i++)
		for (CopyName name = COPY_A; name < COPY_MAX; name++)
			if (copies->outcomes[name] == weight[i])
				return weight[i];
	return OUTCOME_FAILED;
}
