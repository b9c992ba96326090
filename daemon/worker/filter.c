/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "worker/filter.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/msdos_fs.h>
#include <sched.h>
#include <seccomp.h>
#include <stdbool.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ADDRESS_SANITIZER 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#define ADDRESS_SANITIZER 1
#endif

#define CLONE_NAMESPACES                                                                                     \
	(CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID |        \
		CLONE_NEWNET)
#define CLONE_THREAD_FLAGS (CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD)

/* Without a look at their arguments. */
static const int allowed_always[] = {
	/* descriptors that are open already */
	SCMP_SYS(read),
	SCMP_SYS(readv),
	SCMP_SYS(pread64),
	SCMP_SYS(preadv),
	SCMP_SYS(write),
	SCMP_SYS(writev),
	SCMP_SYS(lseek),
	SCMP_SYS(close),
	SCMP_SYS(dup),
	SCMP_SYS(fstat),
	SCMP_SYS(newfstatat), /* is fstat(), in this C library; Landlock never covers stat */
	SCMP_SYS(statx),
	SCMP_SYS(fstatfs),
	SCMP_SYS(fsync),
	SCMP_SYS(fdatasync),
	SCMP_SYS(fadvise64),
	SCMP_SYS(poll),
	SCMP_SYS(ppoll),
	/* the sockets that came with the job: there is no way to another one */
	SCMP_SYS(recvfrom),
	SCMP_SYS(recvmsg),
	SCMP_SYS(sendto),
	SCMP_SYS(sendmsg),
	/* memory */
	SCMP_SYS(munmap),
	SCMP_SYS(mremap),
	SCMP_SYS(madvise),
	SCMP_SYS(brk),
	SCMP_SYS(mlock),
	SCMP_SYS(mlock2),
	SCMP_SYS(munlock),
	SCMP_SYS(membarrier),
	/* threads */
	SCMP_SYS(futex),
	SCMP_SYS(futex_time64),
	SCMP_SYS(set_robust_list),
	SCMP_SYS(get_robust_list),
	SCMP_SYS(rseq),
	SCMP_SYS(set_tid_address),
	SCMP_SYS(gettid),
	SCMP_SYS(sched_yield),
	SCMP_SYS(sched_getaffinity),
	SCMP_SYS(exit),
	SCMP_SYS(exit_group),
	/* signals to itself */
	SCMP_SYS(rt_sigaction),
	SCMP_SYS(rt_sigprocmask),
	SCMP_SYS(rt_sigreturn),
	SCMP_SYS(sigaltstack),
	SCMP_SYS(restart_syscall),
	SCMP_SYS(alarm),
	SCMP_SYS(setitimer),
	/* clocks, chance, and who am I */
	SCMP_SYS(clock_gettime),
	SCMP_SYS(clock_getres),
	SCMP_SYS(clock_nanosleep),
	SCMP_SYS(gettimeofday),
	SCMP_SYS(nanosleep),
	SCMP_SYS(time),
	SCMP_SYS(getrandom),
	SCMP_SYS(getpid),
	SCMP_SYS(getppid),
	SCMP_SYS(getuid),
	SCMP_SYS(geteuid),
	SCMP_SYS(getgid),
	SCMP_SYS(getegid),
	SCMP_SYS(getcpu),
	SCMP_SYS(getrusage),
	SCMP_SYS(times),
	SCMP_SYS(sysinfo),
	SCMP_SYS(uname),
};

/* For those that work on a drive. */
static const int allowed_on_drives[] = {
	SCMP_SYS(openat), /* within Landlock */
	SCMP_SYS(openat2),
	SCMP_SYS(faccessat2), /* asks, and changes nothing */
	SCMP_SYS(pwrite64),
	SCMP_SYS(pwritev),
	SCMP_SYS(getdents64),
	SCMP_SYS(mkdirat),
	SCMP_SYS(unlinkat),
	SCMP_SYS(ftruncate),
	SCMP_SYS(syncfs),
	SCMP_SYS(sync_file_range),
	SCMP_SYS(fchmod), /* on a descriptor; fchmodat() would take any path of the host */
	SCMP_SYS(fchown),
	SCMP_SYS(flistxattr),
	SCMP_SYS(fgetxattr),
	SCMP_SYS(fsetxattr),
	SCMP_SYS(fremovexattr),
};

/* What libraries try and can do without, and what they are told where it is not allowed. */
static const struct {
	int call;
	int error;
} refused[] = {
	{SCMP_SYS(clone3), ENOSYS}, /* its flags lie in memory; the C library falls back to clone() */
	{SCMP_SYS(open), EACCES},
	{SCMP_SYS(openat), EACCES},
	{SCMP_SYS(access), EACCES},
	{SCMP_SYS(faccessat), EACCES},
	{SCMP_SYS(faccessat2), EACCES},
	{SCMP_SYS(stat), EACCES},
	{SCMP_SYS(lstat), EACCES},
	{SCMP_SYS(statfs), EACCES},
	{SCMP_SYS(readlink), EACCES},
	{SCMP_SYS(readlinkat), EACCES},
	{SCMP_SYS(fallocate), EOPNOTSUPP},
	{SCMP_SYS(mlockall), EPERM},
	{SCMP_SYS(sched_setaffinity), EPERM},
};

#ifdef ADDRESS_SANITIZER
/* FOR SANITIZER BUILDS ONLY, never in what is installed: what AddressSanitizer's reports need. */
static const int allowed_for_sanitizers[] = {
	SCMP_SYS(pipe),
	SCMP_SYS(pipe2),
	SCMP_SYS(getrlimit),
	SCMP_SYS(mincore),
	SCMP_SYS(sched_getparam),
	SCMP_SYS(sched_getscheduler),
};
#endif

static bool is_allowed_on_drives(int call)
{
	for (size_t i = 0; i < ELEMENTSOF(allowed_on_drives); i++)
		if (allowed_on_drives[i] == call)
			return true;
	return false;
}

static int filter_allow_all(scmp_filter_ctx filter, const int *calls, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		int r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, calls[i], 0);

		if (r < 0)
			return r;
	}
	return 0;
}

/* Allows a call where one argument, seen through a mask, has a value. */
static int filter_allow_if(
	scmp_filter_ctx filter, int call, unsigned argument, scmp_datum_t mask, scmp_datum_t value)
{
	return seccomp_rule_add(
		filter, SCMP_ACT_ALLOW, call, 1, SCMP_CMP64(argument, SCMP_CMP_MASKED_EQ, mask, value));
}

/* The kernel reads commands and requests as 32 bits, whatever stands above them. */
static int filter_allow_command(
	scmp_filter_ctx filter, int call, const unsigned *commands, size_t n, unsigned argument)
{
	for (size_t i = 0; i < n; i++) {
		int r = filter_allow_if(filter, call, argument, 0xffffffffU, commands[i]);

		if (r < 0)
			return r;
	}
	return 0;
}

static int filter_allow_processes(scmp_filter_ctx filter)
{
	int r;

	/* Threads, never processes, and in no namespace of their own. */
	r = filter_allow_if(
		filter, SCMP_SYS(clone), 0, CLONE_THREAD_FLAGS | CLONE_NAMESPACES, CLONE_THREAD_FLAGS);
	/* abort() */
	if (r >= 0)
		r = filter_allow_if(filter, SCMP_SYS(tgkill), 0, 0xffffffffU, (scmp_datum_t)getpid());
	/* Reading limits of its own, setting none. */
	if (r >= 0)
		r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(prlimit64), 2,
			SCMP_CMP64(0, SCMP_CMP_EQ, 0, 0), SCMP_CMP64(2, SCMP_CMP_EQ, 0, 0));
	if (r >= 0)
		r = filter_allow_if(filter, SCMP_SYS(prctl), 0, 0xffffffffU, PR_SET_NAME);
	if (r >= 0)
		r = filter_allow_if(filter, SCMP_SYS(prctl), 0, 0xffffffffU, PR_GET_DUMPABLE);
	return r;
}

static int filter_allow_memory(scmp_filter_ctx filter)
{
	int r;

	/* Nothing that can be executed, and no file: what a drive backs can vanish under the reader. */
	r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(mmap), 2,
		SCMP_A2_64(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0),
		SCMP_A3_64(SCMP_CMP_MASKED_EQ, MAP_ANONYMOUS, MAP_ANONYMOUS));
	if (r >= 0)
		r = filter_allow_if(filter, SCMP_SYS(mprotect), 2, PROT_EXEC, 0);
	return r;
}

static int filter_allow_descriptors(scmp_filter_ctx filter, FilterProfile profile)
{
	static const unsigned commands[] = {
		F_GETFD, F_SETFD, F_GETFL, F_SETFL, F_DUPFD, F_DUPFD_CLOEXEC, F_GETPIPE_SZ};
	static const unsigned leases[] = {F_SETLEASE, F_GETLEASE};
	static const unsigned requests[] = {
		FAT_IOCTL_GET_ATTRIBUTES, FAT_IOCTL_SET_ATTRIBUTES, VFAT_IOCTL_READDIR_BOTH, FS_IOC_GETFLAGS};
	int r;

	r = filter_allow_command(filter, SCMP_SYS(fcntl), commands, ELEMENTSOF(commands), 1);
	if (r < 0 || profile != FILTER_DRIVE)
		return r;
	r = filter_allow_command(filter, SCMP_SYS(fcntl), leases, ELEMENTSOF(leases), 1);
	if (r >= 0)
		r = filter_allow_command(filter, SCMP_SYS(ioctl), requests, ELEMENTSOF(requests), 1);
	/* futimens(): of a descriptor, not of a path, which Landlock would not look at. */
	if (r >= 0)
		r = filter_allow_if(filter, SCMP_SYS(utimensat), 1, UINT64_MAX, 0);
	return r;
}

static int filter_build(scmp_filter_ctx filter, FilterProfile profile)
{
	int r;

	r = seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
	if (r >= 0)
		r = seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2); /* a tree, not a list */
	if (r >= 0)
		r = filter_allow_all(filter, allowed_always, ELEMENTSOF(allowed_always));
	if (r >= 0 && profile == FILTER_DRIVE)
		r = filter_allow_all(filter, allowed_on_drives, ELEMENTSOF(allowed_on_drives));
	if (r >= 0)
		r = filter_allow_processes(filter);
	if (r >= 0)
		r = filter_allow_memory(filter);
	if (r >= 0)
		r = filter_allow_descriptors(filter, profile);
#ifdef ADDRESS_SANITIZER
	if (r >= 0)
		r = filter_allow_all(filter, allowed_for_sanitizers, ELEMENTSOF(allowed_for_sanitizers));
#endif
	for (size_t i = 0; r >= 0 && i < ELEMENTSOF(refused); i++) {
		if (profile == FILTER_DRIVE && is_allowed_on_drives(refused[i].call))
			continue;
		r = seccomp_rule_add(filter, SCMP_ACT_ERRNO((uint32_t)refused[i].error), refused[i].call, 0);
	}
	if (r >= 0) /* isatty() */
		r = seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOTTY), SCMP_SYS(ioctl), 1,
			SCMP_A1_64(SCMP_CMP_MASKED_EQ, 0xffffffffU, TCGETS));
	return r;
}

int filter_load(FilterProfile profile)
{
	scmp_filter_ctx filter;
	int r;

	filter = seccomp_init(SCMP_ACT_KILL_PROCESS);
	if (!filter)
		return -ENOMEM;
	r = filter_build(filter, profile);
	if (r >= 0)
		r = seccomp_load(filter);
	seccomp_release(filter);
	return r;
}
