/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "device/mount-table.h"

#include "util/fd.h"
#include "util/io.h"
#include "util/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#define MOUNTINFO          "/proc/self/mountinfo"
#define MOUNTINFO_SIZE_MAX ((size_t)64 * 1024 * 1024)

struct MountTable {
	Mount *mounts;
	size_t n, capacity;
};

static void mount_clear(Mount *mount)
{
	free(mount->root);
	free(mount->point);
	free(mount->type);
	free(mount->source);
}

MountTable *mount_table_free(MountTable *table)
{
	if (!table)
		return NULL;
	for (size_t i = 0; i < table->n; i++)
		mount_clear(&table->mounts[i]);
	free(table->mounts);
	return mfree(table);
}

size_t mount_table_size(const MountTable *table)
{
	return table->n;
}

const Mount *mount_table_get(const MountTable *table, size_t index)
{
	return &table->mounts[index];
}

/* The kernel writes space, tab, newline, backslash (and '#') as \ooo. */
static char *unescape(const char *text)
{
	char *plain = malloc(strlen(text) + 1), *out = plain;

	if (!plain)
		return NULL;
	while (*text) {
		if (text[0] == '\\' && text[1] >= '0' && text[1] <= '3' && text[2] >= '0' && text[2] <= '7' &&
			text[3] >= '0' && text[3] <= '7') {
			*out++ = (char)((text[1] - '0') << 6 | (text[2] - '0') << 3 | (text[3] - '0'));
			text += 4;
		} else {
			*out++ = *text++;
		}
	}
	*out = 0;
	return plain;
}

static bool options_have(const char *options, const char *name)
{
	size_t length = strlen(name);

	while (*options) {
		size_t n = strcspn(options, ",");

		if (n == length && memcmp(options, name, n) == 0)
			return true;
		options += n + (options[n] == ',');
	}
	return false;
}

/* id parent major:minor root point options [tag...] - type source super-options */
static int mount_parse(char *line, Mount *ret)
{
	char *fields[6], *field, *type, *source, *super;
	unsigned long long id, parent;
	unsigned major, minor;

	for (size_t i = 0; i < ELEMENTSOF(fields); i++) {
		fields[i] = strsep(&line, " ");
		if (!fields[i] || !*fields[i])
			return -EBADMSG;
	}
	do
		field = strsep(&line, " ");
	while (field && strcmp(field, "-") != 0);
	type = strsep(&line, " ");
	source = strsep(&line, " ");
	super = strsep(&line, " ");
	/* The source may be empty. */
	if (!field || !type || !*type || !source || !super || sscanf(fields[0], "%llu", &id) != 1 ||
		sscanf(fields[1], "%llu", &parent) != 1 || sscanf(fields[2], "%u:%u", &major, &minor) != 2)
		return -EBADMSG;

	*ret = (Mount){
		.id = id,
		.parent = parent,
		.number = makedev(major, minor),
		.root = unescape(fields[3]),
		.point = unescape(fields[4]),
		.type = unescape(type),
		.source = unescape(source),
		.nosuid = options_have(fields[5], "nosuid"),
		.nodev = options_have(fields[5], "nodev"),
		.read_only = options_have(fields[5], "ro") || options_have(super, "ro"),
	};
	/* A driver may add its own name: "fuseblk.ntfs-3g". Barriers are the same for all of them. */
	if (ret->type && strncmp(ret->type, "fuseblk.", 8) == 0)
		ret->type[strlen("fuseblk")] = 0;
	if (!ret->root || !ret->point || !ret->type || !ret->source) {
		mount_clear(ret);
		return -ENOMEM;
	}
	return 0;
}

int mount_table_parse(const char *text, MountTable **ret_table)
{
	_cleanup_mount_table_ MountTable *table = new0(MountTable, 1);
	_cleanup_free_ char *copy = strdup(text);
	char *rest = copy, *line;
	int r;

	if (!table || !copy)
		return -ENOMEM;
	while ((line = strsep(&rest, "\n"))) {
		if (!*line)
			continue;
		r = array_grow(&table->mounts, &table->capacity, table->n + 1, sizeof(Mount));
		if (r < 0)
			return r;
		r = mount_parse(line, &table->mounts[table->n]);
		if (r < 0)
			return r;
		table->n++;
	}
	*ret_table = TAKE_PTR(table);
	return 0;
}

int mount_table_read(MountTable **ret_table)
{
	_cleanup_fclose_ FILE *f = fopen(MOUNTINFO, "re");
	_cleanup_free_ char *text = NULL;
	size_t size = 0, capacity = 0;

	if (!f)
		return -errno;
	for (;;) {
		size_t n;
		int r = array_grow(&text, &capacity, size + 16384, 1);

		if (r < 0)
			return r;
		n = fread(text + size, 1, capacity - size - 1, f);
		size += n;
		if (ferror(f))
			return -EIO;
		if (size > MOUNTINFO_SIZE_MAX)
			return -EFBIG;
		if (n == 0)
			break;
	}
	text[size] = 0;
	return mount_table_parse(text, ret_table);
}

/* Nodes below /dev are the host's devtmpfs: asking them never waits for a drive. */
static bool source_is_node(const char *source, dev_t number)
{
	struct stat st;

	return strncmp(source, "/dev/", 5) == 0 && !strstr(source, "/../") && stat(source, &st) == 0 &&
	       S_ISBLK(st.st_mode) && st.st_rdev == number;
}

bool mount_is_of(const Mount *mount, dev_t number, const char *node)
{
	/* Any user may mount a FUSE filesystem that names any source, but fuseblk only as root. */
	if (strcmp(mount->type, "fuseblk") == 0)
		return (mount->number == number || major(mount->number) == 0) &&
		       (strcmp(mount->source, node) == 0 || source_is_node(mount->source, number));
	if (major(mount->number) != 0)
		return mount->number == number;
	return strcmp(mount->type, "btrfs") == 0 &&
	       (strcmp(mount->source, node) == 0 || source_is_node(mount->source, number));
}

bool mount_is_whole(const Mount *mount)
{
	return strcmp(mount->root, "/") == 0 || strcmp(mount->type, "btrfs") == 0;
}

/* Whether `path` is `folder` or lies below it. */
static bool is_below(const char *path, const char *folder)
{
	size_t length = strlen(folder);

	if (length > 0 && folder[length - 1] == '/')
		length--;
	return strncmp(path, folder, length) == 0 && (path[length] == 0 || path[length] == '/');
}

static const Mount *mount_of_id(const MountTable *table, uint64_t id)
{
	for (size_t i = 0; i < table->n; i++)
		if (table->mounts[i].id == id)
			return &table->mounts[i];
	return NULL;
}

/* Up from the mount to the root: a way from a parent to its child is cut where another child of that parent
 * lies on it, and the end is covered where the mount has a child on its own root. */
bool mount_is_hidden(const MountTable *table, const Mount *mount)
{
	const Mount *parent = mount;
	const char *way = mount->point;

	for (size_t steps = 0; parent && steps <= table->n; steps++) {
		for (size_t i = 0; i < table->n; i++) {
			const Mount *other = &table->mounts[i];

			if (other != mount && other->id != other->parent && other->parent == parent->id &&
				is_below(way, other->point))
				return true;
		}
		if (parent->parent == parent->id)
			break;
		mount = parent;
		way = mount->point;
		parent = mount_of_id(table, mount->parent);
	}
	return false;
}

typedef struct Watch {
	void (*changed)(void *userdata);
	void *userdata;
} Watch;

static int on_mountinfo(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	Watch *watch = userdata;

	(void)source;
	(void)fd;
	(void)revents;
	watch->changed(watch->userdata);
	return 0;
}

int mount_table_watch(
	sd_event *event, void (*changed)(void *userdata), void *userdata, sd_event_source **ret_source)
{
	_cleanup_close_ int fd = open(MOUNTINFO, O_RDONLY | O_CLOEXEC);
	_cleanup_free_ Watch *watch = new0(Watch, 1);
	sd_event_source *source = NULL;
	int r;

	if (fd < 0)
		return -errno;
	if (!watch)
		return -ENOMEM;
	*watch = (Watch){changed, userdata};
	r = sd_event_add_io(event, &source, fd, EPOLLPRI, on_mountinfo, watch);
	if (r < 0)
		return r;
	(void)sd_event_source_set_destroy_callback(source, free);
	TAKE_PTR(watch);
	(void)sd_event_source_set_io_fd_own(source, 1);
	TAKE_FD(fd);
	/* Before the bus: who asks about a drive after mount() returned sees it mounted. */
	(void)sd_event_source_set_priority(source, SD_EVENT_PRIORITY_IMPORTANT);
	(void)sd_event_source_set_description(source, "mountinfo");
	*ret_source = source;
	return 0;
}
