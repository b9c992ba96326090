/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "engine/names.h"

#include "engine/drive.h"
#include "util/memory.h"

#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <strings.h>

#define HASH_SIZE     16
#define HASHED_LENGTH (2 * HASH_SIZE + 1) /* hex digits and '~', without the suffix */

NameLimit name_limit(const char *filesystem)
{
	static const char *const wide[] = {"vfat", "msdos", "exfat", "ntfs3", "ntfs", "fuseblk"};

	for (size_t i = 0; i < ELEMENTSOF(wide); i++)
		if (strcmp(filesystem, wide[i]) == 0)
			return (NameLimit){.units = 255, .utf16 = true};
	return (NameLimit){.units = 255};
}

/* UTF-16 units of a name in UTF-8; a malformed byte counts as one. */
static size_t count_utf16(const char *name)
{
	size_t units = 0;

	for (const uint8_t *b = (const uint8_t *)name; *b; b++)
		if ((*b & 0xc0) != 0x80)
			units += *b >= 0xf0 ? 2 : 1;
	return units;
}

bool name_has_suffix(const char *name)
{
	size_t n = strlen(name);

	return n > strlen(CIPHER_SUFFIX) && strcasecmp(name + n - strlen(CIPHER_SUFFIX), CIPHER_SUFFIX) == 0;
}

/* Writes the hashed form without its suffix. */
static void name_hash(const char *name, char ret[HASHED_LENGTH + 1])
{
	uint8_t hash[HASH_SIZE];

	(void)crypto_generichash(hash, sizeof(hash), (const uint8_t *)name, strlen(name), NULL, 0);
	(void)sodium_bin2hex(ret, 2 * HASH_SIZE + 1, hash, sizeof(hash));
	memcpy(ret + 2 * HASH_SIZE, "~", 2);
}

void name_for_cipher(const char *name, NameLimit limit, char ret[NAME_BYTES_MAX + 1])
{
	size_t units = limit.utf16 ? count_utf16(name) : strlen(name);
	char hashed[HASHED_LENGTH + 1];

	if (units + strlen(CIPHER_SUFFIX) <= limit.units) {
		(void)snprintf(ret, NAME_BYTES_MAX + 1, "%s%s", name, CIPHER_SUFFIX);
		return;
	}
	name_hash(name, hashed);
	(void)snprintf(ret, NAME_BYTES_MAX + 1, "%s%s", hashed, CIPHER_SUFFIX);
}

int name_for_plain(const char *cipher_name, const char *stored_path, char ret[NAME_BYTES_MAX + 1])
{
	size_t n = strlen(cipher_name) - strlen(CIPHER_SUFFIX);
	char hashed[HASHED_LENGTH + 1];

	if (!name_has_suffix(cipher_name) || n > NAME_BYTES_MAX)
		return -EBADMSG;
	if (stored_path && n == HASHED_LENGTH) {
		const char *stored = name_of_path(stored_path);

		name_hash(stored, hashed);
		if (strncasecmp(cipher_name, hashed, HASHED_LENGTH) == 0 &&
			strlen(stored) <= NAME_BYTES_MAX) {
			strcpy(ret, stored);
			return 0;
		}
	}
	memcpy(ret, cipher_name, n);
	ret[n] = 0;
	/* Stripping must leave a name. */
	return strcmp(ret, ".") == 0 || strcmp(ret, "..") == 0 ? -EBADMSG : 0;
}

bool name_is_excluded(const char *name)
{
	return strcasecmp(name, USBCRYPT_DIRECTORY) == 0 || strcmp(name, "lost+found") == 0 ||
	       strcasecmp(name, "System Volume Information") == 0;
}

const char *name_of_path(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

/* A name of `n` bytes, in a folder or in the drive's root. */
static bool component_is_inside(const char *name, size_t n, bool at_root)
{
	char text[NAME_BYTES_MAX + 1];

	if (n == 0 || n > NAME_BYTES_MAX)
		return false;
	memcpy(text, name, n);
	text[n] = 0;
	return strcmp(text, ".") != 0 && strcmp(text, "..") != 0 && !(at_root && name_is_excluded(text));
}

bool path_is_inside(const char *path)
{
	for (const char *part = path;;) {
		size_t n = strcspn(part, "/");

		if (!component_is_inside(part, n, part == path))
			return false;
		if (!part[n])
			return true;
		part += n + 1;
	}
}

bool name_is_beside(const char *name, const char *path)
{
	return !strchr(name, '/') && component_is_inside(name, strlen(name), !strchr(path, '/'));
}
