/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "worker/privilege.h"

#include "util/memory.h"

#include <errno.h>
#include <grp.h>
#include <keyutils.h>
#include <linux/securebits.h>
#include <stdbool.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SECUREBITS                                                                                           \
	(SECBIT_NOROOT | SECBIT_NOROOT_LOCKED | SECBIT_NO_SETUID_FIXUP_LOCKED | SECBIT_KEEP_CAPS_LOCKED |    \
		SECBIT_NO_CAP_AMBIENT_RAISE | SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED)

typedef struct Capabilities {
	uint64_t effective, permitted, inheritable;
} Capabilities;

static int capabilities_get(Capabilities *ret)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {{0}};

	if (syscall(SYS_capget, &header, data) < 0)
		return -errno;
	*ret = (Capabilities){
		.effective = (uint64_t)data[1].effective << 32 | data[0].effective,
		.permitted = (uint64_t)data[1].permitted << 32 | data[0].permitted,
		.inheritable = (uint64_t)data[1].inheritable << 32 | data[0].inheritable,
	};
	return 0;
}

static int capabilities_set(const Capabilities *capabilities)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {
		{
			.effective = (uint32_t)capabilities->effective,
			.permitted = (uint32_t)capabilities->permitted,
			.inheritable = (uint32_t)capabilities->inheritable,
		},
		{
			.effective = (uint32_t)(capabilities->effective >> 32),
			.permitted = (uint32_t)(capabilities->permitted >> 32),
			.inheritable = (uint32_t)(capabilities->inheritable >> 32),
		},
	};

	return syscall(SYS_capset, &header, data) < 0 ? -errno : 0;
}

int privilege_leave_keyring(void)
{
	return keyctl_join_session_keyring(NULL) < 0 ? -errno : 0;
}

int privilege_narrow(uint64_t capabilities)
{
	Capabilities now = {0};
	int r;

	r = capabilities_get(&now);
	if (r < 0)
		return r;
	now.effective = now.permitted & capabilities;
	now.inheritable = 0;
	return capabilities_set(&now);
}

/* What an exec would give back. Nothing is executed any more, so that a unit which withholds CAP_SETPCAP
 * loses no more than a second fence. */
static int close_bounding_set(uint64_t keep)
{
	for (unsigned long cap = 0; cap < 64; cap++) {
		if (prctl(PR_CAPBSET_READ, cap, 0, 0, 0) < 0)
			break; /* one past the last that this kernel knows */
		if (keep & CAPABILITY(cap))
			continue;
		if (prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0)
			return -errno;
	}
	return prctl(PR_SET_SECUREBITS, SECUREBITS, 0, 0, 0) < 0 ? -errno : 0;
}

static int compare_groups(const void *a, const void *b)
{
	gid_t left, right;

	memcpy(&left, a, sizeof(left));
	memcpy(&right, b, sizeof(right));
	return left < right ? -1 : left > right;
}

static bool groups_are(const gid_t *groups, size_t n_groups)
{
	_cleanup_free_ gid_t *wanted = NULL, *found = NULL;
	int n;

	n = getgroups(0, NULL);
	if (n < 0 || (size_t)n != n_groups)
		return false;
	if (n == 0)
		return true;
	wanted = new0(gid_t, n_groups);
	found = new0(gid_t, n_groups);
	if (!wanted || !found || getgroups(n, found) != n)
		return false;
	memcpy(wanted, groups, n_groups * sizeof(*groups));
	qsort(wanted, n_groups, sizeof(*wanted), compare_groups);
	qsort(found, n_groups, sizeof(*found), compare_groups);
	return memcmp(wanted, found, n_groups * sizeof(*wanted)) == 0;
}

/* Whether the drop has come out as it was meant to. */
static bool dropped(uid_t uid, gid_t gid, const gid_t *groups, size_t n_groups, uint64_t capabilities)
{
	Capabilities now = {0};
	uid_t ruid, euid, suid;
	gid_t rgid, egid, sgid;

	if (getresuid(&ruid, &euid, &suid) < 0 || ruid != uid || euid != uid || suid != uid)
		return false;
	if (getresgid(&rgid, &egid, &sgid) < 0 || rgid != gid || egid != gid || sgid != gid)
		return false;
	if (!groups_are(groups, n_groups))
		return false;
	if (capabilities_get(&now) < 0 || now.effective != capabilities || now.permitted != capabilities ||
		now.inheritable != 0)
		return false;
	if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1 || prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) != 0)
		return false;
	/* And the way back is shut. */
	return uid == 0 || (setresuid(0, 0, 0) < 0 && setresgid(0, 0, 0) < 0);
}

int privilege_drop(uid_t uid, gid_t gid, const gid_t *groups, size_t n_groups, uint64_t keep)
{
	Capabilities now = {0};
	int r;

	r = capabilities_get(&now);
	if (r < 0)
		return r;
	keep = uid == 0 ? keep & now.permitted : 0;

	/* The drop itself needs them back, if privilege_narrow() put them aside. */
	now.effective = now.permitted;
	now.inheritable = 0;
	r = capabilities_set(&now);
	if (r < 0)
		return r;

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return -errno;
	if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0)
		return -errno;
	if (now.permitted & CAPABILITY(CAP_SETPCAP)) {
		r = close_bounding_set(keep);
		if (r < 0)
			return r;
	}

	if (setgroups(n_groups, groups) < 0 || setresgid(gid, gid, gid) < 0 || setresuid(uid, uid, uid) < 0)
		return -errno;
	now = (Capabilities){.effective = keep, .permitted = keep};
	r = capabilities_set(&now);
	if (r < 0)
		return r;

	/* setresuid() has set it to /proc/sys/fs/suid_dumpable, which can be 2. */
	if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
		return -errno;
	return dropped(uid, gid, groups, n_groups, keep) ? 0 : -EPERM;
}
