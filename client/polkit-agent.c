/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "polkit-agent.h"

#include "util/fd.h"
#include "util/io.h"
#include "util/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define READY_WITHIN_MS 5000

/* Field 22 of /proc/self/stat: with the pid it names this process and no later one. */
static int start_time(uint64_t *ret)
{
	_cleanup_free_ char *text = NULL;
	const char *p;
	int r;

	r = read_host_file(AT_FDCWD, "/proc/self/stat", 4096, &text, NULL);
	if (r < 0)
		return r;
	p = strrchr(text, ')'); /* the name before it may hold anything */
	for (unsigned field = 2; p && field < 22; field++) {
		p = strchr(p, ' ');
		p = p ? p + 1 : NULL;
	}
	return p && sscanf(p, "%" SCNu64, ret) == 1 ? 0 : -EBADMSG;
}

_noreturn_ static void run_agent(int notify_fd, pid_t parent, uint64_t started)
{
	char notify[40], process[60];
	sigset_t none;

	(void)snprintf(notify, sizeof(notify), "--notify-fd=%d", notify_fd);
	(void)snprintf(process, sizeof(process), "%ld,%" PRIu64, (long)parent, started);
	(void)prctl(PR_SET_PDEATHSIG, SIGTERM);
	(void)signal(SIGPIPE, SIG_DFL);
	(void)sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
	if (getppid() == parent && fcntl(notify_fd, F_SETFD, 0) >= 0)
		(void)execlp("pkttyagent", "pkttyagent", notify, "--process", process, (char *)NULL);
	_exit(127);
}

void polkit_agent_start(Client *client)
{
	_cleanup_close_ int reader = -1;
	struct pollfd ready;
	uint64_t started;
	pid_t self = getpid(), pid;
	int ends[2], n;

	/* root is not asked; and two agents are one too many. */
	if (client->polkit_agent > 0 || geteuid() == 0 || !isatty(STDIN_FILENO) || start_time(&started) < 0)
		return;
	if (pipe2(ends, O_CLOEXEC) < 0)
		return;
	reader = ends[0];
	pid = fork();
	if (pid == 0)
		run_agent(ends[1], self, started);
	(void)close(ends[1]);
	if (pid < 0)
		return;
	client->polkit_agent = pid;

	/* It closes its end when it is registered, and so does its death. */
	ready = (struct pollfd){.fd = reader, .events = POLLIN};
	do
		n = poll(&ready, 1, READY_WITHIN_MS);
	while (n < 0 && errno == EINTR);
}

void polkit_agent_stop(Client *client)
{
	if (client->polkit_agent <= 0)
		return;
	(void)kill(client->polkit_agent, SIGTERM);
	(void)kill(client->polkit_agent, SIGCONT);
	while (waitpid(client->polkit_agent, NULL, 0) < 0 && errno == EINTR)
		;
	client->polkit_agent = 0;
}
