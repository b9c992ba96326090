/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "util/log.h"

#include "util/io.h"

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *log_name;
static LogLevel log_max = LOG_LEVEL_INFO;
static bool log_prefixed;

void log_setup(const char *name, LogLevel max)
{
	log_name = name;
	log_max = max;
	log_prefixed = getenv("JOURNAL_STREAM") != NULL;
}

void log_message(LogLevel level, const char *format, ...)
{
	char line[2048];
	int saved = errno;
	size_t used = 0;
	va_list ap;
	int n;

	if (level > log_max)
		return;

	if (log_prefixed)
		used += (size_t)snprintf(line, sizeof(line), "<%d>", (int)level);
	else if (log_name)
		used += (size_t)snprintf(line, sizeof(line), "%s: ", log_name);

	va_start(ap, format);
	n = vsnprintf(line + used, sizeof(line) - used - 1, format, ap);
	va_end(ap);
	if (n < 0) {
		errno = saved;
		return;
	}
	used = MIN(used + (size_t)n, sizeof(line) - 2);

	for (size_t i = 0; i < used; i++)
		if ((unsigned char)line[i] < ' ' || line[i] == 0x7f)
			line[i] = '?';
	line[used++] = '\n';
	(void)write_full(STDERR_FILENO, line, used);
	errno = saved;
}
