/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Which name an encrypted file has, which name its plaintext gets back, and which names are never touched. */

#include "util/macro.h"

#include <stdbool.h>

#define CIPHER_SUFFIX ".ucr"

/* Bytes of the longest name of any filesystem: 255 UTF-16 units are at most 765 bytes of UTF-8. */
#define NAME_BYTES_MAX 1020

typedef struct NameLimit {
	size_t units; /* the longest name */
	bool utf16;   /* counted in UTF-16 units (FAT, exFAT, NTFS), not in bytes */
} NameLimit;

/* The limit of a filesystem, by its type as in mountinfo. */
NameLimit name_limit(const char *filesystem);

/* Ends in the suffix (in either case: an 8.3 alias is upper case). */
bool name_has_suffix(const char *name);

/* The encrypted file's name: name + suffix, or where that is too long "<BLAKE2b-128 of the name, in
 * hex>~.ucr". */
void name_for_cipher(const char *name, NameLimit limit, char ret[NAME_BYTES_MAX + 1]);

/* The plaintext's name for an encrypted file found as `cipher_name` whose sealed path is `stored_path` (may
 * be NULL): the name without its suffix; the stored name where the name is the stored one's hashed form.
 * -EBADMSG when there is no suffix to strip. */
int name_for_plain(const char *cipher_name, const char *stored_path, char ret[NAME_BYTES_MAX + 1]);

/* Names in the root directory that belong to us or to the filesystem. */
bool name_is_excluded(const char *name);

/* The part after the last slash. */
const char *name_of_path(const char *path);

/* Whether a path stays inside the drive and off what is not the user's: relative, no empty, "." or ".."
 * parts, not in an excluded folder. */
bool path_is_inside(const char *path);

/* Whether a file of that name may stand in the folder that `path` (which path_is_inside()) lies in. */
bool name_is_beside(const char *name, const char *path);
