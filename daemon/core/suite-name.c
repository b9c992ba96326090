/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/suite-name.h"

#include <string.h>

static const char *const names[] = {"", "xchacha20-poly1305", "chacha20-poly1305", "aes-256-gcm"};

const char *suite_number_name(uint32_t number)
{
	return number < ELEMENTSOF(names) ? names[number] : "";
}

uint32_t suite_number_from_name(const char *name)
{
	for (uint32_t i = 1; i < ELEMENTSOF(names); i++)
		if (strcmp(names[i], name) == 0)
			return i;
	return 0;
}
