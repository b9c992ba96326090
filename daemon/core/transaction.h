/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A long job that clients watch. It survives its client, and its end by ten minutes. */

#include "core/drive.h"

#define TRANSACTION_FAILURES_MAX 1000
#define TRANSACTION_KEPT_FOR     (600 * USEC_PER_SEC)
#define TRANSACTION_KEPT_PER_UID 16

typedef enum TransactionProperty {
	TRANSACTION_PROPERTY_STATE = 1 << 0,
	TRANSACTION_PROPERTY_PHASE = 1 << 1,
	TRANSACTION_PROPERTY_RESULT = 1 << 2,
	TRANSACTION_PROPERTY_MESSAGE = 1 << 3,
	TRANSACTION_PROPERTY_COUNTS = 1 << 4,
	TRANSACTION_PROPERTY_PROGRESS = 1 << 5, /* the five numbers */
	TRANSACTION_PROPERTY_ALL = (1 << 6) - 1,
} TransactionProperty;

typedef enum TransactionState {
	TRANSACTION_RUNNING,
	TRANSACTION_CANCELLING,
	TRANSACTION_ENDED,
} TransactionState;

typedef struct TransactionFailure {
	char *path;
	Reason reason;
	int error;
} TransactionFailure;

struct Transaction {
	Manager *manager;
	void *face; /* the bus's */
	uint64_t number;
	Drive *drive;
	uid_t owner;
	TransactionKind kind;
	TransactionState state;
	Phase phase;
	Outcome outcome; /* once ENDED */
	char *message;   /* "" or more about the outcome */
	uint64_t counts[COUNT_MAX];
	ProgressRecord progress;
	TransactionFailure *failures; /* the first TRANSACTION_FAILURES_MAX of them */
	size_t n_failures, failures_capacity;
	sd_event_source *expiry;
	Transaction *next;
};

/* Starts one; takes the request. OUTCOME_DONE: it runs, and belongs to the manager. */
Outcome transaction_start(Drive *drive, Request *request, Transaction **ret_transaction, char **ret_message);

/* Stops soon; one that has ended stays as it is. */
void transaction_cancel(Transaction *transaction);

/* Forgets it. */
void transaction_remove(Transaction *transaction);

/* "running", "cancelling", "ended" */
const char *transaction_state_name(TransactionState state);
