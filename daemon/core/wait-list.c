/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/wait-list.h"

#include "util/memory.h"

Waiter *wait_list_add(WaitList *list, void (*woken)(void *userdata), void *userdata)
{
	Waiter *waiter = new0(Waiter, 1);

	if (!waiter)
		return NULL;
	waiter->woken = woken;
	waiter->userdata = userdata;
	LIST_INSERT_HEAD(list, waiter, entries);
	return waiter;
}

Waiter *waiter_cancel(Waiter *waiter)
{
	if (!waiter)
		return NULL;
	LIST_REMOVE(waiter, entries);
	return mfree(waiter);
}

void wait_list_wake(WaitList *list)
{
	WaitList ready = LIST_HEAD_INITIALIZER(ready);

	/* A waiter may be cancelled while another one is called: both lists are left by LIST_REMOVE(). */
	ready.lh_first = list->lh_first;
	if (ready.lh_first)
		ready.lh_first->entries.le_prev = &ready.lh_first;
	LIST_INIT(list);
	while (!LIST_EMPTY(&ready)) {
		Waiter *waiter = LIST_FIRST(&ready);
		void (*woken)(void *) = waiter->woken;
		void *userdata = waiter->userdata;

		(void)waiter_cancel(waiter);
		woken(userdata);
	}
}
