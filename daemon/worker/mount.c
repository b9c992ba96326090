/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "worker/mount.h"

#include "util/fd.h"
#include "worker/result.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

static int open_directory(int dir_fd, const char *path)
{
	int flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOCTTY, fd;

	fd = openat(dir_fd, path, flags | O_NOATIME);
	if (fd < 0 && errno == EPERM) /* O_NOATIME is for the owner */
		fd = openat(dir_fd, path, flags);
	return fd < 0 ? -errno : fd;
}

int mount_refresh(Mount *mount)
{
	struct statvfs s;

	if (fstatvfs(mount->fd, &s) < 0)
		return -errno;
	mount->size = (uint64_t)s.f_blocks * s.f_frsize;
	mount->free = (uint64_t)s.f_bavail * s.f_frsize;
	mount->read_only = s.f_flag & ST_RDONLY;
	return 0;
}

Outcome mount_open(const JobRecord *job, Mount *ret_mount, ResultRecord *result)
{
	_cleanup_close_ int fd = -1;
	struct statvfs filesystem;
	struct statx s;
	Mount mount;

	fd = open_directory(AT_FDCWD, job->mount_point);
	if (fd == -EACCES || fd == -EPERM)
		return result_set(
			result, OUTCOME_NOT_AUTHORIZED, "no permission to read %s", job->mount_point);
	if (fd == -ENOENT || fd == -ENOTDIR)
		return result_set(result, OUTCOME_NOT_MOUNTED, "there is no %s any more", job->mount_point);
	if (fd < 0)
		return result_fail(result, fd, "cannot open %s", job->mount_point);

	if (statx(fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS | STATX_MNT_ID, &s) < 0)
		return result_fail(result, -errno, "cannot look at %s", job->mount_point);
	if (!(s.stx_mask & STATX_MNT_ID) || s.stx_mnt_id != job->mount_id)
		return result_set(
			result, OUTCOME_NOT_MOUNTED, "something else is mounted on %s", job->mount_point);
	if (!job->anonymous && (s.stx_dev_major != job->major || s.stx_dev_minor != job->minor))
		return result_set(
			result, OUTCOME_DRIVE_GONE, "another drive is mounted on %s", job->mount_point);

	if (fstatvfs(fd, &filesystem) < 0)
		return result_fail(result, -errno, "cannot look at %s", job->mount_point);
	if (!(filesystem.f_flag & ST_NOSUID) || !(filesystem.f_flag & ST_NODEV))
		return result_set(result, OUTCOME_UNSAFE_MOUNT, "%s is mounted without nosuid and nodev",
			job->mount_point);

	mount = (Mount){.owner = s.stx_uid, .device = makedev(s.stx_dev_major, s.stx_dev_minor)};
	mount.fd = TAKE_FD(fd);
	*ret_mount = mount;
	return mount_refresh(ret_mount) < 0 ? result_fail(result, -EIO, "cannot look at %s", job->mount_point)
					    : OUTCOME_DONE;
}

void mount_close(Mount *mount)
{
	mount->fd = safe_close(mount->fd);
}

Outcome mount_open_target(const Mount *mount, int client_fd, int *ret_fd, ResultRecord *result)
{
	_cleanup_close_ int fd = -1;
	struct stat s;

	fd = open_directory(client_fd, ".");
	if (fd == -ENOTDIR)
		return result_set(result, OUTCOME_INVALID_ARGUMENT, "what to decrypt to is not a directory");
	if (fd == -EACCES || fd == -EPERM)
		return result_set(
			result, OUTCOME_NOT_AUTHORIZED, "no permission to use the directory to decrypt to");
	if (fd < 0)
		return result_fail(result, fd, "cannot open the directory to decrypt to");
	if (fstat(fd, &s) < 0)
		return result_fail(result, -errno, "cannot look at the directory to decrypt to");
	if (s.st_dev == mount->device)
		return result_set(result, OUTCOME_INVALID_ARGUMENT,
			"the directory to decrypt to lies on the drive itself");
	*ret_fd = TAKE_FD(fd);
	return OUTCOME_DONE;
}
