/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "client.h"
#include "help.h"
#include "util/fd.h"
#include "util/memory.h"
#include "verb.h"

#include <errno.h>
#include <fcntl.h>
#include <locale.h>
#include <signal.h>
#include <unistd.h>

/* Whatever is opened later must not become standard input, output or error. A closed stream is replaced by
 * one that fails: reading standard input or writing the others gives EBADF, as if it were still closed. */
static int guard_streams(void)
{
	static const int flags[] = {O_WRONLY, O_RDONLY, O_RDONLY};

	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
		if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", flags[fd]) != fd)
			return -EBADF;
	return 0;
}

static ExitCode run(Client *client, int argc, char **argv)
{
	_cleanup_free_ char *problem = NULL;
	Arguments *arguments = &client->arguments;
	int r;

	r = arguments_parse(argc, argv, arguments, &problem);
	if (client_begin(client) < 0 || r == -ENOMEM)
		return client_fail_memory(client);
	if (r < 0)
		return client_fail(client, CODE_USAGE, "Usage", "%s Try 'usbctl help%s%s'.", problem,
			arguments->verb ? " " : "", arguments->verb ? arguments->verb->name : "");
	if (arguments_has(arguments, OPTION_VERSION))
		return help_version(client);
	if (arguments_has(arguments, OPTION_HELP))
		return help_show(client, arguments->verb);
	return arguments->verb->run(client);
}

int main(int argc, char **argv)
{
	Client client = {.arguments = ARGUMENTS_INIT};

	if (guard_streams() < 0)
		return CODE_FAILED;
	/* Names are UTF-8 or bytes: what LC_ALL says changes neither. */
	(void)setlocale(LC_CTYPE, "C.UTF-8");
	(void)signal(SIGPIPE, SIG_IGN);
	return (int)client_end(&client, run(&client, argc, argv));
}
