/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "engine/file-attributes.h"

#include "util/memory.h"

#include <errno.h>

static int read_xattrs(const Vfs *vfs, int fd, Attributes *attributes)
{
	_cleanup_free_ char *names = NULL;
	size_t total = 0, allocated = 0;
	ssize_t n = vfs->list_xattr(vfs, fd, NULL, 0);

	if (n == -EOPNOTSUPP || n == 0)
		return 0;
	if (n < 0)
		return (int)n;
	names = malloc((size_t)n);
	if (!names)
		return -ENOMEM;
	n = vfs->list_xattr(vfs, fd, names, (size_t)n);
	if (n < 0)
		return (int)n;
	for (const char *name = names; name < names + n; name += strlen(name) + 1) {
		ExtendedAttribute *xattr;
		ssize_t size;
		int r;

		if (strncmp(name, "user.", 5) != 0)
			continue;
		size = vfs->get_xattr(vfs, fd, name, NULL, 0);
		if (size < 0)
			return (int)size;
		total += strlen(name) + (size_t)size;
		if (total > ATTRIBUTES_XATTR_MAX)
			return -EMSGSIZE;
		r = array_grow(&attributes->xattrs, &allocated, attributes->n_xattrs + 1,
			sizeof(*attributes->xattrs));
		if (r < 0)
			return r;
		xattr = &attributes->xattrs[attributes->n_xattrs++];
		*xattr = (ExtendedAttribute){
			.name = strdup(name), .value = malloc(MAX((size_t)size, (size_t)1))};
		if (!xattr->name || !xattr->value)
			return -ENOMEM;
		size = vfs->get_xattr(vfs, fd, name, xattr->value, (size_t)size);
		if (size < 0)
			return (int)size;
		xattr->size = (size_t)size;
	}
	return 0;
}

int file_attributes_take(const Vfs *vfs, int fd, const struct stat *st, const char *path, Attributes *ret)
{
	*ret = (Attributes){
		.present =
			ATTRIBUTE_PATH | ATTRIBUTE_SIZE | ATTRIBUTE_MTIME | ATTRIBUTE_MODE | ATTRIBUTE_OWNER,
		.path = strdup(path),
		.size = (uint64_t)st->st_size,
		.mtime_sec = st->st_mtim.tv_sec,
		.mtime_nsec = (uint32_t)st->st_mtim.tv_nsec,
		.mode = st->st_mode & 07777,
		.uid = st->st_uid,
		.gid = st->st_gid,
	};
	if (!ret->path)
		return -ENOMEM;
	if (vfs->get_fat_attributes(vfs, fd, &ret->fat) >= 0)
		ret->present |= ATTRIBUTE_FAT;
	return read_xattrs(vfs, fd, ret);
}

/* What an error says beyond that this filesystem, or this user, cannot keep an attribute; else 0. */
static int tolerate(int r)
{
	switch (r) {
	case -EPERM:
	case -EACCES:
	case -EOPNOTSUPP:
	case -ENOSYS:
	case -EINVAL:
		return 0;
	default:
		return r;
	}
}

static void keep_first_error(int *result, int r)
{
	if (*result >= 0 && r < 0)
		*result = r;
}

int file_attributes_restore(const Vfs *vfs, int fd, const Attributes *attributes, bool privileged)
{
	mode_t mode = attributes->mode & 07777;
	bool owned = !privileged;
	int r, result = 0;

	for (size_t i = 0; i < attributes->n_xattrs; i++) {
		const ExtendedAttribute *xattr = &attributes->xattrs[i];

		if (strncmp(xattr->name, "user.", 5) != 0)
			continue;
		r = vfs->set_xattr(vfs, fd, xattr->name, xattr->value, xattr->size);
		keep_first_error(&result, r == -EOPNOTSUPP ? 0 : r);
	}
	if (privileged && attributes->present & ATTRIBUTE_OWNER) {
		r = vfs->chown(vfs, fd, attributes->uid, attributes->gid);
		owned = r >= 0;
		keep_first_error(&result, tolerate(r));
	}
	/* Before the write bits: who may write to it finds it complete. */
	if (attributes->present & ATTRIBUTE_MTIME) {
		struct timespec mtime = {attributes->mtime_sec, attributes->mtime_nsec};

		r = vfs->set_mtime(vfs, fd, &mtime);
		keep_first_error(&result, r);
	}
	if (attributes->present & ATTRIBUTE_MODE) {
		r = vfs->chmod(vfs, fd, owned ? mode : mode & 01777);
		keep_first_error(&result, tolerate(r));
	}
	if (attributes->present & ATTRIBUTE_FAT) {
		r = vfs->set_fat_attributes(vfs, fd, attributes->fat);
		keep_first_error(&result, tolerate(r));
	}
	return result;
}
