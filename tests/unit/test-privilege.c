/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Who a worker is after the drop, and that no other process of the same user can look into it.
 * Needs root.
 */

#include "util/fd.h"
#include "util/memory.h"
#include "worker/privilege.h"
#include "worker/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <keyutils.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define USER        65534U /* nobody */
#define SETUP_ERROR 250

static int root_fd = -1;
static char probe[] = "memory that both processes have at this address";

/* From outside: another process of the same user. */

typedef struct Victim {
	pid_t pid;
	int hold; /* closing it ends the victim */
} Victim;

static Victim victim_start(void)
{
	const ConfinedPath path = {.fd = root_fd, .access = ACCESS_READ};
	const gid_t group = USER;
	Victim victim;
	int hold[2], ready[2];
	char byte;

	assert_int_equal(pipe2(hold, O_CLOEXEC), 0);
	assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
	victim.pid = fork();
	assert_true(victim.pid >= 0);
	if (victim.pid == 0) {
		(void)close(hold[1]);
		if (privilege_leave_keyring() < 0 ||
			privilege_drop(USER, USER, &group, 1, CAPABILITIES_ROOT) < 0 ||
			sandbox_enter(&path, 1, FILTER_DRIVE) < 0)
			_exit(SETUP_ERROR);
		_exit(write(ready[1], "r", 1) == 1 && read(hold[0], &byte, 1) == 0 ? 0 : SETUP_ERROR);
	}
	(void)close(hold[0]);
	(void)close(ready[1]);
	assert_int_equal(read(ready[0], &byte, 1), 1);
	(void)close(ready[0]);
	victim.hold = hold[1];
	return victim;
}

static void victim_end(const Victim *victim)
{
	int status;

	(void)close(victim->hold);
	assert_int_equal(waitpid(victim->pid, &status, 0), victim->pid);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

/* Each bit: one way in that was found open. */
static int look_into(pid_t pid)
{
	static const char *const files[] = {"mem", "maps", "environ", "auxv", "stack", "syscall"};
	struct iovec here = {.iov_base = probe, .iov_len = 1}, there = {.iov_base = probe, .iov_len = 1};
	int found = 0;

	if (setgroups(0, NULL) < 0 || setresgid(USER, USER, USER) < 0 || setresuid(USER, USER, USER) < 0)
		return SETUP_ERROR;
	for (size_t i = 0; i < ELEMENTSOF(files); i++) {
		char path[64];
		char byte;
		int fd;

		(void)snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, files[i]);
		fd = open(path, i == 0 ? O_RDWR : O_RDONLY);
		if (fd >= 0 && pread(fd, &byte, 1, i == 0 ? (off_t)(uintptr_t)probe : 0) >= 0)
			found |= 1 << i;
	}
	if (ptrace(PTRACE_SEIZE, pid, 0, 0) == 0)
		found |= 1 << 6;
	if (process_vm_readv(pid, &here, 1, &there, 1, 0) == 1)
		found |= 1 << 7;
	return found;
}

static int look_from_outside(pid_t pid)
{
	pid_t child;
	int status;

	child = fork();
	assert_true(child >= 0);
	if (child == 0)
		_exit(look_into(pid));
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	assert_int_not_equal(WEXITSTATUS(status), SETUP_ERROR);
	return WEXITSTATUS(status);
}

static void the_same_user_cannot_look_into_a_worker(void **state _unused_)
{
	Victim victim = victim_start();

	assert_int_equal(look_from_outside(victim.pid), 0);
	victim_end(&victim);
}

static void a_worker_is_nobody_else_and_can_nothing_more(void **state _unused_)
{
	Victim victim = victim_start();
	char path[64], text[8192];
	size_t n;
	FILE *f;

	(void)snprintf(path, sizeof(path), "/proc/%d/status", (int)victim.pid);
	f = fopen(path, "re");
	assert_non_null(f);
	n = fread(text, 1, sizeof(text) - 1, f);
	text[n] = 0;
	(void)fclose(f);
	assert_non_null(strstr(text, "\nUid:\t65534\t65534\t65534\t65534\n"));
	assert_non_null(strstr(text, "\nGid:\t65534\t65534\t65534\t65534\n"));
	assert_non_null(strstr(text, "\nGroups:\t65534 \n"));
	assert_non_null(strstr(text, "\nCapInh:\t0000000000000000\n"));
	assert_non_null(strstr(text, "\nCapPrm:\t0000000000000000\n"));
	assert_non_null(strstr(text, "\nCapEff:\t0000000000000000\n"));
	assert_non_null(strstr(text, "\nCapBnd:\t0000000000000000\n"));
	assert_non_null(strstr(text, "\nCapAmb:\t0000000000000000\n"));
	assert_non_null(strstr(text, "\nNoNewPrivs:\t1\n"));
	assert_non_null(strstr(text, "\nSeccomp:\t2\n"));
	victim_end(&victim);
}

/* A process that did not drop is seen through: the test above can fail. */
static void without_the_drop_all_is_open(void **state _unused_)
{
	int hold[2], ready[2];
	pid_t pid;
	char byte;

	assert_int_equal(pipe2(hold, O_CLOEXEC), 0);
	assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		(void)close(hold[1]);
		if (setgroups(0, NULL) < 0 || setresgid(USER, USER, USER) < 0 ||
			setresuid(USER, USER, USER) < 0 || prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) < 0)
			_exit(SETUP_ERROR);
		_exit(write(ready[1], "r", 1) == 1 && read(hold[0], &byte, 1) == 0 ? 0 : SETUP_ERROR);
	}
	(void)close(hold[0]);
	(void)close(ready[1]);
	assert_int_equal(read(ready[0], &byte, 1), 1);
	(void)close(ready[0]);
	assert_int_not_equal(look_from_outside(pid) & 1 << 0, 0); /* mem */
	(void)close(hold[1]);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

/* In a child: its exit code is 0 when what it looks at holds. */
static int keyring_stays_behind(void)
{
	key_serial_t key;

	if (keyctl_join_session_keyring(NULL) < 0)
		return 1;
	key = add_key("user", "sealed", "x", 1, KEY_SPEC_SESSION_KEYRING);
	if (key < 0 || keyctl_search(KEY_SPEC_SESSION_KEYRING, "user", "sealed", 0) != key)
		return 2;
	if (privilege_leave_keyring() < 0)
		return 3;
	if (keyctl_search(KEY_SPEC_SESSION_KEYRING, "user", "sealed", 0) != -1 || errno != ENOKEY)
		return 4;
	return 0;
}

static int root_keeps_little(void)
{
	FILE *f;
	char line[256];
	unsigned long long capabilities = 0;

	if (privilege_drop(0, 0, NULL, 0, CAPABILITIES_ROOT) < 0)
		return 1;
	f = fopen("/proc/self/status", "re");
	if (!f)
		return 2;
	while (fgets(line, sizeof(line), f))
		if (sscanf(line, "CapPrm: %llx", &capabilities) == 1)
			break;
	(void)fclose(f);
	return capabilities == CAPABILITIES_ROOT ? 0 : 3;
}

static int narrowed_reads_and_no_more(void)
{
	if (privilege_narrow(CAPABILITY(CAP_DAC_READ_SEARCH)) < 0)
		return 1;
	/* Root without capabilities is anybody: and this one can still read, but neither kill nor chown. */
	if (open("/etc/shadow", O_RDONLY | O_CLOEXEC) < 0)
		return 2;
	if (fchown(root_fd, USER, USER) != -1 || errno != EPERM)
		return 3;
	if (setresuid(USER, USER, USER) != -1 || errno != EPERM)
		return 4;
	return privilege_drop(USER, USER, NULL, 0, 0) < 0 ? 5 : 0;
}

static int groups_are_exact(void)
{
	const gid_t groups[] = {3000, 20, 100}; /* the kernel sorts them */
	gid_t found[8];

	if (privilege_drop(USER, 100, groups, ELEMENTSOF(groups), 0) < 0)
		return 1;
	return getgroups(ELEMENTSOF(found), found) == 3 && getgid() == 100 && getegid() == 100 ? 0 : 2;
}

static int suid_dumpable_is_overruled(void)
{
	if (prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) < 0 || privilege_drop(USER, USER, NULL, 0, 0) < 0)
		return 1;
	return prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) == 0 ? 0 : 2;
}

static void assert_in_child(int (*look)(void))
{
	pid_t child = fork();
	int status;

	assert_true(child >= 0);
	if (child == 0)
		_exit(look());
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

static void the_daemons_keyring_stays_behind(void **state _unused_)
{
	assert_in_child(keyring_stays_behind);
}

static void a_worker_of_root_keeps_five_capabilities(void **state _unused_)
{
	assert_in_child(root_keeps_little);
}

static void a_probe_reads_as_root_and_can_no_more(void **state _unused_)
{
	assert_in_child(narrowed_reads_and_no_more);
}

static void groups_are_the_callers_and_no_others(void **state _unused_)
{
	assert_in_child(groups_are_exact);
}

static void nothing_dumps_it_afterwards(void **state _unused_)
{
	assert_in_child(suid_dumpable_is_overruled);
}

static int setup(void **state _unused_)
{
	root_fd = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return root_fd < 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_same_user_cannot_look_into_a_worker),
		cmocka_unit_test(without_the_drop_all_is_open),
		cmocka_unit_test(a_worker_is_nobody_else_and_can_nothing_more),
		cmocka_unit_test(the_daemons_keyring_stays_behind),
		cmocka_unit_test(a_worker_of_root_keeps_five_capabilities),
		cmocka_unit_test(a_probe_reads_as_root_and_can_no_more),
		cmocka_unit_test(groups_are_the_callers_and_no_others),
		cmocka_unit_test(nothing_dumps_it_afterwards),
	};

	if (geteuid() != 0) {
		print_message("test-privilege needs root\n");
		return 77;
	}
	return cmocka_run_group_tests(tests, setup, NULL);
}
