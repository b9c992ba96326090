/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "util/fd.h"

#include <errno.h>
#include <unistd.h>

int safe_close(int fd)
{
	if (fd >= 0) {
		int saved = errno;

		(void)close(fd); /* on Linux the descriptor is gone whatever close() says */
		errno = saved;
	}
	return -1;
}
