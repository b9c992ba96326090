/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "mount.h"
#include "place.h"
#include "run.h"
#include "text.h"
#include "util/memory.h"
#include "verb.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

/* Opens --to's directory, which may have to be made. It must not be on the drive that is to stay as it is. */
static ExitCode open_target(const Client *client, const Drive *drive, const char *path, int *ret_fd)
{
	_cleanup_close_ int fd = -1, mount_fd = -1;
	struct stat target, mount;

	if (!arguments_has(&client->arguments, OPTION_DRY_RUN) && mkdir(path, 0700) < 0 && errno != EEXIST)
		return client_fail_errno(client, -errno, "The directory for --to cannot be made",
			"Choose one in a directory of yours.");
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &target) < 0)
		return client_fail_errno(client, -errno, "The directory for --to cannot be opened",
			"Name a directory you may write to.");
	mount_fd = open(drive_mount_point(drive), O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (mount_fd >= 0 && fstat(mount_fd, &mount) >= 0 && mount.st_dev == target.st_dev)
		return client_fail(client, CODE_USAGE, "Usage",
			"The directory for --to is on the drive itself, which is to stay as it is. Choose "
			"one elsewhere, "
			"or decrypt in place without --to.");
	*ret_fd = TAKE_FD(fd);
	return CODE_DONE;
}

ExitCode verb_decrypt(Client *client)
{
	_cleanup_target_ Target target = {0};
	_cleanup_transaction_ Transaction transaction = {0};
	_cleanup_close_ int target_fd = -1;
	const char *to = client->arguments.values[OPTION_TO];
	Run run = {
		.member = "Decrypt",
		.options = OPTION_BIT(OPTION_SKIP_UNFIT) | OPTION_BIT(OPTION_DRY_RUN) |
			   OPTION_BIT(OPTION_UNVERIFIED_MEDIUM),
		.changing = !to && !arguments_has(&client->arguments, OPTION_DRY_RUN),
		.past = "Decrypted",
		.done = COUNT_DECRYPTED,
		.nothing = "Nothing to do: there is no encrypted file there.",
	};
	ExitCode code;

	code = target_find(client, client->arguments.words, client->arguments.n_words, &target);
	if (code == CODE_DONE)
		code = mount_ensure(client, target.drive);
	if (code == CODE_DONE && to)
		code = open_target(client, target.drive, to, &target_fd);
	if (code != CODE_DONE)
		return code;
	run.target_fd = target_fd;
	return run_transaction(client, &target, &run, &transaction);
}
