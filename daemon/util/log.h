/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Logging to standard error. Under systemd each line carries the "<N>" priority that journald understands; on
 * a terminal it does not. Errors are returned by functions and logged once, at the top. What comes from a
 * drive or a client is escaped first (util/escape.h); secrets are never logged.
 */

#include "util/macro.h"

typedef enum LogLevel {
	LOG_LEVEL_ERROR = 3,
	LOG_LEVEL_WARNING = 4,
	LOG_LEVEL_NOTICE = 5,
	LOG_LEVEL_INFO = 6,
	LOG_LEVEL_DEBUG = 7,
} LogLevel;

/* Levels above `max` are dropped; `name` stands before each line. Default: LOG_LEVEL_INFO, no name. */
void log_setup(const char *name, LogLevel max);

/* One line; control characters in it are replaced, so that one call is always one line. */
void log_message(LogLevel level, const char *format, ...) _printf_(2, 3);

#define log_error(...)   log_message(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warning(...) log_message(LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_notice(...)  log_message(LOG_LEVEL_NOTICE, __VA_ARGS__)
#define log_info(...)    log_message(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...)   log_message(LOG_LEVEL_DEBUG, __VA_ARGS__)
