/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "util/io.h"

#include "util/fd.h"
#include "util/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

ssize_t read_full(int fd, void *buffer, size_t size)
{
	size_t done = 0;

	while (done < size) {
		ssize_t n = read(fd, (uint8_t *)buffer + done, size - done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		done += (size_t)n;
	}
	return (ssize_t)done;
}

int write_full(int fd, const void *buffer, size_t size)
{
	size_t done = 0;

	while (done < size) {
		ssize_t n = write(fd, (const uint8_t *)buffer + done, size - done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return -EIO;
		done += (size_t)n;
	}
	return 0;
}

int read_host_file(int dir_fd, const char *path, size_t max, char **ret_text, size_t *ret_size)
{
	_cleanup_close_ int fd = -1;
	_cleanup_free_ char *text = NULL;
	ssize_t n;

	fd = openat(dir_fd, path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	if (fd < 0)
		return -errno;
	text = malloc(max + 2);
	if (!text)
		return -ENOMEM;
	n = read_full(fd, text, max + 1);
	if (n < 0)
		return (int)n;
	if ((size_t)n > max)
		return -EFBIG;
	text[n] = 0;
	*ret_text = TAKE_PTR(text);
	if (ret_size)
		*ret_size = (size_t)n;
	return 0;
}
