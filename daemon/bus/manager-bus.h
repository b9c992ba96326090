/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "bus/bus.h"

/* Puts the Manager interface on the bus. */
int manager_bus_add(Bus *bus);
