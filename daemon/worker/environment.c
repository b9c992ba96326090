/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "worker/environment.h"

#include "protocol/record.h"
#include "util/fd.h"
#include "util/io.h"
#include "util/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/auxv.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

/* Keys of every file that is open at once are locked: more than the 8 MiB that is the usual limit. */
#define MEMLOCK_WANTED ((rlim_t)256 << 20)

/* The daemon gives a worker an environment of its own making, whatever its own policy on these allows. */
static const char *const refused_variables[] = {
	"LD_", /* LD_PRELOAD, LD_AUDIT, LD_LIBRARY_PATH, … */
	"GCONV_PATH=",
	"GLIBC_TUNABLES=",
	"MALLOC_",
	"LOCPATH=",
	"NLSPATH=",
};

int environment_check(void)
{
	if (getuid() != 0 || geteuid() != 0 || getauxval(AT_SECURE) != 0)
		return -EPERM;
	for (char **variable = environ; variable && *variable; variable++)
		for (size_t i = 0; i < ELEMENTSOF(refused_variables); i++)
			if (strncmp(*variable, refused_variables[i], strlen(refused_variables[i])) == 0)
				return -EPERM;
	return 0;
}

/* Streams that are closed would be taken by the first file that is opened, and then be logged into. */
static int open_standard_streams(void)
{
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
		int null;

		if (fcntl(fd, F_GETFD) >= 0)
			continue;
		null = open("/dev/null", O_RDWR | O_NOCTTY);
		if (null < 0)
			return -errno;
		if (null != fd) {
			safe_close(null);
			return -EBADF;
		}
	}
	return 0;
}

static void raise_limit(__rlimit_resource_t resource, rlim_t wanted)
{
	struct rlimit limit;

	if (getrlimit(resource, &limit) < 0)
		return;
	if (limit.rlim_max < wanted) {
		struct rlimit raised = {.rlim_cur = wanted, .rlim_max = wanted};

		if (setrlimit(resource, &raised) == 0) /* needs CAP_SYS_RESOURCE */
			return;
	}
	limit.rlim_cur = limit.rlim_max;
	(void)setrlimit(resource, &limit);
}

int environment_prepare(void)
{
	static const int ignored[] = {
		SIGPIPE, /* a client or a daemon that is gone is an error code */
		SIGIO,   /* comes when somebody opens a file we hold a lease on; the engine asks fcntl() */
		SIGXFSZ, /* too large is an error code, too */
		SIGHUP,
		SIGINT,
	};
	const struct rlimit no_core = {0};
	sigset_t none;
	int r;

	r = open_standard_streams();
	if (r < 0)
		return r;
	if (close_range(JOB_FD_NODE + 1, ~0U, 0) < 0)
		return -errno;

	(void)clearenv();
	(void)umask(S_IRWXG | S_IRWXO);
	if (chdir("/") < 0)
		return -errno;

	if (setrlimit(RLIMIT_CORE, &no_core) < 0)
		return -errno;
	raise_limit(RLIMIT_NOFILE, 0);
	raise_limit(RLIMIT_MEMLOCK, MEMLOCK_WANTED);

	(void)sigemptyset(&none);
	if (sigprocmask(SIG_SETMASK, &none, NULL) < 0)
		return -errno;
	for (size_t i = 0; i < ELEMENTSOF(ignored); i++)
		if (signal(ignored[i], SIG_IGN) == SIG_ERR)
			return -errno;
	return 0;
}

static int take_descriptor(int fd, bool wanted)
{
	if (!wanted) {
		(void)close(fd);
		return 0;
	}
	return fcntl(fd, F_SETFD, FD_CLOEXEC) < 0 ? -errno : 0;
}

int environment_take_descriptors(unsigned flags, bool node_helper)
{
	int r;

	r = take_descriptor(JOB_FD_PASSPHRASE, flags & JOB_HAS_PASSPHRASE);
	if (r >= 0)
		r = take_descriptor(JOB_FD_TARGET, flags & JOB_HAS_TARGET);
	if (r >= 0)
		r = take_descriptor(JOB_FD_NODE, node_helper || flags & JOB_HAS_NODE);
	return r;
}

int environment_tracer(pid_t *ret_pid)
{
	static const char field[] = "\nTracerPid:";
	_cleanup_free_ char *status = NULL;
	const char *found;
	int pid, r;

	r = read_host_file(AT_FDCWD, "/proc/self/status", 64 * 1024, &status, NULL);
	if (r < 0)
		return r;
	found = strstr(status, field);
	if (!found || sscanf(found + strlen(field), "%d", &pid) != 1)
		return -EBADMSG;
	*ret_pid = pid;
	return 0;
}
