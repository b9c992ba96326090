/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "util/memory.h"

#include <errno.h>

int array_grow(void *array, size_t *capacity, size_t need, size_t size)
{
	void *old, *grown;
	size_t wanted;

	if (need <= *capacity)
		return 0;
	if (need > SIZE_MAX / 2 / size)
		return -ENOMEM;

	wanted = MAX(need, MAX(*capacity * 2, (size_t)8));
	memcpy(&old, array, sizeof(old));
	grown = reallocarray(old, wanted, size);
	if (!grown)
		return -ENOMEM;
	memcpy(array, &grown, sizeof(grown));
	*capacity = wanted;
	return 0;
}
