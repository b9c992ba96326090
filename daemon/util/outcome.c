/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "util/outcome.h"

#include <string.h>

typedef struct Entry {
	const char *name;
	const char *text;
} Entry;

static const Entry outcomes[] = {
#define OUTCOME_ENTRY(constant, name, text) [OUTCOME_##constant] = {name, text},
	OUTCOMES(OUTCOME_ENTRY)
#undef OUTCOME_ENTRY
};

static const Entry reasons[] = {
#define REASON_ENTRY(constant, name, text) [REASON_##constant] = {name, text},
	REASONS(REASON_ENTRY)
#undef REASON_ENTRY
};

static const Entry *outcome_entry(Outcome outcome)
{
	return &outcomes[outcome >= 0 && outcome < OUTCOME_MAX ? outcome : OUTCOME_FAILED];
}

static const Entry *reason_entry(Reason reason)
{
	return &reasons[reason >= 0 && reason < REASON_MAX ? reason : REASON_IO];
}

const char *outcome_name(Outcome outcome)
{
	return outcome_entry(outcome)->name;
}

const char *outcome_text(Outcome outcome)
{
	return outcome_entry(outcome)->text;
}

Outcome outcome_from_name(const char *name)
{
	for (int i = 0; i < OUTCOME_MAX; i++)
		if (strcmp(outcomes[i].name, name) == 0)
			return (Outcome)i;
	return OUTCOME_INVALID;
}

const char *reason_name(Reason reason)
{
	return reason_entry(reason)->name;
}

const char *reason_text(Reason reason)
{
	return reason_entry(reason)->text;
}
