/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "engine/passphrase.h"

#include "util/escape.h"

#include <errno.h>
#include <string.h>
#include <utf8proc.h>

/* Canonical decomposition makes at most three code points of two bytes (U+01D5), and NFC at most three bytes
 * of one: these hold whatever PASSPHRASE_SIZE_MAX bytes become. */
#define CODE_POINTS_MAX (PASSPHRASE_SIZE_MAX * 3 / 2)
#define NFC_SIZE_MAX    (PASSPHRASE_SIZE_MAX * 3)

_Static_assert(CODE_POINTS_MAX * sizeof(utf8proc_int32_t) <= SECRET_SIZE_MAX, "code points fit a secret");
_Static_assert(NFC_SIZE_MAX + 4 <= SECRET_SIZE_MAX, "what is normalised fits a secret");

/* utf8proc_NFC() would allocate: these take buffers, and theirs are Secrets. */
static int normalize_utf8(const uint8_t *bytes, size_t size, Secret **ret_normal)
{
	const utf8proc_option_t options = UTF8PROC_STABLE | UTF8PROC_COMPOSE;
	_cleanup_secret_ Secret *points = NULL, *normal = NULL;
	utf8proc_int32_t *buffer;
	utf8proc_ssize_t n;
	size_t used = 0;
	uint8_t *out;
	int r;

	r = secret_new(CODE_POINTS_MAX * sizeof(*buffer), &points);
	if (r < 0)
		return r;
	r = secret_new(NFC_SIZE_MAX + 4, &normal);
	if (r < 0)
		return r;
	buffer = (utf8proc_int32_t *)(void *)secret_bytes(points);
	out = secret_bytes(normal);

	n = utf8proc_decompose_custom(
		bytes, (utf8proc_ssize_t)size, buffer, CODE_POINTS_MAX, options, NULL, NULL);
	if (n < 0 || n > CODE_POINTS_MAX)
		return -EILSEQ;
	n = utf8proc_normalize_utf32(buffer, n, options);
	if (n < 0)
		return -EILSEQ;
	for (utf8proc_ssize_t i = 0; i < n; i++) {
		if (used > NFC_SIZE_MAX)
			return -EMSGSIZE;
		used += (size_t)utf8proc_encode_char(buffer[i], out + used);
	}
	if (used == 0)
		return -EINVAL;
	secret_truncate(normal, used);
	*ret_normal = TAKE_PTR(normal);
	return 0;
}

int passphrase_normalize(Secret **passphrase)
{
	_cleanup_secret_ Secret *normal = NULL;
	const uint8_t *bytes = secret_view(*passphrase);
	size_t size = secret_size(*passphrase);
	int r;

	if (size > 0 && bytes[size - 1] == '\n')
		size--;
	if (size == 0)
		return -EINVAL;
	if (size > PASSPHRASE_SIZE_MAX)
		return -EMSGSIZE;
	if (utf8_is_valid((const char *)bytes, size)) {
		r = normalize_utf8(bytes, size, &normal);
		if (r < 0)
			return r;
		secret_free(*passphrase);
		*passphrase = TAKE_PTR(normal);
	} else {
		secret_truncate(*passphrase, size);
	}
	return 0;
}
