/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "explorer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RECOVERIES_MAX  6  /* each after a new mount */
#define RECOVERIES_BARE 4  /* without a repair */
#define SHOWN_MAX       40 /* violations of a scenario that are shown */
#define SET_SIZE        (1U << 20)

bool explorer_add_seen(Explorer *explorer, uint64_t hash)
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

Explorer *explorer_new(const Scenario *scenario, const Limits *limits, Sum *sum)
{
	Explorer *explorer = calloc(1, sizeof(*explorer));

	if (!explorer)
		abort();
	contents_release(contents_mark() ? 1 : 0);
	world_make(&explorer->world, scenario);
	scenario_name(scenario, explorer->name);
	explorer->kind = scenario->kind;
	explorer->limits = limits;
	explorer->ways[0].synced = explorer->ways[1].synced = SIZE_MAX;
	explorer->sum = sum;
	explorer->seen = calloc(SET_SIZE, sizeof(*explorer->seen));
	if (!explorer->seen)
		abort();
	return explorer;
}

void explorer_free(Explorer *explorer)
{
	for (int i = 0; i < 2; i++)
		execution_end(&explorer->executions[i]);
	execution_end(&explorer->recovery);
	execution_end(&explorer->again);
	free(explorer->seen);
	free(explorer);
}

void explorer_violated(Explorer *explorer, const char *path, const char *what)
{
	explorer->sum->violations++;
	explorer->stop |= explorer->stop_at_first;
	if (explorer->shown++ < SHOWN_MAX)
		printf("VIOLATION %s\n  replay: crash --replay %s %s\n", what, explorer->name, path);
	fflush(stdout);
}

/* ---- showing ---- */

void show_disk(const Disk *disk)
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

void show_execution(const Explorer *explorer, const char *what, const Execution *execution)
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

void show_window(const Window *window)
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

bool execution_is_closed(const Execution *execution)
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
	for (int i = 1; i < RECOVERIES_MAX && !execution_is_closed(last); i++) {
		Execution *next = last == &explorer->recovery ? &explorer->again : &explorer->recovery;
		static Disk disk;

		disk = last->disk;
		if (i >= RECOVERIES_BARE) {
			if (!last->n_failures && last->outcome != OUTCOME_FILESYSTEM_DAMAGED)
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
		unsigned position = 0;
		DiskEntry entry;

		while (disk_next_entry(a, d, &position, &entry)) {
			uint32_t c = strcmp(entry.name, "drive.json") == 0 ? 0 : entry.entry.start;

			for (; c && c < a->clusters; c = a->units[UNIT_FAT + c])
				journal[c] = true;
		}
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
	closed = execution_is_closed(last);
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

/* A state: what is durable, and what a mere kill left in the caches. What comes in between while it is
 * recovered may be NULL. False: that could not happen. */
bool judge(Explorer *explorer, const Disk *base, const Log *pending, Events *events, unsigned depth,
	const char *path, bool deep)
{
	Execution *execution = &explorer->executions[depth];
	bool lenient = explorer->ways[0].lenient || explorer->ways[1].lenient || strstr(path, ":g");
	bool second = explorer->world.second, happened = true;
	Way way = explorer->ways[1];
	const char *what = NULL;

	execution_begin(execution, &explorer->world, base, pending);
	if (explorer->verbose)
		show_disk(&execution->disk);
	if (events)
		events_begin(events, execution);
	else
		what = oracle_instant(&explorer->world, &execution->disk);
	if (what)
		explorer_violated(explorer, path, what);
	execution_recovery(execution);
	if (events) {
		happened = events_end(events, execution, &explorer->ways[1]);
		lenient |= explorer->ways[1].lenient;
	}
	if (happened) {
		explorer->sum->states++;
		show_execution(explorer, "recovery", execution);
		if (!what) {
			what = judge_the_end(explorer, execution, lenient);
			if (what)
				explorer_violated(explorer, path, what);
		}
		explorer->owed = deep && !events && !pending && !lenient &&
				 execution->outcome == OUTCOME_DONE && judge_is_owed(explorer, base);
		if (deep && !explorer->stop)
			explore_log(explorer, execution, depth + 1, path);
		explorer->owed = false;
	}
	explorer->world.second = second;
	explorer->ways[1] = way;
	execution_end(execution);
	execution_end(&explorer->recovery);
	execution_end(&explorer->again);
	return happened;
}

/* ---- what a log holds ---- */

/* What a drive that is plugged in says of itself. */
bool disk_is_pending(const Disk *state)
{
	static Disk disk;
	static Fs fs;

	disk = *state;
	fs_mount(&fs, &disk, NULL, POLICY_NEXT_FIT, 0);
	return recovery_hint(&fs.vfs, fs_root()) != TRANSACTION_INVALID;
}

/* What was durable when a run was killed, and what was not. */
const Disk *explorer_split(Explorer *explorer, const Execution *run, Log *ret_pending)
{
	Window *window = &explorer->spare;

	window_init(window, &run->base, &run->log);
	while (window_next(window))
		;
	for (size_t i = window->next_first; i < run->log.n; i++)
		log_add(ret_pending, run->log.entries[i].kind, run->log.entries[i].unit,
			run->log.entries[i].value);
	return &window->durable;
}

/* Where the log goes on after the last barrier of what says that nothing is pending. */
size_t execution_find_end(const Execution *execution)
{
	size_t i = execution->log.n;

	if (!execution_is_closed(execution))
		return SIZE_MAX;
	while (i > 0 && execution->log.entries[i - 1].kind != LOG_BARRIER)
		i--;
	return i;
}
