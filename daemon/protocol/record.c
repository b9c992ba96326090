/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "protocol/record.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

/* A payload is `fixed` bytes, and for types with a tail 1..RECORD_PATH_MAX bytes more. */
typedef struct RecordShape {
	bool known;
	bool tail;
	size_t fixed;
} RecordShape;

static const RecordShape shapes[RECORD_TYPE_MAX] = {
	[RECORD_JOB] = {true, false, sizeof(JobRecord)},
	[RECORD_PATH] = {true, true, 0},
	[RECORD_START] = {true, false, 0},
	[RECORD_KEYS] = {true, false, sizeof(KeysRecord)},
	[RECORD_CANCEL] = {true, false, 0},
	[RECORD_READY] = {true, false, 0},
	[RECORD_PROGRESS] = {true, false, sizeof(ProgressRecord)},
	[RECORD_FAILURE] = {true, true, sizeof(FailureRecord)},
	[RECORD_DRIVE] = {true, false, sizeof(DriveRecord)},
	[RECORD_KEY] = {true, false, sizeof(KeyRecord)},
	[RECORD_RESULT] = {true, false, sizeof(ResultRecord)},
	[RECORD_NODE_SYNC] = {true, false, sizeof(NodeRequestRecord)},
	[RECORD_NODE_DROP] = {true, false, sizeof(NodeRequestRecord)},
	[RECORD_NODE_CHECK] = {true, false, sizeof(NodeRequestRecord)},
	[RECORD_NODE_ALIVE] = {true, false, sizeof(NodeRequestRecord)},
	[RECORD_NODE_DONE] = {true, false, sizeof(NodeDoneRecord)},
};

/* The packet is received straight into a Record. */
_Static_assert(offsetof(Record, job) == sizeof(RecordHeader), "a payload follows its header without padding");
_Static_assert(offsetof(Record, failure.path) == sizeof(RecordHeader) + sizeof(FailureRecord),
	"a failure's path follows its head without padding");

static bool record_size_is_valid(uint32_t type, size_t size)
{
	if (type >= RECORD_TYPE_MAX || !shapes[type].known)
		return false;
	if (!shapes[type].tail)
		return size == shapes[type].fixed;
	return size > shapes[type].fixed && size <= shapes[type].fixed + RECORD_PATH_MAX;
}

int record_send(int fd, RecordType type, const void *payload, size_t size, const void *tail, size_t tail_size)
{
	RecordHeader header = {.type = (uint32_t)type, .size = (uint32_t)(size + tail_size)};
	/* iovec has no const: sendmsg() does not write through it. */
	struct iovec parts[] = {
		{.iov_base = &header, .iov_len = sizeof(header)},
		{.iov_base = (void *)(uintptr_t)payload, .iov_len = size},
		{.iov_base = (void *)(uintptr_t)tail, .iov_len = tail_size},
	};
	struct msghdr message = {.msg_iov = parts, .msg_iovlen = ELEMENTSOF(parts)};
	ssize_t n;

	if (size > sizeof(Record) || tail_size > RECORD_PATH_MAX || (int)type < 0 ||
		!record_size_is_valid((uint32_t)type, size + tail_size))
		return -EINVAL;

	do
		n = sendmsg(fd, &message, MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return errno == ECONNRESET ? -EPIPE : -errno;
	return 0;
}

static bool text_is_terminated(const char *text, size_t size)
{
	return memchr(text, 0, size) != NULL;
}

static bool record_text_is_valid(const Record *record, size_t size)
{
	switch (record->header.type) {
	case RECORD_JOB:
		return text_is_terminated(record->job.mount_point, sizeof(record->job.mount_point)) &&
		       text_is_terminated(record->job.node, sizeof(record->job.node)) &&
		       text_is_terminated(record->job.filesystem, sizeof(record->job.filesystem)) &&
		       record->job.n_groups <= JOB_GROUPS_MAX;
	case RECORD_RESULT:
		return text_is_terminated(record->result.message, sizeof(record->result.message));
	case RECORD_PATH:
		return memchr(record->path, 0, size) == NULL;
	case RECORD_FAILURE:
		return memchr(record->failure.path, 0, size - sizeof(FailureRecord)) == NULL;
	default:
		return true;
	}
}

int record_receive(int fd, Record *record)
{
	struct iovec part = {.iov_base = record, .iov_len = sizeof(*record)};
	struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
	size_t size;
	ssize_t n;

	secret_wipe(record, sizeof(*record));

	/* ECONNRESET, once, is how the kernel says that the other end closed without reading all we sent (a
	 * CANCEL that came too late, say). What it had sent before is still there: its RESULT must not be
	 * lost. */
	do
		n = recvmsg(fd, &message, 0);
	while (n < 0 && (errno == EINTR || errno == ECONNRESET));
	if (n < 0)
		return -errno;
	if (n == 0)
		return 0;

	/* No record carries descriptors; the kernel has dropped them already and says so by MSG_CTRUNC. */
	if (message.msg_flags & (MSG_TRUNC | MSG_CTRUNC) || (size_t)n < sizeof(RecordHeader))
		goto malformed;
	size = (size_t)n - sizeof(RecordHeader);
	if (record->header.size != size || !record_size_is_valid(record->header.type, size) ||
		!record_text_is_valid(record, size))
		goto malformed;
	return 1;

malformed:
	secret_wipe(record, sizeof(*record));
	return -EBADMSG;
}
