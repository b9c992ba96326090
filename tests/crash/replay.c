/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Goes one path again, and shows each step. */

#include "explorer.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One step of a path behind the run or the recovery that executions[1] holds:
 *   /w3:d1,4  /e0  /m1.7  /n1.7  /edit0@7  /next  /again  /b  /run
 * A state, and what happens to it; then it is judged, where the path ends here, or recovered. */
typedef struct Replay {
	Explorer *explorer;
	const char *path, *rest;
	bool killed; /* what executions[1] holds was, and its caches are still there */
} Replay;

static void replay_judge(Replay *replay, const Disk *state, const Log *pending, Events *events, bool told)
{
	Explorer *explorer = replay->explorer;
	Execution *execution = &explorer->executions[0];

	printf("  the state:\n");
	if (!told) {
		(void)judge(explorer, state, pending, events, 0, replay->path, false);
		return;
	}
	execution_begin(execution, &explorer->world, state, NULL);
	execution_recovery(execution);
	show_execution(explorer, "recovery", execution);
	for (unsigned i = 0; i < explorer->world.n_files; i++)
		printf("  %.40s is %snamed\n", explorer->world.files[i].path,
			execution_named(execution, explorer->world.files[i].path) ? "" : "not ");
	execution_end(execution);
}

/* A recovery, and then the transaction from the start. */
static void replay_run(Replay *replay, const Disk *state, const Log *pending)
{
	Explorer *explorer = replay->explorer;
	Execution *execution = &explorer->executions[1];
	const char *what = NULL;
	Outcome recovered;

	execution_end(execution);
	explorer_run_again(explorer, state, pending, execution, &recovered);
	replay->rest += strlen("/run");
	if (!*replay->rest)
		what = execution->outcome == OUTCOME_DONE
			       ? oracle_end(&explorer->world, execution, true, strstr(replay->path, ":g"))
			       : outcome_name(execution->outcome);
	if (what)
		explorer_violated(explorer, replay->path, what);
}

/* Behind a kill: the recovery with the caches as they are, or the next transaction. */
static bool replay_killed(Replay *replay)
{
	Explorer *explorer = replay->explorer;
	Execution *execution = &explorer->executions[1];
	Disk *durable = calloc(1, sizeof(*durable));
	Log log = {0};
	int n = 0;

	if (!durable)
		abort();
	*durable = *explorer_split(explorer, execution, &log);
	(void)sscanf(replay->rest, "/next%n", &n);
	if (n == 0)
		(void)sscanf(replay->rest, "/again%n", &n);
	if (!*replay->rest) {
		replay_judge(replay, durable, &log, NULL, false);
	} else if (strncmp(replay->rest, "/run", 4) == 0) {
		replay_run(replay, durable, &log);
	} else {
		execution_end(execution);
		if (n > 0) {
			explorer_run_next(explorer, durable, &log, replay->rest[1] == 'n', execution);
		} else {
			execution_begin(execution, &explorer->world, durable, &log);
			execution_recovery(execution);
			show_execution(explorer, "recovery", execution);
		}
		replay->rest += n;
	}
	replay->killed = false;
	log_clear(&log);
	free(durable);
	return true;
}

static bool replay_state(Replay *replay)
{
	Explorer *explorer = replay->explorer;
	Execution *execution = &explorer->executions[1];
	Window *window = &explorer->windows[0];
	Disk *state = &explorer->states[0];
	Events events = {.world = &explorer->world, .recovering = true};
	unsigned number, length;
	bool told = false;
	StateName name;
	uint64_t hash;
	int n = 0;

	if (sscanf(replay->rest, "/w%u:%n", &number, &n) != 1 || n == 0)
		return false;
	replay->rest += n;
	if (!state_parse(&replay->rest, &name))
		return false;
	window_init(window, &execution->base, &execution->log);
	do
		if (!window_next(window))
			return false;
	while (window->number != number);
	show_window(window);
	if (!window_state(window, name, state, &hash))
		return false;
	if (window->first >= execution_find_end(execution) && disk_is_pending(state))
		explorer_violated(
			explorer, replay->path, "pulled out after its end, it has something pending");
	if (sscanf(replay->rest, "/e%u%n", &number, &n) == 1) {
		(void)edit_state(&explorer->world, state, number);
	} else if (sscanf(replay->rest, "/m%u.%" SCNu64 "%n", &number, &hash, &n) == 2) {
		(void)rot_state(&explorer->world, state, number / 2, number % 2, hash);
	} else if (sscanf(replay->rest, "/n%u.%" SCNu64 "%n", &number, &hash, &n) == 2) {
		told = rot_last_state(&explorer->world, state, number, hash);
	} else {
		n = 0;
	}
	explorer->ways[0].lenient |= n > 0;
	replay->rest += n;
	if (sscanf(replay->rest, "/u%u%n", &number, &n) == 1) {
		replay->rest += n;
		for (unsigned i = 0; unreadable_state(state, number / 2, number % 2) && i < 3; i++)
			replay_judge(replay, state, NULL, NULL, true);
		return true;
	}
	if (strncmp(replay->rest, "/b/", 3) == 0) {
		explorer->world.second = bystander_state(&explorer->world, state);
		replay->rest += 2;
	}
	if (strncmp(replay->rest, "/run", 4) == 0) {
		static Disk copy; /* `state` is taken apart by what follows */

		copy = *state;
		replay_run(replay, &copy, NULL);
		return true;
	}
	if (*replay->rest == '/' && events_parse(&explorer->world, replay->rest + 1, &events, &length)) {
		events.recovering = true;
		replay->rest += 1 + length;
		replay->killed = events.items[0].kind &&
				 strstr(replay->rest - length, "kill") == replay->rest - length;
	}
	if (!*replay->rest && !replay->killed) {
		replay_judge(replay, state, NULL, events.n ? &events : NULL, told);
		return true;
	}
	execution_end(execution);
	execution_begin(execution, &explorer->world, state, NULL);
	events_begin(&events, execution);
	execution_recovery(execution);
	(void)events_end(&events, execution, &explorer->ways[1]);
	show_execution(explorer, "recovery", execution);
	return true;
}

bool replay(const Scenario *scenario, const char *path)
{
	static const Limits limits = {.deep_every = 1, .kills_every = 1, .calls_every = 1};
	Sum sum = {0};
	Explorer *explorer = explorer_new(scenario, &limits, &sum);
	const Execution *execution = &explorer->executions[1];
	Replay replay = {.explorer = explorer, .path = path, .killed = strncmp(path, "kill@", 5) == 0};
	bool is_path = true;
	char way[64];
	int n = 0;

	explorer->verbose = true;
	if (sscanf(path, "%63[^/]%n", way, &n) != 1 ||
		!explorer_run_way(explorer, way, &explorer->executions[1]))
		return false;
	show_execution(explorer, way, execution);
	replay.rest = path + n;
	if (!*replay.rest && !replay.killed) {
		const char *what = oracle_end(&explorer->world, execution,
			execution->result.pending == TRANSACTION_INVALID, explorer->ways[0].lenient);

		if (what)
			explorer_violated(explorer, path, what);
	}
	while (is_path && (*replay.rest || replay.killed))
		is_path = replay.killed ? replay_killed(&replay) : replay_state(&replay);
	if (is_path)
		printf("violations: %" PRIu64 "\n", sum.violations);
	else
		printf("no such path\n");
	explorer_free(explorer);
	return is_path && sum.violations == 0;
}
