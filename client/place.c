/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "place.h"

#include "util/fd.h"
#include "util/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

/* A line of /proc/self/mountinfo: see proc(5). */
typedef struct Mount {
	uint64_t id;
	unsigned major, minor;
	char *root, *point, *options, *source;
} Mount;

static void mount_clear(Mount *mount)
{
	free(mount->root);
	free(mount->point);
	free(mount->options);
	free(mount->source);
	*mount = (Mount){0};
}

void place_clear(Place *place)
{
	free(place->mount_point);
	free(place->mount_root);
	free(place->path);
	*place = (Place){0};
}

/* Undoes "\040" and the like, in place. */
static void unescape_octal(char *text)
{
	char *to = text;

	for (const char *from = text; *from; from++) {
		if (from[0] == '\\' && from[1] >= '0' && from[1] <= '3' && from[2] >= '0' && from[2] <= '7' &&
			from[3] >= '0' && from[3] <= '7') {
			*to++ = (char)((from[1] - '0') << 6 | (from[2] - '0') << 3 | (from[3] - '0'));
			from += 3;
		} else {
			*to++ = *from;
		}
	}
	*to = 0;
}

static int mount_parse(char *line, Mount *ret)
{
	_cleanup_(mount_clear) Mount mount = {0};
	char *tail = strstr(line, " - ");
	unsigned long id;

	if (!tail)
		return -EBADMSG;
	*tail = 0;
	if (sscanf(line, "%lu %*u %u:%u %ms %ms %ms", &id, &mount.major, &mount.minor, &mount.root,
		    &mount.point, &mount.options) != 6 ||
		sscanf(tail + 3, "%*s %ms", &mount.source) != 1)
		return -EBADMSG;
	mount.id = id;
	unescape_octal(mount.root);
	unescape_octal(mount.point);
	unescape_octal(mount.source);
	*ret = mount;
	mount = (Mount){0};
	return 0;
}

/* By id, or (id 0) by mount point; the last line counts: it is the one on top. -ENOENT. */
static int mount_find(uint64_t id, const char *point, Mount *ret)
{
	_cleanup_fclose_ FILE *f = fopen("/proc/self/mountinfo", "re");
	_cleanup_(mount_clear) Mount found = {0};
	_cleanup_free_ char *line = NULL;
	size_t size = 0;

	if (!f)
		return -errno;
	while (getline(&line, &size, f) > 0) {
		_cleanup_(mount_clear) Mount mount = {0};

		if (mount_parse(line, &mount) < 0)
			continue;
		if (id ? mount.id != id : strcmp(mount.point, point) != 0)
			continue;
		mount_clear(&found);
		found = mount;
		mount = (Mount){0};
	}
	if (!found.point)
		return -ENOENT;
	*ret = found;
	found = (Mount){0};
	return 0;
}

static int mount_device(const Mount *mount, dev_t *ret)
{
	struct stat st;

	if (mount->major != 0) {
		*ret = makedev(mount->major, mount->minor);
		return 0;
	}
	/* btrfs and some FUSE filesystems have numbers of their own. */
	if (mount->source[0] != '/' || stat(mount->source, &st) < 0 || !S_ISBLK(st.st_mode))
		return -ENODEV;
	*ret = st.st_rdev;
	return 0;
}

static int stat_mount(const char *path, int flags, struct statx *ret)
{
	/* errno is never 0 here. NOLINTNEXTLINE(clang-analyzer-core.NonNullParamChecker) */
	if (statx(AT_FDCWD, path, flags | AT_NO_AUTOMOUNT | AT_STATX_DONT_SYNC, STATX_TYPE | STATX_MNT_ID,
		    ret) < 0)
		return -errno;
	return ret->stx_mask & STATX_MNT_ID ? 0 : -EOPNOTSUPP;
}

/* The real path of the folder a path lies in, and its last component behind it as it is. */
static int real_parent(const char *path, char **ret_real)
{
	_cleanup_free_ char *parent = NULL, *real = NULL;
	char *slash;

	parent = strdup(path);
	if (!parent)
		return -ENOMEM;
	slash = strrchr(parent, '/');
	if (slash == parent)
		real = strdup("");
	else if (slash)
		*slash = 0;
	if (!real) {
		real = realpath(slash ? parent : ".", NULL);
		if (!real)
			return -errno;
		if (strcmp(real, "/") == 0)
			*real = 0;
	}
	if (asprintf(ret_real, "%s/%s", real, slash ? slash + 1 : parent) < 0)
		return -ENOMEM;
	return 0;
}

/* The real path that a person means, and the mount it lies on. */
static int resolve_real(const char *path, char **ret_real, uint64_t *ret_mount)
{
	const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
	_cleanup_free_ char *real = NULL, *followed = NULL;
	struct statx own, target;
	int r;

	followed = realpath(path, NULL);
	if (!*name || strcmp(name, ".") == 0 || strcmp(name, "..") == 0) {
		if (!followed)
			return -errno;
		real = TAKE_PTR(followed);
		r = stat_mount(real, AT_SYMLINK_NOFOLLOW, &own);
		if (r < 0)
			return r;
	} else {
		r = real_parent(path, &real);
		if (r < 0)
			return r;
		r = stat_mount(real, AT_SYMLINK_NOFOLLOW, &own);
		if (r == -ENOENT) { /* not there (any more, or in this form): its folder is */
			_cleanup_free_ char *folder = strndup(real, (size_t)(strrchr(real, '/') - real));

			if (!folder)
				return -ENOMEM;
			r = stat_mount(*folder ? folder : "/", 0, &own);
		}
		if (r < 0)
			return r;
		if (S_ISLNK(own.stx_mode) && followed && stat_mount(followed, 0, &target) >= 0 &&
			target.stx_mnt_id != own.stx_mnt_id) {
			free(real);
			real = TAKE_PTR(followed);
			own = target;
		}
	}
	*ret_real = TAKE_PTR(real);
	*ret_mount = own.stx_mnt_id;
	return 0;
}

/* What of `path` is below `base`, without slashes before it; NULL when it is not. */
static const char *path_below(const char *path, const char *base)
{
	size_t length = strlen(base);

	while (length > 0 && base[length - 1] == '/')
		length--;
	if (strncmp(path, base, length) != 0 || (path[length] && path[length] != '/'))
		return NULL;
	path += length;
	return path + strspn(path, "/");
}

int place_resolve(const char *path, Place *ret)
{
	_cleanup_(mount_clear) Mount mount = {0};
	_cleanup_place_ Place place = {0};
	_cleanup_free_ char *real = NULL;
	const char *below;
	struct stat st;
	uint64_t id = 0;
	int r;

	if (strlen(path) >= PATH_MAX)
		return -ENAMETOOLONG;
	if (stat(path, &st) >= 0 && S_ISBLK(st.st_mode)) {
		*ret = (Place){.device = st.st_rdev, .node = true};
		return 0;
	}
	r = resolve_real(path, &real, &id);
	if (r < 0)
		return r;
	r = mount_find(id, NULL, &mount);
	if (r < 0)
		return r == -ENOENT ? -ENODEV : r;
	r = mount_device(&mount, &place.device);
	if (r < 0)
		return r;
	below = path_below(real, mount.point);
	if (!below)
		return -ENODEV;
	place.path = strdup(below);
	if (!place.path)
		return -ENOMEM;
	place.mount_point = TAKE_PTR(mount.point);
	place.mount_root = TAKE_PTR(mount.root);
	*ret = place;
	place = (Place){0};
	return 0;
}

int place_on_drive(const Place *place, const char *mount_point, char **ret_path)
{
	_cleanup_(mount_clear) Mount mount = {0};
	_cleanup_free_ char *whole = NULL;
	const char *below;
	int r;

	if (!mount_point || strcmp(place->mount_point, mount_point) == 0)
		return path_clean(place->path, ret_path);
	r = mount_find(0, mount_point, &mount);
	if (r < 0)
		return r == -ENOENT ? -EXDEV : r;
	if (asprintf(&whole, "%s/%s", strcmp(place->mount_root, "/") == 0 ? "" : place->mount_root,
		    place->path) < 0) {
		whole = NULL;
		return -ENOMEM;
	}
	below = path_below(whole, mount.root);
	return below ? path_clean(below, ret_path) : -EXDEV;
}

int path_clean(const char *path, char **ret_path)
{
	_cleanup_free_ char *clean = malloc(strlen(path) + 2);
	size_t used = 0;

	if (!clean)
		return -ENOMEM;
	for (;;) {
		size_t length;

		path += strspn(path, "/");
		length = strcspn(path, "/");
		if (length == 0)
			break;
		if (length == 2 && memcmp(path, "..", 2) == 0) {
			if (used == 0)
				return -EXDEV;
			while (used > 0 && clean[used - 1] != '/')
				used--;
			used = used > 0 ? used - 1 : 0;
		} else if (length != 1 || *path != '.') {
			if (used > 0)
				clean[used++] = '/';
			memcpy(clean + used, path, length);
			used += length;
		}
		path += length;
	}
	clean[used] = 0;
	*ret_path = TAKE_PTR(clean);
	return 0;
}

static bool has_option(const char *options, const char *wanted)
{
	size_t length = strlen(wanted);

	/* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): mount_parse() set it, or there was no mount */
	for (const char *p = options; *p;) {
		size_t part = strcspn(p, ",");

		if (part == length && memcmp(p, wanted, length) == 0)
			return true;
		p += part;
		p += strspn(p, ",");
	}
	return false;
}

bool mount_is_safe(const char *mount_point)
{
	_cleanup_(mount_clear) Mount mount = {0};

	return mount_find(0, mount_point, &mount) >= 0 && has_option(mount.options, "nosuid") &&
	       has_option(mount.options, "nodev");
}
