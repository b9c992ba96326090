/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "worker/node-link.h"

#include "protocol/record.h"
#include "util/fd.h"
#include "util/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sys/random.h>

struct NodeLink {
	VfsNode node;
	int fd;
	pthread_mutex_t mutex; /* one question at a time */
	uint64_t token;        /* of the last question */
	Record answer;
};

static int wait_for(int fd, short events)
{
	struct pollfd p = {.fd = fd, .events = events};

	/* Without a deadline: an fsync on a slow stick takes as long as it takes. A helper that dies hangs
	 * up. */
	return poll(&p, 1, -1) < 0 && errno != EINTR ? -errno : 0;
}

/* With the mutex held. */
static int send_question(NodeLink *link, RecordType type, VolumeQuestion question)
{
	NodeRequestRecord request = {.token = link->token, .question = question};
	int r;

	while ((r = record_send(link->fd, type, &request, sizeof(request), NULL, 0)) == -EAGAIN) {
		r = wait_for(link->fd, POLLOUT);
		if (r < 0)
			return r;
	}
	return r;
}

/* With the mutex held. Answers to questions of a worker before us are passed over. */
static int receive_answer(NodeLink *link)
{
	for (;;) {
		int r = record_receive(link->fd, &link->answer);

		if (r == -EAGAIN) {
			r = wait_for(link->fd, POLLIN);
			if (r < 0)
				return r;
			continue;
		}
		if (r <= 0)
			return r < 0 ? r : -EPIPE;
		if (link->answer.header.type != RECORD_NODE_DONE)
			return -EBADMSG;
		if (link->answer.node_done.token == link->token)
			return 0;
	}
}

static int ask(NodeLink *link, RecordType type, VolumeQuestion question)
{
	int r;

	(void)pthread_mutex_lock(&link->mutex);
	link->token++;
	r = send_question(link, type, question);
	if (r >= 0)
		r = receive_answer(link);
	r = r < 0 ? -EIO : link->answer.node_done.result;
	(void)pthread_mutex_unlock(&link->mutex);
	return r;
}

static int node_sync(void *userdata)
{
	int r = ask(userdata, RECORD_NODE_SYNC, 0);

	return r > 0 ? -EBADMSG : r;
}

static int node_drop_caches(void *userdata)
{
	int r = ask(userdata, RECORD_NODE_DROP, 0);

	return r > 0 ? -EBADMSG : r;
}

static int node_check(void *userdata, VolumeQuestion question)
{
	int r = ask(userdata, RECORD_NODE_CHECK, question);

	return r > VOLUME_DAMAGED ? -EBADMSG : r;
}

static bool node_is_alive(void *userdata)
{
	return ask(userdata, RECORD_NODE_ALIVE, 0) == 1;
}

int node_link_new(int fd, NodeLink **ret_link)
{
	_cleanup_node_link_ NodeLink *link = NULL;

	link = new0(NodeLink, 1);
	if (!link)
		return -ENOMEM;
	(void)pthread_mutex_init(&link->mutex, NULL);
	link->fd = -1;
	link->node = (VfsNode){
		.userdata = link,
		.sync = node_sync,
		.drop_caches = node_drop_caches,
		.check = node_check,
		.is_alive = node_is_alive,
	};
	if (getrandom(&link->token, sizeof(link->token), 0) != sizeof(link->token))
		return -EIO;
	link->fd = fd;
	*ret_link = TAKE_PTR(link);
	return 0;
}

NodeLink *node_link_free(NodeLink *link)
{
	if (!link)
		return NULL;
	safe_close(link->fd);
	(void)pthread_mutex_destroy(&link->mutex);
	free(link);
	return NULL;
}

const VfsNode *node_link_vfs(const NodeLink *link)
{
	return &link->node;
}
