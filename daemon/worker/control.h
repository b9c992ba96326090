/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The worker's end of the socketpair to the daemon. A daemon that is gone counts as a request to cancel: the
 * engine then stops where everything is whole, which a SIGKILL would allow as well.
 *
 * There is no thread that reads: control_cancelled() looks at the socket itself, at most every 20 ms.
 */

#include "engine/transaction.h"
#include "protocol/record.h"

typedef struct Control Control;

/* Takes over `fd`. Its buffer is locked memory, because keys arrive in it: -ENOMEM where that fails. */
int control_new(int fd, Control **ret_control);
Control *control_free(Control *control);
DEFINE_CLEANUP(Control *, control_free)
#define _cleanup_control_ _cleanup_(control_freep)

/* Waits for the next record, valid until the next call or control_forget(). -ECANCELED when the daemon is
 * gone or it is CANCEL, -EBADMSG when it is not well-formed. */
int control_receive(Control *control, Record **ret_record);

/* Wipes what was received last. */
void control_forget(Control *control);

/* Sends a record, waiting while the socket is full. May be called from any thread. -EPIPE: the daemon is
 * gone. */
int control_send(Control *control, RecordType type, const void *payload, size_t size, const void *tail,
	size_t tail_size);

/* Sends the last progress that was held back, if any was. */
void control_flush(Control *control);

/* Whether to stop. May be called often, from any thread. */
bool control_cancelled(Control *control);

/* The descriptor, for poll() next to another one. */
int control_fd(const Control *control);

/* What the engine reports to. Progress is passed on ten times a second at most. */
Observer control_observer(Control *control);
