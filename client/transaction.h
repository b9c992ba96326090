/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Starting a transaction and following it to its end. */

#include "drive.h"

#include "util/report.h"

typedef struct Transaction {
	char *object;
	char *kind, *state, *phase, *result, *message, *drive;
	NamedCount *counts;
	uint32_t owner;
	uint64_t files_total, files_done, files_failed, bytes_total, bytes_done;
	uint64_t elapsed; /* microseconds, as this client saw it */
} Transaction;

void transaction_clear(Transaction *transaction);
#define _cleanup_transaction_ _cleanup_(transaction_clear)

/* Reads an a{sv} of the transaction interface's properties. */
int transaction_read(Transaction *transaction, sd_bus_message *properties);

static inline uint64_t transaction_count(const Transaction *transaction, Count count)
{
	return counts_get(transaction->counts, count_name(count));
}

/*
 * Sends `call`, which returns a transaction, shows its progress and waits for its end. Ctrl-C cancels it and
 * goes on waiting; a second one leaves it running. `changing`: it changes the drive, so that breaking off
 * leaves a recovery pending.
 *
 * CODE_DONE: it has ended, and *ret says how (ret->result is an outcome's name). Anything else was reported,
 * and nothing is known about its end.
 */
ExitCode transaction_follow(
	Client *client, const Drive *drive, sd_bus_message *call, bool changing, Transaction *ret);
