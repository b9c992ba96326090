/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "client.h"

/* Help for everything (verb NULL), or for one verb; with --json the whole table of verbs and options. */
ExitCode help_show(Client *client, const Verb *verb);

ExitCode help_version(Client *client);
