/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "progress.h"

#include "terminal.h"
#include "text.h"
#include "util/clock.h"
#include "util/memory.h"
#include "util/report.h"

#include <stdio.h>
#include <unistd.h>

#define LINE_EVERY   (10 * USEC_PER_SEC)
#define SAMPLE_EVERY (USEC_PER_SEC / 2)
#define BAR_MAX      30
#define LINE_SIZE    512

void progress_begin(const Client *client, ProgressBar *bar)
{
	*bar = (ProgressBar){.started = clock_usec(CLOCK_MONOTONIC)};
	bar->sample_at = bar->last_told = bar->started;
	if (client_quiet(client))
		bar->style = PROGRESS_NONE;
	else if (client_json(client))
		bar->style = PROGRESS_JSON;
	else
		bar->style = terminal_can_redraw(STDERR_FILENO) ? PROGRESS_BAR : PROGRESS_LINES;
}

uint64_t progress_elapsed(const ProgressBar *bar)
{
	return clock_usec(CLOCK_MONOTONIC) - bar->started;
}

/* The rate of late counts more than that of long ago; the first sample counts alone. */
static double smooth(double old, double sample)
{
	return old <= 0 ? sample : 0.7 * old + 0.3 * sample;
}

static void sample(ProgressBar *bar, const ProgressState *state, uint64_t now)
{
	double seconds = (double)(now - bar->sample_at) / (double)USEC_PER_SEC;

	if (now - bar->sample_at < SAMPLE_EVERY)
		return;
	if (state->bytes_done >= bar->sample_bytes)
		bar->bytes_per_second = smooth(
			bar->bytes_per_second, (double)(state->bytes_done - bar->sample_bytes) / seconds);
	if (state->files_done >= bar->sample_files)
		bar->files_per_second = smooth(
			bar->files_per_second, (double)(state->files_done - bar->sample_files) / seconds);
	bar->sample_at = now;
	bar->sample_bytes = state->bytes_done;
	bar->sample_files = state->files_done;
}

/* By bytes where there are any, else by files; -1 while nothing is known. */
static int percent(const ProgressState *state)
{
	uint64_t total = state->bytes_total, done = state->bytes_done;

	if (total == 0) {
		total = state->files_total;
		done = state->files_done + state->files_failed;
	}
	if (total == 0)
		return -1;
	return done >= total ? 100 : (int)((double)done / (double)total * 100);
}

/* Seconds; UINT64_MAX while it cannot be told. */
static uint64_t time_left(const ProgressBar *bar, const ProgressState *state)
{
	double left = 0;

	if (state->bytes_total > state->bytes_done && bar->bytes_per_second > 0)
		left = (double)(state->bytes_total - state->bytes_done) / bar->bytes_per_second;
	else if (state->bytes_total == 0 && state->files_total > state->files_done &&
		 bar->files_per_second > 0)
		left = (double)(state->files_total - state->files_done) / bar->files_per_second;
	else
		return UINT64_MAX;
	return left < 360000 ? (uint64_t)left + 1 : UINT64_MAX;
}

static const char *title(const ProgressState *state)
{
	static const struct {
		const char *kind, *title;
	} titles[] = {{"survey", "Counting"}, {"encrypt", "Encrypting"}, {"decrypt", "Decrypting"},
		{"verify", "Verifying"}, {"recover", "Recovering"}};

	if (strcmp(state->phase, "starting") == 0)
		return "Starting";
	if (strcmp(state->phase, "preflight") == 0)
		return "Looking";
	if (strcmp(state->phase, "recovering") == 0)
		return "Recovering";
	if (strcmp(state->phase, "finishing") == 0)
		return "Finishing";
	for (size_t i = 0; i < ELEMENTSOF(titles); i++)
		if (strcmp(state->kind, titles[i].kind) == 0)
			return titles[i].title;
	return "Working";
}

/* "1,234/2,000 files, 12.3 MiB/s, 0:42 left" */
static void describe(const ProgressBar *bar, const ProgressState *state, char *text, size_t size)
{
	char a[TEXT_SHORT_SIZE], b[TEXT_SHORT_SIZE];
	uint64_t left = time_left(bar, state);
	size_t used;

	if (state->files_total > 0)
		(void)snprintf(text, size, "%s/%s files", text_number(state->files_done, a),
			text_number(state->files_total, b));
	else
		(void)snprintf(text, size, "%s", text_count(state->files_done, "file", "files", a));
	used = strlen(text);
	if (state->files_failed > 0)
		used += (size_t)snprintf(
			text + used, size - used, ", %s left out", text_number(state->files_failed, a));
	if (bar->bytes_per_second >= 1)
		used += (size_t)snprintf(
			text + used, size - used, ", %s/s", text_bytes((uint64_t)bar->bytes_per_second, a));
	if (left != UINT64_MAX)
		(void)snprintf(text + used, size - used, ", %s left", text_duration(left, a));
}

static void draw(ProgressBar *bar, const ProgressState *state)
{
	/* ASCII alone, so bytes are columns; the last column stays free, for some terminals wrap there. */
	size_t columns = terminal_columns(STDERR_FILENO), room = columns > 0 ? columns - 1 : 0, used;
	char text[LINE_SIZE / 2], line[LINE_SIZE], blocks[BAR_MAX + 1];
	int done = percent(state);

	describe(bar, state, text, sizeof(text));
	if (done < 0)
		used = (size_t)snprintf(line, sizeof(line), "%s", title(state));
	else
		used = (size_t)snprintf(line, sizeof(line), "%s %3d%%", title(state), done);
	if (used > room && done >= 0)
		used = (size_t)snprintf(line, sizeof(line), "%d%%", done);
	if (done >= 0 && room >= used + strlen(text) + 12) {
		size_t width = MIN(room - used - strlen(text) - 6, (size_t)BAR_MAX),
		       full = width * (size_t)done / 100;

		memset(blocks, '#', full);
		memset(blocks + full, '.', width - full);
		blocks[width] = 0;
		used += (size_t)snprintf(line + used, sizeof(line) - used, "  [%s]", blocks);
	}
	/* What does not fit is left out in whole parts. */
	for (const char *part = text, *end; *part; part = *end ? end + 2 : end) {
		end = strstr(part, ", ") ?: part + strlen(part); /* numbers have commas, too */
		if (used + 2 + (size_t)(end - part) > room)
			break;
		used += (size_t)snprintf(line + used, sizeof(line) - used, "%s%.*s",
			part == text ? "  " : ", ", (int)(end - part), part);
	}
	(void)fprintf(stderr, "\r%.*s\033[K", (int)MIN(room, used), line);
	(void)fflush(stderr);
	bar->drawn = true;
}

static void print_json(const ProgressState *state)
{
	cJSON *object = cJSON_CreateObject();

	cJSON_AddStringToObject(object, "type", "progress");
	cJSON_AddStringToObject(object, "kind", state->kind);
	cJSON_AddStringToObject(object, "phase", state->phase);
	json_add_number(object, "files_total", state->files_total, UINT64_MAX);
	json_add_number(object, "files_done", state->files_done, UINT64_MAX);
	json_add_number(object, "files_failed", state->files_failed, UINT64_MAX);
	json_add_number(object, "bytes_total", state->bytes_total, UINT64_MAX);
	json_add_number(object, "bytes_done", state->bytes_done, UINT64_MAX);
	(void)client_emit(object);
}

void progress_show(ProgressBar *bar, const ProgressState *state)
{
	uint64_t now = clock_usec(CLOCK_MONOTONIC);
	char text[LINE_SIZE / 2];
	int done;

	sample(bar, state, now);
	switch (bar->style) {
	case PROGRESS_NONE:
		return;
	case PROGRESS_JSON:
		print_json(state);
		return;
	case PROGRESS_BAR:
		draw(bar, state);
		return;
	case PROGRESS_LINES:
		if (now - bar->last_told < LINE_EVERY)
			return;
		bar->last_told = now;
		describe(bar, state, text, sizeof(text));
		done = percent(state);
		if (done >= 0)
			(void)fprintf(stderr, "%s: %d%%, %s\n", title(state), done, text);
		else
			(void)fprintf(stderr, "%s: %s\n", title(state), text);
		return;
	}
}

void progress_hide(ProgressBar *bar)
{
	if (!bar->drawn)
		return;
	(void)fputs("\r\033[K", stderr);
	(void)fflush(stderr);
	bar->drawn = false;
}
