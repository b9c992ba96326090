/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Ordinary (not secret) heap memory. Secrets live in util/secret.h. */

#include "util/macro.h"

#include <stdlib.h>
#include <string.h>

/* Frees and returns NULL, so that `p = mfree(p)` reads well. */
static inline void *mfree(void *p)
{
	free(p);
	return NULL;
}

static inline void freep(void *p)
{
	void *taken;

	memcpy(&taken, p, sizeof(taken));
	free(taken);
}

#define _cleanup_free_ _cleanup_(freep)

#define new0(type, n) ((type *)calloc((n), sizeof(type)))

/* Makes room for at least `need` elements of `size` bytes in *array, growing geometrically.
 * *capacity is in elements. Returns 0, or -ENOMEM with the array as it was. */
int array_grow(void *array, size_t *capacity, size_t need, size_t size);
