/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "worker/node.h"

#include "util/fd.h"
#include "util/memory.h"
#include "worker/result.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <poll.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define NODE_DIRECTORY "/dev/"

/* Whether a sysfs attribute that was opened long ago is still there and says this number. A device that has
 * gone answers ENODEV on attributes that are held open, even when another one has taken its number since. */
static bool attribute_is(int fd, uint64_t expected)
{
	char text[32];
	uint64_t found;
	ssize_t n;

	n = pread(fd, text, sizeof(text) - 1, 0);
	if (n <= 0)
		return false;
	text[n] = 0;
	return sscanf(text, "%" SCNu64, &found) == 1 && found == expected;
}

static bool device_is_there(int fd)
{
	char text[32];

	return pread(fd, text, sizeof(text), 0) > 0;
}

static bool node_is_alive(const Node *node)
{
	return device_is_there(node->device_fd) && attribute_is(node->sequence_fd, node->disk_sequence);
}

static Outcome node_open_attributes(const JobRecord *job, Node *node, ResultRecord *result)
{
	_cleanup_close_ int directory = -1;
	char path[64];

	(void)snprintf(path, sizeof(path), "/sys/dev/block/%" PRIu32 ":%" PRIu32, job->major, job->minor);
	directory = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (directory < 0)
		return result_set(result, OUTCOME_DRIVE_GONE, "%s is not in sysfs any more", job->node);
	node->device_fd = openat(directory, "dev", O_RDONLY | O_CLOEXEC);
	/* A partition's disk is the directory above it. */
	node->sequence_fd =
		openat(directory, faccessat(directory, "partition", F_OK, 0) == 0 ? "../diskseq" : "diskseq",
			O_RDONLY | O_CLOEXEC);
	node->disk_sequence = job->disk_sequence;
	if (node->device_fd < 0 || node->sequence_fd < 0 || !node_is_alive(node))
		return result_set(result, OUTCOME_DRIVE_GONE, "%s is another disk by now", job->node);
	return OUTCOME_DONE;
}

Outcome node_open(const JobRecord *job, Node *ret_node, ResultRecord *result)
{
	Node node = NODE_NULL;
	uint64_t sequence = 0;
	Outcome outcome;
	struct stat s;

	if (strncmp(job->node, NODE_DIRECTORY, strlen(NODE_DIRECTORY)) != 0)
		return result_set(result, OUTCOME_INVALID_ARGUMENT, "%s is not a device node", job->node);

	/* O_NONBLOCK: a drive without a medium is an error, not a reason to wait. */
	node.fd = open(job->node, O_RDONLY | O_NOFOLLOW | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
	if (node.fd < 0)
		return errno == ENOENT ? result_set(result, OUTCOME_DRIVE_GONE, "%s is gone", job->node)
				       : result_fail(result, -errno, "cannot open %s", job->node);
	if (fstat(node.fd, &s) < 0 || !S_ISBLK(s.st_mode) || major(s.st_rdev) != job->major ||
		minor(s.st_rdev) != job->minor || ioctl(node.fd, BLKGETDISKSEQ, &sequence) < 0 ||
		sequence != job->disk_sequence)
		outcome = result_set(result, OUTCOME_DRIVE_GONE, "%s is another drive by now", job->node);
	else
		outcome = node_open_attributes(job, &node, result);

	if (outcome != OUTCOME_DONE) {
		node_close(&node);
		return outcome;
	}
	*ret_node = node;
	return OUTCOME_DONE;
}

void node_close(Node *node)
{
	node->fd = safe_close(node->fd);
	node->device_fd = safe_close(node->device_fd);
	node->sequence_fd = safe_close(node->sequence_fd);
	node->check = exfat_check_free(node->check);
}

static int node_check(Node *node, uint32_t question)
{
	VolumeState state = VOLUME_SOUND;
	int r;

	if (question > VOLUME_GO_ON)
		return -EBADMSG;
	if (question != VOLUME_GO_ON) {
		/* One that a worker left behind who was cancelled, or died. */
		node->check = exfat_check_free(node->check);
		if (question == VOLUME_IF_UNCLEAN && exfat_is_clean(node->fd))
			return VOLUME_SOUND;
		r = exfat_check_new(node->fd, &node->check);
		if (r < 0)
			return r == -ENOTSUP ? VOLUME_SOUND : r;
	} else if (!node->check) {
		return -EBADMSG;
	}
	r = exfat_check_step(node->check, &state);
	if (r == 0)
		return -EINPROGRESS;
	node->check = exfat_check_free(node->check);
	return r < 0 ? r : (int)state;
}

static int node_answer(Node *node, RecordType type, uint32_t question)
{
	int r;

	switch (type) {
	case RECORD_NODE_SYNC:
		do
			r = fsync(node->fd);
		while (r < 0 && errno == EINTR);
		return r < 0 ? -errno : 0;
	case RECORD_NODE_DROP:
		return -posix_fadvise(node->fd, 0, 0, POSIX_FADV_DONTNEED);
	case RECORD_NODE_CHECK:
		return node_check(node, question);
	case RECORD_NODE_ALIVE:
		return node_is_alive(node) ? 1 : 0;
	default:
		return -EBADMSG;
	}
}

/* One question and its answer. 0: the other end has hung up. */
static int node_serve_one(Node *node, int fd, Record *record)
{
	NodeDoneRecord done = {0};
	int r;

	r = record_receive(fd, record);
	if (r <= 0)
		return r == -EAGAIN ? 1 : r;
	if (record->header.type < RECORD_NODE_SYNC || record->header.type > RECORD_NODE_ALIVE)
		return -EBADMSG;
	done.token = record->node_request.token;
	done.result = node_answer(node, record->header.type, record->node_request.question);
	r = record_send(fd, RECORD_NODE_DONE, &done, sizeof(done), NULL, 0);
	return r == -EPIPE ? 0 : r < 0 ? r : 1;
}

Outcome node_serve(Node *node, int fd, Control *control, ResultRecord *result)
{
	_cleanup_free_ Record *record = NULL;

	record = new0(Record, 1);
	if (!record)
		return result_fail(result, -ENOMEM, "cannot serve");
	for (;;) {
		struct pollfd p[] = {
			{.fd = fd, .events = POLLIN},
			{.fd = control_fd(control), .events = POLLIN},
		};
		int r;

		if (poll(p, ELEMENTSOF(p), -1) < 0) {
			if (errno == EINTR)
				continue;
			return result_fail(result, -errno, "cannot wait");
		}
		if (p[1].revents && control_cancelled(control))
			return OUTCOME_DONE;
		if (!p[0].revents)
			continue;
		r = node_serve_one(node, fd, record);
		if (r == 0)
			return OUTCOME_DONE;
		if (r < 0)
			return result_fail(result, r, "a malformed request");
	}
}
