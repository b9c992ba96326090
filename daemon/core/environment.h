/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Where this process runs, as far as a policy of the configuration file is about it. */

#include "core/config.h"

typedef struct Environment {
	bool traced;          /* a debugger is attached to this process */
	bool preload;         /* libraries were loaded into it that it did not ask for */
	bool virtual_machine; /* a hypervisor can read its memory */
} Environment;

void environment_look(Environment *ret);

/* NULL when the configuration lets keys be handled here; else what it refuses, for people. What it only
 * warns about is logged. */
const char *environment_refusal(const Environment *environment, const Config *config);
