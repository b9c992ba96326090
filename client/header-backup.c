/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "mount.h"
#include "target.h"
#include "text.h"
#include "util/fd.h"
#include "util/io.h"
#include "util/memory.h"
#include "verb.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define HEADER_SIZE_MAX (64 * 1024) /* bytes; drive.json is 16 KiB */
#define MAC_DIGITS      64

typedef struct Header {
	char *bytes;
	size_t size;
	uint64_t generation;
} Header;

static void header_clear(Header *header)
{
	free(header->bytes);
	*header = (Header){0};
}

/* The drive may be anybody's: nothing on it leads out of it, and nothing but a file of a sane size is read.
 */
static int open_on_drive(int root_fd, const char *path)
{
	struct open_how how = {
		.flags = O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV | RESOLVE_NO_MAGICLINKS,
	};
	long fd = syscall(SYS_openat2, root_fd, path, &how, sizeof(how));

	return fd < 0 ? -errno : (int)fd;
}

static int parse_generation(const cJSON *json, uint64_t *ret)
{
	const cJSON *item = cJSON_GetObjectItemCaseSensitive(json, "generation");
	char *end;

	if (!cJSON_IsString(item) || item->valuestring[0] < '1' || item->valuestring[0] > '9')
		return -EBADMSG;
	errno = 0;
	*ret = strtoull(item->valuestring, &end, 10);
	return errno || *end ? -EBADMSG : 0;
}

/* What can be told without the key: line 1 is JSON with a generation, line 2 has the form of a MAC. Whether
 * it is authentic only unlocking shows. */
static int header_check(Header *header)
{
	char *end = memchr(header->bytes, '\n', header->size);
	cJSON *json;
	int r;

	if (!end || header->size - (size_t)(end + 1 - header->bytes) <= MAC_DIGITS ||
		strspn(end + 1, "0123456789abcdef") != MAC_DIGITS || end[1 + MAC_DIGITS] != '\n')
		return -EBADMSG;
	json = cJSON_ParseWithLength(header->bytes, (size_t)(end - header->bytes));
	r = cJSON_IsObject(json) ? parse_generation(json, &header->generation) : -EBADMSG;
	cJSON_Delete(json);
	return r;
}

static int header_read(int root_fd, const char *path, Header *ret)
{
	_cleanup_(header_clear) Header header = {0};
	_cleanup_close_ int fd = -1;
	struct stat st;
	ssize_t n;
	int r;

	fd = open_on_drive(root_fd, path);
	if (fd < 0)
		return fd;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode) || st.st_size <= 0 || st.st_size > HEADER_SIZE_MAX)
		return -EBADMSG;
	header.size = (size_t)st.st_size;
	header.bytes = malloc(header.size + 1);
	if (!header.bytes)
		return -ENOMEM;
	n = read_full(fd, header.bytes, header.size);
	if (n < 0)
		return (int)n;
	header.size = (size_t)n;
	header.bytes[n] = 0;
	r = header_check(&header);
	if (r < 0)
		return r;
	*ret = header;
	header = (Header){0};
	return 0;
}

/* The copy with the higher generation, of those that look whole. */
static ExitCode read_better(const Client *client, const Drive *drive, Header *ret)
{
	static const char *const copies[] = {".usbcrypt/a/drive.json", ".usbcrypt/b/drive.json"};
	_cleanup_close_ int root_fd = -1;
	unsigned good = 0;
	int error = -ENOENT;

	root_fd = open(drive_mount_point(drive), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (root_fd < 0)
		return client_fail_errno(
			client, -errno, "The drive's root cannot be opened", "Is the drive yours?");
	for (size_t i = 0; i < ELEMENTSOF(copies); i++) {
		Header header = {0};
		int r = header_read(root_fd, copies[i], &header);

		if (r < 0) {
			error = r;
			continue;
		}
		good++;
		if (header.generation > ret->generation) {
			header_clear(ret);
			*ret = header;
		} else {
			header_clear(&header);
		}
	}
	if (good == 0)
		return client_fail(client, CODE_FAILED, outcome_name(OUTCOME_FAILED),
			"Neither copy of .usbcrypt/{a,b}/drive.json can be used: %s.",
			error == -EBADMSG ? "they are damaged" : strerror(-error));
	if (good == 1)
		client_warn(client,
			"Mind: one of the drive's two copies is missing or damaged. The other one is saved; "
			"copy your files off this drive soon.");
	return CODE_DONE;
}

/* The folder FILE lies in, opened: for fsync, and to see which filesystem it is on. */
static int open_folder(const char *path)
{
	_cleanup_free_ char *folder = NULL;
	char *slash;

	folder = strdup(path);
	if (!folder)
		return -ENOMEM;
	slash = strrchr(folder, '/');
	if (slash)
		slash[slash == folder] = 0;
	return open(slash ? folder : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static ExitCode save(const Client *client, const Drive *drive, const Header *header, const char *path)
{
	_cleanup_close_ int fd = -1, folder_fd = open_folder(path);
	struct stat folder, root;
	int r;

	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return client_fail_errno(client, -errno, "The backup file cannot be made",
			errno == EEXIST ? "Existing files are not overwritten; choose another name."
					: "Choose a place you may write to.");
	r = write_full(fd, header->bytes, header->size);
	if (r >= 0 && fsync(fd) < 0)
		r = -errno;
	if (r >= 0 && folder_fd >= 0 && fsync(folder_fd) < 0 && errno != EINVAL)
		r = -errno;
	if (r < 0) {
		(void)unlink(path);
		return client_fail_errno(client, r, "The backup could not be written, and was removed again",
			"Choose another place.");
	}
	if (folder_fd >= 0 && fstat(folder_fd, &folder) >= 0 && stat(drive_mount_point(drive), &root) >= 0 &&
		folder.st_dev == root.st_dev)
		client_warn(client, "Mind: this backup lies on the drive itself. Keep one elsewhere.");
	return CODE_DONE;
}

ExitCode verb_header_backup(Client *client)
{
	_cleanup_(header_clear) Header header = {0};
	_cleanup_drive_ Drive *drive = NULL;
	_cleanup_free_ char *shown = NULL, *title = NULL;
	const Arguments *a = &client->arguments;
	const char *path = a->words[a->n_words - 1];
	ExitCode code;

	code = target_find_drive(client, a->words, a->n_words - 1, &drive);
	if (code == CODE_DONE)
		code = mount_ensure(client, drive);
	if (code == CODE_DONE)
		code = drive_require_enrolled(client, drive);
	if (code == CODE_DONE)
		code = read_better(client, drive, &header);
	if (code == CODE_DONE)
		code = save(client, drive, &header, path);
	if (code == CODE_DONE)
		code = drive_conclude(client, drive, &title);
	if (code != CODE_DONE)
		return code;
	shown = text_path(path, 0);
	if (!shown)
		return client_fail_memory(client);
	json_add_path(client->document, path);
	client_say(client,
		"Saved to %s. If both copies on %s are lost, this one, put back as .usbcrypt/a/drive.json "
		"and "
		".usbcrypt/b/drive.json, opens its files with the passphrase of today.",
		shown, title);
	client_say(client,
		"Keep it in a safe place: together with that passphrase it opens the drive, also after the "
		"passphrase was changed.");
	return CODE_DONE;
}
