/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "terminal.h"

#include "util/io.h"
#include "util/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#define COLUMNS_MIN 12 /* less than that holds no progress */

static const int SIGNALS[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP, SIGTTIN, SIGTTOU};

static volatile sig_atomic_t caught;

static void on_signal(int number)
{
	caught = number;
}

int terminal_open(void)
{
	int fd = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);

	return fd < 0 ? -ENXIO : fd;
}

/* Waits for a line or a signal. 1: readable, 0: a signal was caught. */
static int wait_for_line(int fd, const sigset_t *unblocked)
{
	struct pollfd poll = {.fd = fd, .events = POLLIN};

	for (;;) {
		int n = ppoll(&poll, 1, NULL, unblocked);

		if (caught)
			return 0;
		if (n > 0)
			return 1;
		if (n < 0 && errno != EINTR)
			return -errno;
	}
}

/* Reads up to the newline. 1: a line, 0: a signal came. */
static int read_line(int fd, uint8_t *bytes, size_t max, size_t *ret_size, const sigset_t *unblocked)
{
	size_t used = 0;
	bool too_long = false;

	for (;;) {
		uint8_t byte;
		ssize_t n;
		int r;

		r = wait_for_line(fd, unblocked);
		if (r <= 0)
			return r;
		n = read(fd, &byte, 1);
		if (n < 0 && (errno == EINTR || errno == EAGAIN))
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return -ECANCELED;
		if (byte == '\n' || byte == '\r')
			break;
		if (used == max)
			too_long = true;
		else
			bytes[used++] = byte;
		secret_wipe(&byte, 1);
	}
	if (too_long)
		return -EMSGSIZE;
	*ret_size = used;
	return 1;
}

static int ask_once(
	int fd, const char *prompt, uint8_t *bytes, size_t max, size_t *ret_size, const sigset_t *unblocked)
{
	struct termios before, quiet;
	int r;

	if (tcgetattr(fd, &before) < 0)
		return -errno;
	quiet = before;
	quiet.c_lflag &= ~(tcflag_t)(ECHO | ECHOE | ECHOK | ECHONL);
	quiet.c_lflag |= ICANON | ISIG;
	if (tcsetattr(fd, TCSAFLUSH, &quiet) < 0)
		return -errno;
	(void)write_full(fd, prompt, strlen(prompt));
	r = read_line(fd, bytes, max, ret_size, unblocked);
	(void)write_full(fd, "\n", 1);
	(void)tcsetattr(fd, TCSAFLUSH, &before);
	return r;
}

int terminal_ask_secret(int fd, const char *prompt, size_t max, Secret **ret_secret)
{
	struct sigaction action = {.sa_handler = on_signal}, before[ELEMENTSOF(SIGNALS)];
	_cleanup_secret_ Secret *secret = NULL;
	sigset_t block, unblocked;
	size_t size = 0;
	int r;

	r = secret_new(max, &secret);
	if (r < 0)
		return r;
	sigemptyset(&block);
	for (size_t i = 0; i < ELEMENTSOF(SIGNALS); i++)
		sigaddset(&block, SIGNALS[i]);

	/* Signals are let in only while waiting; the terminal is put back before one takes its course, and
	 * asked again if that was a stop. */
	do {
		int number;

		caught = 0;
		sigprocmask(SIG_BLOCK, &block, &unblocked);
		for (size_t i = 0; i < ELEMENTSOF(SIGNALS); i++)
			sigaction(SIGNALS[i], &action, &before[i]);
		r = ask_once(fd, prompt, secret_bytes(secret), max, &size, &unblocked);
		number = caught;
		for (size_t i = 0; i < ELEMENTSOF(SIGNALS); i++)
			sigaction(SIGNALS[i], &before[i], NULL);
		sigprocmask(SIG_SETMASK, &unblocked, NULL);
		if (r == 0)
			(void)raise(number);
	} while (r == 0);
	if (r < 0)
		return r;
	if (size == 0) {
		*ret_secret = NULL;
		return 0;
	}
	secret_truncate(secret, size);
	*ret_secret = TAKE_PTR(secret);
	return 0;
}

int terminal_ask(int fd, const char *prompt, char *answer, size_t size)
{
	size_t used = 0;
	int r;

	r = write_full(fd, prompt, strlen(prompt));
	if (r < 0)
		return r;
	for (;;) {
		char byte;
		ssize_t n = read(fd, &byte, 1);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return -ECANCELED;
		if (byte == '\n')
			break;
		if (used + 1 < size)
			answer[used++] = byte;
	}
	answer[used] = 0;
	return 0;
}

unsigned terminal_columns(int fd)
{
	struct winsize size;

	if (ioctl(fd, TIOCGWINSZ, &size) < 0 || size.ws_col == 0)
		return 80;
	return size.ws_col;
}

bool terminal_can_redraw(int fd)
{
	const char *term = getenv("TERM");

	return isatty(fd) && term && *term && strcmp(term, "dumb") != 0 &&
	       terminal_columns(fd) >= COLUMNS_MIN;
}
