/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */

/*
 * Jobs against workers that misbehave. This program is its own worker: started without arguments and with a
 * socketpair as descriptor 3 it reads its job, whose mount point names what it is to do.
 */

#include "core/job.h"
#include "util/fd.h"
#include "util/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- the worker */

static void say(RecordType type, const void *payload, size_t size)
{
	(void)record_send(JOB_FD_CONTROL, type, payload, size, NULL, 0);
}

static void say_result(Outcome outcome)
{
	ResultRecord result = {.outcome = (uint32_t)outcome};

	result.counts[COUNT_ENCRYPTED] = 7;
	(void)snprintf(result.message, sizeof(result.message), "a\nb\xff");
	say(RECORD_RESULT, &result, sizeof(result));
}

static bool only_job_descriptors(void)
{
	for (int fd = JOB_FD_CONTROL + 1; fd < 256; fd++)
		if (fcntl(fd, F_GETFD) >= 0)
			return false;
	return environ == NULL || environ[0] == NULL || strncmp(environ[0], "JOURNAL_STREAM=", 15) == 0;
}

static int act(const char *what)
{
	ProgressRecord progress = {.phase = PHASE_RUNNING, .files_done = 3};
	DriveRecord drive = {.enrolled = 1, .owner = 1000, .suite = 1};
	KeyRecord key = {{1}};
	char rubbish[] = "rubbish";
	Record record;

	if (strcmp(what, "dies") == 0)
		return 1;
	if (strcmp(what, "early-progress") == 0)
		say(RECORD_PROGRESS, &progress, sizeof(progress));
	say(RECORD_READY, NULL, 0);
	if (strcmp(what, "good") == 0) {
		say(RECORD_PROGRESS, &progress, sizeof(progress));
		say_result(only_job_descriptors() ? OUTCOME_DONE : OUTCOME_FAILED);
	} else if (strcmp(what, "crashes") == 0) {
		(void)raise(SIGKILL);
	} else if (strcmp(what, "rubbish") == 0) {
		(void)send(JOB_FD_CONTROL, rubbish, sizeof(rubbish), MSG_NOSIGNAL);
		say_result(OUTCOME_DONE);
	} else if (strcmp(what, "bad-phase") == 0) {
		progress.phase = PHASE_MAX;
		say(RECORD_PROGRESS, &progress, sizeof(progress));
		say_result(OUTCOME_DONE);
	} else if (strcmp(what, "bad-outcome") == 0) {
		say_result(OUTCOME_MAX);
	} else if (strcmp(what, "two-results") == 0) {
		say_result(OUTCOME_DONE);
		say_result(OUTCOME_DONE);
	} else if (strcmp(what, "foreign-key") == 0) {
		say(RECORD_KEY, &key, sizeof(key));
		say_result(OUTCOME_DONE);
	} else if (strcmp(what, "no-key") == 0) {
		say(RECORD_DRIVE, &drive, sizeof(drive));
		say_result(OUTCOME_DONE);
	} else if (strcmp(what, "key") == 0) {
		say(RECORD_DRIVE, &drive, sizeof(drive));
		say(RECORD_KEY, &key, sizeof(key));
		say_result(OUTCOME_DONE);
	} else if (strcmp(what, "bad-suite") == 0) {
		drive.suite = 99;
		say(RECORD_DRIVE, &drive, sizeof(drive));
		say_result(OUTCOME_DONE);
	} else if (strcmp(what, "keys") == 0) {
		int r = record_receive(JOB_FD_CONTROL, &record);

		say_result(r == 1 && record.header.type == RECORD_KEYS && record.keys.epoch == 5
				   ? OUTCOME_DONE
				   : OUTCOME_FAILED);
	} else if (strcmp(what, "cancelled") == 0) {
		int r = record_receive(JOB_FD_CONTROL, &record);

		say_result(
			r == 1 && record.header.type == RECORD_CANCEL ? OUTCOME_CANCELLED : OUTCOME_FAILED);
	} else if (strcmp(what, "hangs") == 0) {
		for (;;)
			pause();
	}
	return 0;
}

static int be_worker(void)
{
	Record record;
	char what[64];

	if (record_receive(JOB_FD_CONTROL, &record) != 1 || record.header.type != RECORD_JOB)
		return 2;
	(void)snprintf(what, sizeof(what), "%.63s", record.job.mount_point);
	while (record_receive(JOB_FD_CONTROL, &record) == 1 && record.header.type == RECORD_PATH)
		;
	return act(what);
}

/* ---- the tests */

typedef struct Run {
	sd_event *event;
	Config config;
	Request *request;
	Job *job;
	bool ended;
	Outcome outcome;
	char *message;
	uint64_t encrypted, files_done;
	bool has_key, has_drive;
} Run;

static void on_progress(void *userdata, const ProgressRecord *progress)
{
	((Run *)userdata)->files_done = progress->files_done;
}

static void on_ended(void *userdata, JobResult *result)
{
	Run *run = userdata;

	run->ended = true;
	run->outcome = result->outcome;
	run->message = result->message ? strdup(result->message) : NULL;
	run->encrypted = result->complete ? result->counts[COUNT_ENCRYPTED] : 0;
	run->has_key = result->drive_key != NULL;
	run->has_drive = result->drive != NULL;
}

static void run_start(Run *run, JobKind kind, const char *what, Secret *keys)
{
	JobHandlers handlers = {.userdata = run, .progress = on_progress, .ended = on_ended};
	_cleanup_free_ JobParameters *parameters = new0(JobParameters, 1);

	*run = (Run){0};
	assert_true(sd_event_new(&run->event) >= 0);
	run->config.worker_path = realpath("/proc/self/exe", NULL);
	run->request = request_new(kind);
	run->request->caller.uid = run->request->caller.gid = 0;
	parameters->config = &run->config;
	parameters->request = run->request;
	parameters->keys = keys;
	(void)snprintf(parameters->record.mount_point, sizeof(parameters->record.mount_point), "%s", what);
	assert_int_equal(job_new(run->event, parameters, &handlers, &run->job), 0);
}

static void run_wait(Run *run)
{
	for (int i = 0; i < 1000 && !run->ended; i++)
		assert_true(sd_event_run(run->event, 10 * USEC_PER_SEC) > 0);
	assert_true(run->ended);
}

static void run_clear(Run *run)
{
	siginfo_t info;

	/* Whatever was killed is reaped by itself: at the end there is no child left. */
	for (int i = 0; i < 1000 && waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0; i++)
		assert_true(sd_event_run(run->event, 10 * USEC_PER_MSEC) >= 0);
	assert_int_equal(waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT), -1);
	assert_int_equal(errno, ECHILD);
	free(run->message);
	request_free(run->request);
	config_clear(&run->config);
	sd_event_unref(run->event);
}

static Outcome outcome_of(JobKind kind, const char *what)
{
	Run run;
	Outcome outcome;

	run_start(&run, kind, what, NULL);
	run_wait(&run);
	outcome = run.outcome;
	/* A worker that broke the rules has nothing that is believed. */
	if (outcome != OUTCOME_DONE)
		assert_false(run.has_key);
	run_clear(&run);
	return outcome;
}

static void a_good_worker_is_believed_and_had_nothing_else_open(void **state)
{
	_cleanup_close_ int leaked = open("/dev/null", O_RDONLY);
	Run run;

	(void)state;
	assert_true(leaked >= 0);
	run_start(&run, JOB_ENCRYPT, "good", NULL);
	run_wait(&run);
	assert_int_equal(run.outcome, OUTCOME_DONE);
	assert_int_equal(run.encrypted, 7);
	assert_int_equal(run.files_done, 3);
	assert_string_equal(run.message, "a\\x0ab\\xff");
	run_clear(&run);
}

static void paths_reach_it_however_many_there_are(void **state)
{
	JobHandlers handlers;
	Run run = {0};
	_cleanup_free_ JobParameters *parameters = new0(JobParameters, 1);

	(void)state;
	handlers = (JobHandlers){.userdata = &run, .ended = on_ended};
	assert_true(sd_event_new(&run.event) >= 0);
	run.config.worker_path = realpath("/proc/self/exe", NULL);
	run.request = request_new(JOB_ENCRYPT);
	/* More than any socket's buffer. */
	for (int i = 0; i < 20000; i++)
		assert_int_equal(request_add_path(run.request, "a/rather/long/path/of/a/file", 28), 0);
	parameters->config = &run.config;
	parameters->request = run.request;
	(void)snprintf(parameters->record.mount_point, sizeof(parameters->record.mount_point), "good");
	assert_int_equal(job_new(run.event, parameters, &handlers, &run.job), 0);
	run_wait(&run);
	assert_int_equal(run.outcome, OUTCOME_DONE);
	run_clear(&run);
}

static void a_worker_without_a_last_word_has_interrupted_what_it_wrote(void **state)
{
	(void)state;
	assert_int_equal(outcome_of(JOB_ENCRYPT, "crashes"), OUTCOME_INTERRUPTED);
	assert_int_equal(outcome_of(JOB_VERIFY, "crashes"), OUTCOME_FAILED);
	/* Before READY nothing can have been written. */
	assert_int_equal(outcome_of(JOB_ENCRYPT, "dies"), OUTCOME_FAILED);
}

static void whoever_breaks_the_protocol_is_killed_and_not_believed(void **state)
{
	static const char *const ways[] = {
		"early-progress", "rubbish", "bad-phase", "bad-outcome", "two-results", "foreign-key"};

	(void)state;
	for (size_t i = 0; i < ELEMENTSOF(ways); i++) {
		Outcome outcome = outcome_of(JOB_VERIFY, ways[i]);

		if (outcome != OUTCOME_FAILED)
			fail_msg("%s: %s", ways[i], outcome_name(outcome));
	}
	assert_int_equal(outcome_of(JOB_UNLOCK, "bad-suite"), OUTCOME_FAILED);
}

static void an_unlock_is_done_only_with_a_key(void **state)
{
	Run run;

	(void)state;
	assert_int_equal(outcome_of(JOB_UNLOCK, "no-key"), OUTCOME_FAILED);
	run_start(&run, JOB_UNLOCK, "key", NULL);
	run_wait(&run);
	assert_int_equal(run.outcome, OUTCOME_DONE);
	assert_true(run.has_key && run.has_drive);
	run_clear(&run);
}

static void keys_come_after_ready(void **state)
{
	Secret *keys = NULL;
	Run run;

	(void)state;
	assert_int_equal(secret_new(sizeof(KeysRecord), &keys), 0);
	((KeysRecord *)(void *)secret_bytes(keys))->epoch = 5;
	run_start(&run, JOB_VERIFY, "keys", keys);
	run_wait(&run);
	assert_int_equal(run.outcome, OUTCOME_DONE);
	run_clear(&run);
}

static void a_job_can_be_cancelled_and_killed(void **state)
{
	Run run;

	(void)state;
	run_start(&run, JOB_VERIFY, "cancelled", NULL);
	job_cancel(run.job);
	run_wait(&run);
	assert_int_equal(run.outcome, OUTCOME_CANCELLED);
	run_clear(&run);

	run_start(&run, JOB_VERIFY, "hangs", NULL);
	job_kill(run.job, OUTCOME_DRIVE_GONE);
	assert_true(run.ended);
	assert_int_equal(run.outcome, OUTCOME_DRIVE_GONE);
	run_clear(&run);
}

static void a_program_that_is_not_there_starts_nothing(void **state)
{
	JobHandlers handlers = {.ended = on_ended};
	_cleanup_free_ JobParameters *parameters = new0(JobParameters, 1);
	_cleanup_request_ Request *request = request_new(JOB_PROBE);
	Config config = {.worker_path = (char *)(uintptr_t) "/nonexistent"};
	sd_event *event = NULL;
	Job *job = NULL;

	(void)state;
	assert_true(sd_event_new(&event) >= 0);
	parameters->config = &config;
	parameters->request = request;
	assert_int_equal(job_new(event, parameters, &handlers, &job), -ENOENT);
	assert_null(job);
	sd_event_unref(event);
}

static int set_up(void **state)
{
	sigset_t blocked;

	(void)state;
	(void)sigemptyset(&blocked);
	(void)sigaddset(&blocked, SIGCHLD);
	(void)sigprocmask(SIG_BLOCK, &blocked, NULL);
	return secret_init();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_good_worker_is_believed_and_had_nothing_else_open),
		cmocka_unit_test(paths_reach_it_however_many_there_are),
		cmocka_unit_test(a_worker_without_a_last_word_has_interrupted_what_it_wrote),
		cmocka_unit_test(whoever_breaks_the_protocol_is_killed_and_not_believed),
		cmocka_unit_test(an_unlock_is_done_only_with_a_key),
		cmocka_unit_test(keys_come_after_ready),
		cmocka_unit_test(a_job_can_be_cancelled_and_killed),
		cmocka_unit_test(a_program_that_is_not_there_starts_nothing),
	};
	int type;

	if (getsockopt(JOB_FD_CONTROL, SOL_SOCKET, SO_TYPE, &type, &(socklen_t){sizeof(type)}) == 0 &&
		type == SOCK_SEQPACKET)
		_exit(be_worker()); /* without a sanitizer's last look, which traces the process */
	return cmocka_run_group_tests(tests, set_up, NULL);
}
