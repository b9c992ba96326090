/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "text.h"

#include "util/escape.h"
#include "util/memory.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <time.h>
#include <wchar.h>

char *text_safe(const char *text)
{
	_cleanup_free_ char *safe = malloc(strlen(text) * 4 + 4);
	size_t used = 0;

	if (!safe)
		return NULL;
	for (;;) {
		const char *backslash = strchrnul(text, '\\');
		_cleanup_free_ char *part = escape_bytes(text, (size_t)(backslash - text), 0);
		size_t length;

		if (!part)
			return NULL;
		length = strlen(part);
		memcpy(safe + used, part, length);
		used += length;
		if (!*backslash)
			break;
		safe[used++] = '\\';
		text = backslash + 1;
	}
	safe[used] = 0;
	return TAKE_PTR(safe);
}

char *text_path(const char *path, size_t max)
{
	return escape_bytes(path, strlen(path), max);
}

char *text_format(const char *format, va_list ap)
{
	char *text;

	return vasprintf(&text, format, ap) < 0 ? NULL : text;
}

bool text_ends_sentence(const char *text)
{
	size_t length = strlen(text);

	return length > 0 && strchr(".!?", text[length - 1]);
}

const char *text_bytes(uint64_t bytes, char buffer[TEXT_SHORT_SIZE])
{
	static const char *const units[] = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
	double value = (double)bytes / 1024;
	size_t unit = 0;

	if (bytes < 1024) {
		(void)snprintf(buffer, TEXT_SHORT_SIZE, "%" PRIu64 " B", bytes);
		return buffer;
	}
	while (value >= 1023.95 && unit + 1 < ELEMENTSOF(units)) {
		value /= 1024;
		unit++;
	}
	(void)snprintf(buffer, TEXT_SHORT_SIZE, "%.1f %s", value, units[unit]);
	return buffer;
}

const char *text_number(uint64_t number, char buffer[TEXT_SHORT_SIZE])
{
	char digits[24];
	int n = snprintf(digits, sizeof(digits), "%" PRIu64, number);
	size_t used = 0;

	for (int i = 0; i < n; i++) {
		if (i > 0 && (n - i) % 3 == 0)
			buffer[used++] = ',';
		buffer[used++] = digits[i];
	}
	buffer[used] = 0;
	return buffer;
}

const char *text_duration(uint64_t seconds, char buffer[TEXT_SHORT_SIZE])
{
	if (seconds >= 3600)
		(void)snprintf(buffer, TEXT_SHORT_SIZE, "%" PRIu64 ":%02u:%02u", seconds / 3600,
			(unsigned)(seconds / 60 % 60), (unsigned)(seconds % 60));
	else
		(void)snprintf(buffer, TEXT_SHORT_SIZE, "%u:%02u", (unsigned)(seconds / 60),
			(unsigned)(seconds % 60));
	return buffer;
}

const char *text_time(uint64_t realtime_usec, char buffer[TEXT_SHORT_SIZE])
{
	time_t now = time(NULL), then = (time_t)(realtime_usec / USEC_PER_SEC);
	struct tm today, day;

	if (!localtime_r(&now, &today) || !localtime_r(&then, &day)) {
		(void)snprintf(buffer, TEXT_SHORT_SIZE, "?");
		return buffer;
	}
	if (today.tm_year == day.tm_year && today.tm_yday == day.tm_yday)
		(void)strftime(buffer, TEXT_SHORT_SIZE, "%H:%M:%S", &day);
	else
		(void)strftime(buffer, TEXT_SHORT_SIZE, "%Y-%m-%d %H:%M", &day);
	return buffer;
}

const char *text_count(uint64_t number, const char *one, const char *many, char buffer[TEXT_SHORT_SIZE])
{
	char digits[TEXT_SHORT_SIZE];

	(void)snprintf(buffer, TEXT_SHORT_SIZE, "%.27s %.19s", text_number(number, digits),
		number == 1 ? one : many);
	return buffer;
}

size_t text_width(const char *text)
{
	size_t width = 0, length = strlen(text);
	mbstate_t state = {0};

	while (length > 0) {
		wchar_t c;
		size_t n = mbrtowc(&c, text, length, &state);
		int columns;

		if (n == 0 || n > length) { /* not the locale's: count the byte */
			width++;
			text++;
			length--;
			memset(&state, 0, sizeof(state));
			continue;
		}
		columns = wcwidth(c);
		width += columns > 0 ? (size_t)columns : 0;
		text += n;
		length -= n;
	}
	return width;
}

void text_wrap(const char *text, unsigned indent, unsigned width)
{
	unsigned column = 0;

	while (*text) {
		size_t length = strcspn(text, " \n");

		if (column > indent && column + 1 + length > width) {
			(void)fputc('\n', stdout);
			column = 0;
		}
		if (length > 0) {
			column += (unsigned)printf(
				"%*s%.*s", column == 0 ? (int)indent : 1, "", (int)length, text);
			text += length;
		}
		if (*text == '\n') {
			(void)fputc('\n', stdout);
			column = 0;
		}
		if (*text)
			text++;
	}
	if (column > 0)
		(void)fputc('\n', stdout);
}

int text_table_add(TextTable *table, const char *cell)
{
	char *copy;
	int r;

	r = array_grow(&table->cells, &table->capacity, table->n_cells + 1, sizeof(char *));
	if (r < 0)
		return r;
	copy = strdup(cell);
	if (!copy)
		return -ENOMEM;
	table->cells[table->n_cells++] = copy;
	return 0;
}

void text_table_print(const TextTable *table)
{
	for (size_t i = 0; i < table->n_cells; i++) {
		size_t column = i % table->columns, width = 0, own = text_width(table->cells[i]);

		(void)fputs(table->cells[i], stdout);
		if (column + 1 == table->columns) {
			(void)fputc('\n', stdout);
			continue;
		}
		for (size_t k = column; k < table->n_cells; k += table->columns)
			width = MAX(width, text_width(table->cells[k]));
		(void)printf("%*s", (int)(width - own + 2), "");
	}
}

void text_table_clear(TextTable *table)
{
	for (size_t i = 0; i < table->n_cells; i++)
		free(table->cells[i]);
	table->cells = mfree(table->cells);
	table->n_cells = table->capacity = 0;
}
