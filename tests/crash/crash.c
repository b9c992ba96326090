/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Crash states of the engine on a model disk: see README.md here. */

#include "explore.h"

#include <getopt.h>
#include <inttypes.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define SCENARIOS_MAX 256
#define JOBS_MAX      16

static const Limits ordinary = {
	.exhaustive = {256, 12},
	.doubles = {24, 4},
	.randoms = {24, 4},
	.damaged = {8, 1},
	.singles_every = {1, 3},
	.deep_every = 24,
	.kills_every = 6,
	.calls_every = 16,
	.opens_every = 8,
	.edits_every = 12,
	.rot_every = 12,
	.unreadable_every = 8,
	.company_every = 128,
	.recovery_calls_every = 40,
	.recovery_kills_every = 512,
	.seed = 1,
};

static const Limits long_running = {
	.exhaustive = {8192, 64},
	.doubles = {2000, 20},
	.randoms = {3000, 20},
	.damaged = {64, 4},
	.singles_every = {1, 1},
	.deep_every = 8,
	.kills_every = 1,
	.calls_every = 1,
	.opens_every = 1,
	.edits_every = 2,
	.rot_every = 2,
	.unreadable_every = 2,
	.company_every = 8,
	.recovery_calls_every = 3,
	.recovery_kills_every = 32,
	.seed = 1,
};

static unsigned all_scenarios(Scenario scenarios[SCENARIOS_MAX], const char *only)
{
	unsigned n = 0;

	for (unsigned i = 0; i < 3 * 2 * 2 * 2 * 3 * 2; i++) {
		Scenario *scenario = &scenarios[n];
		char name[80];

		*scenario = (Scenario){
			.kind = i % 3 == 2 ? TRANSACTION_DECRYPT : TRANSACTION_ENCRYPT,
			.scrub = i % 3 == 0,
			.two_folders = i / 3 % 2,
			.near_full = i / 6 % 2,
			.long_names = i / 12 % 2,
			.batches = i / 24 % 3 + 1,
			.mode = i / 72 ? RECOVERY_ROLLBACK : RECOVERY_RESUME,
		};
		scenario_name(scenario, name);
		if (!only || strstr(name, only))
			n++;
	}
	for (unsigned i = 0; i < 2 * 2 * 3 * 2; i++) {
		Scenario *scenario = &scenarios[n];
		char name[80];

		*scenario = (Scenario){
			.kind = TRANSACTION_ENCRYPT,
			.scrub = true,
			.growing = true,
			.near_full = i % 2,
			.long_names = i / 2 % 2,
			.batches = i / 4 % 3 + 1,
			.mode = i / 12 ? RECOVERY_ROLLBACK : RECOVERY_RESUME,
		};
		scenario_name(scenario, name);
		if (!only || strstr(name, only))
			n++;
	}
	for (unsigned i = 0; i < 3; i++) {
		Scenario *scenario = &scenarios[n];
		char name[80];

		*scenario = (Scenario){
			.kind = TRANSACTION_ENCRYPT,
			.scrub = true,
			.first = true,
			.long_names = i == 2,
			.batches = i % 2 + 1,
			.mode = RECOVERY_RESUME,
		};
		scenario_name(scenario, name);
		if (!only || strstr(name, only))
			n++;
	}
	return n;
}

typedef struct Shared {
	unsigned next;
	Sum sums[SCENARIOS_MAX];
} Shared;

static void work(
	Shared *shared, const Scenario *scenarios, unsigned n, const Limits *limits, bool stop_at_first)
{
	for (;;) {
		unsigned i = __atomic_fetch_add(&shared->next, 1, __ATOMIC_SEQ_CST);
		char name[80];

		if (i >= n || (stop_at_first && i > 0 && shared->sums[i - 1].violations > 0))
			return;
		explore(&scenarios[i], limits, stop_at_first, &shared->sums[i]);
		scenario_name(&scenarios[i], name);
		printf("%-36s states %7" PRIu64 "  left pending %5" PRIu64 "  violations %" PRIu64 "\n", name,
			shared->sums[i].states, shared->sums[i].pending, shared->sums[i].violations);
		fflush(stdout);
	}
}

static int run_all(
	const Scenario *scenarios, unsigned n, const Limits *limits, unsigned jobs, bool stop_at_first)
{
	Shared *shared =
		mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	Sum sum = {0};
	pid_t children[JOBS_MAX];
	bool failed = false;

	if (shared == MAP_FAILED)
		return EXIT_FAILURE;
	for (unsigned i = 0; i < jobs; i++) {
		children[i] = fork();
		if (children[i] == 0) {
			work(shared, scenarios, n, limits, stop_at_first);
			_exit(0);
		}
	}
	for (unsigned i = 0; i < jobs; i++) {
		int status;

		failed |= children[i] < 0 || waitpid(children[i], &status, 0) < 0 || status != 0;
	}
	for (unsigned i = 0; i < n; i++) {
		sum.states += shared->sums[i].states;
		sum.pending += shared->sums[i].pending;
		sum.violations += shared->sums[i].violations;
	}
	if (failed)
		printf("a worker died\n");
	printf("seed: %" PRIu64 "\n", limits->seed);
	printf("crash states: %" PRIu64 ", violations: %" PRIu64 "\n", sum.states, sum.violations);
	return failed || sum.violations > 0 || sum.states == 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

static int usage(void)
{
	fprintf(stderr, "usage: crash [--long] [--seed N] [--jobs N] [--only PART-OF-NAME] [--first]\n"
			"       crash --replay SCENARIO PATH\n");
	return 2;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"long", no_argument, NULL, 'l'},
		{"seed", required_argument, NULL, 's'},
		{"jobs", required_argument, NULL, 'j'},
		{"only", required_argument, NULL, 'o'},
		{"first", no_argument, NULL, 'f'},
		{"replay", no_argument, NULL, 'r'},
		{0},
	};
	static Scenario scenarios[SCENARIOS_MAX];
	Limits limits = ordinary;
	const char *only = NULL;
	unsigned n, jobs = 1;
	bool first = false, again = false;
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1)
		switch (c) {
		case 'l':
			limits = long_running;
			break;
		case 's':
			limits.seed = strtoull(optarg, NULL, 10);
			break;
		case 'j':
			jobs = (unsigned)strtoul(optarg, NULL, 10);
			break;
		case 'o':
			only = optarg;
			break;
		case 'f':
			first = true;
			break;
		case 'r':
			again = true;
			break;
		default:
			return usage();
		}
	if (jobs < 1)
		return usage();
	jobs = MIN(jobs, (unsigned)JOBS_MAX);
	/* Each run takes and gives back the same few large buffers. */
	(void)mallopt(M_MMAP_THRESHOLD, 32 << 20);
	(void)mallopt(M_TRIM_THRESHOLD, 1 << 30);
	(void)mallopt(M_TOP_PAD, 64 << 20);
	if (world_init_keys() < 0) {
		fprintf(stderr, "libsodium could not be set up\n");
		return EXIT_FAILURE;
	}
	if (again) {
		if (argc - optind != 2 || !scenario_parse(argv[optind], &scenarios[0]))
			return usage();
		return replay(&scenarios[0], argv[optind + 1]) ? EXIT_SUCCESS : EXIT_FAILURE;
	}
	/* Looking for one violation, it matters less how long all of them take. */
	if (first) {
		limits.company_every = 24;
		limits.recovery_calls_every = 8;
	}
	n = all_scenarios(scenarios, only);
	return run_all(scenarios, n, &limits, jobs, first);
}
