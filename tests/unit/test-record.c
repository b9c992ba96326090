/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */

#include "protocol/record.h"
#include "util/fd.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

typedef struct Pair {
	int here, there;
} Pair;

static void pair_close(Pair *pair)
{
	pair->here = safe_close(pair->here);
	pair->there = safe_close(pair->there);
}

#define _cleanup_pair_ _cleanup_(pair_close)

static Pair pair_new(void)
{
	int fds[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
	return (Pair){fds[0], fds[1]};
}

/* A packet as a hostile worker would make it, header and all. */
static void send_raw(int fd, uint32_t type, uint32_t claimed, const void *payload, size_t size)
{
	RecordHeader header = {.type = type, .size = claimed};
	struct iovec parts[] = {{&header, sizeof(header)}, {(void *)(uintptr_t)payload, size}};
	struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};

	assert_int_equal(sendmsg(fd, &message, MSG_NOSIGNAL), (ssize_t)(sizeof(header) + size));
}

static void a_fixed_record_arrives_as_sent(void **state)
{
	_cleanup_pair_ Pair pair = pair_new();
	ProgressRecord progress = {.phase = PHASE_RUNNING, .files_total = 7, .bytes_done = 1ull << 40};
	Record record;

	(void)state;
	assert_int_equal(record_send(pair.there, RECORD_PROGRESS, &progress, sizeof(progress), NULL, 0), 0);
	assert_int_equal(record_receive(pair.here, &record), 1);
	assert_int_equal(record.header.type, RECORD_PROGRESS);
	assert_memory_equal(&record.progress, &progress, sizeof(progress));
}

static void records_keep_their_boundaries_and_order(void **state)
{
	_cleanup_pair_ Pair pair = pair_new();
	Record record;

	(void)state;
	assert_int_equal(record_send(pair.there, RECORD_PATH, NULL, 0, "first", 5), 0);
	assert_int_equal(record_send(pair.there, RECORD_PATH, NULL, 0, "2nd", 3), 0);
	assert_int_equal(record_send(pair.there, RECORD_START, NULL, 0, NULL, 0), 0);
	assert_int_equal(record_receive(pair.here, &record), 1);
	assert_string_equal(record.path, "first");
	assert_int_equal(record_receive(pair.here, &record), 1);
	assert_string_equal(record.path, "2nd");
	assert_int_equal(record_receive(pair.here, &record), 1);
	assert_int_equal(record.header.type, RECORD_START);
	assert_int_equal(record_receive(pair.here, &record), -EAGAIN);
}

static void the_longest_failure_path_is_whole_and_terminated(void **state)
{
	_cleanup_pair_ Pair pair = pair_new();
	FailureRecord failure = {.reason = REASON_CLASH, .error = EEXIST};
	char path[RECORD_PATH_MAX + 1];
	Record record;

	(void)state;
	memset(path, 'x', sizeof(path));
	assert_int_equal(
		record_send(pair.there, RECORD_FAILURE, &failure, sizeof(failure), path, RECORD_PATH_MAX + 1),
		-EINVAL);
	assert_int_equal(
		record_send(pair.there, RECORD_FAILURE, &failure, sizeof(failure), path, RECORD_PATH_MAX), 0);
	assert_int_equal(record_receive(pair.here, &record), 1);
	assert_int_equal(record.failure.head.error, EEXIST);
	assert_int_equal(strlen(record.failure.path), RECORD_PATH_MAX);
}

static void sending_a_wrong_size_is_refused(void **state)
{
	_cleanup_pair_ Pair pair = pair_new();
	ProgressRecord progress = {0};

	(void)state;
	assert_int_equal(
		record_send(pair.there, RECORD_PROGRESS, &progress, sizeof(progress) - 1, NULL, 0), -EINVAL);
	assert_int_equal(record_send(pair.there, RECORD_PATH, NULL, 0, NULL, 0), -EINVAL);
	assert_int_equal(record_send(pair.there, RECORD_TYPE_MAX, NULL, 0, NULL, 0), -EINVAL);
	assert_int_equal(record_send(pair.there, (RecordType)0, NULL, 0, NULL, 0), -EINVAL);
}

static void a_malformed_packet_is_ebadmsg_and_leaves_nothing(void **state)
{
	_cleanup_pair_ Pair pair = pair_new();
	static const Record zero;
	ResultRecord result;
	JobRecord job;
	Record record;

	(void)state;
	/* An unknown type; a size that lies; a size that is not the type's; an embedded NUL; no end. */
	send_raw(pair.there, RECORD_TYPE_MAX, 0, NULL, 0);
	send_raw(pair.there, 0, 0, NULL, 0);
	send_raw(pair.there, UINT32_MAX, 0, NULL, 0);
	send_raw(pair.there, RECORD_READY, 4, NULL, 0);
	send_raw(pair.there, RECORD_READY, 4, "abcd", 4);
	send_raw(pair.there, RECORD_KEY, 4, "abcd", 4);
	send_raw(pair.there, RECORD_PATH, 0, NULL, 0);
	send_raw(pair.there, RECORD_PATH, 4, "a\0bc", 4);
	send_raw(pair.there, RECORD_FAILURE, sizeof(FailureRecord), &zero, sizeof(FailureRecord));
	memset(&result, 'x', sizeof(result));
	send_raw(pair.there, RECORD_RESULT, sizeof(result), &result, sizeof(result));
	memset(&job, 0, sizeof(job));
	job.n_groups = JOB_GROUPS_MAX + 1;
	send_raw(pair.there, RECORD_JOB, sizeof(job), &job, sizeof(job));
	job.n_groups = 0;
	memset(job.mount_point, 'x', sizeof(job.mount_point));
	send_raw(pair.there, RECORD_JOB, sizeof(job), &job, sizeof(job));
	assert_int_equal(send(pair.there, "abc", 3, MSG_NOSIGNAL), 3);

	for (int i = 0; i < 13; i++) {
		memset(&record, 'x', sizeof(record));
		assert_int_equal(record_receive(pair.here, &record), -EBADMSG);
		assert_memory_equal(&record, &zero, sizeof(record));
	}
	assert_int_equal(record_receive(pair.here, &record), -EAGAIN);
}

static void a_packet_longer_than_any_record_is_ebadmsg(void **state)
{
	_cleanup_pair_ Pair pair = pair_new();
	static char big[sizeof(Record) * 2];
	Record record;

	(void)state;
	send_raw(pair.there, RECORD_PATH, sizeof(big), big, sizeof(big));
	assert_int_equal(record_receive(pair.here, &record), -EBADMSG);
}

static void a_record_with_descriptors_is_ebadmsg_and_leaks_none(void **state)
{
	_cleanup_pair_ Pair pair = pair_new();
	_cleanup_close_ int before = -1, after = -1;
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control = {0};
	RecordHeader header = {.type = RECORD_READY};
	struct iovec part = {&header, sizeof(header)};
	struct msghdr message = {.msg_iov = &part,
		.msg_iovlen = 1,
		.msg_control = control.bytes,
		.msg_controllen = sizeof(control.bytes)};
	struct cmsghdr *rights = CMSG_FIRSTHDR(&message);
	Record record;

	(void)state;
	rights->cmsg_level = SOL_SOCKET;
	rights->cmsg_type = SCM_RIGHTS;
	rights->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(rights), &pair.here, sizeof(int));

	before = dup(0);
	assert_int_equal(sendmsg(pair.there, &message, MSG_NOSIGNAL), sizeof(header));
	assert_int_equal(record_receive(pair.here, &record), -EBADMSG);
	after = dup(0);
	assert_int_equal(after, before + 1);
}

static void a_closed_end_is_0_to_read_and_epipe_to_write(void **state)
{
	_cleanup_pair_ Pair pair = pair_new();
	Record record;

	(void)state;
	pair.there = safe_close(pair.there);
	assert_int_equal(record_receive(pair.here, &record), 0);
	assert_int_equal(record_send(pair.here, RECORD_CANCEL, NULL, 0, NULL, 0), -EPIPE);
}

static void an_end_closed_with_unread_records_is_still_only_an_end(void **state)
{
	_cleanup_pair_ Pair pair = pair_new();
	Record record;

	(void)state;
	assert_int_equal(record_send(pair.here, RECORD_CANCEL, NULL, 0, NULL, 0), 0);
	pair.there = safe_close(pair.there);
	assert_int_equal(record_receive(pair.here, &record), 0);
}

static void a_full_socket_is_eagain(void **state)
{
	_cleanup_pair_ Pair pair = pair_new();
	int r = 0;

	(void)state;
	for (int i = 0; i < 1000000 && r == 0; i++)
		r = record_send(pair.there, RECORD_READY, NULL, 0, NULL, 0);
	assert_int_equal(r, -EAGAIN);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_fixed_record_arrives_as_sent),
		cmocka_unit_test(records_keep_their_boundaries_and_order),
		cmocka_unit_test(the_longest_failure_path_is_whole_and_terminated),
		cmocka_unit_test(sending_a_wrong_size_is_refused),
		cmocka_unit_test(a_malformed_packet_is_ebadmsg_and_leaves_nothing),
		cmocka_unit_test(a_packet_longer_than_any_record_is_ebadmsg),
		cmocka_unit_test(a_record_with_descriptors_is_ebadmsg_and_leaks_none),
		cmocka_unit_test(a_closed_end_is_0_to_read_and_epipe_to_write),
		cmocka_unit_test(an_end_closed_with_unread_records_is_still_only_an_end),
		cmocka_unit_test(a_full_socket_is_eagain),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
