/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 *   kill-at N COUNTS COMMAND...   runs it, and ends it by SIGKILL before its N-th system call (0: never)
 *   kill-at N COUNTS PID          the same for a process that runs; says "ready" once it counts. Told to
 *                                 end by SIGTERM, it lets that process go on.
 *
 * Calls of all its threads count, in the order in which they are made (strace's injection counts each
 * thread's for itself). COUNTS is a file that gets the calls' numbers, as 16-bit words. Processes that it
 * forks are left alone. Exits 137 when it was killed, else as the command.
 */

#define _GNU_SOURCE
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#define OPTIONS (PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACECLONE | PTRACE_O_EXITKILL)

static void die(const char *what)
{
	perror(what);
	exit(125);
}

static pid_t start(char **command)
{
	pid_t pid = fork();
	int status;

	if (pid < 0)
		die("fork");
	if (pid == 0) {
		if (ptrace(PTRACE_TRACEME, 0, 0, 0) < 0)
			die("PTRACE_TRACEME");
		(void)raise(SIGSTOP);
		(void)execv(command[0], command);
		die(command[0]);
	}
	if (waitpid(pid, &status, __WALL) < 0 || !WIFSTOPPED(status))
		die("waitpid");
	if (ptrace(PTRACE_SETOPTIONS, pid, 0, OPTIONS) < 0)
		die("PTRACE_SETOPTIONS");
	if (ptrace(PTRACE_SYSCALL, pid, 0, 0) < 0)
		die("PTRACE_SYSCALL");
	return pid;
}

/* Tracees of their own accord: they are let go when we are to end. */
static pid_t seized[64];
static size_t n_seized;

static void attach(pid_t pid)
{
	sigset_t signals;
	char path[64];
	DIR *dir;

	/* For wait_next(). */
	(void)sigemptyset(&signals);
	(void)sigaddset(&signals, SIGCHLD);
	(void)sigaddset(&signals, SIGTERM);
	(void)sigprocmask(SIG_BLOCK, &signals, NULL);

	(void)snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	dir = opendir(path);
	if (!dir)
		die(path);
	for (struct dirent *entry = readdir(dir); entry; entry = readdir(dir)) {
		pid_t tid = (pid_t)atoi(entry->d_name);

		if (tid == 0)
			continue;
		if (n_seized == sizeof(seized) / sizeof(seized[0]))
			die("too many threads");
		seized[n_seized++] = tid;
		if (ptrace(PTRACE_SEIZE, tid, 0, OPTIONS & ~PTRACE_O_EXITKILL) < 0 ||
			ptrace(PTRACE_INTERRUPT, tid, 0, 0) < 0)
			die("PTRACE_SEIZE");
	}
	(void)closedir(dir);
	(void)puts("ready");
	(void)fflush(stdout);
}

/* They go on as if nothing had been. */
static void let_go(void)
{
	for (size_t i = 0; i < n_seized; i++) {
		int status;

		if (ptrace(PTRACE_INTERRUPT, seized[i], 0, 0) == 0 &&
			waitpid(seized[i], &status, __WALL) == seized[i] && WIFSTOPPED(status))
			(void)ptrace(PTRACE_DETACH, seized[i], 0, 0);
	}
}

/* The next stop or end of a tracee; -1 with ECHILD: there is none any more, or we were told to end. */
static pid_t wait_next(bool killed, int *ret_status)
{
	sigset_t signals;

	/* What was killed has to be waited for, whatever we are told. */
	if (n_seized == 0 || killed)
		return waitpid(-1, ret_status, __WALL);
	(void)sigemptyset(&signals);
	(void)sigaddset(&signals, SIGCHLD);
	(void)sigaddset(&signals, SIGTERM);
	for (;;) {
		pid_t tid = waitpid(-1, ret_status, __WALL | WNOHANG);

		if (tid != 0)
			return tid;
		if (sigwaitinfo(&signals, NULL) == SIGTERM) {
			let_go();
			errno = ECHILD;
			return -1;
		}
	}
}

/* Sees to one stop. Returns true when the tracee stands before a system call. */
static int see_to(pid_t tid, int status)
{
	struct __ptrace_syscall_info info;
	int number = WSTOPSIG(status);
	long deliver = 0;

	if (number == (SIGTRAP | 0x80)) {
		if (ptrace(PTRACE_GET_SYSCALL_INFO, tid, sizeof(info), &info) > 0 &&
			info.op == PTRACE_SYSCALL_INFO_ENTRY)
			return (int)info.entry.nr;
	} else if (status >> 16 == 0 && number != SIGTRAP && number != SIGSTOP) {
		deliver = number;
	}
	(void)ptrace(PTRACE_SYSCALL, tid, 0, deliver);
	return -1;
}

int main(int argc, char **argv)
{
	unsigned long at, count = 0;
	int status, code = 0;
	FILE *counts;
	pid_t pid;

	if (argc < 4)
		return 2;
	at = strtoul(argv[1], NULL, 10);
	if (isdigit((unsigned char)argv[3][0])) {
		pid = (pid_t)atoi(argv[3]);
		attach(pid);
	} else {
		pid = start(argv + 3);
	}
	/* Whoever waits for the command's end at one of these must not wait for ours. */
	(void)close_range(3, ~0U, 0);
	counts = fopen(argv[2], "we");
	if (!counts)
		die(argv[2]);
	/* Whole at any moment, for we may be ended. */
	(void)setvbuf(counts, NULL, _IONBF, 0);

	for (;;) {
		pid_t tid = wait_next(at > 0 && count >= at, &status);
		int number;

		if (tid < 0 && errno == ECHILD)
			break;
		if (tid < 0)
			die("waitpid");
		if (!WIFSTOPPED(status)) {
			if (tid == pid)
				code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
			continue;
		}
		number = see_to(tid, status);
		if (number < 0)
			continue;
		if (fwrite(&(uint16_t){(uint16_t)number}, 2, 1, counts) != 1)
			die(argv[2]);
		if (++count == at)
			(void)kill(pid, SIGKILL);
		else
			(void)ptrace(PTRACE_SYSCALL, tid, 0, 0);
	}
	if (fclose(counts) != 0)
		die(argv[2]);
	return code;
}
