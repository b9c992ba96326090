/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/rate-limit.h"

#include "util/fd.h"
#include "util/io.h"
#include "util/log.h"
#include "util/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

/* More drives than one user will ever fail at; the fullest bucket makes room. */
#define BUCKETS_MAX       4096
#define STATE_SIZE_MAX    ((size_t)1024 * 1024)
#define STATE_LINE_FORMAT "%" PRIu32 " %s %" PRIu64 "\n"

/* Kept as the time at which it will be (or was) full: a full bucket is one whose time has passed. */
typedef struct Bucket {
	uid_t uid;
	char drive[RATE_LIMIT_DRIVE_MAX + 1];
	uint64_t full_at;
} Bucket;

struct RateLimit {
	char *path;
	uint64_t burst, interval;
	Bucket *buckets;
	size_t n, capacity;
};

RateLimit *rate_limit_free(RateLimit *limit)
{
	if (!limit)
		return NULL;
	free(limit->path);
	free(limit->buckets);
	return mfree(limit);
}

static int bucket_add(RateLimit *limit, uid_t uid, const char *drive, uint64_t full_at, Bucket **ret)
{
	Bucket *bucket;
	int r;

	if (limit->n >= BUCKETS_MAX) {
		bucket = &limit->buckets[0];
		for (size_t i = 1; i < limit->n; i++)
			if (limit->buckets[i].full_at < bucket->full_at)
				bucket = &limit->buckets[i];
	} else {
		r = array_grow(&limit->buckets, &limit->capacity, limit->n + 1, sizeof(Bucket));
		if (r < 0)
			return r;
		bucket = &limit->buckets[limit->n++];
	}
	*bucket = (Bucket){.uid = uid, .full_at = full_at};
	(void)snprintf(bucket->drive, sizeof(bucket->drive), "%s", drive);
	*ret = bucket;
	return 0;
}

static int state_load(RateLimit *limit)
{
	_cleanup_free_ char *text = NULL;
	char *rest, *line;
	int r;

	r = read_host_file(AT_FDCWD, limit->path, STATE_SIZE_MAX, &text, NULL);
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	rest = text;
	while ((line = strsep(&rest, "\n"))) {
		char drive[RATE_LIMIT_DRIVE_MAX + 1];
		uint64_t full_at;
		uint32_t uid;
		Bucket *bucket;

		if (sscanf(line, "%" SCNu32 " %64s %" SCNu64, &uid, drive, &full_at) != 3)
			continue;
		r = bucket_add(limit, uid, drive, full_at, &bucket);
		if (r < 0)
			return r;
	}
	return 0;
}

int rate_limit_new(const char *path, uint64_t burst, uint64_t interval, RateLimit **ret_limit)
{
	_cleanup_(rate_limit_freep) RateLimit *limit = new0(RateLimit, 1);
	int r;

	if (!limit)
		return -ENOMEM;
	limit->burst = burst;
	limit->interval = interval;
	limit->path = strdup(path);
	if (!limit->path)
		return -ENOMEM;
	r = state_load(limit);
	if (r == -ENOMEM)
		return r;
	if (r < 0)
		log_warning("Cannot read %s: %s", path, strerror(-r));
	*ret_limit = TAKE_PTR(limit);
	return 0;
}

/* Buckets that are full again say nothing any more. */
static void drop_full(RateLimit *limit, uint64_t now)
{
	size_t kept = 0;

	for (size_t i = 0; i < limit->n; i++)
		if (limit->buckets[i].full_at > now)
			limit->buckets[kept++] = limit->buckets[i];
	limit->n = kept;
}

static int state_save(const RateLimit *limit)
{
	_cleanup_free_ char *temporary = NULL;
	_cleanup_fclose_ FILE *f = NULL;
	int fd;

	if (asprintf(&temporary, "%s.new", limit->path) < 0)
		return -ENOMEM;
	fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return -errno;
	f = fdopen(fd, "w");
	if (!f) {
		safe_close(fd);
		return -ENOMEM;
	}
	for (size_t i = 0; i < limit->n; i++)
		fprintf(f, STATE_LINE_FORMAT, limit->buckets[i].uid, limit->buckets[i].drive,
			limit->buckets[i].full_at);
	if (fflush(f) != 0 || rename(temporary, limit->path) < 0)
		return -errno;
	return 0;
}

static void save(RateLimit *limit)
{
	int r = state_save(limit);

	if (r < 0)
		log_warning("Cannot write %s, attempts will be forgotten: %s", limit->path, strerror(-r));
}

static Bucket *bucket_find(const RateLimit *limit, uid_t uid, const char *drive)
{
	for (size_t i = 0; i < limit->n; i++)
		if (limit->buckets[i].uid == uid && strcmp(limit->buckets[i].drive, drive) == 0)
			return &limit->buckets[i];
	return NULL;
}

uint64_t rate_limit_wait(const RateLimit *limit, uid_t uid, const char *drive, uint64_t now)
{
	const Bucket *bucket = bucket_find(limit, uid, drive);
	uint64_t span = (limit->burst - 1) * limit->interval;
	uint64_t missing;

	if (!bucket || bucket->full_at <= now)
		return 0;
	/* A time that this clock cannot have led to (a damaged file) counts as an empty bucket. */
	missing = MIN(bucket->full_at - now, limit->burst * limit->interval);
	return missing > span ? missing - span : 0;
}

bool rate_limit_take(RateLimit *limit, uid_t uid, const char *drive, uint64_t now)
{
	Bucket *bucket;

	if (rate_limit_wait(limit, uid, drive, now) > 0)
		return false;
	drop_full(limit, now);
	bucket = bucket_find(limit, uid, drive);
	if (!bucket && bucket_add(limit, uid, drive, now, &bucket) < 0)
		return false;
	bucket->full_at = MAX(bucket->full_at, now) + limit->interval;
	save(limit);
	return true;
}

void rate_limit_give_back(RateLimit *limit, uid_t uid, const char *drive, uint64_t now)
{
	Bucket *bucket = bucket_find(limit, uid, drive);

	if (!bucket)
		return;
	bucket->full_at -= MIN(bucket->full_at, limit->interval);
	drop_full(limit, now);
	save(limit);
}
