/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "worker/confinement.h"

#include "util/fd.h"

#include <errno.h>
#include <linux/landlock.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Debian 12's headers are those of 6.1, ABI 2. What came later is spelled out here: it is the kernel's ABI.
 */
#define FS_TRUNCATE  ((uint64_t)1 << 14) /* ABI 3 */
#define FS_IOCTL_DEV ((uint64_t)1 << 15) /* ABI 5 */
#define NET_ALL      ((uint64_t)3)       /* ABI 4: TCP bind and connect */
#define SCOPE_ALL    ((uint64_t)3)       /* ABI 6: abstract sockets and signals */

#define FS_ABI_1                                                                                             \
	(LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_READ_FILE |         \
		LANDLOCK_ACCESS_FS_READ_DIR | LANDLOCK_ACCESS_FS_REMOVE_DIR |                                \
		LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_MAKE_CHAR |                              \
		LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_MAKE_SOCK |   \
		LANDLOCK_ACCESS_FS_MAKE_FIFO | LANDLOCK_ACCESS_FS_MAKE_BLOCK | LANDLOCK_ACCESS_FS_MAKE_SYM)

typedef struct RulesetAttributes {
	uint64_t handled_access_fs;
	uint64_t handled_access_net; /* ABI 4 */
	uint64_t scoped;             /* ABI 6 */
} RulesetAttributes;

static uint64_t access_rights(Access access)
{
	const uint64_t read = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR;
	const uint64_t change = LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_MAKE_REG |
				LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_REMOVE_FILE |
				LANDLOCK_ACCESS_FS_REMOVE_DIR | FS_TRUNCATE;

	switch (access) {
	case ACCESS_READ:
		return read;
	case ACCESS_CHANGE:
		return read | change;
	default:
		return 0;
	}
}

static int confinement_allow(int ruleset, const ConfinedPath *path, uint64_t handled)
{
	struct landlock_path_beneath_attr rule = {
		.allowed_access = access_rights(path->access) & handled,
		.parent_fd = path->fd,
	};
	struct stat s;

	if (fstat(path->fd, &s) < 0)
		return -errno;
	if (!S_ISDIR(s.st_mode)) /* the others are for directories only: EINVAL */
		rule.allowed_access &= LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE;
	if (rule.allowed_access == 0)
		return 0;
	return syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) < 0 ? -errno : 0;
}

int confinement_enter(const ConfinedPath *paths, size_t n_paths)
{
	RulesetAttributes attributes = {.handled_access_fs = FS_ABI_1};
	_cleanup_close_ int ruleset = -1;
	size_t size = sizeof(attributes.handled_access_fs);
	long abi;

	abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
	if (abi < 0)
		return -errno;
	if (abi >= 2)
		attributes.handled_access_fs |= LANDLOCK_ACCESS_FS_REFER;
	if (abi >= 3)
		attributes.handled_access_fs |= FS_TRUNCATE;
	if (abi >= 4) {
		attributes.handled_access_net = NET_ALL;
		size = offsetof(RulesetAttributes, scoped);
	}
	if (abi >= 5)
		attributes.handled_access_fs |= FS_IOCTL_DEV;
	if (abi >= 6) {
		attributes.scoped = SCOPE_ALL;
		size = sizeof(attributes);
	}

	ruleset = (int)syscall(SYS_landlock_create_ruleset, &attributes, size, 0);
	if (ruleset < 0)
		return -errno;
	for (size_t i = 0; i < n_paths; i++) {
		int r = confinement_allow(ruleset, &paths[i], attributes.handled_access_fs);

		if (r < 0)
			return r;
	}
	return syscall(SYS_landlock_restrict_self, ruleset, 0) < 0 ? -errno : 0;
}
