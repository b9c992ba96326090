/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What is run on the model disk: a small tree, a transaction over it, and how it is recovered. */

#include "fat.h"

#include "engine/names.h"
#include "engine/transaction.h"

#define FILES_MAX      8
#define FILE_SIZE_MAX  2048
#define FAILURES_MAX   64
#define BYSTANDER_NAME "bystander.dat"
#define BYSTANDER_SIZE 1300
#define SECOND_NAME    "bystander, second.dat"
#define EDIT_SIZE      700

typedef struct Scenario {
	TransactionKind kind;
	bool scrub;
	bool first;   /* there is no journal yet, and what is free was used before */
	bool growing; /* exFAT's bitmap, and a folder that every new file makes grow */
	bool two_folders;
	bool near_full;
	bool long_names;
	unsigned batches;
	RecoveryMode mode;
} Scenario;

/* "encrypt.one.roomy.short.2.resume" and back. */
void scenario_name(const Scenario *scenario, char ret[80]);
bool scenario_parse(const char *name, Scenario *ret);

typedef struct File {
	DirectoryId directory;
	char name[256], cipher_name[NAME_BYTES_MAX + 1], path[300];
	uint8_t bytes[FILE_SIZE_MAX];
	size_t size;
} File;

typedef struct World {
	Scenario scenario;
	const char *paths[2]; /* what the transaction is asked for */
	size_t n_paths;
	unsigned batch_files;
	File files[FILES_MAX];
	unsigned n_files;
	uint8_t bystander[BYSTANDER_SIZE];
	bool second; /* a second file of the bystander's, which it has fsync'd */
	uint8_t second_bytes[BYSTANDER_SIZE];
	Volume volume;
	Disk start;
} World;

/* The keys of the model drive. */
extern uint8_t world_file_root[32];
extern uint8_t world_drive_id[16];

int world_init_keys(void);
void world_make(World *world, const Scenario *scenario);

/* One run of the engine. */
typedef struct Execution {
	const World *world;
	Disk base; /* what is durable */
	Disk disk; /* what the filesystem shows */
	Log log;   /* from the one to the other */
	Fs fs;
	Outcome outcome;
	TransactionResult result;
	struct {
		char path[300];
		Reason reason;
	} failures[FAILURES_MAX];
	unsigned n_failures;
} Execution;

/* Mounts what is durable and, after a mere kill, what was written since (NULL: nothing). */
void execution_begin(Execution *execution, const World *world, const Disk *base, const Log *pending);
void execution_transaction(Execution *execution);
void execution_recovery(Execution *execution);
void execution_end(Execution *execution);
/* What an earlier one named was named. */
void execution_inherit(Execution *execution, const Execution *earlier);
bool execution_named(const Execution *execution, const char *path);

/* Random numbers, the same ones whenever the seed is: for the engine and for us. */
void random_seed(uint64_t seed);
uint64_t random_next(void);
