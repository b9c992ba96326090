/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Whoever waits for something to happen once: "the drive is idle", "its owner is known". */

#include <sys/queue.h>

typedef struct Waiter {
	LIST_ENTRY(Waiter) entries;
	void (*woken)(void *userdata);
	void *userdata;
} Waiter;

typedef LIST_HEAD(WaitList, Waiter) WaitList;

/* NULL when out of memory. */
Waiter *wait_list_add(WaitList *list, void (*woken)(void *userdata), void *userdata);

/* No call any more. Accepts NULL, returns NULL. For a waiter that was not woken yet. */
Waiter *waiter_cancel(Waiter *waiter);

/* Calls and frees all that wait now; those that a call adds wait for the next time. */
void wait_list_wake(WaitList *list);
