/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "explorer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GRABS_MAX        8   /* times that a run is looked for to give clusters back */
#define FIRST_DEEP_EVERY 384 /* the run from every so many-th state of the first run is crashed itself */

/* ---- going through the states of a log ---- */

/* Whether nothing is pending, and yet some file has not got the form that was asked for. */
static bool is_forgotten(const Explorer *explorer, const Disk *state)
{
	const Scenario *scenario = &explorer->world.scenario;
	bool to_cipher = (scenario->kind == TRANSACTION_ENCRYPT) == (scenario->mode == RECOVERY_RESUME);
	bool all = true;
	Look look;

	if (disk_is_pending(state))
		return false;
	oracle_look(&explorer->world, state, true, &look);
	for (unsigned i = 0; i < explorer->world.n_files; i++)
		all &= to_cipher ? look.files[i].cipher && !look.files[i].plain_name
				 : look.files[i].plain && !look.files[i].cipher_name;
	return !all;
}

static void visit(Explorer *explorer, Window *window, StateName name, unsigned depth, const char *path)
{
	const Limits *limits = explorer->limits;
	Disk *state = &explorer->states[depth];
	char next[EXPLORER_PATH_MAX], text[64];
	uint64_t hash;
	size_t mark;

	/* What somebody has made counts from its fsync on. */
	if (explorer->ways[depth].synced != SIZE_MAX && window->forced <= explorer->ways[depth].synced)
		return;
	if (explorer->stop || !window_state(window, name, state, &hash) || !explorer_add_seen(explorer, hash))
		return;
	mark = contents_mark();
	state_format(name, text);
	(void)snprintf(next, sizeof(next), "%s/w%u:%s", path, window->number, text);
	if (window->first >= explorer->ended[depth] && disk_is_pending(state))
		explorer_violated(explorer, next, "pulled out after its end, it has something pending");
	if (depth == 1 && explorer->owed && window->first < explorer->ended[1] &&
		is_forgotten(explorer, state))
		explorer_violated(explorer, next, "nothing is pending, though it was not gone on with");
	(void)judge(explorer, state, NULL, NULL, depth, next, depth == 0 && hash % limits->deep_every == 0);
	if (depth == 0 && explorer->world.scenario.first)
		judge_run(explorer, state, NULL, 0, next, hash / 5 % limits->deep_every == 0);
	if (depth == 0 && limits->edits_every && hash / 7 % limits->edits_every == 0)
		judge_edits(explorer, state, next);
	if (depth == 0 && limits->rot_every && hash / 11 % limits->rot_every == 0) {
		judge_rot(explorer, state, hash / 13, next);
		judge_told(explorer, state, hash / 13, next);
	}
	if (depth == 0 && limits->unreadable_every && hash / 15 % limits->unreadable_every == 0)
		judge_unreadable(explorer, state, next);
	if (depth == 0 && limits->company_every && hash / 17 % limits->company_every == 0)
		judge_company(explorer, state, hash / 19, next);
	/* One transaction may follow another here, but no third one. */
	if (depth == 0 && explorer->world.scenario.kind == explorer->kind && limits->recovery_kills_every &&
		hash / 23 % limits->recovery_kills_every == 0)
		judge_kills(explorer, state, next);
	contents_release(mark);
}

static void visit_families(Explorer *explorer, Window *window, unsigned depth, const char *path)
{
	const Limits *limits = explorer->limits;
	unsigned n = window->n_units, every = limits->singles_every[depth];
	uint64_t pairs = (uint64_t)n * (n - (n > 0)) / 2, seed = limits->seed;

	for (size_t i = 0; i <= window->end - window->first; i += every)
		visit(explorer, window, (StateName){'p', i, STATE_NONE}, depth, path);
	for (unsigned u = 0; u < n; u += every)
		for (int k = 0; k < 2; k++)
			visit(explorer, window, (StateName){"dk"[k], u, STATE_NONE}, depth, path);
	for (unsigned u = 0; u < n; u++)
		for (unsigned v = u + 1; v < n; v++) {
			random_seed(seed + (uint64_t)u * n + v);
			if (pairs > limits->doubles[depth] && random_next() % pairs >= limits->doubles[depth])
				continue;
			for (int k = 0; k < 2; k++)
				visit(explorer, window, (StateName){"dk"[k], u, v}, depth, path);
		}
	for (unsigned i = 0; i < limits->randoms[depth]; i++)
		visit(explorer, window, (StateName){'r', seed * 1000 + i, STATE_NONE}, depth, path);
}

void explore_log(Explorer *explorer, const Execution *execution, unsigned depth, const char *path)
{
	const Limits *limits = explorer->limits;
	Window *window = &explorer->windows[depth];

	explorer->ended[depth] = execution_find_end(execution);
	window_init(window, &execution->base, &execution->log);
	while (!explorer->stop && window_next(window)) {
		uint64_t count = window_count(window);

		if (count <= limits->exhaustive[depth])
			for (uint64_t i = 0; i < count; i++)
				visit(explorer, window, (StateName){'x', i, STATE_NONE}, depth, path);
		else
			visit_families(explorer, window, depth, path);
		for (unsigned i = 0; i < limits->damaged[depth] && window->n_units > 0; i++)
			visit(explorer, window,
				(StateName){'g', i % window->n_units, limits->seed * 1000 + i}, depth, path);
	}
}

/* ---- the ways a run can go ---- */

bool explorer_run_way(Explorer *explorer, const char *text, Execution *execution)
{
	return way_run(&explorer->world, text, execution, &explorer->ways[0]);
}

/* The end of a run that came to one, and its crash states. False: there is no such run. */
static bool explore_way(Explorer *explorer, const char *way, bool crash)
{
	static Execution run;
	static File files[FILES_MAX];
	size_t mark = contents_mark();
	const char *what = NULL;
	bool is_one;

	memcpy(files, explorer->world.files, sizeof(files));
	is_one = explorer_run_way(explorer, way, &run);
	if (is_one) {
		explorer->sum->states++;
		if (!explorer->ways[0].lenient && run.outcome != OUTCOME_DONE &&
			!(explorer->ways[0].partial && run.outcome == OUTCOME_PARTIAL))
			what = outcome_name(run.outcome);
		if (!what)
			what = oracle_end(&explorer->world, &run, run.result.pending == TRANSACTION_INVALID,
				explorer->ways[0].lenient);
		if (what)
			explorer_violated(explorer, way, what);
		if (crash)
			explore_log(explorer, &run, 0, way);
	}
	memcpy(explorer->world.files, files, sizeof(files));
	explorer->world.second = false;
	explorer->ways[0] = (Way){.synced = SIZE_MAX};
	execution_end(&run);
	contents_release(mark);
	return is_one;
}

/* A run that goes some way, and a bystander that waits in it for each of the clusters that are given back. */
static void explore_grabs(Explorer *explorer, const char *way)
{
	char both[64];

	for (unsigned n = 0; n < GRABS_MAX && !explorer->stop; n++) {
		(void)snprintf(both, sizeof(both), "%s%sgrab@%u", way, *way ? "+" : "", n);
		if (!explore_way(explorer, both, true))
			return;
	}
}

/* `run` is one in which nobody came in between. */
static void explore_events(Explorer *explorer, const Fs *run)
{
	const Limits *ordinary = explorer->limits;
	/* These are many runs: of each, fewer states. */
	Limits fewer = {.exhaustive = {24, 0},
		.doubles = {6, 0},
		.randoms = {8, 0},
		.singles_every = {2, 2},
		.deep_every = UINT32_MAX,
		.seed = ordinary->seed};
	const Scenario *scenario = &explorer->world.scenario;
	bool quiet = scenario->kind == TRANSACTION_ENCRYPT && scenario->scrub;
	char way[32];

	explorer->limits = &fewer;
	explore_grabs(explorer, "");
	for (unsigned at = 0; at < run->calls && !explorer->stop; at += ordinary->calls_every) {
		(void)snprintf(way, sizeof(way), "by@%u", at);
		(void)explore_way(explorer, way, true);
		for (unsigned i = 0; i < explorer->world.n_files && !explorer->stop; i++) {
			static const char *const doings[] = {"edit", "swap", "take"};

			for (size_t k = 0; k < ELEMENTSOF(doings); k++) {
				(void)snprintf(way, sizeof(way), "%s%u@%u", doings[k], i, at);
				(void)explore_way(explorer, way, k == 0 && at % 5 == 0);
				if (k == 0 && at % 3 == 0)
					explore_grabs(explorer, way);
			}
		}
	}
	for (unsigned i = 0; i < explorer->world.n_files; i++) {
		for (unsigned at = 0; at < run->calls && !explorer->stop; at += ordinary->opens_every) {
			(void)snprintf(way, sizeof(way), "open%u@%u", i, at);
			(void)explore_way(explorer, way, false);
			(void)snprintf(way, sizeof(way), "hold%u@%u", i, at);
			(void)explore_way(explorer, way, at % (4 * ordinary->opens_every) == 0);
		}
		for (unsigned at = 0; quiet && at < run->barriers && !explorer->stop; at++) {
			(void)snprintf(way, sizeof(way), "quiet%u@%u", i, at);
			(void)explore_way(explorer, way, false);
		}
	}
	for (unsigned at = 0; at < (unsigned)run->sectors_written && !explorer->stop; at++) {
		(void)snprintf(way, sizeof(way), "damage@%u", at);
		(void)explore_way(explorer, way, at % 3 == 0);
		if (at % 3 == 1)
			explore_grabs(explorer, way);
	}
	explorer->limits = ordinary;
}

static void explore_kills(Explorer *explorer, unsigned mutations)
{
	Execution *run = calloc(1, sizeof(*run));
	Disk *durable = calloc(1, sizeof(*durable));

	if (!run || !durable)
		abort();
	for (unsigned at = 0; at < mutations && !explorer->stop; at++) {
		size_t mark = contents_mark();
		char way[32];
		Log log = {0};

		(void)snprintf(way, sizeof(way), "kill@%u", at);
		(void)explorer_run_way(explorer, way, run);
		*durable = *explorer_split(explorer, run, &log);
		if (explorer_add_seen(explorer, disk_hash(&run->disk) * 3 + disk_hash(durable)))
			(void)judge(explorer, durable, &log, NULL, 0, way,
				at % explorer->limits->kills_every == 0);
		if (explorer->world.scenario.first)
			judge_run(explorer, durable, &log, 0, way, false);
		if (ends_unsaid(run, durable))
			explore_next(explorer, durable, &log, 0, way);
		log_clear(&log);
		execution_end(run);
		contents_release(mark);
	}
	free(durable);
	free(run);
}

void explore(const Scenario *scenario, const Limits *limits, bool stop_at_first, Sum *sum)
{
	Explorer *explorer = explorer_new(scenario, limits, sum);
	Execution *run = calloc(1, sizeof(*run));
	Limits fewer = *limits;

	if (!run)
		abort();
	if (scenario->first) {
		/* Behind the journal's creation these states are those of other scenarios. */
		fewer.deep_every = FIRST_DEEP_EVERY;
		explorer->limits = &fewer;
	}
	explorer->stop_at_first = stop_at_first;
	(void)explorer_run_way(
		explorer, "damage@2147483647", run); /* nothing comes of it, but the sectors are counted */
	explorer->ways[0].lenient = false;
	(void)explore_way(explorer, "run", true);
	explore_kills(explorer, run->fs.mutations);
	if (!scenario->first)
		explore_events(explorer, &run->fs);
	execution_end(run);
	free(run);
	explorer_free(explorer);
}
