/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The options of all verbs, in one table, and the command line as it was understood. */

#include "util/macro.h"

#include <stdbool.h>

/* X(constant, long name, short letter or 0, value's name or NULL, help) */
#define OPTIONS(X)                                                                                           \
	X(HELP, "help", 'h', NULL, "Show this help.")                                                        \
	X(VERSION, "version", 0, NULL, "Show the version.")                                                  \
	X(JSON, "json", 0, NULL,                                                                             \
		"Print JSON on standard output, one object a line; the last is the result.")                 \
	X(QUIET, "quiet", 'q', NULL, "Print errors and nothing else.")                                       \
	X(PASSPHRASE_FD, "passphrase-fd", 0, "N", "Read the passphrase from file descriptor N.")             \
	X(PASSPHRASE_FILE, "passphrase-file", 0, "FILE",                                                     \
		"Read the passphrase from FILE; \"-\" is standard input.")                                   \
	X(TIMEOUT, "timeout", 0, "TIME",                                                                     \
		"Lock the drive after TIME without a run: 90s, 15min, 2h, 1d. Default: as configured.")      \
	X(SUITE, "suite", 0, "NAME",                                                                         \
		"Encrypt with xchacha20-poly1305 (default), chacha20-poly1305 or aes-256-gcm.")              \
	X(ALL, "all", 0, NULL, "All drives that are yours.")                                                 \
	X(FORCE, "force", 0, NULL, "Cancel a run that is going on first.")                                   \
	X(TO, "to", 0, "DIR", "Write the files below DIR and leave the drive as it is.")                     \
	X(NO_SCRUB, "no-scrub", 0, NULL,                                                                     \
		"Do not overwrite the plain files before they are removed: undelete programs may find "      \
		"them.")                                                                                     \
	X(SKIP_UNFIT, "skip-unfit", 0, NULL, "Go on without the files that cannot be processed.")            \
	X(DRY_RUN, "dry-run", 0, NULL, "Look only: say what would be done and what stands in the way.")      \
	X(UNVERIFIED_MEDIUM, "unverified-medium", 0, NULL,                                                   \
		"Go on where nothing can be read back from the medium to verify it.")                        \
	X(RESUME, "resume", 0, NULL, "Settle what is half done, then finish the interrupted run.")           \
	X(ROLLBACK, "rollback", 0, NULL, "Settle what is half done, then go the other way.")                 \
	X(SETTLE, "settle", 0, NULL, "Settle what is half done, and no more.")                               \
	X(NO_MOUNT, "no-mount", 0, NULL, "Do not ask udisks2 to mount drives.")                              \
	X(PINENTRY, "pinentry", 0, "PROGRAM", "Ask for passphrases with PROGRAM. Default: pinentry.")        \
	X(TTYNAME, "ttyname", 0, "TERMINAL",                                                                 \
		"The terminal pinentry is to use where there is no desktop. Default: usbctl's own, "         \
		"else $GPG_TTY.")

typedef enum OptionId {
#define OPTION_ENUMERATE(constant, name, letter, value, help) OPTION_##constant,
	OPTIONS(OPTION_ENUMERATE)
#undef OPTION_ENUMERATE
	OPTION_MAX,
	OPTION_INVALID = -1,
} OptionId;

#define OPTION_BIT(id) (1U << (id))

typedef struct Option {
	const char *name;
	char letter;
	const char *value; /* NULL: takes none */
	const char *help;
} Option;

extern const Option OPTION_TABLE[OPTION_MAX];

typedef struct Verb Verb;

typedef struct Arguments {
	const Verb *verb; /* NULL until one was read */
	unsigned present; /* OPTION_BIT()s */
	const char *values[OPTION_MAX];
	char **words; /* what is neither verb nor option; points into argv, the array is ours */
	size_t n_words;
	uint64_t timeout;  /* microseconds; 0: not given */
	int passphrase_fd; /* -1: not given */
} Arguments;

#define ARGUMENTS_INIT ((Arguments){.passphrase_fd = -1})

static inline bool arguments_has(const Arguments *arguments, OptionId id)
{
	return arguments->present & OPTION_BIT(id);
}

/* Reads argv[1..]. Returns 0, or -EINVAL with a sentence for people in *ret_problem (the caller's to free),
 * or -ENOMEM. What was understood so far is in *arguments also then (whether --json was there, which verb).
 */
int arguments_parse(int argc, char **argv, Arguments *arguments, char **ret_problem);

void arguments_clear(Arguments *arguments);
