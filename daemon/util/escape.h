/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Making hostile bytes (names, labels) fit for logs, terminals, JSON and polkit's messages. */

#include "util/macro.h"

#include <stdbool.h>

/* True when `bytes` is well-formed UTF-8 (no overlong forms, no surrogates, nothing past U+10FFFF). */
bool utf8_is_valid(const char *bytes, size_t size);

/* A printable form of any bytes: well-formed, printable UTF-8 stays; control characters, bidi and other
 * invisible formatting marks, line separators, backslashes and malformed bytes become \xNN byte by byte. It
 * can be undone and is itself plain UTF-8. At most `max` bytes are written (0: no limit), a cut shown by "…".
 * Returns a string for the caller to free, or NULL when out of memory. */
char *escape_bytes(const char *bytes, size_t size, size_t max);

/* escape_bytes() of a C string, without a limit. */
char *escape_string(const char *text);
