/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "passphrase.h"

#include "polkit-agent.h"
#include "terminal.h"
#include "util/fd.h"
#include "util/io.h"
#include "util/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <unistd.h>

#define ATTEMPTS_TO_MATCH 3

static ExitCode fail_secret(const Client *client, int error)
{
	if (error == -EPERM || error == -ENOMEM)
		return client_fail(client, CODE_FAILED, outcome_name(OUTCOME_FAILED),
			"No memory can be locked for the passphrase. Raise the limit ('ulimit -l') and try "
			"again.");
	return client_fail_errno(client, error, "The passphrase could not be read", NULL);
}

static ExitCode fail_size(const Client *client, int error)
{
	return client_fail(client, CODE_USAGE, "Usage", "%s",
		error == -EMSGSIZE ? "The passphrase is longer than 1024 bytes."
				   : "The passphrase is empty.");
}

static ExitCode fail_ask(const Client *client, int error)
{
	if (error == -ECANCELED)
		return client_fail(client, CODE_CANCELLED, outcome_name(OUTCOME_CANCELLED), "Cancelled.");
	if (error == -EMSGSIZE)
		return fail_size(client, error);
	return fail_secret(client, error);
}

static ExitCode read_from(const Client *client, int fd, Secret **ret_secret)
{
	_cleanup_secret_ Secret *secret = NULL;
	size_t size;
	ssize_t n;
	int r;

	r = secret_new(PASSPHRASE_MAX + 2, &secret);
	if (r < 0)
		return fail_secret(client, r);
	n = read_full(fd, secret_bytes(secret), PASSPHRASE_MAX + 2);
	if (n < 0)
		return client_fail_errno(client, (int)n, "The passphrase could not be read",
			"Is the descriptor or file the right one, and open for reading?");
	size = (size_t)n;
	/* The longest one may have its newline too. */
	if (size == PASSPHRASE_MAX + 1 && secret_view(secret)[PASSPHRASE_MAX] == '\n')
		size--;
	if (size > PASSPHRASE_MAX)
		return fail_size(client, -EMSGSIZE);
	if (size == 0 || (size == 1 && secret_view(secret)[0] == '\n'))
		return fail_size(client, -EINVAL);
	secret_truncate(secret, size);
	*ret_secret = TAKE_PTR(secret);
	return CODE_DONE;
}

/* A terminal that is named as a descriptor is asked as terminals are. */
static ExitCode read_or_ask(const Client *client, int fd, Secret **ret_secret)
{
	int r;

	if (!isatty(fd))
		return read_from(client, fd, ret_secret);
	r = terminal_ask_secret(fd, "Passphrase: ", PASSPHRASE_MAX, ret_secret);
	if (r < 0)
		return fail_ask(client, r);
	return *ret_secret ? CODE_DONE : fail_size(client, -EINVAL);
}

static ExitCode read_file(const Client *client, const char *path, Secret **ret_secret)
{
	_cleanup_close_ int fd = -1;

	if (strcmp(path, "-") == 0)
		return read_or_ask(client, STDIN_FILENO, ret_secret);
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	if (fd < 0)
		return client_fail(client, CODE_USAGE, "Usage", "The passphrase file cannot be opened: %s.",
			strerror(errno));
	return read_or_ask(client, fd, ret_secret);
}

static bool same(const Secret *a, const Secret *b)
{
	return secret_size(a) == secret_size(b) &&
	       sodium_memcmp(secret_view(a), secret_view(b), secret_size(a)) == 0;
}

static ExitCode ask(const Client *client, const Drive *drive, bool twice, Secret **ret_secret)
{
	_cleanup_free_ char *title = drive_title(drive), *prompt = NULL;
	_cleanup_close_ int fd = terminal_open();
	int r;

	if (fd < 0)
		return client_fail(client, CODE_USAGE, "Usage",
			"A passphrase is needed, and there is no terminal to ask on. Give --passphrase-file "
			"FILE or "
			"--passphrase-fd N.");
	if (!title ||
		asprintf(&prompt, twice ? "New passphrase for %s: " : "Passphrase for %s: ", title) < 0) {
		prompt = NULL;
		return client_fail_memory(client);
	}
	for (unsigned attempt = 0; attempt < ATTEMPTS_TO_MATCH; attempt++) {
		_cleanup_secret_ Secret *first = NULL, *second = NULL;

		r = terminal_ask_secret(fd, prompt, PASSPHRASE_MAX, &first);
		if (r < 0)
			return fail_ask(client, r);
		if (!first)
			return fail_size(client, -EINVAL);
		if (twice) {
			r = terminal_ask_secret(fd, "The same passphrase again: ", PASSPHRASE_MAX, &second);
			if (r < 0)
				return fail_ask(client, r);
		}
		if (!twice || (second && same(first, second))) {
			*ret_secret = TAKE_PTR(first);
			return CODE_DONE;
		}
		(void)dprintf(fd, "They do not match.\n");
	}
	return client_fail(
		client, CODE_USAGE, "Usage", "The two passphrases did not match. Nothing was changed.");
}

static ExitCode get(const Client *client, const Drive *drive, bool twice, Secret **ret_secret)
{
	const Arguments *a = &client->arguments;
	int r = secret_init();

	if (r < 0)
		return fail_secret(client, r);
	if (arguments_has(a, OPTION_PASSPHRASE_FD))
		return read_or_ask(client, a->passphrase_fd, ret_secret);
	if (arguments_has(a, OPTION_PASSPHRASE_FILE))
		return read_file(client, a->values[OPTION_PASSPHRASE_FILE], ret_secret);
	return ask(client, drive, twice, ret_secret);
}

int passphrase_pipe(const Secret *secret, int *ret_fd)
{
	_cleanup_close_ int reader = -1, writer = -1;
	int ends[2], r;

	if (pipe2(ends, O_CLOEXEC) < 0)
		return -errno;
	reader = ends[0];
	writer = ends[1];
	/* It holds more than the longest passphrase, so this does not wait for a reader. */
	r = write_full(writer, secret_view(secret), secret_size(secret));
	if (r < 0)
		return r;
	*ret_fd = TAKE_FD(reader);
	return 0;
}

ExitCode passphrase_call(Client *client, const Drive *drive, const char *member, bool twice, unsigned options)
{
	_cleanup_message_ sd_bus_message *call = NULL;
	_cleanup_secret_ Secret *secret = NULL;
	_cleanup_close_ int fd = -1;
	ExitCode code;
	int r;

	code = get(client, drive, twice, &secret);
	if (code != CODE_DONE)
		return code;
	polkit_agent_start(client);
	code = bus_new_call(client, drive->object, BUS_INTERFACE_DRIVE, member, &call);
	if (code != CODE_DONE)
		return code;
	r = passphrase_pipe(secret, &fd);
	secret = secret_free(secret); /* not needed while the call lasts */
	if (r >= 0)
		r = sd_bus_message_append_basic(call, 'h', &fd);
	if (r >= 0)
		r = bus_append_options(client, call, options);
	if (r < 0)
		return bus_fail_message(client, r);
	fd = safe_close(fd); /* the message has its own */
	return bus_call(client, call, NULL);
}
