/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "worker/sandbox.h"

int sandbox_enter(const ConfinedPath *paths, size_t n_paths, FilterProfile profile)
{
	int r;

	/* The filter allows no landlock_restrict_self() any more. */
	r = confinement_enter(paths, n_paths);
	return r < 0 ? r : filter_load(profile);
}
