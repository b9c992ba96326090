/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The worker's end of its socketpair to the daemon. */

#include "util/fd.h"
#include "worker/control.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

static Control *control;
static int daemon_fd;

static int setup(void **state _unused_)
{
	int fds[2];

	if (secret_init() < 0 || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) < 0)
		return -1;
	daemon_fd = fds[0];
	return control_new(fds[1], &control);
}

static int teardown(void **state _unused_)
{
	control = control_free(control);
	daemon_fd = safe_close(daemon_fd);
	return 0;
}

static void wait_interval(void)
{
	/* Longer than control_cancelled() waits between two looks: it is asked until then, as the engine
	 * does. */
	struct timespec now, end;

	(void)clock_gettime(CLOCK_MONOTONIC, &end);
	end.tv_sec += 5;
	do
		(void)clock_gettime(CLOCK_MONOTONIC, &now);
	while (!control_cancelled(control) && now.tv_sec < end.tv_sec);
}

static void nothing_said_is_no_cancel(void **state _unused_)
{
	assert_false(control_cancelled(control));
	assert_false(control_observer(control).cancelled(control));
}

static void cancel_is_seen(void **state _unused_)
{
	assert_int_equal(record_send(daemon_fd, RECORD_CANCEL, NULL, 0, NULL, 0), 0);
	wait_interval();
	assert_true(control_cancelled(control));
}

static void a_daemon_that_is_gone_cancels(void **state _unused_)
{
	daemon_fd = safe_close(daemon_fd);
	wait_interval();
	assert_true(control_cancelled(control));
}

static void a_daemon_that_is_gone_is_an_error_when_sending(void **state _unused_)
{
	daemon_fd = safe_close(daemon_fd);
	assert_int_equal(control_send(control, RECORD_READY, NULL, 0, NULL, 0), -EPIPE);
	assert_true(control_cancelled(control));
}

static void cancel_instead_of_keys_is_a_cancel(void **state _unused_)
{
	Record *record;

	assert_int_equal(record_send(daemon_fd, RECORD_CANCEL, NULL, 0, NULL, 0), 0);
	assert_int_equal(control_receive(control, &record), -ECANCELED);
	assert_true(control_cancelled(control));
}

static void what_was_received_can_be_forgotten(void **state _unused_)
{
	KeysRecord keys = {.present = 2, .subkeys = {{0}, {1, 2, 3}}};
	static const uint8_t zeros[sizeof(Record)];
	Record *record;

	assert_int_equal(record_send(daemon_fd, RECORD_KEYS, &keys, sizeof(keys), NULL, 0), 0);
	assert_int_equal(control_receive(control, &record), 0);
	assert_memory_equal(&record->keys, &keys, sizeof(keys));
	control_forget(control);
	assert_memory_equal(record, zeros, sizeof(Record));
}

/* The end of a job: its RESULT is read even when a CANCEL that came too late was never read by the worker. */
static void a_cancel_that_comes_too_late_loses_no_result(void **state _unused_)
{
	const ResultRecord result = {.outcome = OUTCOME_PARTIAL};
	static Record record;

	assert_int_equal(control_send(control, RECORD_RESULT, &result, sizeof(result), NULL, 0), 0);
	assert_int_equal(record_send(daemon_fd, RECORD_CANCEL, NULL, 0, NULL, 0), 0);
	control = control_free(control);
	assert_int_equal(record_receive(daemon_fd, &record), 1);
	assert_int_equal(record.header.type, RECORD_RESULT);
	assert_int_equal(record.result.outcome, OUTCOME_PARTIAL);
	assert_int_equal(record_receive(daemon_fd, &record), 0);
}

/* A daemon that does not read: progress is left out, and the work goes on; the last one is kept for the end.
 */
static void a_slow_daemon_does_not_stop_the_work(void **state _unused_)
{
	const Observer observer = control_observer(control);
	static Record record;
	uint64_t last = 0;
	int r;

	for (uint64_t i = 0; i < 100000; i++) {
		/* A new phase every time: none of them waits for its tenth of a second. */
		const Progress progress = {.phase = i % 2 ? PHASE_RUNNING : PHASE_PREFLIGHT, .files_done = i};

		observer.progress(observer.userdata, &progress);
	}
	assert_int_equal(fcntl(daemon_fd, F_SETFL, O_NONBLOCK), 0);
	while ((r = record_receive(daemon_fd, &record)) > 0)
		last = record.progress.files_done;
	assert_int_equal(r, -EAGAIN);
	assert_true(last < 99999);
	control_flush(control);
	assert_int_equal(record_receive(daemon_fd, &record), 1);
	assert_int_equal(record.progress.files_done, 99999);
}

static void failures_name_the_file(void **state _unused_)
{
	const Observer observer = control_observer(control);
	static char long_path[RECORD_PATH_MAX + 100];
	static Record record;

	memset(long_path, 'x', sizeof(long_path) - 1);
	observer.failure(observer.userdata, "a/b\n", REASON_IN_USE, EAGAIN);
	observer.failure(observer.userdata, "", REASON_IO, 0);
	observer.failure(observer.userdata, long_path, REASON_PATH_TOO_LONG, 0);
	assert_int_equal(record_receive(daemon_fd, &record), 1);
	assert_int_equal(record.failure.head.reason, REASON_IN_USE);
	assert_int_equal(record.failure.head.error, EAGAIN);
	assert_string_equal(record.failure.path, "a/b\n");
	assert_int_equal(record_receive(daemon_fd, &record), 1);
	assert_string_equal(record.failure.path, ".");
	assert_int_equal(record_receive(daemon_fd, &record), 1);
	assert_int_equal(strlen(record.failure.path), RECORD_PATH_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(nothing_said_is_no_cancel, setup, teardown),
		cmocka_unit_test_setup_teardown(cancel_is_seen, setup, teardown),
		cmocka_unit_test_setup_teardown(a_daemon_that_is_gone_cancels, setup, teardown),
		cmocka_unit_test_setup_teardown(
			a_daemon_that_is_gone_is_an_error_when_sending, setup, teardown),
		cmocka_unit_test_setup_teardown(cancel_instead_of_keys_is_a_cancel, setup, teardown),
		cmocka_unit_test_setup_teardown(what_was_received_can_be_forgotten, setup, teardown),
		cmocka_unit_test_setup_teardown(
			a_cancel_that_comes_too_late_loses_no_result, setup, teardown),
		cmocka_unit_test_setup_teardown(a_slow_daemon_does_not_stop_the_work, setup, teardown),
		cmocka_unit_test_setup_teardown(failures_name_the_file, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
