/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "util/escape.h"

#include "util/memory.h"

#include <stdio.h>

static const char ELLIPSIS[] = "\xe2\x80\xa6";

/* Decodes one character. Returns its length in bytes, or 0 when the bytes are not well-formed. */
static size_t utf8_decode(const char *bytes, size_t size, uint32_t *ret_character)
{
	const uint8_t *b = (const uint8_t *)bytes;
	static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
	uint32_t c;
	size_t n;

	if (b[0] < 0x80) {
		*ret_character = b[0];
		return 1;
	}
	if ((b[0] & 0xe0) == 0xc0) {
		n = 2;
		c = b[0] & 0x1fU;
	} else if ((b[0] & 0xf0) == 0xe0) {
		n = 3;
		c = b[0] & 0x0fU;
	} else if ((b[0] & 0xf8) == 0xf0) {
		n = 4;
		c = b[0] & 0x07U;
	} else {
		return 0;
	}
	if (n > size)
		return 0;
	for (size_t i = 1; i < n; i++) {
		if ((b[i] & 0xc0) != 0x80)
			return 0;
		c = c << 6 | (b[i] & 0x3fU);
	}
	if (c < least[n] || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff))
		return 0;
	*ret_character = c;
	return n;
}

bool utf8_is_valid(const char *bytes, size_t size)
{
	uint32_t c;

	for (size_t i = 0; i < size;) {
		size_t n = utf8_decode(bytes + i, size - i, &c);

		if (n == 0)
			return false;
		i += n;
	}
	return true;
}

/* Characters that are not seen, or that change how others are seen. */
static bool is_printable(uint32_t c)
{
	if (c < 0x20 || (c >= 0x7f && c < 0xa0) || c == '\\')
		return false;
	if (c == 0x00ad || c == 0x061c || c == 0x180e || c == 0xfeff)
		return false;
	if ((c >= 0x200b && c <= 0x200f) || (c >= 0x2028 && c <= 0x202e) || (c >= 0x2060 && c <= 0x206f))
		return false;
	if ((c >= 0xfff9 && c <= 0xfffb) || (c >= 0xe0000 && c <= 0xe0fff))
		return false;
	return true;
}

char *escape_bytes(const char *bytes, size_t size, size_t max)
{
	char *text = malloc(size * 4 + sizeof(ELLIPSIS));
	size_t used = 0;

	if (!text)
		return NULL;
	for (size_t i = 0; i < size;) {
		uint32_t c = 0;
		size_t n = utf8_decode(bytes + i, size - i, &c);
		bool keep = n > 0 && is_printable(c);
		size_t step = n > 0 ? n : 1, need = keep ? step : 4 * step;

		if (max > 0 && used + need > max) {
			memcpy(text + used, ELLIPSIS, sizeof(ELLIPSIS) - 1);
			used += sizeof(ELLIPSIS) - 1;
			break;
		}
		if (keep)
			memcpy(text + used, bytes + i, step);
		else
			for (size_t k = 0; k < step; k++)
				(void)snprintf(
					text + used + 4 * k, 5, "\\x%02x", (unsigned)(uint8_t)bytes[i + k]);
		used += need;
		i += step;
	}
	text[used] = 0;
	return text;
}

char *escape_string(const char *text)
{
	return escape_bytes(text, strlen(text), 0);
}
