/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "util/report.h"

#include <string.h>

static const char *const kinds[TRANSACTION_MAX] = {
	[TRANSACTION_SURVEY] = "survey",
	[TRANSACTION_ENCRYPT] = "encrypt",
	[TRANSACTION_DECRYPT] = "decrypt",
	[TRANSACTION_VERIFY] = "verify",
	[TRANSACTION_RECOVER] = "recover",
};

static const char *const phases[PHASE_MAX] = {
	[PHASE_STARTING] = "starting",
	[PHASE_PREFLIGHT] = "preflight",
	[PHASE_RECOVERING] = "recovering",
	[PHASE_RUNNING] = "running",
	[PHASE_FINISHING] = "finishing",
};

static const char *const modes[RECOVERY_MODE_MAX] = {
	[RECOVERY_RESUME] = "resume",
	[RECOVERY_ROLLBACK] = "rollback",
	[RECOVERY_SETTLE] = "settle",
};

static const char *const counts[COUNT_MAX] = {
#define COUNT_NAME(constant, name) [COUNT_##constant] = name,
	COUNTS(COUNT_NAME)
#undef COUNT_NAME
};

static const char *name_of(const char *const *names, int max, int value)
{
	return value >= 0 && value < max && names[value] ? names[value] : "";
}

const char *transaction_kind_name(TransactionKind kind)
{
	return name_of(kinds, TRANSACTION_MAX, kind);
}

const char *phase_name(Phase phase)
{
	return name_of(phases, PHASE_MAX, phase);
}

const char *recovery_mode_name(RecoveryMode mode)
{
	return name_of(modes, RECOVERY_MODE_MAX, mode);
}

RecoveryMode recovery_mode_from_name(const char *name)
{
	for (int i = 0; i < RECOVERY_MODE_MAX; i++)
		if (strcmp(modes[i], name) == 0)
			return (RecoveryMode)i;
	return RECOVERY_MODE_INVALID;
}

const char *count_name(Count count)
{
	return name_of(counts, COUNT_MAX, (int)count);
}
