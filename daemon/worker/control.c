/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "worker/control.h"

#include "util/clock.h"
#include "util/fd.h"
#include "util/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sodium.h>
#include <stdatomic.h>

#define PROGRESS_INTERVAL (100 * USEC_PER_MSEC)
#define CANCEL_INTERVAL   (20 * USEC_PER_MSEC)

struct Control {
	int fd;
	atomic_bool cancelled;

	pthread_mutex_t receiving; /* guards the two below, and reading from fd */
	Record *record;            /* from sodium_malloc(), locked */
	uint64_t looked_at;

	pthread_mutex_t sending; /* guards those below, and the order of what is sent */
	ProgressRecord progress;
	bool progress_held;
	uint64_t progress_at;
};

int control_new(int fd, Control **ret_control)
{
	_cleanup_control_ Control *control = NULL;
	int flags;

	control = new0(Control, 1);
	if (!control)
		return -ENOMEM;
	control->fd = fd;
	(void)pthread_mutex_init(&control->receiving, NULL);
	(void)pthread_mutex_init(&control->sending, NULL);

	control->record = sodium_malloc(sizeof(Record));
	if (!control->record)
		return -ENOMEM;
	/* sodium_malloc() returns memory even when it could not lock it: lock again, and look. */
	if (sodium_mlock(control->record, sizeof(Record)) != 0)
		return -ENOMEM;
	secret_wipe(control->record, sizeof(Record));

	flags = fcntl(fd, F_GETFL);
	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
		return -errno;
	*ret_control = TAKE_PTR(control);
	return 0;
}

Control *control_free(Control *control)
{
	if (!control)
		return NULL;
	if (control->record)
		sodium_free(control->record);
	(void)pthread_mutex_destroy(&control->receiving);
	(void)pthread_mutex_destroy(&control->sending);
	safe_close(control->fd);
	free(control);
	return NULL;
}

int control_fd(const Control *control)
{
	return control->fd;
}

int control_receive(Control *control, Record **ret_record)
{
	int r;

	(void)pthread_mutex_lock(&control->receiving);
	for (;;) {
		struct pollfd p = {.fd = control->fd, .events = POLLIN};

		r = record_receive(control->fd, control->record);
		if (r != -EAGAIN)
			break;
		if (poll(&p, 1, -1) < 0 && errno != EINTR) {
			r = -errno;
			break;
		}
	}
	(void)pthread_mutex_unlock(&control->receiving);

	if (r == 0 || (r > 0 && control->record->header.type == RECORD_CANCEL)) {
		atomic_store(&control->cancelled, true);
		return -ECANCELED;
	}
	if (r < 0)
		return r;
	*ret_record = control->record;
	return 0;
}

void control_forget(Control *control)
{
	secret_wipe(control->record, sizeof(Record));
}

/* With `sending` held. */
static int send_locked(Control *control, RecordType type, const void *payload, size_t size, const void *tail,
	size_t tail_size)
{
	for (;;) {
		struct pollfd p = {.fd = control->fd, .events = POLLOUT};
		int r;

		r = record_send(control->fd, type, payload, size, tail, tail_size);
		if (r == -EPIPE)
			atomic_store(&control->cancelled, true);
		if (r != -EAGAIN)
			return r;
		if (poll(&p, 1, -1) < 0 && errno != EINTR)
			return -errno;
	}
}

int control_send(Control *control, RecordType type, const void *payload, size_t size, const void *tail,
	size_t tail_size)
{
	int r;

	(void)pthread_mutex_lock(&control->sending);
	r = send_locked(control, type, payload, size, tail, tail_size);
	(void)pthread_mutex_unlock(&control->sending);
	return r;
}

void control_flush(Control *control)
{
	(void)pthread_mutex_lock(&control->sending);
	if (control->progress_held)
		(void)send_locked(
			control, RECORD_PROGRESS, &control->progress, sizeof(control->progress), NULL, 0);
	control->progress_held = false;
	(void)pthread_mutex_unlock(&control->sending);
}

bool control_cancelled(Control *control)
{
	struct pollfd p = {.fd = control->fd, .events = POLLIN};
	uint64_t now;

	if (atomic_load(&control->cancelled))
		return true;
	if (pthread_mutex_trylock(&control->receiving) != 0)
		return false; /* another thread is just looking */

	now = clock_usec(CLOCK_MONOTONIC);
	if (now - control->looked_at >= CANCEL_INTERVAL) {
		control->looked_at = now;
		/* While a job runs the daemon has nothing else to say: whatever it is, it ends the job. */
		if (poll(&p, 1, 0) > 0 && record_receive(control->fd, control->record) != -EAGAIN)
			atomic_store(&control->cancelled, true);
	}
	(void)pthread_mutex_unlock(&control->receiving);
	return atomic_load(&control->cancelled);
}

static bool observer_cancelled(void *userdata)
{
	return control_cancelled(userdata);
}

static void observer_progress(void *userdata, const Progress *progress)
{
	Control *control = userdata;
	uint64_t now = clock_usec(CLOCK_MONOTONIC);

	(void)pthread_mutex_lock(&control->sending);
	control->progress_held = true;
	if (control->progress.phase != (uint32_t)progress->phase)
		control->progress_at = 0; /* a new phase is news */
	control->progress = (ProgressRecord){
		.phase = (uint32_t)progress->phase,
		.files_total = progress->files_total,
		.files_done = progress->files_done,
		.files_failed = progress->files_failed,
		.bytes_total = progress->bytes_total,
		.bytes_done = progress->bytes_done,
	};
	/* A daemon that is slow to read must not hold up the work: what does not fit now goes next time. */
	if (now - control->progress_at >= PROGRESS_INTERVAL &&
		record_send(control->fd, RECORD_PROGRESS, &control->progress, sizeof(control->progress), NULL,
			0) == 0) {
		control->progress_held = false;
		control->progress_at = now;
	}
	(void)pthread_mutex_unlock(&control->sending);
}

static void observer_failure(void *userdata, const char *path, Reason reason, int error)
{
	FailureRecord failure = {.reason = (uint32_t)reason, .error = error};
	size_t length = strnlen(path, RECORD_PATH_MAX);

	/* The record has no empty path; "." is the root itself. */
	if (length == 0) {
		path = ".";
		length = 1;
	}
	(void)control_send(userdata, RECORD_FAILURE, &failure, sizeof(failure), path, length);
}

Observer control_observer(Control *control)
{
	return (Observer){
		.userdata = control,
		.progress = observer_progress,
		.failure = observer_failure,
		.cancelled = observer_cancelled,
	};
}
