/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The daemon's face on the system bus. */

#include "core/manager.h"

#include <systemd/sd-bus.h>

typedef struct Call Call;
typedef struct CredentialsQuery CredentialsQuery;
typedef struct PolkitQuery PolkitQuery;
typedef struct Agent Agent;
typedef struct Logind Logind;

typedef LIST_HEAD(CallList, Call) CallList;
typedef LIST_HEAD(AgentList, Agent) AgentList;

typedef struct Bus {
	sd_bus *bus;
	Manager *manager;
	CallList calls;
	AgentList agents;
	Logind *logind;
} Bus;

/* Connects, and puts the objects there; who looks for them by name does not find them yet. */
int bus_new(Manager *manager, Bus **ret_bus);

/* Takes the name: from here on calls arrive. */
int bus_publish(Bus *bus);

/* Accepts NULL, returns NULL. */
Bus *bus_free(Bus *bus);
DEFINE_CLEANUP(Bus *, bus_free)
