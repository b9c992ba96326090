/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * What is kept of a file beside its bytes: sealed into the encrypted file as type-length-values, and put back
 * on decrypt. Absent fields are absent, not zero: `present` says which are there.
 */

#include "util/macro.h"

#include <stdbool.h>

#define ATTRIBUTES_PATH_MAX   4096        /* bytes of a path from the drive's root, without NUL */
#define ATTRIBUTES_XATTR_MAX  (48 * 1024) /* bytes of all extended attributes of a file, names included */
#define ATTRIBUTES_XATTRS_MAX 256         /* how many extended attributes */
#define ATTRIBUTES_SIZE_MAX   65536       /* bytes of all type-length-values together */
#define RUN_ID_SIZE           16

typedef enum AttributeField {
	ATTRIBUTE_PATH = 1 << 0,
	ATTRIBUTE_SIZE = 1 << 1,
	ATTRIBUTE_MTIME = 1 << 2,
	ATTRIBUTE_MODE = 1 << 3,
	ATTRIBUTE_OWNER = 1 << 4,
	ATTRIBUTE_FAT = 1 << 5,
	ATTRIBUTE_RUN = 1 << 6,
} AttributeField;

typedef struct ExtendedAttribute {
	char *name; /* "user.…", NUL-terminated */
	uint8_t *value;
	size_t size;
} ExtendedAttribute;

typedef struct Attributes {
	unsigned present; /* AttributeField bits */
	char *path;    /* relative to the drive's root, NUL-terminated, any bytes but NUL; never absolute, no
			  "..", no "." */
	uint64_t size; /* plaintext bytes */
	int64_t mtime_sec;
	uint32_t mtime_nsec; /* < 10^9 */
	uint32_t mode;       /* the twelve permission bits */
	uint32_t uid, gid;
	uint32_t fat;             /* FAT attribute byte, as FAT_IOCTL_GET_ATTRIBUTES returns it */
	uint8_t run[RUN_ID_SIZE]; /* the run that encrypted it */
	ExtendedAttribute *xattrs;
	size_t n_xattrs;
} Attributes;

/* Frees what it owns and itself; accepts NULL, returns NULL. */
Attributes *attributes_free(Attributes *attributes);
DEFINE_CLEANUP(Attributes *, attributes_free)
#define _cleanup_attributes_ _cleanup_(attributes_freep)

/* Frees what a stack-allocated one owns, and zeroes it. */
void attributes_clear(Attributes *attributes);

/* Whether these bytes can be a file's path on a drive: 1..ATTRIBUTES_PATH_MAX of them, relative, every
 * component non-empty and neither "." nor "..", no NUL, and not below USBCRYPT_DIRECTORY (in any case of its
 * letters: FAT does not tell them apart). */
bool attributes_path_is_valid(const char *path, size_t size);

/* Whether nobody may write to the file they describe. */
bool attributes_are_read_only(const Attributes *attributes);

/* To type-length-values, the same bytes for the same attributes whatever the order of the xattrs. -EINVAL: a
 * value is out of bounds or two xattrs have one name. -EMSGSIZE: path or xattrs are too long or too many.
 * *ret_bytes is the caller's to free. */
int attributes_encode(const Attributes *attributes, uint8_t **ret_bytes, size_t *ret_size);

/* From type-length-values. A value that is out of bounds, a repeated or misplaced field is -EBADMSG; an
 * unknown field whose critical bit is set is -EOPNOTSUPP, one without that bit is skipped. */
int attributes_decode(const uint8_t *bytes, size_t size, Attributes **ret_attributes);
