/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "engine/attributes.h"

#include "engine/endian.h"
#include "util/memory.h"

#include <errno.h>
#include <strings.h>

/* FORMAT.md, "Sealed attributes". The highest bit of a type says that a reader which does not know it must
 * give up.
 */
#define TYPE_CRITICAL 0x8000U
#define TYPE_NUMBER   0x7fffU

enum {
	TYPE_PATH = 1,
	TYPE_SIZE = 2,
	TYPE_MTIME = 3,
	TYPE_MODE = 4,
	TYPE_OWNER = 5,
	TYPE_FAT = 6,
	TYPE_RUN = 7,
	TYPE_XATTR = 8,
};

#define FIELD_HEADER_SIZE 4
#define XATTR_PREFIX      "user."
#define XATTR_PREFIX_SIZE 5
#define XATTR_NAME_MAX    255
#define RESERVED_NAME     ".usbcrypt"

void attributes_clear(Attributes *attributes)
{
	free(attributes->path);
	for (size_t i = 0; i < attributes->n_xattrs; i++) {
		free(attributes->xattrs[i].name);
		free(attributes->xattrs[i].value);
	}
	free(attributes->xattrs);
	memset(attributes, 0, sizeof(*attributes));
}

Attributes *attributes_free(Attributes *attributes)
{
	if (attributes)
		attributes_clear(attributes);
	return mfree(attributes);
}

bool attributes_are_read_only(const Attributes *attributes)
{
	return attributes->present & ATTRIBUTE_MODE && !(attributes->mode & 0222);
}

bool attributes_path_is_valid(const char *path, size_t size)
{
	if (size == 0 || size > ATTRIBUTES_PATH_MAX || memchr(path, 0, size))
		return false;
	for (size_t i = 0; i <= size;) {
		const char *component = path + i, *end = memchr(component, '/', size - i);
		size_t n = end ? (size_t)(end - component) : size - i;

		if (n == 0 || (n == 1 && component[0] == '.') ||
			(n == 2 && component[0] == '.' && component[1] == '.'))
			return false;
		if (i == 0 && n == strlen(RESERVED_NAME) && strncasecmp(component, RESERVED_NAME, n) == 0)
			return false;
		i += n + 1;
	}
	return true;
}

static bool xattr_name_is_valid(const char *name, size_t size)
{
	/* Only the user's own: "security." and "trusted." could give rights away on decrypt. */
	return size > XATTR_PREFIX_SIZE && size <= XATTR_NAME_MAX &&
	       memcmp(name, XATTR_PREFIX, XATTR_PREFIX_SIZE) == 0 && !memchr(name, 0, size);
}

static uint8_t *put_field(uint8_t *p, unsigned type, size_t size)
{
	put_le16(p, (uint16_t)type);
	put_le16(p + 2, (uint16_t)size);
	return p + FIELD_HEADER_SIZE;
}

static int compare_xattrs(const void *a, const void *b)
{
	const ExtendedAttribute *const *x = a, *const *y = b;

	return strcmp((*x)->name, (*y)->name);
}

static int check_values(const Attributes *a, size_t *ret_size)
{
	size_t size = 0, xattr_bytes = 0;

	if (a->present & ATTRIBUTE_PATH) {
		size_t n = a->path ? strlen(a->path) : 0;

		if (n > ATTRIBUTES_PATH_MAX)
			return -EMSGSIZE;
		if (!a->path || !attributes_path_is_valid(a->path, n))
			return -EINVAL;
		size += FIELD_HEADER_SIZE + n;
	}
	if (a->present & ATTRIBUTE_SIZE) {
		if (a->size > INT64_MAX)
			return -EINVAL;
		size += FIELD_HEADER_SIZE + 8;
	}
	if (a->present & ATTRIBUTE_MTIME) {
		if (a->mtime_nsec >= NSEC_PER_SEC)
			return -EINVAL;
		size += FIELD_HEADER_SIZE + 12;
	}
	if (a->present & ATTRIBUTE_MODE) {
		if (a->mode > 07777)
			return -EINVAL;
		size += FIELD_HEADER_SIZE + 2;
	}
	if (a->present & ATTRIBUTE_OWNER)
		size += FIELD_HEADER_SIZE + 8;
	if (a->present & ATTRIBUTE_FAT) {
		if (a->fat > 0xff)
			return -EINVAL;
		size += FIELD_HEADER_SIZE + 1;
	}
	if (a->present & ATTRIBUTE_RUN)
		size += FIELD_HEADER_SIZE + RUN_ID_SIZE;

	if (a->n_xattrs > ATTRIBUTES_XATTRS_MAX)
		return -EMSGSIZE;
	for (size_t i = 0; i < a->n_xattrs; i++) {
		const ExtendedAttribute *x = &a->xattrs[i];
		size_t n = strlen(x->name);

		if (!xattr_name_is_valid(x->name, n))
			return -EINVAL;
		if (x->size > ATTRIBUTES_XATTR_MAX)
			return -EMSGSIZE;
		xattr_bytes += n + x->size;
		if (xattr_bytes > ATTRIBUTES_XATTR_MAX)
			return -EMSGSIZE;
		size += FIELD_HEADER_SIZE + 1 + n + x->size;
	}
	*ret_size = size;
	return 0;
}

int attributes_encode(const Attributes *a, uint8_t **ret_bytes, size_t *ret_size)
{
	_cleanup_free_ const ExtendedAttribute **sorted = NULL;
	_cleanup_free_ uint8_t *bytes = NULL;
	uint8_t *p;
	size_t size;
	int r;

	r = check_values(a, &size);
	if (r < 0)
		return r;
	bytes = malloc(MAX(size, (size_t)1));
	sorted = new0(const ExtendedAttribute *, MAX(a->n_xattrs, (size_t)1));
	if (!bytes || !sorted)
		return -ENOMEM;
	for (size_t i = 0; i < a->n_xattrs; i++)
		sorted[i] = &a->xattrs[i];
	qsort(sorted, a->n_xattrs, sizeof(*sorted), compare_xattrs);

	p = bytes;
	if (a->present & ATTRIBUTE_PATH) {
		size_t n = strlen(a->path);

		p = put_field(p, TYPE_PATH | TYPE_CRITICAL, n);
		memcpy(p, a->path, n);
		p += n;
	}
	if (a->present & ATTRIBUTE_SIZE) {
		p = put_field(p, TYPE_SIZE | TYPE_CRITICAL, 8);
		put_le64(p, a->size);
		p += 8;
	}
	if (a->present & ATTRIBUTE_MTIME) {
		p = put_field(p, TYPE_MTIME, 12);
		put_le64(p, (uint64_t)a->mtime_sec);
		put_le32(p + 8, a->mtime_nsec);
		p += 12;
	}
	if (a->present & ATTRIBUTE_MODE) {
		p = put_field(p, TYPE_MODE, 2);
		put_le16(p, (uint16_t)a->mode);
		p += 2;
	}
	if (a->present & ATTRIBUTE_OWNER) {
		p = put_field(p, TYPE_OWNER, 8);
		put_le32(p, a->uid);
		put_le32(p + 4, a->gid);
		p += 8;
	}
	if (a->present & ATTRIBUTE_FAT) {
		p = put_field(p, TYPE_FAT, 1);
		*p++ = (uint8_t)a->fat;
	}
	if (a->present & ATTRIBUTE_RUN) {
		p = put_field(p, TYPE_RUN, RUN_ID_SIZE);
		memcpy(p, a->run, RUN_ID_SIZE);
		p += RUN_ID_SIZE;
	}
	for (size_t i = 0; i < a->n_xattrs; i++) {
		const ExtendedAttribute *x = sorted[i];
		size_t n = strlen(x->name);

		if (i > 0 && strcmp(sorted[i - 1]->name, x->name) == 0)
			return -EINVAL;
		p = put_field(p, TYPE_XATTR, 1 + n + x->size);
		*p++ = (uint8_t)n;
		memcpy(p, x->name, n);
		if (x->size > 0)
			memcpy(p + n, x->value, x->size);
		p += n + x->size;
	}
	*ret_bytes = TAKE_PTR(bytes);
	*ret_size = size;
	return 0;
}

static int decode_xattr(Attributes *a, const uint8_t *p, size_t n, size_t *capacity, size_t *bytes)
{
	ExtendedAttribute x = {};
	const char *name = (const char *)p + 1;
	size_t name_size;
	int r;

	if (n < 1 || n < 1 + (size_t)p[0])
		return -EBADMSG;
	name_size = p[0];
	*bytes += n - 1;
	if (!xattr_name_is_valid(name, name_size) || *bytes > ATTRIBUTES_XATTR_MAX ||
		a->n_xattrs == ATTRIBUTES_XATTRS_MAX)
		return -EBADMSG;
	r = array_grow(&a->xattrs, capacity, a->n_xattrs + 1, sizeof(x));
	if (r < 0)
		return r;
	x.name = strndup(name, name_size);
	x.size = n - 1 - name_size;
	x.value = malloc(MAX(x.size, (size_t)1));
	if (x.value)
		memcpy(x.value, p + 1 + name_size, x.size);
	a->xattrs[a->n_xattrs++] = x;
	if (!x.name || !x.value)
		return -ENOMEM;
	/* Ascending names: one form only, and no name twice. */
	if (a->n_xattrs > 1 && strcmp(a->xattrs[a->n_xattrs - 2].name, x.name) >= 0)
		return -EBADMSG;
	return 0;
}

static int decode_field(Attributes *a, unsigned number, const uint8_t *p, size_t n)
{
	switch (number) {
	case TYPE_PATH:
		if (!attributes_path_is_valid((const char *)p, n))
			return -EBADMSG;
		a->path = strndup((const char *)p, n);
		if (!a->path)
			return -ENOMEM;
		a->present |= ATTRIBUTE_PATH;
		return 0;
	case TYPE_SIZE:
		if (n != 8)
			return -EBADMSG;
		a->size = get_le64(p);
		a->present |= ATTRIBUTE_SIZE;
		return a->size > INT64_MAX ? -EBADMSG : 0;
	case TYPE_MTIME:
		if (n != 12)
			return -EBADMSG;
		a->mtime_sec = (int64_t)get_le64(p);
		a->mtime_nsec = get_le32(p + 8);
		a->present |= ATTRIBUTE_MTIME;
		return a->mtime_nsec >= NSEC_PER_SEC ? -EBADMSG : 0;
	case TYPE_MODE:
		if (n != 2)
			return -EBADMSG;
		a->mode = get_le16(p);
		a->present |= ATTRIBUTE_MODE;
		return a->mode > 07777 ? -EBADMSG : 0;
	case TYPE_OWNER:
		if (n != 8)
			return -EBADMSG;
		a->uid = get_le32(p);
		a->gid = get_le32(p + 4);
		a->present |= ATTRIBUTE_OWNER;
		return 0;
	case TYPE_FAT:
		if (n != 1)
			return -EBADMSG;
		a->fat = p[0];
		a->present |= ATTRIBUTE_FAT;
		return 0;
	case TYPE_RUN:
		if (n != RUN_ID_SIZE)
			return -EBADMSG;
		memcpy(a->run, p, RUN_ID_SIZE);
		a->present |= ATTRIBUTE_RUN;
		return 0;
	default:
		return -EOPNOTSUPP;
	}
}

int attributes_decode(const uint8_t *bytes, size_t size, Attributes **ret_attributes)
{
	_cleanup_attributes_ Attributes *a = NULL;
	size_t capacity = 0, xattr_bytes = 0;
	unsigned previous = 0;

	if (size > ATTRIBUTES_SIZE_MAX)
		return -EBADMSG;
	a = new0(Attributes, 1);
	if (!a)
		return -ENOMEM;
	for (size_t i = 0; i < size;) {
		unsigned type, number;
		size_t n;
		int r;

		if (size - i < FIELD_HEADER_SIZE)
			return -EBADMSG;
		type = get_le16(bytes + i);
		number = type & TYPE_NUMBER;
		n = get_le16(bytes + i + 2);
		i += FIELD_HEADER_SIZE;
		if (n > size - i)
			return -EBADMSG;
		/* Ascending types: one form only, and no field twice; extended attributes alone repeat. */
		if (number < previous || (number == previous && number != TYPE_XATTR))
			return -EBADMSG;
		previous = number;

		if (number == TYPE_XATTR)
			r = decode_xattr(a, bytes + i, n, &capacity, &xattr_bytes);
		else
			r = decode_field(a, number, bytes + i, n);
		if (r == -EOPNOTSUPP && !(type & TYPE_CRITICAL))
			r = 0;
		if (r < 0)
			return r;
		i += n;
	}
	*ret_attributes = TAKE_PTR(a);
	return 0;
}
