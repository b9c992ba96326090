/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "worker/passphrase-pipe.h"

#include "engine/passphrase.h"
#include "util/memory.h"
#include "worker/result.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <time.h>
#include <unistd.h>

#define DEADLINE_SECONDS 5
#define SIZE_READ_MAX    (PASSPHRASE_SIZE_MAX + 2) /* a newline, and one byte that shows it to be too long */

static int64_t milliseconds_left(const struct timespec *deadline)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (deadline->tv_sec - now.tv_sec) * 1000 + (deadline->tv_nsec - now.tv_nsec) / 1000000;
}

/* The number of bytes up to the end of the pipe, SIZE_READ_MAX at most; -ETIMEDOUT, -ECANCELED. */
static ssize_t read_to_end(int fd, Control *control, uint8_t *buffer)
{
	struct timespec deadline;
	size_t size = 0;

	(void)clock_gettime(CLOCK_MONOTONIC, &deadline);
	deadline.tv_sec += DEADLINE_SECONDS;

	while (size < SIZE_READ_MAX) {
		struct pollfd p[] = {
			{.fd = fd, .events = POLLIN},
			{.fd = control_fd(control), .events = POLLIN},
		};
		int64_t left = milliseconds_left(&deadline);
		ssize_t n;

		if (left <= 0)
			return -ETIMEDOUT;
		if (poll(p, ELEMENTSOF(p), (int)left) < 0) {
			if (errno == EINTR)
				continue;
			return -errno;
		}
		if (p[1].revents && control_cancelled(control))
			return -ECANCELED;
		if (!p[0].revents)
			continue;
		n = read(fd, buffer + size, SIZE_READ_MAX - size);
		if (n == 0)
			break;
		if (n < 0 && errno != EAGAIN && errno != EINTR)
			return -errno;
		if (n > 0)
			size += (size_t)n;
	}
	return (ssize_t)size;
}

Outcome passphrase_pipe_read(int fd, Control *control, Secret **ret_passphrase, ResultRecord *result)
{
	_cleanup_secret_ Secret *passphrase = NULL;
	int flags, r;
	ssize_t n;

	/* What it is is asked of fcntl(), which never waits; fstat() may, when it is another filesystem's. */
	flags = fcntl(fd, F_GETFL);
	if (fcntl(fd, F_GETPIPE_SZ) < 0 || flags < 0 || (flags & O_ACCMODE) == O_WRONLY)
		return result_set(
			result, OUTCOME_INVALID_ARGUMENT, "the passphrase has to come through a pipe");
	if (fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
		return result_fail(result, -errno, "cannot prepare the pipe");
	r = secret_new(SIZE_READ_MAX, &passphrase);
	if (r < 0)
		return result_set(result, OUTCOME_NO_MEMORY, "cannot lock memory for the passphrase");

	/* The client shares the pipe's flags and may take O_NONBLOCK away again between poll() and read():
	 * then the kernel ends this process. */
	(void)alarm(2 * DEADLINE_SECONDS);
	n = read_to_end(fd, control, secret_bytes(passphrase));
	(void)alarm(0);
	if (n == -ETIMEDOUT)
		return result_set(result, OUTCOME_TIMED_OUT, "the passphrase did not end in time");
	if (n == -ECANCELED)
		return result_set(result, OUTCOME_CANCELLED, "%s", "");
	if (n < 0)
		return result_fail(result, (int)n, "cannot read the passphrase");
	if (n == 0)
		return result_set(result, OUTCOME_INVALID_ARGUMENT, "the passphrase is empty");

	secret_truncate(passphrase, (size_t)n);
	r = passphrase_normalize(&passphrase);
	if (r == -EMSGSIZE)
		return result_set(result, OUTCOME_INVALID_ARGUMENT, "the passphrase is longer than %d bytes",
			PASSPHRASE_SIZE_MAX);
	if (r == -EINVAL)
		return result_set(result, OUTCOME_INVALID_ARGUMENT, "the passphrase is empty");
	if (r == -ENOMEM || r == -EPERM)
		return result_set(result, OUTCOME_NO_MEMORY, "cannot lock memory for the passphrase");
	if (r < 0)
		return result_fail(result, r, "cannot normalise the passphrase");
	*ret_passphrase = TAKE_PTR(passphrase);
	return OUTCOME_DONE;
}
