/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What a worker cannot do once its sandbox is closed, each tried by a process that has gone the same way:
 * root, new keyring, another user, Landlock, filter. Needs root.
 */

#include "skip.h"
#include "util/fd.h"
#include "util/memory.h"
#include "worker/privilege.h"
#include "worker/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cmocka.h>

#define USER        65534U /* nobody */
#define KILLED      1000   /* by the filter */
#define SETUP_ERROR 250

/* The drive, and a folder beside it that belongs to the same user, as a home directory does. */
static char drive[] = "/tmp/usbcrypt-sandbox-drive-XXXXXX";
static char home[] = "/tmp/usbcrypt-sandbox-home-XXXXXX";
static char diary[64]; /* a file in that folder */
static int drive_fd = -1;

typedef int (*Attack)(void);

static int error_of(long r)
{
	return r < 0 ? errno : 0;
}

/* An attack that is one call. */
#define ATTACK(name, call)                                                                                   \
	static int name(void)                                                                                \
	{                                                                                                    \
		return error_of(call);                                                                       \
	}

/* Runs it in a child that has become `uid` and closed the sandbox. 0: it could do it; an errno; or KILLED. */
static int run_as(Attack attack, uid_t uid, Access access, FilterProfile profile)
{
	const ConfinedPath path = {.fd = drive_fd, .access = access};
	pid_t child;
	int status;

	child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		const gid_t group = uid;

		if (privilege_leave_keyring() < 0 ||
			privilege_drop(uid, uid, &group, 1, CAPABILITIES_ROOT) < 0 ||
			sandbox_enter(&path, 1, profile) < 0)
			_exit(SETUP_ERROR);
		_exit(attack());
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	if (WIFSIGNALED(status)) {
		assert_int_equal(WTERMSIG(status), SIGSYS);
		return KILLED;
	}
	assert_int_not_equal(WEXITSTATUS(status), SETUP_ERROR);
	return WEXITSTATUS(status);
}

static int run(Attack attack)
{
	int as_user = run_as(attack, USER, ACCESS_CHANGE, FILTER_DRIVE);

	/* A worker of root gets no further, whatever root may do. */
	assert_int_equal(run_as(attack, 0, ACCESS_CHANGE, FILTER_DRIVE), as_user);
	return as_user;
}

static int run_held(Attack attack)
{
	return run_as(attack, USER, ACCESS_NOTHING, FILTER_HELD);
}

/* What works: without it, a sandbox that forbids everything would pass. */

static int write_on_drive(void)
{
	struct open_how how = {.flags = O_RDWR | O_CREAT | O_EXCL, .mode = 0600, .resolve = RESOLVE_BENEATH};
	int fd, r;

	if (mkdirat(drive_fd, "folder", 0700) < 0)
		return errno;
	fd = (int)syscall(SYS_openat2, drive_fd, "folder/file", &how, sizeof(how));
	if (fd < 0)
		return errno;
	if (pwrite(fd, "x", 1, 0) != 1 || ftruncate(fd, 0) < 0 || fchmod(fd, 0640) < 0 ||
		futimens(fd, NULL) < 0 || fsync(fd) < 0)
		return errno;
	r = fcntl(fd, F_SETLEASE, F_WRLCK);
	if (r < 0)
		return errno;
	if (unlinkat(drive_fd, "folder/file", 0) < 0)
		return errno;
	return error_of(unlinkat(drive_fd, "folder", AT_REMOVEDIR));
}

static void *open_diary(void *ret)
{
	int *error = ret;

	*error = error_of(open(diary, O_RDONLY));
	return NULL;
}

static int open_diary_in_thread(void)
{
	pthread_t thread;
	int error = 0;

	if (pthread_create(&thread, NULL, open_diary, &error) != 0)
		return EAGAIN;
	(void)pthread_join(thread, NULL);
	return error;
}

static void work_on_the_drive_works(void **state _unused_)
{
	assert_int_equal(run(write_on_drive), 0);
}

static void threads_work_and_are_confined_too(void **state _unused_)
{
	assert_int_equal(run(open_diary_in_thread), EACCES);
}

/* Files of the host. */

ATTACK(read_passwd, open("/etc/passwd", O_RDONLY));
static int read_passwd_openat2(void)
{
	struct open_how how = {.flags = O_RDONLY};

	return error_of(syscall(SYS_openat2, AT_FDCWD, "/etc/passwd", &how, sizeof(how)));
}

ATTACK(read_beside_drive, openat(drive_fd, "../..//etc/passwd", O_RDONLY));
ATTACK(write_home, open(diary, O_WRONLY));
static int create_in_home(void)
{
	char path[128];

	(void)snprintf(path, sizeof(path), "%s/new", home);
	return error_of(open(path, O_WRONLY | O_CREAT, 0600));
}

ATTACK(unlink_home, unlinkat(AT_FDCWD, diary, 0));
static int mkdir_home(void)
{
	char path[128];

	(void)snprintf(path, sizeof(path), "%s/new", home);
	return error_of(mkdirat(AT_FDCWD, path, 0700));
}

ATTACK(read_own_memory_file, open("/proc/self/mem", O_RDWR));
static void no_file_of_the_host_is_opened(void **state _unused_)
{
	assert_int_equal(run(read_passwd), EACCES);
	assert_int_equal(run(read_passwd_openat2), EACCES);
	assert_int_equal(run(read_beside_drive), EACCES);
	assert_int_equal(run(write_home), EACCES);
	assert_int_equal(run(create_in_home), EACCES);
	assert_int_equal(run(unlink_home), EACCES);
	assert_int_equal(run(mkdir_home), EACCES);
	assert_int_equal(run(read_own_memory_file), EACCES);
}

/* Where Landlock does not look: all of this the user could do. */

ATTACK(truncate_path, truncate(diary, 0));
ATTACK(chmod_path, chmod(diary, 0777));
ATTACK(fchmodat_path, fchmodat(AT_FDCWD, diary, 0777, 0));
ATTACK(chown_path, chown(diary, USER, USER));
ATTACK(fchownat_path, fchownat(AT_FDCWD, diary, USER, USER, 0));
ATTACK(utimes_path, utimensat(AT_FDCWD, diary, NULL, 0));
ATTACK(setxattr_path, setxattr(diary, "user.x", "x", 1, 0));
ATTACK(rename_on_drive, renameat(drive_fd, "a", drive_fd, "b"));
ATTACK(link_on_drive, linkat(AT_FDCWD, diary, drive_fd, "b", 0));
ATTACK(symlink_on_drive, symlinkat("/etc/passwd", drive_fd, "b"));
ATTACK(mknod_on_drive, mknodat(drive_fd, "b", S_IFIFO | 0600, 0));
static void no_path_is_changed_behind_landlock(void **state _unused_)
{
	assert_int_equal(run(truncate_path), KILLED);
	assert_int_equal(run(chmod_path), KILLED);
	assert_int_equal(run(fchmodat_path), KILLED);
	assert_int_equal(run(chown_path), KILLED);
	assert_int_equal(run(fchownat_path), KILLED);
	assert_int_equal(run(utimes_path), KILLED);
	assert_int_equal(run(setxattr_path), KILLED);
	assert_int_equal(run(rename_on_drive), KILLED);
	assert_int_equal(run(link_on_drive), KILLED);
	assert_int_equal(run(symlink_on_drive), KILLED);
	assert_int_equal(run(mknod_on_drive), KILLED);
}

/* Processes, and who this one is. */

ATTACK(exec, execl("/bin/true", "true", (char *)NULL));
static int exec_descriptor(void)
{
	char *const none[] = {NULL};

	return error_of(syscall(SYS_execveat, drive_fd, "", none, none, AT_EMPTY_PATH));
}

ATTACK(new_process, syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0));
ATTACK(new_vfork, syscall(SYS_clone, CLONE_VM | CLONE_VFORK | SIGCHLD, 0, 0, 0, 0));
static int new_process_clone3(void)
{
	uint64_t arguments[11] = {[4] = SIGCHLD};

	return error_of(syscall(SYS_clone3, arguments, sizeof(arguments)));
}

ATTACK(thread_in_user_namespace,
	syscall(SYS_clone, CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_NEWUSER,
		0, 0, 0, 0));
ATTACK(user_namespace, unshare(CLONE_NEWUSER));
ATTACK(become_root, setresuid(0, 0, 0));
ATTACK(become_root_group, setresgid(0, 0, 0));
ATTACK(drop_groups, syscall(SYS_setgroups, 0, NULL));
ATTACK(raise_capabilities, syscall(SYS_capset, NULL, NULL));
ATTACK(become_dumpable, syscall(SYS_prctl, 4 /* PR_SET_DUMPABLE */, 1, 0, 0, 0));
ATTACK(trace_parent, ptrace(PTRACE_ATTACH, getppid(), 0, 0));
static int read_parent(void)
{
	char byte;
	struct iovec here = {.iov_base = &byte, .iov_len = 1}, there = {.iov_base = diary, .iov_len = 1};

	return error_of(process_vm_readv(getppid(), &here, 1, &there, 1, 0));
}

ATTACK(kill_parent, kill(getppid(), 0));
ATTACK(kill_everybody, kill(-1, 0));
ATTACK(tgkill_parent, syscall(SYS_tgkill, getppid(), getppid(), 0));
ATTACK(signal_by_owner, fcntl(drive_fd, F_SETOWN, getppid()));
ATTACK(set_limits_of_parent, syscall(SYS_prlimit64, getppid(), 7, NULL, NULL));
static void no_other_process_is_made_touched_or_become(void **state _unused_)
{
	static const Attack attacks[] = {exec, exec_descriptor, new_process, new_vfork,
		thread_in_user_namespace, user_namespace, become_root, become_root_group, drop_groups,
		raise_capabilities, become_dumpable, trace_parent, read_parent, kill_parent, kill_everybody,
		tgkill_parent, signal_by_owner, set_limits_of_parent};

	for (size_t i = 0; i < ELEMENTSOF(attacks); i++) {
		print_message("attack %zu\n", i);
		assert_int_equal(run(attacks[i]), KILLED);
	}
	/* The C library asks first, and falls back to clone(), whose flags the filter sees. */
	assert_int_equal(run(new_process_clone3), ENOSYS);
}

/* Memory, terminals, and doors into the kernel. */

static int map_code(void)
{
	return mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED
		       ? errno
		       : 0;
}

static int map_file(void)
{
	int fd = openat(drive_fd, ".", O_RDONLY);

	return mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fd, 0) == MAP_FAILED ? errno : 0;
}

static int make_code(void)
{
	void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return error_of(mprotect(page, 4096, PROT_READ | PROT_EXEC));
}

ATTACK(type_into_terminal, ioctl(STDIN_FILENO, TIOCSTI, "x"));
ATTACK(type_into_terminal_in_disguise, syscall(SYS_ioctl, STDIN_FILENO, (0x1UL << 32) | TIOCSTI, "x"));
ATTACK(inet_socket, socket(AF_INET, SOCK_STREAM, 0));
ATTACK(unix_socket, socket(AF_UNIX, SOCK_STREAM, 0));

static long door;
ATTACK(knock, syscall(door, 0, 0, 0, 0, 0, 0));

#ifdef __x86_64__
static int system_call_of_i386(void)
{
	long r;

	__asm__ volatile("int $0x80" : "=a"(r) : "a"(20L /* getpid */) : "memory");
	return r < 0 ? (int)-r : 0;
}

ATTACK(system_call_of_x32, syscall(0x40000000L + SYS_getpid));
#endif

static void no_door_into_the_kernel_is_open(void **state _unused_)
{
	static const long doors[] = {
		SYS_add_key,
		SYS_bpf,
		SYS_bind,
		SYS_chroot,
		SYS_connect,
		SYS_fanotify_init,
		SYS_inotify_init1,
		SYS_init_module,
		SYS_io_uring_setup,
		SYS_kcmp,
		SYS_kexec_load,
		SYS_keyctl,
		SYS_landlock_restrict_self,
		SYS_memfd_create,
		SYS_memfd_secret,
		SYS_mount,
		SYS_move_mount,
		SYS_name_to_handle_at,
		SYS_open_by_handle_at,
		SYS_open_tree,
		SYS_perf_event_open,
		SYS_personality,
		SYS_pidfd_getfd,
		SYS_pidfd_open,
		SYS_pidfd_send_signal,
		SYS_pivot_root,
		SYS_process_madvise,
		SYS_ptrace,
		SYS_quotactl,
		SYS_reboot,
		SYS_request_key,
		SYS_seccomp,
		SYS_setns,
		SYS_shmget,
		SYS_socketpair,
		SYS_swapon,
		SYS_umount2,
		SYS_userfaultfd,
		SYS_vmsplice,
	};

	for (size_t i = 0; i < ELEMENTSOF(doors); i++) {
		door = doors[i];
		print_message("system call %ld\n", door);
		assert_int_equal(run(knock), KILLED);
		assert_int_equal(run_held(knock), KILLED);
	}
}

static void no_memory_is_executed_and_no_file_mapped(void **state _unused_)
{
	assert_int_equal(run(map_code), KILLED);
	assert_int_equal(run(map_file), KILLED);
	assert_int_equal(run(make_code), KILLED);
}

static void no_terminal_is_typed_into(void **state _unused_)
{
	assert_int_equal(run(type_into_terminal), KILLED);
	assert_int_equal(run(type_into_terminal_in_disguise), KILLED);
}

static void no_system_call_of_another_kind_passes(void **state _unused_)
{
#ifdef __x86_64__
	assert_int_equal(run(system_call_of_i386), KILLED);
	assert_int_equal(run(system_call_of_x32), KILLED);
#else
	skip_because("only x86-64 has these calls");
#endif
}

static void no_socket_is_made(void **state _unused_)
{
	assert_int_equal(run(inet_socket), KILLED);
	assert_int_equal(run(unix_socket), KILLED);
}

/* Jobs that only read, and those that only hold. */

ATTACK(create_on_drive, openat(drive_fd, "new", O_WRONLY | O_CREAT, 0600));
ATTACK(mkdir_on_drive, mkdirat(drive_fd, "new", 0700));
ATTACK(overwrite_on_drive, openat(drive_fd, "photo", O_WRONLY));
ATTACK(remove_on_drive, unlinkat(drive_fd, "photo", 0));
ATTACK(read_on_drive, openat(drive_fd, "photo", O_RDONLY));

static void a_job_that_reads_changes_nothing(void **state _unused_)
{
	static const Attack attacks[] = {
		create_on_drive, mkdir_on_drive, overwrite_on_drive, remove_on_drive};

	for (size_t i = 0; i < ELEMENTSOF(attacks); i++) {
		assert_int_equal(run_as(attacks[i], USER, ACCESS_READ, FILTER_DRIVE), EACCES);
		assert_int_equal(run_as(attacks[i], 0, ACCESS_READ, FILTER_DRIVE), EACCES);
	}
	assert_int_equal(run_as(read_on_drive, USER, ACCESS_READ, FILTER_DRIVE), 0);
}

static void a_probe_opens_nothing_any_more(void **state _unused_)
{
	assert_int_equal(run_held(read_on_drive), EACCES);
	assert_int_equal(run_held(read_passwd), EACCES);
	assert_int_equal(run_held(read_passwd_openat2), KILLED);
	assert_int_equal(run_held(create_on_drive), EACCES);
	assert_int_equal(run_held(mkdir_on_drive), KILLED);
	assert_int_equal(run_held(remove_on_drive), KILLED);
}

static int setup(void **state _unused_)
{
	_cleanup_close_ int fd = -1, photo = -1;

	if (geteuid() != 0)
		return -1;
	if (!mkdtemp(drive) || !mkdtemp(home))
		return -1;
	(void)snprintf(diary, sizeof(diary), "%s/diary", home);
	fd = open(diary, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	drive_fd = open(drive, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	photo = openat(drive_fd, "photo", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	return fd < 0 || photo < 0 || fchown(fd, USER, USER) < 0 || fchown(photo, USER, USER) < 0 ||
	       chown(home, USER, USER) < 0 || chown(drive, USER, USER) < 0;
}

static int teardown(void **state _unused_)
{
	(void)unlinkat(drive_fd, "photo", 0);
	(void)unlink(diary);
	(void)rmdir(home);
	(void)rmdir(drive);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(work_on_the_drive_works),
		cmocka_unit_test(threads_work_and_are_confined_too),
		cmocka_unit_test(no_file_of_the_host_is_opened),
		cmocka_unit_test(no_path_is_changed_behind_landlock),
		cmocka_unit_test(no_other_process_is_made_touched_or_become),
		cmocka_unit_test(no_door_into_the_kernel_is_open),
		cmocka_unit_test(no_memory_is_executed_and_no_file_mapped),
		cmocka_unit_test(no_terminal_is_typed_into),
		cmocka_unit_test(no_system_call_of_another_kind_passes),
		cmocka_unit_test(no_socket_is_made),
		cmocka_unit_test(a_job_that_reads_changes_nothing),
		cmocka_unit_test(a_probe_opens_nothing_any_more),
	};

	if (geteuid() != 0) {
		print_message("test-sandbox needs root\n");
		return 77;
	}
	return cmocka_run_group_tests(tests, setup, teardown);
}
