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

int scrub_file(
	const Vfs *vfs, int fd, uint64_t size, size_t cluster, const ScrubKey *key, Workspace *workspace)
{
	uint64_t end = (size + cluster - 1) / cluster * cluster;

	for (uint64_t offset = 0; offset < end;) {
		size_t n = (size_t)MIN((uint64_t)SEGMENT_PLAIN, end - offset);
		size_t sectors = (n + SCRUB_SECTOR - 1) / SCRUB_SECTOR * SCRUB_SECTOR;
		int r;

		scrub_pattern(key, offset, workspace->plain, sectors);
		r = vfs_write_full(vfs, fd, workspace->plain, n, offset);
		/* No room behind the end: then there is no cluster behind it either. */
		if (r == -ENOSPC && offset + n > size)
			r = vfs_write_full(vfs, fd, workspace->plain,
				(size_t)(size > offset ? size - offset : 0), offset);
		if (r < 0)
			return r;
		offset += n;
	}
	return 0;
}

int scrub_recognize(const Vfs *vfs, int fd, uint64_t size, const ScrubKey *key, Workspace *workspace)
{
	for (uint64_t offset = 0; offset < size; offset += SEGMENT_PLAIN) {
		size_t want = (size_t)MIN((uint64_t)SEGMENT_PLAIN, size - offset);
		ssize_t n = vfs_read_full(vfs, fd, workspace->plain, want, offset);

		if (n < 0)
			return (int)n;
		scrub_pattern(key, offset, workspace->sealed,
			((size_t)n + SCRUB_SECTOR - 1) / SCRUB_SECTOR * SCRUB_SECTOR);
		for (size_t i = 0; i < (size_t)n; i += SCRUB_SECTOR) {
			size_t sector = MIN((size_t)SCRUB_SECTOR, (size_t)n - i);

			/* A cut-off sector of less than a tag's length could match by chance. */
			if (sector >= SUITE_TAG_SIZE &&
				memcmp(workspace->plain + i, workspace->sealed + i, sector) == 0)
				return SCRUB_SOME;
		}
		if ((size_t)n < want)
			break;
	}
	return SCRUB_NONE;
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
