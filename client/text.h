/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Text for people: what is fit for a terminal, sizes, times, columns. usbctl speaks UTF-8 whatever the
 * locale. */

#include "util/macro.h"

#include <stdarg.h>
#include <stdbool.h>

/* What the daemon has escaped for display already, with anything a terminal should not see escaped again, and
 * backslashes as they are. NULL when out of memory. */
char *text_safe(const char *text);

/* A path for a terminal: escaped, at most `max` bytes (0: all). */
char *text_path(const char *path, size_t max);

/* As vasprintf() makes it; NULL: out of memory. */
char *text_format(const char *format, va_list ap) _printf_(1, 0);

bool text_ends_sentence(const char *text);

#define TEXT_SHORT_SIZE 48

/* "1.5 GiB", "12,345", "1:02:03" or "0:42", "2026-01-31 14:05" (local time; "14:05" when it is today). */
const char *text_bytes(uint64_t bytes, char buffer[TEXT_SHORT_SIZE]);
const char *text_number(uint64_t number, char buffer[TEXT_SHORT_SIZE]);
const char *text_duration(uint64_t seconds, char buffer[TEXT_SHORT_SIZE]);
const char *text_time(uint64_t realtime_usec, char buffer[TEXT_SHORT_SIZE]);

/* "1 file", "2,000 files" */
const char *text_count(uint64_t number, const char *one, const char *many, char buffer[TEXT_SHORT_SIZE]);

/* Columns a terminal needs for it. */
size_t text_width(const char *text);

/* Prints `text` wrapped at `width` columns, each line indented; "\n" stays. */
void text_wrap(const char *text, unsigned indent, unsigned width);

/* A table: cells as strings for the caller to free (text_table_free). Columns are as wide as needed. */
typedef struct TextTable {
	char **cells;
	size_t n_cells, capacity;
	size_t columns;
} TextTable;

/* Copies the cell. -ENOMEM. */
int text_table_add(TextTable *table, const char *cell);
void text_table_print(const TextTable *table);
void text_table_clear(TextTable *table);
