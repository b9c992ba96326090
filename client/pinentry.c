/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "pinentry.h"

#include "passphrase.h"
#include "util/fd.h"
#include "util/io.h"
#include "util/memory.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#define COMMANDS_MAX 8
#define BUFFER_SIZE  4096
#define END_WITHIN   1000 /* milliseconds after SIGTERM */

/* libgpg-error's codes, in the low 16 bits of Assuan's error number. */
#define GPG_ERR_TIMEOUT        62
#define GPG_ERR_CANCELED       99
#define GPG_ERR_NOT_CONFIRMED  114
#define GPG_ERR_FULLY_CANCELED 198

/* greeting -> OK -> command 0 -> OK or ERR -> command 1 … -> GETPIN -> D… -> OK, or ERR */
struct Pinentry {
	pid_t pid;
	int to, from;
	sd_event_source *source;
	char *commands[COMMANDS_MAX + 1]; /* the last one is GETPIN */
	size_t n_commands, next; /* commands[next - 1] is being answered; 0: the greeting is awaited */
	Secret *buffer;          /* what was read and is no whole line yet */
	size_t used;
	Secret *pin;
	size_t pin_size;
	PinentryAnswer answer;
	void *userdata;
	int tty_fd;
	struct termios tty;
	bool tty_saved;
};

/* Adds "WORD value", the value percent-escaped as Assuan wants it. Lines may have 1000 bytes. */
static int add_command(Pinentry *p, const char *word, const char *value)
{
	char line[1000];
	size_t used = (size_t)snprintf(line, sizeof(line), "%s", word);

	for (; value && *value && used + 5 < sizeof(line); value++) {
		if (*value == '%' || *value == '\n' || *value == '\r')
			used += (size_t)snprintf(line + used, 4, "%%%02X", (unsigned)(uint8_t)*value);
		else
			line[used++] = *value;
	}
	line[used++] = '\n';
	if (p->n_commands == COMMANDS_MAX + 1)
		return -E2BIG;
	p->commands[p->n_commands] = strndup(line, used);
	return p->commands[p->n_commands++] ? 0 : -ENOMEM;
}

/* A value of the environment, if it looks like what it should be. */
static const char *plain_environment(const char *name)
{
	const char *value = getenv(name);
	size_t length = value ? strlen(value) : 0;

	if (length == 0 || length > 100)
		return NULL;
	for (size_t i = 0; i < length; i++)
		if (!isalnum((unsigned char)value[i]) && !strchr("_-.@+", value[i]))
			return NULL;
	return value;
}

static int add_commands(Pinentry *p, const PinentryQuestion *q)
{
	static const char *const locales[] = {"LC_ALL", "LC_CTYPE", "LANG"};
	const char *term = plain_environment("TERM"), *locale = NULL;
	int r = 0;

	for (size_t i = 0; !locale && i < ELEMENTSOF(locales); i++)
		locale = plain_environment(locales[i]);
	if (q->ttyname)
		r = add_command(p, "OPTION ttyname=", q->ttyname);
	if (r >= 0 && q->ttyname)
		r = add_command(p, "OPTION ttytype=", term ? term : "vt100");
	if (r >= 0)
		r = add_command(p, "OPTION lc-ctype=", locale ? locale : "C.UTF-8");
	if (r >= 0)
		r = add_command(p, "SETTITLE ", q->title);
	if (r >= 0)
		r = add_command(p, "SETDESC ", q->description);
	if (r >= 0)
		r = add_command(p, "SETPROMPT ", q->prompt);
	if (r >= 0 && q->error)
		r = add_command(p, "SETERROR ", q->error);
	if (r >= 0)
		r = add_command(p, "GETPIN", NULL);
	return r;
}

static void finish(Pinentry *p, PinentryResult result, const char *problem)
{
	Secret *secret = NULL;

	p->source = sd_event_source_disable_unref(p->source);
	if (result == PINENTRY_GOT) {
		secret_truncate(p->pin, p->pin_size);
		secret = TAKE_PTR(p->pin);
	}
	p->answer(p, result, secret, problem, p->userdata); /* `p` may be gone now */
}

static int hex_value(uint8_t c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = (uint8_t)(c | 0x20);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* A "D " line: the passphrase, or a part of it. */
static int take_data(Pinentry *p, const uint8_t *bytes, size_t size)
{
	for (size_t i = 0; i < size; i++) {
		uint8_t byte = bytes[i];

		if (byte == '%' && i + 2 < size && hex_value(bytes[i + 1]) >= 0 &&
			hex_value(bytes[i + 2]) >= 0) {
			byte = (uint8_t)(hex_value(bytes[i + 1]) << 4 | hex_value(bytes[i + 2]));
			i += 2;
		}
		if (p->pin_size == PASSPHRASE_MAX)
			return -EMSGSIZE;
		secret_bytes(p->pin)[p->pin_size++] = byte;
	}
	return 0;
}

static void take_error(Pinentry *p, const uint8_t *line, size_t size)
{
	char text[200];
	unsigned long code;

	(void)snprintf(text, sizeof(text), "%.*s", (int)MIN(size, sizeof(text) - 1), (const char *)line);
	code = strtoul(text + MIN(strlen(text), (size_t)4), NULL, 10) & 0xffff;
	if (code == GPG_ERR_CANCELED || code == GPG_ERR_FULLY_CANCELED || code == GPG_ERR_NOT_CONFIRMED ||
		code == GPG_ERR_TIMEOUT)
		finish(p, PINENTRY_CANCELLED, "");
	else
		finish(p, PINENTRY_FAILED, text);
}

/* Whether a line begins with a word of the protocol. */
static bool begins(const uint8_t *line, size_t size, const char *word)
{
	size_t length = strlen(word);

	return size >= length && memcmp(line, word, length) == 0 && (size == length || line[length] == ' ');
}

/* Returns 1 when the answer was given, and `p` may be gone. */
static int take_line(Pinentry *p, const uint8_t *line, size_t size)
{
	bool asked = p->next == p->n_commands, ok = begins(line, size, "OK"),
	     error = begins(line, size, "ERR");

	if (asked && size >= 2 && line[0] == 'D' && line[1] == ' ') {
		if (take_data(p, line + 2, size - 2) < 0) {
			finish(p, PINENTRY_FAILED, "the passphrase is longer than 1024 bytes");
			return 1;
		}
		return 0;
	}
	if (!ok && !error)
		return 0; /* a status line or a comment */
	if (asked && error) {
		take_error(p, line, size);
		return 1;
	}
	if (asked) {
		finish(p, p->pin_size > 0 ? PINENTRY_GOT : PINENTRY_CANCELLED, "");
		return 1;
	}
	if (p->next == 0 && error) {
		take_error(p, line, size);
		return 1;
	}
	/* An option it does not know is no reason not to ask. */
	if (write_full(p->to, p->commands[p->next], strlen(p->commands[p->next])) < 0) {
		finish(p, PINENTRY_FAILED, "it ended before it asked");
		return 1;
	}
	p->next++;
	return 0;
}

static int take_lines(Pinentry *p)
{
	uint8_t *bytes = secret_bytes(p->buffer), *end;

	while ((end = memchr(bytes, '\n', p->used))) {
		size_t length = (size_t)(end - bytes), line = length;

		if (line > 0 && bytes[line - 1] == '\r')
			line--;
		if (take_line(p, bytes, line) > 0)
			return 1;
		p->used -= length + 1;
		memmove(bytes, end + 1, p->used);
		secret_wipe(bytes + p->used, length + 1);
	}
	return 0;
}

static int on_output(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
	Pinentry *p = userdata;
	ssize_t n;

	(void)source;
	(void)events;
	if (p->used == BUFFER_SIZE) {
		finish(p, PINENTRY_FAILED, "it does not speak Assuan");
		return 0;
	}
	n = read(fd, secret_bytes(p->buffer) + p->used, BUFFER_SIZE - p->used);
	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return 0;
	if (n <= 0) {
		finish(p, PINENTRY_FAILED,
			p->next == 0 ? "it could not be started; is it installed?"
				     : "it ended before it had an answer");
		return 0;
	}
	p->used += (size_t)n;
	(void)take_lines(p);
	return 0;
}

_noreturn_ static void run_program(const char *program, int in, int out, pid_t parent)
{
	sigset_t none;

	(void)prctl(PR_SET_PDEATHSIG, SIGTERM);
	(void)sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
	(void)signal(SIGPIPE, SIG_DFL);
	/* Neither end is 0 or 1: main() sees to it that those are taken. */
	if (getppid() == parent && dup2(in, STDIN_FILENO) >= 0 && dup2(out, STDOUT_FILENO) >= 0)
		(void)execlp(program, program, (char *)NULL);
	_exit(127);
}

static int start(Pinentry *p, const char *program)
{
	_cleanup_close_ int child_in = -1, child_out = -1;
	pid_t self = getpid();
	int ends[2];

	if (pipe2(ends, O_CLOEXEC) < 0)
		return -errno;
	child_in = ends[0];
	p->to = ends[1];
	if (pipe2(ends, O_CLOEXEC) < 0)
		return -errno;
	p->from = ends[0];
	child_out = ends[1];
	p->pid = fork();
	if (p->pid < 0)
		return -errno;
	if (p->pid == 0)
		run_program(program, child_in, child_out, self);
	return 0;
}

/* A prompt that is taken away while it is drawn leaves its terminal raw. */
static void save_terminal(Pinentry *p, const char *ttyname)
{
	if (!ttyname)
		return;
	p->tty_fd = open(ttyname, O_RDWR | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	p->tty_saved = p->tty_fd >= 0 && tcgetattr(p->tty_fd, &p->tty) >= 0;
}

static void restore_terminal(const Pinentry *p)
{
	static const char leave[] =
		"\033[?1049l\033[?25h\033[m\r\n"; /* the screen before, cursor, no colours */
	const struct termios *before = &p->tty;
	struct termios now;

	if (!p->tty_saved || tcgetattr(p->tty_fd, &now) < 0 ||
		(now.c_lflag == before->c_lflag && now.c_iflag == before->c_iflag))
		return;
	(void)tcsetattr(p->tty_fd, TCSAFLUSH, before);
	(void)write_full(p->tty_fd, leave, sizeof(leave) - 1);
}

int pinentry_ask(sd_event *event, const PinentryQuestion *question, PinentryAnswer answer, void *userdata,
	Pinentry **ret)
{
	Pinentry *p = new0(Pinentry, 1);
	int r;

	if (!p)
		return -ENOMEM;
	p->to = p->from = p->tty_fd = -1;
	p->answer = answer;
	p->userdata = userdata;
	r = secret_new(BUFFER_SIZE, &p->buffer);
	if (r >= 0)
		r = secret_new(PASSPHRASE_MAX, &p->pin);
	if (r >= 0)
		r = add_commands(p, question);
	if (r >= 0) {
		save_terminal(p, question->ttyname);
		r = start(p, question->program);
	}
	if (r >= 0)
		r = sd_event_add_io(event, &p->source, p->from, EPOLLIN, on_output, p);
	if (r < 0) {
		pinentry_free(p);
		return r;
	}
	*ret = p;
	return 0;
}

/* It ends by itself when its input does; a prompt that is open needs a signal. */
static void end_program(const Pinentry *p)
{
	_cleanup_close_ int pidfd = pidfd_open(p->pid, 0);
	struct pollfd poll_fd = {.fd = pidfd, .events = POLLIN};
	bool asking = p->next == p->n_commands && p->source;

	if (asking)
		(void)kill(p->pid, SIGTERM);
	if (pidfd < 0 || poll(&poll_fd, 1, END_WITHIN) <= 0)
		(void)kill(p->pid, SIGKILL);
	while (waitpid(p->pid, NULL, 0) < 0 && errno == EINTR)
		;
}

Pinentry *pinentry_free(Pinentry *p)
{
	if (!p)
		return NULL;
	p->to = safe_close(p->to);
	p->from = safe_close(p->from);
	if (p->pid > 0) {
		end_program(p);
		restore_terminal(p);
	}
	sd_event_source_disable_unref(p->source);
	for (size_t i = 0; i < p->n_commands; i++)
		free(p->commands[i]);
	secret_free(p->buffer);
	secret_free(p->pin);
	(void)safe_close(p->tty_fd);
	free(p);
	return NULL;
}
