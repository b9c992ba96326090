/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "worker/result.h"

#include "util/escape.h"
#include "util/memory.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

Outcome outcome_from_error(int error)
{
	switch (-error) {
	case 0:
		return OUTCOME_DONE;
	case ENOMEM:
		return OUTCOME_NO_MEMORY;
	case EROFS:
		return OUTCOME_READ_ONLY;
	case ENODEV:
	case ENXIO:
	case ENOMEDIUM:
		return OUTCOME_DRIVE_GONE;
	case ENOSPC:
	case EDQUOT:
		return OUTCOME_NO_SPACE;
	case ECANCELED:
		return OUTCOME_CANCELLED;
	case EOPNOTSUPP:
		return OUTCOME_UNSUPPORTED;
	default:
		return OUTCOME_FAILED;
	}
}

static void result_describe(ResultRecord *result, const char *text)
{
	_cleanup_free_ char *escaped = NULL;

	/* "…" may follow the cut: three bytes. */
	escaped = escape_bytes(text, strlen(text), sizeof(result->message) - 8);
	(void)snprintf(result->message, sizeof(result->message), "%s", escaped ? escaped : "");
}

Outcome result_set(ResultRecord *result, Outcome outcome, const char *format, ...)
{
	char text[512];
	va_list ap;

	va_start(ap, format);
	(void)vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);

	result->outcome = (uint32_t)outcome;
	result->error = 0;
	result_describe(result, text);
	return outcome;
}

Outcome result_fail(ResultRecord *result, int error, const char *format, ...)
{
	char text[512];
	va_list ap;
	int n;

	va_start(ap, format);
	n = vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	if (n >= 0 && (size_t)n < sizeof(text))
		(void)snprintf(text + n, sizeof(text) - (size_t)n, ": %s", strerrordesc_np(-error));

	result->outcome = (uint32_t)outcome_from_error(error);
	result->error = -error;
	result_describe(result, text);
	return outcome_from_error(error);
}
