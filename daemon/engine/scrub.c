/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "engine/scrub.h"

#include "engine/stream.h"
#include "util/memory.h"

#include <errno.h>
#include <sodium.h>

void scrub_key_derive(const Secret *scrub_root, const uint8_t last_tag[SUITE_TAG_SIZE], ScrubKey *ret)
{
	static const char domain[] = "usbcrypt scrub 1";
	crypto_generichash_state state;

	(void)crypto_generichash_init(
		&state, secret_view(scrub_root), secret_size(scrub_root), sizeof(ret->bytes));
	(void)crypto_generichash_update(&state, (const uint8_t *)domain, sizeof(domain) - 1);
	(void)crypto_generichash_update(&state, last_tag, SUITE_TAG_SIZE);
	(void)crypto_generichash_final(&state, ret->bytes, sizeof(ret->bytes));
}

void scrub_pattern(const ScrubKey *key, uint64_t offset, uint8_t *ret, size_t size)
{
	static const uint8_t nonce[crypto_stream_chacha20_NONCEBYTES];

	memset(ret, 0, size);
	(void)crypto_stream_chacha20_xor_ic(ret, ret, size, nonce, offset / 64, key->bytes);
}

typedef struct Scrub {
	const Vfs *vfs;
	int fd;
	uint64_t size, end; /* of the file, and of its last cluster */
	const ScrubKey *key;
	const ScrubHelp *help;
} Scrub;

static size_t segment_size(const Scrub *scrub, uint64_t segment)
{
	return (size_t)MIN((uint64_t)SEGMENT_PLAIN, scrub->end - segment * SEGMENT_PLAIN);
}

static int scrub_compute(void *userdata, uint64_t segment, Workspace *workspace)
{
	const Scrub *scrub = userdata;
	size_t size = segment_size(scrub, segment);

	scrub_pattern(scrub->key, segment * SEGMENT_PLAIN, workspace->plain,
		(size + SCRUB_SECTOR - 1) / SCRUB_SECTOR * SCRUB_SECTOR);
	return 0;
}

static int scrub_commit(void *userdata, uint64_t segment, Workspace *workspace)
{
	const Scrub *scrub = userdata;
	uint64_t offset = segment * SEGMENT_PLAIN;
	size_t size = segment_size(scrub, segment);
	int r;

	r = vfs_write_full(scrub->vfs, scrub->fd, workspace->plain, size, offset);
	/* No room behind the end: then there is no cluster behind it either. */
	if (r == -ENOSPC && offset + size > scrub->size)
		r = vfs_write_full(scrub->vfs, scrub->fd, workspace->plain,
			(size_t)(scrub->size > offset ? scrub->size - offset : 0), offset);
	if (r >= 0 && scrub->help->alive)
		scrub->help->alive(scrub->help->userdata, size);
	return r;
}

int scrub_file(const Vfs *vfs, int fd, uint64_t size, size_t cluster, const ScrubKey *key,
	const ScrubHelp *help, Workspace *workspace)
{
	Scrub scrub = {.vfs = vfs,
		.fd = fd,
		.size = size,
		.end = (size + cluster - 1) / cluster * cluster,
		.key = key,
		.help = help};
	const Segments segments = {.userdata = &scrub, .compute = scrub_compute, .commit = scrub_commit};

	return segments_run(
		&segments, (scrub.end + SEGMENT_PLAIN - 1) / SEGMENT_PLAIN, help->threads, workspace);
}

int scrub_recognize(const Vfs *vfs, int fd, uint64_t size, const ScrubKey *key, Workspace *workspace)
{
	int state = SCRUB_NONE;

	for (uint64_t offset = 0; offset < size; offset += SEGMENT_PLAIN) {
		size_t want = (size_t)MIN((uint64_t)SEGMENT_PLAIN, size - offset);
		ssize_t n = vfs_read_full(vfs, fd, workspace->plain, want, offset);

		if (n < 0)
			return (int)n;
		scrub_pattern(key, offset, workspace->sealed,
			((size_t)n + SCRUB_SECTOR - 1) / SCRUB_SECTOR * SCRUB_SECTOR);
		for (size_t i = 0; i < (size_t)n; i += SCRUB_SECTOR) {
			size_t sector = MIN((size_t)SCRUB_SECTOR, (size_t)n - i);

			if (memcmp(workspace->plain + i, workspace->sealed + i, sector) != 0)
				continue;
			if (sector >= SUITE_TAG_SIZE)
				return SCRUB_SOME;
			state = SCRUB_PERHAPS;
		}
		if ((size_t)n < want)
			break;
	}
	return state;
}

int scrub_explains(
	const ScrubKey *key, uint64_t offset, const uint8_t *bytes, const uint8_t *expected, size_t size)
{
	for (size_t i = 0; i < size; i += SCRUB_SECTOR) {
		size_t n = MIN((size_t)SCRUB_SECTOR, size - i);
		uint8_t pattern[SCRUB_SECTOR];

		if (memcmp(bytes + i, expected + i, n) == 0)
			continue;
		scrub_pattern(key, offset + i, pattern, sizeof(pattern));
		if (memcmp(bytes + i, pattern, n) != 0)
			return 0;
	}
	return 1;
}
