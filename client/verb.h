/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The verb table. Parsing, help, the manual's synopsis and the completion all follow it. */

#include "client.h"
#include "code.h"
#include "option.h"

/* Every verb has these. */
#define VERB_OPTIONS_COMMON                                                                                  \
	(OPTION_BIT(OPTION_HELP) | OPTION_BIT(OPTION_VERSION) | OPTION_BIT(OPTION_JSON) |                    \
		OPTION_BIT(OPTION_QUIET))

#define VERB_WORDS_ANY ((size_t)1 << 20)

struct Verb {
	const char *name;
	const char *words; /* as the synopsis shows them */
	size_t words_min, words_max;
	unsigned options; /* beside VERB_OPTIONS_COMMON */
	ExitCode (*run)(Client *client);
	const char *summary; /* one line */
	const char *description;
};

extern const Verb VERB_TABLE[];
extern const size_t VERB_TABLE_SIZE;

const Verb *verb_by_name(const char *name);

ExitCode verb_list(Client *client);
ExitCode verb_status(Client *client);
ExitCode verb_enroll(Client *client);
ExitCode verb_unenroll(Client *client);
ExitCode verb_unlock(Client *client);
ExitCode verb_lock(Client *client);
ExitCode verb_encrypt(Client *client);
ExitCode verb_decrypt(Client *client);
ExitCode verb_verify(Client *client);
ExitCode verb_recover(Client *client);
ExitCode verb_header_backup(Client *client);
ExitCode verb_monitor(Client *client);
ExitCode verb_agent(Client *client);
ExitCode verb_help(Client *client);
