/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * How far a transaction is, told on standard error: a bar where it is a terminal that can be drawn over, else
 * a line every ten seconds. With --json an object on standard output for each change; with --quiet nothing.
 */

#include "client.h"

#include <sys/types.h>

typedef enum ProgressStyle {
	PROGRESS_NONE,
	PROGRESS_BAR,
	PROGRESS_LINES,
	PROGRESS_JSON,
} ProgressStyle;

typedef struct ProgressState {
	const char *kind, *phase; /* names of util/report.h */
	uint64_t files_total, files_done, files_failed;
	uint64_t bytes_total, bytes_done;
} ProgressState;

typedef struct ProgressBar {
	ProgressStyle style;
	uint64_t started, last_told; /* CLOCK_MONOTONIC, microseconds */
	uint64_t sample_at, sample_bytes, sample_files;
	double bytes_per_second, files_per_second; /* of the last seconds, smoothed */
	bool drawn;
} ProgressBar;

void progress_begin(const Client *client, ProgressBar *bar);
void progress_show(ProgressBar *bar, const ProgressState *state);

/* Takes the bar off the terminal again; a message may follow. progress_show() draws it anew. */
void progress_hide(ProgressBar *bar);

/* Microseconds since progress_begin(). */
uint64_t progress_elapsed(const ProgressBar *bar);
