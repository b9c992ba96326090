/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "bus/bus.h"

/* Puts a transaction on the bus, takes it off, announces what has changed of it, and that it has ended. */
int transaction_bus_add(Bus *bus, Transaction *transaction);
void transaction_bus_remove(Transaction *transaction);
void transaction_bus_changed(Transaction *transaction, unsigned properties);
void transaction_bus_finished(Transaction *transaction);

/* Its object path; NULL when it is not on the bus. */
const char *transaction_bus_path(const Transaction *transaction);
