/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "explore.h"

#include "events.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RECOVERIES_MAX  6  /* each after a new mount */
#define RECOVERIES_BARE 4  /* without a repair */
#define SHOWN_MAX       40 /* violations of a scenario that are shown */
#define PATH_MAX_       256
#define SET_SIZE        (1U << 20)

typedef struct Explorer {
	World world; /* as it is judged */
	const Limits *limits;
	bool stop_at_first, stop;
	bool verbose;
	Way way; /* that the run went */
	unsigned shown;
	Sum *sum;
	uint64_t *seen; /* hashes of the states that were judged */
	size_t n_seen;
	Execution executions[2]; /* by depth */
	Execution recovery, again;
	Window windows[2];
	Disk states[2];
} Explorer;

static bool add_seen(Explorer *explorer, uint64_t hash)
{
	size_t i;

	hash |= 1;
	if (explorer->n_seen * 2 > SET_SIZE) {
		memset(explorer->seen, 0, SET_SIZE * sizeof(*explorer->seen));
		explorer->n_seen = 0;
	}
	for (i = hash % SET_SIZE; explorer->seen[i]; i = (i + 1) % SET_SIZE)
		if (explorer->seen[i] == hash)
			return false;
	explorer->seen[i] = hash;
	explorer->n_seen++;
	return true;
}

static void violated(Explorer *explorer, const char *path, const char *what)
{
	char name[80];

	scenario_name(&explorer->world.scenario, name);
	explorer->sum->violations++;
	explorer->stop |= explorer->stop_at_first;
	if (explorer->shown++ < SHOWN_MAX)
		printf("VIOLATION %s\n  replay: crash --replay %s %s\n", what, name, path);
	fflush(stdout);
}

/* ---- showing ---- */

static void show_disk(const Disk *disk)
{
	for (DirectoryId d = DIRECTORY_ROOT; d < DIRECTORY_MAX; d++) {
		unsigned position = 0;
		DiskEntry entry;

		while (disk_next_entry(disk, d, &position, &entry)) {
			uint32_t c = entry.entry.start;

			if (entry.entry.directory || (d > 0 && d < DIRECTORY_USER))
				continue;
			printf("    %u/%-24.24s %-13s size %-6u clusters", (unsigned)d, entry.name,
				entry.entry.text, entry.entry.size);
			for (int n = 0; c && c != FAT_END && n < 20; n++, c = disk->units[UNIT_FAT + c])
				printf(" %u", c);
			printf(c == FAT_END ? " end\n" : c ? " …\n" : " FREE\n");
		}
	}
}

static void show_execution(const Explorer *explorer, const char *what, const Execution *execution)
{
	if (!explorer->verbose)
		return;
	printf("  %s: %s, pending %d%s\n", what, outcome_name(execution->outcome), execution->result.pending,
		execution->fs.read_only ? ", turned read-only" : "");
	for (unsigned i = 0; i < execution->n_failures; i++)
		printf("    %.40s: %s\n", execution->failures[i].path,
			reason_name(execution->failures[i].reason));
	show_disk(&execution->disk);
}

static void show_window(const Window *window)
{
	static const char *const kinds[] = {"free", "deleted", "long", "short"};

	printf("  window %u: %u units\n", window->number, window->n_units);
	for (unsigned u = 0; u < window->n_units; u++) {
		unsigned unit = window->units[u].unit;

		printf("    %2u ", u);
		for (unsigned v = 0; v <= window->units[u].n; v++) {
			uint32_t value = v ? window->versions[window->units[u].first + v - 1]
					   : window->base.units[unit];

			if (unit < UNIT_SLOT) {
				printf(v ? " -> %d" : "fat %u: %d", v ? (int)value : (int)unit, (int)value);
			} else if (unit < UNIT_DATA) {
				const Slot *slot = content_slot(value);

				if (!v)
					printf("slot %u:", unit - UNIT_SLOT);
				printf("%s %s %s %u/%u", v ? " ->" : "", kinds[slot->kind], slot->text,
					slot->start, slot->size);
			} else {
				if (!v)
					printf("data %u.%u:", (unit - UNIT_DATA) / 2, unit % 2);
				printf("%s #%u", v ? " ->" : "", value);
			}
		}
		printf("\n");
	}
}

/* ---- judging one state ---- */

static bool is_closed(const Execution *execution)
{
	return (execution->outcome == OUTCOME_DONE || execution->outcome == OUTCOME_PARTIAL ||
		       execution->outcome == OUTCOME_NO_SPACE) &&
	       execution->result.pending == TRANSACTION_INVALID;
}

/* Recovers as often as it takes, the drive being mounted anew each time: a torn chain may have been met. The
 * last attempts follow a repair, which the user was told is needed. */
static const Execution *recover_to_the_end(Explorer *explorer, const Execution *first, bool *ret_repaired)
{
	const Execution *last = first;

	*ret_repaired = false;
	for (int i = 1; i < RECOVERIES_MAX && !is_closed(last); i++) {
		Execution *next = last == &explorer->recovery ? &explorer->again : &explorer->recovery;
		static Disk disk;

		disk = last->disk;
		if (i >= RECOVERIES_BARE) {
			if (!last->n_failures)
				return last;
			if (i == RECOVERIES_BARE) {
				explorer->sum->pending++;
				disk_repair(&disk);
				*ret_repaired = true;
			}
		}
		execution_end(next);
		execution_begin(next, &explorer->world, &disk, NULL);
		execution_inherit(next, last);
		execution_recovery(next);
		show_execution(explorer, *ret_repaired ? "recovery after a repair" : "recovery again", next);
		last = next;
	}
	return last;
}

/* Whether two disks differ in nothing but the journal's bytes and times. */
static bool same_but_journal(const Disk *a, const Disk *b)
{
	bool journal[CLUSTERS_MAX] = {0};

	for (DirectoryId d = DIRECTORY_A; d <= DIRECTORY_B; d++) {
		DiskEntry entry;

		if (!disk_find(a, d, "journal", &entry))
			continue;
		for (uint32_t c = entry.entry.start; c && c < a->clusters; c = a->units[UNIT_FAT + c])
			journal[c] = true;
	}
	for (unsigned unit = 0; unit < UNITS_MAX; unit++) {
		bool journals = unit >= UNIT_DATA
					? journal[(unit - UNIT_DATA) / SECTORS_PER_CLUSTER]
					: unit >= unit_of_slot(DIRECTORY_A * SLOTS_PER_DIRECTORY) &&
						  unit < unit_of_slot(DIRECTORY_USER * SLOTS_PER_DIRECTORY);

		if (!journals && a->units[unit] != b->units[unit])
			return false;
	}
	return true;
}

static const char *judge_the_end(Explorer *explorer, const Execution *first, bool damaged)
{
	const Execution *last;
	Execution *again;
	const char *what;
	bool closed, repaired;

	last = recover_to_the_end(explorer, first, &repaired);
	closed = is_closed(last);
	what = oracle_end(&explorer->world, last, closed, damaged || repaired);
	if (what)
		return what;
	if (!closed && !last->n_failures)
		return "recovery does not end, and names no file";
	/* What is torn is repaired by now, and nobody has edited anything. */
	if (!closed && !damaged)
		return "recovery stays pending, even after a repair";
	again = last == &explorer->recovery ? &explorer->again : &explorer->recovery;
	execution_end(again);
	execution_begin(again, &explorer->world, &last->disk, NULL);
	execution_recovery(again);
	show_execution(explorer, "once more", again);
	if (closed ? disk_hash(&again->disk) != disk_hash(&last->disk)
		   : !same_but_journal(&again->disk, &last->disk))
		return "running recovery again changes something";
	return NULL;
}

static void explore_log(Explorer *explorer, const Execution *execution, unsigned depth, const char *path);

/* A state: what is durable, and what a mere kill left in the caches. */
static void judge(
	Explorer *explorer, const Disk *base, const Log *pending, unsigned depth, const char *path, bool deep)
{
	Execution *execution = &explorer->executions[depth];
	const char *what;

	explorer->sum->states++;
	execution_begin(execution, &explorer->world, base, pending);
	if (explorer->verbose)
		show_disk(&execution->disk);
	what = oracle_instant(&explorer->world, &execution->disk);
	if (what)
		violated(explorer, path, what);
	execution_recovery(execution);
	show_execution(explorer, "recovery", execution);
	if (!what) {
		what = judge_the_end(explorer, execution, explorer->way.lenient || strstr(path, ":g"));
		if (what)
			violated(explorer, path, what);
	}
	if (deep && !explorer->stop)
		explore_log(explorer, execution, depth + 1, path);
	execution_end(execution);
	execution_end(&explorer->recovery);
	execution_end(&explorer->again);
}

/* ---- users who come in between ---- */

static void judge_edits(Explorer *explorer, const Disk *state, const char *path)
{
	for (unsigned i = 0; i < explorer->world.n_files && !explorer->stop; i++) {
		static Disk edited;
		static File file;
		char next[PATH_MAX_ + 16];
		bool lenient = explorer->way.lenient;

		file = explorer->world.files[i];
		edited = *state;
		if (edit_state(&explorer->world, &edited, i)) {
			(void)snprintf(next, sizeof(next), "%s/e%u", path, i);
			explorer->way.lenient = true;
			judge(explorer, &edited, NULL, 0, next, false);
			explorer->way.lenient = lenient;
		}
		explorer->world.files[i] = file;
	}
}

/* ---- going through the states of a log ---- */

static void visit(Explorer *explorer, Window *window, StateName name, unsigned depth, const char *path)
{
	const Limits *limits = explorer->limits;
	Disk *state = &explorer->states[depth];
	char next[PATH_MAX_], text[64];
	uint64_t hash;
	size_t mark;

	if (depth == 0 && explorer->way.synced != SIZE_MAX)
		explorer->world.second = explorer->way.second && window->forced > explorer->way.synced;
	if (depth == 0 && explorer->way.synced != SIZE_MAX && window->forced <= explorer->way.synced)
		return;
	if (explorer->stop || !window_state(window, name, state, &hash) || !add_seen(explorer, hash))
		return;
	mark = contents_mark();
	state_format(name, text);
	(void)snprintf(next, sizeof(next), "%s/w%u:%s", path, window->number, text);
	judge(explorer, state, NULL, depth, next, depth == 0 && hash % limits->deep_every == 0);
	if (depth == 0 && limits->edits_every && hash / 7 % limits->edits_every == 0)
		judge_edits(explorer, state, next);
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

static void explore_log(Explorer *explorer, const Execution *execution, unsigned depth, const char *path)
{
	const Limits *limits = explorer->limits;
	Window *window = &explorer->windows[depth];

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

static bool run_way(Explorer *explorer, const char *text, Execution *execution)
{
	return way_run(&explorer->world, text, execution, &explorer->way);
}

/* The end of a run that came to one, and its crash states. */
static void explore_way(Explorer *explorer, const char *way, bool crash)
{
	static Execution run;
	static File files[FILES_MAX];
	size_t mark = contents_mark();
	const char *what = NULL;

	memcpy(files, explorer->world.files, sizeof(files));
	if (run_way(explorer, way, &run)) {
		explorer->sum->states++;
		if (!explorer->way.lenient && run.outcome != OUTCOME_DONE)
			what = outcome_name(run.outcome);
		if (!what)
			what = oracle_end(&explorer->world, &run, run.result.pending == TRANSACTION_INVALID,
				explorer->way.lenient);
		if (what)
			violated(explorer, way, what);
		if (crash)
			explore_log(explorer, &run, 0, way);
	}
	memcpy(explorer->world.files, files, sizeof(files));
	explorer->world.second = false;
	explorer->way = (Way){.synced = SIZE_MAX};
	execution_end(&run);
	contents_release(mark);
}

static void explore_events(Explorer *explorer, unsigned calls, unsigned sectors)
{
	const Limits *ordinary = explorer->limits;
	/* These are many runs: of each, fewer states. */
	Limits fewer = {.exhaustive = {24, 0},
		.doubles = {6, 0},
		.randoms = {8, 0},
		.singles_every = {2, 2},
		.deep_every = UINT32_MAX,
		.seed = ordinary->seed};
	char way[32];

	explorer->limits = &fewer;
	for (unsigned at = 0; at < calls && !explorer->stop; at += ordinary->calls_every) {
		(void)snprintf(way, sizeof(way), "by@%u", at);
		explore_way(explorer, way, true);
		for (unsigned i = 0; i < explorer->world.n_files && !explorer->stop; i++) {
			static const char *const doings[] = {"edit", "swap", "take"};

			for (size_t k = 0; k < ELEMENTSOF(doings); k++) {
				(void)snprintf(way, sizeof(way), "%s%u@%u", doings[k], i, at);
				explore_way(explorer, way, k == 0 && at % 5 == 0);
			}
		}
	}
	for (unsigned at = 0; at < sectors && !explorer->stop; at++) {
		(void)snprintf(way, sizeof(way), "damage@%u", at);
		explore_way(explorer, way, at % 3 == 0);
	}
	explorer->limits = ordinary;
}

/* What was durable when a run was killed, and what was not. */
static const Disk *split_run(Explorer *explorer, const Execution *run, Log *ret_pending)
{
	Window *window = &explorer->windows[0];

	window_init(window, &run->base, &run->log);
	while (window_next(window))
		;
	for (size_t i = window->next_first; i < run->log.n; i++)
		log_add(ret_pending, run->log.entries[i].kind, run->log.entries[i].unit,
			run->log.entries[i].value);
	return &window->durable;
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
		(void)run_way(explorer, way, run);
		*durable = *split_run(explorer, run, &log);
		if (add_seen(explorer, disk_hash(&run->disk) * 3 + disk_hash(durable)))
			judge(explorer, durable, &log, 0, way, at % explorer->limits->kills_every == 0);
		log_clear(&log);
		execution_end(run);
		contents_release(mark);
	}
	free(durable);
	free(run);
}

static Explorer *explorer_new(const Scenario *scenario, const Limits *limits, Sum *sum)
{
	Explorer *explorer = calloc(1, sizeof(*explorer));

	if (!explorer)
		abort();
	contents_release(contents_mark() ? 1 : 0);
	world_make(&explorer->world, scenario);
	explorer->limits = limits;
	explorer->sum = sum;
	explorer->seen = calloc(SET_SIZE, sizeof(*explorer->seen));
	if (!explorer->seen)
		abort();
	return explorer;
}

static void explorer_free(Explorer *explorer)
{
	for (int i = 0; i < 2; i++)
		execution_end(&explorer->executions[i]);
	execution_end(&explorer->recovery);
	execution_end(&explorer->again);
	free(explorer->seen);
	free(explorer);
}

void explore(const Scenario *scenario, const Limits *limits, bool stop_at_first, Sum *sum)
{
	Explorer *explorer = explorer_new(scenario, limits, sum);
	Execution *run = calloc(1, sizeof(*run));

	if (!run)
		abort();
	explorer->stop_at_first = stop_at_first;
	(void)run_way(
		explorer, "damage@2147483647", run); /* nothing comes of it, but the sectors are counted */
	explorer->way.lenient = false;
	explore_way(explorer, "run", true);
	explore_kills(explorer, run->fs.mutations);
	explore_events(explorer, run->fs.calls, (unsigned)run->fs.sectors_written);
	execution_end(run);
	free(run);
	explorer_free(explorer);
}

bool replay(const Scenario *scenario, const char *path)
{
	static const Limits limits = {.deep_every = 1, .kills_every = 1, .calls_every = 1};
	Sum sum = {0};
	Explorer *explorer = explorer_new(scenario, &limits, &sum);
	const Execution *execution = &explorer->executions[1];
	const char *what;
	char way[64];
	int n = 0;

	explorer->verbose = true;
	if (sscanf(path, "%63[^/]%n", way, &n) != 1 || !run_way(explorer, way, &explorer->executions[1]))
		return false;
	show_execution(explorer, way, execution);
	if (strncmp(way, "kill@", 5) == 0) {
		Log log = {0};
		Disk *durable = calloc(1, sizeof(*durable));

		if (!durable)
			abort();
		*durable = *split_run(explorer, execution, &log);
		if (!path[n]) {
			judge(explorer, durable, &log, 0, path, false);
		} else {
			execution_end(&explorer->executions[1]);
			execution_begin(&explorer->executions[1], &explorer->world, durable, &log);
			execution_recovery(&explorer->executions[1]);
			show_execution(explorer, "recovery", &explorer->executions[1]);
		}
		log_clear(&log);
		free(durable);
	}
	if (!path[n]) {
		what = oracle_end(&explorer->world, execution,
			execution->result.pending == TRANSACTION_INVALID, explorer->way.lenient);
		if (what)
			violated(explorer, path, what);
	}
	for (const char *step = path + n; *step == '/';) {
		Window *window = &explorer->windows[0];
		StateName name;
		unsigned number;
		uint64_t hash;

		if (sscanf(step, "/w%u:%n", &number, &n) != 1)
			return false;
		step += n;
		if (!state_parse(&step, &name))
			return false;
		window_init(window, &execution->base, &execution->log);
		do
			if (!window_next(window))
				return false;
		while (window->number != number);
		show_window(window);
		if (!window_state(window, name, &explorer->states[0], &hash))
			return false;
		if (explorer->way.synced != SIZE_MAX) {
			explorer->world.second =
				explorer->way.second && window->forced > explorer->way.synced;
			explorer->way.synced = SIZE_MAX;
		}
		if (sscanf(step, "/e%u", &number) == 1) {
			explorer->way.lenient = true;
			(void)edit_state(&explorer->world, &explorer->states[0], number);
			step = "";
		}
		if (*step != '/') {
			printf("  the state:\n");
			judge(explorer, &explorer->states[0], NULL, 0, path, false);
			break;
		}
		execution_end(&explorer->executions[1]);
		execution_begin(&explorer->executions[1], &explorer->world, &explorer->states[0], NULL);
		execution_recovery(&explorer->executions[1]);
		show_execution(explorer, "recovery", &explorer->executions[1]);
	}
	printf("violations: %" PRIu64 "\n", sum.violations);
	explorer_free(explorer);
	return sum.violations == 0;
}
