/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/worker.h"

#include "util/fd.h"
#include "util/log.h"
#include "util/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

/* A worker that talks without end must not keep the loop from the others. */
#define RECORDS_PER_TURN 32

/* Descriptors are first moved out of the way of the numbers they will have in the worker. */
#define FD_ASIDE 32

/* Between hanging up and being gone. */
#define DEADLINE_EXIT (30 * USEC_PER_SEC)

typedef struct Packet {
	struct Packet *next;
	RecordType type;
	size_t size;
	uint8_t bytes[];
} Packet;

struct Worker {
	sd_event *event;
	WorkerHandlers handlers;
	pid_t pid;
	int fd;
	sd_event_source *io, *child, *deadline;
	Packet *queue, **queue_end;
};

static int spawn(const char *path, int control_fd, const WorkerFiles *files, pid_t *ret_pid)
{
	const struct {
		int from, to;
	} moves[] = {
		{control_fd, JOB_FD_CONTROL},
		{files->passphrase_fd, JOB_FD_PASSPHRASE},
		{files->target_fd, JOB_FD_TARGET},
		{files->node_fd, JOB_FD_NODE},
	};
	int aside[ELEMENTSOF(moves)] = {-1, -1, -1, -1};
	char *argv[] = {(char *)(uintptr_t)path, NULL}, *envp[] = {NULL, NULL};
	/* With it a worker that logs to the journal says its priorities. */
	const char *stream = getenv("JOURNAL_STREAM");
	_cleanup_free_ char *journal = NULL;
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attributes;
	sigset_t none, all;
	int r;

	if (stream) {
		if (asprintf(&journal, "JOURNAL_STREAM=%s", stream) < 0)
			return -ENOMEM;
		envp[0] = journal;
	}
	r = posix_spawn_file_actions_init(&actions);
	if (r != 0)
		return -r;
	r = posix_spawnattr_init(&attributes);
	if (r != 0) {
		(void)posix_spawn_file_actions_destroy(&actions);
		return -r;
	}

	for (size_t i = 0; i < ELEMENTSOF(moves) && r == 0; i++) {
		if (moves[i].from >= 0) {
			aside[i] = fcntl(moves[i].from, F_DUPFD_CLOEXEC, FD_ASIDE);
			r = aside[i] < 0 ? errno
					 : posix_spawn_file_actions_adddup2(&actions, aside[i], moves[i].to);
		} else {
			r = posix_spawn_file_actions_addclose(&actions, moves[i].to);
		}
	}
	if (r == 0)
		r = posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
	if (r == 0)
		r = posix_spawn_file_actions_adddup2(&actions, STDERR_FILENO, STDOUT_FILENO);
	if (r == 0)
		r = posix_spawn_file_actions_addclosefrom_np(&actions, JOB_FD_NODE + 1);
	(void)sigemptyset(&none);
	(void)sigfillset(&all);
	if (r == 0)
		r = posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
	if (r == 0)
		r = posix_spawnattr_setsigmask(&attributes, &none);
	if (r == 0)
		r = posix_spawnattr_setsigdefault(&attributes, &all);
	if (r == 0)
		r = posix_spawn(ret_pid, path, &actions, &attributes, argv, envp);

	for (size_t i = 0; i < ELEMENTSOF(aside); i++)
		safe_close(aside[i]);
	(void)posix_spawnattr_destroy(&attributes);
	(void)posix_spawn_file_actions_destroy(&actions);
	return -r;
}

static void worker_destroy(Worker *worker)
{
	sd_event_source_disable_unref(worker->io);
	sd_event_source_disable_unref(worker->deadline);
	sd_event_source_disable_unref(worker->child);
	safe_close(worker->fd);
	while (worker->queue) {
		Packet *packet = worker->queue;

		worker->queue = packet->next;
		free(packet);
	}
	sd_event_unref(worker->event);
	free(worker);
}

static void worker_hang_up(Worker *worker)
{
	worker->io = sd_event_source_disable_unref(worker->io);
	worker->deadline = sd_event_source_disable_unref(worker->deadline);
	worker->fd = safe_close(worker->fd);
	worker->handlers = (WorkerHandlers){0};
}

Worker *worker_free(Worker *worker)
{
	if (!worker)
		return NULL;
	if (worker->pid == 0) {
		worker_destroy(worker);
		return NULL;
	}
	/* From here on it waits for its process to be reaped, on its own. */
	worker_hang_up(worker);
	(void)kill(worker->pid, SIGKILL); /* not reaped yet: the pid is still its own */
	return NULL;
}

/* Ends it from the daemon's side. */
static void worker_fail(Worker *worker, WorkerEnd end)
{
	WorkerHandlers handlers = worker->handlers;

	(void)worker_free(worker);
	if (handlers.ended)
		handlers.ended(handlers.userdata, end);
}

/* Reads what there is, up to `max` records. 1: there may be more; 0: the other end has closed; -EAGAIN: that
 * was all. Any other error is a violation. */
static int worker_read(Worker *worker, size_t max)
{
	Record record;
	int r = 1;

	for (size_t i = 0; i < max && r > 0; i++) {
		r = record_receive(worker->fd, &record);
		if (r > 0 && worker->handlers.record) {
			int handled = worker->handlers.record(worker->handlers.userdata, &record);

			if (handled < 0)
				r = -EBADMSG;
		}
	}
	secret_wipe(&record, sizeof(record));
	return r;
}

static int worker_flush(Worker *worker)
{
	while (worker->queue) {
		Packet *packet = worker->queue;
		int r;

		/* The payload was put together when it was queued. */
		if (packet->type == RECORD_PATH)
			r = record_send(worker->fd, packet->type, NULL, 0, packet->bytes, packet->size);
		else
			r = record_send(worker->fd, packet->type, packet->bytes, packet->size, NULL, 0);
		if (r == -EAGAIN)
			return sd_event_source_set_io_events(worker->io, EPOLLIN | EPOLLOUT);
		/* A worker that is gone is seen by its end. */
		if (r < 0 && r != -EPIPE)
			return r;
		worker->queue = packet->next;
		if (!worker->queue)
			worker->queue_end = &worker->queue;
		free(packet);
	}
	return sd_event_source_set_io_events(worker->io, EPOLLIN);
}

static int on_io(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	Worker *worker = userdata;
	int r;

	(void)source;
	(void)fd;
	if (revents & EPOLLOUT) {
		r = worker_flush(worker);
		if (r < 0) {
			worker_fail(worker, WORKER_VIOLATION);
			return 0;
		}
	}
	if (!(revents & (EPOLLIN | EPOLLHUP | EPOLLERR)))
		return 0;
	r = worker_read(worker, RECORDS_PER_TURN);
	if (r == 0) {
		/* Its end is told by the process's, which ought to follow. */
		worker->io = sd_event_source_disable_unref(worker->io);
		(void)worker_set_deadline(worker, DEADLINE_EXIT);
	} else if (r < 0 && r != -EAGAIN)
		worker_fail(worker, WORKER_VIOLATION);
	return 0;
}

static int on_child(sd_event_source *source, const siginfo_t *info, void *userdata)
{
	Worker *worker = userdata;
	WorkerEnd end = info->si_code == CLD_EXITED && info->si_status == 0 ? WORKER_EXITED : WORKER_CRASHED;
	WorkerHandlers handlers;
	int r;

	(void)source;
	worker->pid = 0;
	if (worker->handlers.ended && end == WORKER_CRASHED)
		log_warning("A worker (process %d) ended with %s %d", (int)info->si_pid,
			info->si_code == CLD_EXITED ? "status" : "signal", info->si_status);
	/* What it said last may still wait in the socket. Nobody writes there any more. */
	if (worker->fd >= 0 && worker->handlers.record) {
		do
			r = worker_read(worker, RECORDS_PER_TURN);
		while (r > 0);
		if (r < 0 && r != -EAGAIN)
			end = WORKER_VIOLATION;
	}
	handlers = worker->handlers;
	worker_destroy(worker);
	if (handlers.ended)
		handlers.ended(handlers.userdata, end);
	return 0;
}

static int on_deadline(sd_event_source *source, uint64_t usec, void *userdata)
{
	Worker *worker = userdata;

	(void)source;
	(void)usec;
	log_warning("A worker (process %d) took too long and is killed", (int)worker->pid);
	worker_fail(worker, WORKER_TIMED_OUT);
	return 0;
}

int worker_new(sd_event *event, const char *path, const WorkerFiles *files, const WorkerHandlers *handlers,
	Worker **ret_worker)
{
	_cleanup_close_ int near = -1, far = -1;
	Worker *worker;
	int pair[2], r;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	near = pair[0];
	far = pair[1];
	/* Only this end: the flag belongs to the open description, and each end has its own. */
	if (fcntl(near, F_SETFL, O_NONBLOCK) < 0)
		return -errno;

	worker = new0(Worker, 1);
	if (!worker)
		return -ENOMEM;
	worker->fd = -1;
	worker->queue_end = &worker->queue;
	worker->event = sd_event_ref(event);
	worker->handlers = *handlers;

	r = spawn(path, far, files, &worker->pid);
	if (r < 0) {
		worker_destroy(worker);
		return r;
	}
	worker->fd = TAKE_FD(near);
	r = sd_event_add_child(event, &worker->child, worker->pid, WEXITED, on_child, worker);
	if (r < 0) {
		/* It cannot be watched, so it is ended here and now; it has not been told anything yet. */
		(void)kill(worker->pid, SIGKILL);
		(void)waitid(P_PID, (id_t)worker->pid, &(siginfo_t){0}, WEXITED);
		worker->pid = 0;
		worker_destroy(worker);
		return r;
	}
	r = sd_event_add_io(event, &worker->io, worker->fd, EPOLLIN, on_io, worker);
	if (r < 0) {
		(void)worker_free(worker);
		return r;
	}
	/* After the bus: no worker keeps a property from being read. */
	(void)sd_event_source_set_priority(worker->io, SD_EVENT_PRIORITY_NORMAL + 10);
	(void)sd_event_source_set_priority(worker->child, SD_EVENT_PRIORITY_NORMAL + 11);
	*ret_worker = worker;
	return 0;
}

int worker_send(
	Worker *worker, RecordType type, const void *payload, size_t size, const void *tail, size_t tail_size)
{
	Packet *packet = malloc(sizeof(Packet) + size + tail_size);

	if (!packet)
		return -ENOMEM;
	*packet = (Packet){.type = type, .size = size + tail_size};
	if (size > 0)
		memcpy(packet->bytes, payload, size);
	if (tail_size > 0)
		memcpy(packet->bytes + size, tail, tail_size);
	*worker->queue_end = packet;
	worker->queue_end = &packet->next;
	return worker->io ? worker_flush(worker) : 0;
}

int worker_send_now(Worker *worker, RecordType type, const void *payload, size_t size)
{
	if (worker->queue)
		return -EAGAIN;
	return record_send(worker->fd, type, payload, size, NULL, 0);
}

int worker_set_deadline(Worker *worker, uint64_t timeout)
{
	if (timeout == 0) {
		worker->deadline = sd_event_source_disable_unref(worker->deadline);
		return 0;
	}
	if (worker->deadline) {
		int r = sd_event_source_set_time_relative(worker->deadline, timeout);

		return r < 0 ? r : sd_event_source_set_enabled(worker->deadline, SD_EVENT_ONESHOT);
	}
	return sd_event_add_time_relative(worker->event, &worker->deadline, CLOCK_BOOTTIME, timeout,
		100 * USEC_PER_MSEC, on_deadline, worker);
}

pid_t worker_pid(const Worker *worker)
{
	return worker->pid;
}
