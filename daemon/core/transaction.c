/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/transaction.h"

#include "core/manager.h"
#include "util/log.h"
#include "util/memory.h"

#include <errno.h>

static void transaction_free(Transaction *transaction)
{
	sd_event_source_disable_unref(transaction->expiry);
	for (size_t i = 0; i < transaction->n_failures; i++)
		free(transaction->failures[i].path);
	free(transaction->failures);
	free(transaction->message);
	drive_unref(transaction->drive);
	free(transaction);
}

static void transaction_announce(Transaction *transaction, unsigned properties)
{
	ManagerObserver *observer = &transaction->manager->observer;

	if (observer->transaction_changed)
		observer->transaction_changed(observer->userdata, transaction, properties);
}

void transaction_remove(Transaction *transaction)
{
	ManagerObserver *observer = &transaction->manager->observer;
	Transaction **at = &transaction->manager->transactions;

	while (*at != transaction)
		at = &(*at)->next;
	*at = transaction->next;
	if (observer->transaction_removed)
		observer->transaction_removed(observer->userdata, transaction);
	transaction_free(transaction);
}

static int on_expired(sd_event_source *source, uint64_t usec, void *userdata)
{
	(void)source;
	(void)usec;
	transaction_remove(userdata);
	return 0;
}

/* The oldest of this uid's that have ended make room. */
static void forget_old(Manager *manager, uid_t uid)
{
	unsigned n = 0;

	for (Transaction *t = manager->transactions, *next; t; t = next) {
		next = t->next;
		if (t->owner == uid && t->state == TRANSACTION_ENDED && ++n > TRANSACTION_KEPT_PER_UID)
			transaction_remove(t);
	}
}

static void on_progress(void *userdata, const ProgressRecord *progress)
{
	Transaction *transaction = userdata;
	bool new_phase = transaction->phase != (Phase)progress->phase;

	transaction->progress = *progress;
	transaction->phase = (Phase)progress->phase;
	transaction_announce(
		transaction, TRANSACTION_PROPERTY_PROGRESS | (new_phase ? TRANSACTION_PROPERTY_PHASE : 0));
}

static void on_failure(void *userdata, const char *path, Reason reason, int error)
{
	Transaction *transaction = userdata;
	char *copy;

	/* How many there were is in the result's counts; so many names are kept. */
	if (transaction->n_failures >= TRANSACTION_FAILURES_MAX ||
		array_grow(&transaction->failures, &transaction->failures_capacity,
			transaction->n_failures + 1, sizeof(TransactionFailure)) < 0)
		return;
	copy = strdup(path);
	if (!copy)
		return;
	transaction->failures[transaction->n_failures++] = (TransactionFailure){copy, reason, error};
}

static void on_ended(void *userdata, JobResult *result)
{
	Transaction *transaction = userdata;
	Manager *manager = transaction->manager;
	char *message = result->message ? strdup(result->message) : NULL;
	int r;

	transaction->drive->transaction = NULL;
	drive_announce(transaction->drive, DRIVE_PROPERTY_TRANSACTION);

	transaction->state = TRANSACTION_ENDED;
	transaction->outcome = result->outcome;
	if (message) {
		free(transaction->message);
		transaction->message = message;
	}
	if (result->complete)
		memcpy(transaction->counts, result->counts, sizeof(transaction->counts));
	transaction_announce(transaction, TRANSACTION_PROPERTY_ALL);
	if (manager->observer.transaction_finished)
		manager->observer.transaction_finished(manager->observer.userdata, transaction);

	r = sd_event_add_time_relative(manager->event, &transaction->expiry, CLOCK_BOOTTIME,
		TRANSACTION_KEPT_FOR, USEC_PER_SEC, on_expired, transaction);
	if (r < 0) {
		log_error("A transaction is forgotten early: %s", strerrordesc_np(-r));
		transaction_remove(transaction);
		return;
	}
	forget_old(manager, transaction->owner);
}

Outcome transaction_start(Drive *drive, Request *request, Transaction **ret_transaction, char **ret_message)
{
	Manager *manager = drive->manager;
	Transaction *transaction = new0(Transaction, 1);
	JobHandlers handlers = {transaction, on_progress, on_failure, on_ended};
	Outcome outcome;

	*ret_message = NULL;
	if (!transaction || !(transaction->message = strdup(""))) {
		free(transaction);
		request_free(request);
		return OUTCOME_NO_MEMORY;
	}
	transaction->manager = manager;
	transaction->drive = drive_ref(drive);
	transaction->owner = request->caller.uid;
	transaction->kind = job_kind_transaction(request->kind);
	transaction->number = manager->last_transaction + 1;

	outcome = drive_start(drive, request, &handlers, ret_message);
	if (outcome != OUTCOME_DONE) {
		transaction_free(transaction);
		return outcome;
	}
	manager->last_transaction++;
	transaction->next = manager->transactions;
	manager->transactions = transaction;
	drive->transaction = transaction;
	if (manager->observer.transaction_added)
		manager->observer.transaction_added(manager->observer.userdata, transaction);
	drive_announce(drive, DRIVE_PROPERTY_TRANSACTION);
	*ret_transaction = transaction;
	return OUTCOME_DONE;
}

void transaction_cancel(Transaction *transaction)
{
	if (transaction->state != TRANSACTION_RUNNING)
		return;
	transaction->state = TRANSACTION_CANCELLING;
	transaction_announce(transaction, TRANSACTION_PROPERTY_STATE);
	drive_cancel(transaction->drive);
}

const char *transaction_state_name(TransactionState state)
{
	static const char *const names[] = {"running", "cancelling", "ended"};

	return (size_t)state < ELEMENTSOF(names) ? names[state] : "";
}
