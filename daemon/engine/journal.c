/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Records alternate between the two files by their sequence's parity. Invariant: the file that holds the
 * newest valid record is never the one that is written, so one of the two is whole at every instant.
 */

#include "engine/journal.h"

#include "engine/drive.h"
#include "util/fd.h"
#include "util/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>

#define CAPACITY         ((size_t)JOURNAL_RECORD_MAX)
#define CAPACITY_SMALL   ((size_t)256 * 1024) /* on filesystems below SMALL_FILESYSTEM */
#define SMALL_FILESYSTEM ((uint64_t)256 * 1024 * 1024)
#define CAPACITY_MAX     ((size_t)4 * 1024 * 1024)

#define HEAD_SIZE ((size_t)4096) /* a direct read of it is aligned on every medium */

#define READ_FLAGS (O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOATIME)

/* Each pair is another journal: those before the one in use are what creations that were cut short left. */
static const char *const names[] = {"journal", "journal2", "journal3"};
static const char *const file_paths[][2] = {
	{USBCRYPT_DIRECTORY "/a/journal", USBCRYPT_DIRECTORY "/b/journal"},
	{USBCRYPT_DIRECTORY "/a/journal2", USBCRYPT_DIRECTORY "/b/journal2"},
	{USBCRYPT_DIRECTORY "/a/journal3", USBCRYPT_DIRECTORY "/b/journal3"},
};
static const char *const directory_paths[2] = {USBCRYPT_DIRECTORY "/a", USBCRYPT_DIRECTORY "/b"};

struct Journal {
	const Vfs *vfs;
	int root_fd;
	const Secret *mac_key;
	uint8_t drive_id[DRIVE_ID_SIZE];
	unsigned pair;
	int fds[2];
	size_t capacity; /* of the smaller file */
	uint64_t sequence;
	uint8_t last_hash[JOURNAL_HASH_SIZE];
	const char *unreadable; /* the file that could not be read, where the other one could */
	JournalBuilder builder;
};

static void close_files(Journal *journal)
{
	for (int i = 0; i < 2; i++) {
		if (journal->fds[i] >= 0)
			journal->vfs->close(journal->vfs, journal->fds[i]);
		journal->fds[i] = -1;
	}
}

Journal *journal_free(Journal *journal)
{
	if (!journal)
		return NULL;
	close_files(journal);
	journal_builder_clear(&journal->builder);
	return mfree(journal);
}

uint64_t journal_space(uint64_t filesystem_size)
{
	return 2 * (uint64_t)(filesystem_size < SMALL_FILESYSTEM ? CAPACITY_SMALL : CAPACITY);
}

static int journal_new(const Vfs *vfs, int root_fd, const Secret *mac_key,
	const uint8_t drive_id[DRIVE_ID_SIZE], unsigned pair, Journal **ret)
{
	Journal *journal = new0(Journal, 1);

	if (!journal)
		return -ENOMEM;
	*journal =
		(Journal){.vfs = vfs, .root_fd = root_fd, .mac_key = mac_key, .pair = pair, .fds = {-1, -1}};
	memcpy(journal->drive_id, drive_id, DRIVE_ID_SIZE);
	*ret = journal;
	return 0;
}

/* ---- which files are it ---- */

/* Opens a file to be read directly, or, where that cannot be done, as any other: *flags says which. */
static int open_to_read(const Vfs *vfs, int root_fd, const char *path, int *flags)
{
	int fd = vfs->open(vfs, root_fd, path, READ_FLAGS | *flags, 0);

	if (fd == -EINVAL && *flags != 0) {
		*flags = 0;
		fd = vfs->open(vfs, root_fd, path, READ_FLAGS, 0);
	}
	return fd;
}

/* Reads how a file begins. 1: as a record does; 0: otherwise. No more than its first cluster, and with
 * O_DIRECT in `flags` without a read-ahead: behind that there may be a torn chain, and meeting one turns FAT
 * read-only. */
static int read_head(
	const Vfs *vfs, int root_fd, const char *path, int flags, uint8_t head[JOURNAL_RECORD_MIN])
{
	_cleanup_free_ uint8_t *block = aligned_alloc(HEAD_SIZE, HEAD_SIZE);
	struct statvfs fs;
	struct stat st;
	int fd, r;

	if (!block)
		return -ENOMEM;
	r = vfs->fstatvfs(vfs, root_fd, &fs);
	if (r < 0)
		return r;
	fd = open_to_read(vfs, root_fd, path, &flags);
	if (fd < 0)
		return fd;
	r = vfs->fstat(vfs, fd, &st);
	if (r >= 0 && !S_ISREG(st.st_mode))
		r = -EBADMSG;
	if (r >= 0)
		r = (int)vfs->pread(vfs, fd, block, MIN(MAX((size_t)fs.f_bsize, (size_t)512), HEAD_SIZE), 0);
	vfs->close(vfs, fd);
	if (r < JOURNAL_RECORD_MIN)
		return MIN(r, 0);
	memcpy(head, block, JOURNAL_RECORD_MIN);
	return journal_record_size(head) > 0;
}

/* Finds the files in which a record was begun. Others are not trusted, however well they read: their creation
 * may not be durable, and their clusters free (T5). Nor has anything else begun, then: whatever a run does
 * follows a durable record. The last ones are looked at first: those before them may show the last ones'
 * bytes, which have taken their clusters. -ENOENT: there are none. */
static int find_pair(const Vfs *vfs, int root_fd, int flags, unsigned *ret_pair)
{
	uint8_t head[JOURNAL_RECORD_MIN];

	for (unsigned pair = ELEMENTSOF(file_paths); pair-- > 0;) {
		int a = read_head(vfs, root_fd, file_paths[pair][0], flags, head);
		int b = read_head(vfs, root_fd, file_paths[pair][1], flags, head);

		if (a > 0 || b > 0) {
			*ret_pair = pair;
			return 0;
		}
		/* In what cannot be read there may have been one. */
		if (a < 0 && a != -ENOENT)
			return a;
		if (b < 0 && b != -ENOENT)
			return b;
	}
	return -ENOENT;
}

/* Opens both files; they must be ordinary files of a sensible size. */
static int open_files(Journal *journal, int flags)
{
	const Vfs *vfs = journal->vfs;

	journal->capacity = CAPACITY_MAX;
	for (int i = 0; i < 2; i++) {
		struct stat st;
		int r;

		r = vfs->open(vfs, journal->root_fd, file_paths[journal->pair][i],
			flags | O_NOFOLLOW | O_NONBLOCK | O_NOATIME, 0);
		if (r < 0)
			return r == -ENOENT ? -EBADMSG : r;
		journal->fds[i] = r;
		r = vfs->fstat(vfs, journal->fds[i], &st);
		if (r < 0)
			return r;
		if (!S_ISREG(st.st_mode) || st.st_nlink != 1 || (size_t)st.st_size < CAPACITY_SMALL)
			return -EBADMSG;
		journal->capacity = MIN(journal->capacity, (size_t)st.st_size);
	}
	return 0;
}

int journal_open(const Vfs *vfs, int root_fd, const Secret *mac_key, const uint8_t drive_id[DRIVE_ID_SIZE],
	Journal **ret)
{
	_cleanup_journal_ Journal *journal = NULL;
	struct statvfs fs;
	unsigned pair;
	int r;

	r = find_pair(vfs, root_fd, O_DIRECT, &pair);
	if (r >= 0)
		r = journal_new(vfs, root_fd, mac_key, drive_id, pair, &journal);
	if (r >= 0)
		r = vfs->fstatvfs(vfs, root_fd, &fs);
	if (r < 0)
		return r;
	r = open_files(journal, fs.f_flag & ST_RDONLY ? O_RDONLY : O_RDWR);
	if (r == -EACCES) { /* a dry run may only read */
		close_files(journal);
		r = open_files(journal, O_RDONLY);
	}
	if (r < 0)
		return r;
	*ret = TAKE_PTR(journal);
	return 0;
}

/* ---- making it ---- */

/* Makes one file of zeros, or none. */
static int make_file(const Vfs *vfs, int dir_fd, const char *name, size_t capacity)
{
	_cleanup_free_ uint8_t *zeros = new0(uint8_t, capacity);
	struct stat st, dir;
	int fd, r;

	if (!zeros)
		return -ENOMEM;
	fd = vfs->open(vfs, dir_fd, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0600);
	if (fd < 0)
		return fd;
	r = vfs->fstat(vfs, fd, &st);
	/* What root makes is its folder's owner's; who is not root owns it already. */
	if (r >= 0 && vfs->fstat(vfs, dir_fd, &dir) >= 0 && dir.st_uid != st.st_uid)
		(void)vfs->chown(vfs, fd, dir.st_uid, dir.st_gid);
	if (r >= 0)
		r = vfs_write_full(vfs, fd, zeros, capacity, 0);
	if (r >= 0)
		r = vfs->fsync(vfs, fd);
	vfs->close(vfs, fd);
	if (r >= 0)
		r = vfs->fsync(vfs, dir_fd);
	if (r < 0)
		(void)vfs->unlink(vfs, dir_fd, name, false);
	return r;
}

/* Makes both files, or none: a full drive must not lose space and a pair of names at each attempt. */
static int make_files(const Vfs *vfs, int root_fd, unsigned pair, size_t capacity)
{
	int dir_fds[2] = {-1, -1}, r = 0;

	for (int i = 0; i < 2 && r >= 0; i++) {
		dir_fds[i] = r = vfs->open(vfs, root_fd, directory_paths[i], O_RDONLY | O_DIRECTORY, 0);
		if (r >= 0)
			r = make_file(vfs, dir_fds[i], names[pair], capacity);
		if (r < 0 && i == 1)
			(void)vfs->unlink(vfs, dir_fds[0], names[pair], false);
	}
	for (int i = 0; i < 2; i++)
		if (dir_fds[i] >= 0)
			vfs->close(vfs, dir_fds[i]);
	return r;
}

/* The names behind the last ones that are taken. What a creation that was cut short left is neither used nor
 * removed: where its clusters were not durable they may be somebody else's by now. */
static int find_free_pair(const Vfs *vfs, int root_fd, unsigned *ret_pair)
{
	unsigned free_from = 0;

	for (unsigned pair = 0; pair < ELEMENTSOF(file_paths); pair++)
		for (int i = 0; i < 2; i++) {
			struct stat st;
			int r = vfs->lstat(vfs, root_fd, file_paths[pair][i], &st);

			if (r >= 0)
				free_from = pair + 1;
			else if (r != -ENOENT)
				return r;
		}
	*ret_pair = free_from;
	return free_from < ELEMENTSOF(file_paths) ? 0 : -EEXIST;
}

int journal_create(const Vfs *vfs, int root_fd, const Secret *mac_key, const uint8_t drive_id[DRIVE_ID_SIZE],
	Journal **ret)
{
	_cleanup_journal_ Journal *journal = NULL;
	struct statvfs fs;
	unsigned pair;
	int r;

	r = vfs->fstatvfs(vfs, root_fd, &fs);
	if (r >= 0)
		r = find_free_pair(vfs, root_fd, &pair);
	if (r >= 0)
		r = make_files(
			vfs, root_fd, pair, (size_t)journal_space((uint64_t)fs.f_blocks * fs.f_frsize) / 2);
	if (r >= 0)
		r = vfs->barrier(vfs, root_fd);
	if (r >= 0)
		r = journal_new(vfs, root_fd, mac_key, drive_id, pair, &journal);
	if (r >= 0)
		r = open_files(journal, O_RDWR);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(journal);
	return 0;
}

bool journal_is_new(const Journal *journal)
{
	return journal->sequence == 0;
}

/* ---- records ---- */

/* Reads one file's record. 1: valid; 0: the file is all zeros there; -EBADMSG: neither. */
static int read_slot(Journal *journal, int i, int flags, uint8_t *buffer, JournalRecord **ret,
	uint8_t hash[JOURNAL_HASH_SIZE])
{
	const Vfs *vfs = journal->vfs;
	size_t size = 0;
	uint8_t *bytes;
	ssize_t n;
	int fd, r;

	fd = open_to_read(vfs, journal->root_fd, file_paths[journal->pair][i], &flags);
	if (fd < 0)
		return fd;
	/* No more than the record: what is wrong behind it must not hide it. */
	n = stream_read_at(vfs, fd, flags != 0, buffer, 0, JOURNAL_RECORD_MIN, &bytes);
	if (n == JOURNAL_RECORD_MIN)
		size = journal_record_size(bytes);
	if (size > JOURNAL_RECORD_MIN)
		n = stream_read_at(vfs, fd, flags != 0, buffer, 0, MIN(size, journal->capacity), &bytes);
	vfs->close(vfs, fd);
	if (n < 0)
		return (int)n;

	r = journal_record_parse(bytes, (size_t)n, journal->mac_key, journal->drive_id, ret, &size);
	if (r == 1)
		(void)crypto_generichash(hash, JOURNAL_HASH_SIZE, bytes, size, NULL, 0);
	return r;
}

int journal_read(Journal *journal, int flags, JournalRecord **ret_latest)
{
	JournalRecord *records[2] = {NULL, NULL};
	uint8_t hashes[2][JOURNAL_HASH_SIZE];
	_cleanup_free_ uint8_t *buffer = NULL;
	int results[2], latest, r;

	buffer = aligned_alloc(DIRECT_ALIGN, CAPACITY_MAX + 2 * DIRECT_ALIGN);
	if (!buffer)
		return -ENOMEM;
	for (int i = 0; i < 2; i++) {
		results[i] = read_slot(journal, i, flags, buffer, &records[i], hashes[i]);
		if (results[i] == -EIO) /* once more: the older record must not be believed for nothing */
			results[i] = read_slot(journal, i, flags, buffer, &records[i], hashes[i]);
	}
	/* A sector that cannot be read is a torn record; nothing else that fails says so. */
	for (int i = 0; i < 2; i++)
		if (results[i] < 0 && results[i] != -EBADMSG && results[i] != -EIO) {
			journal_record_free(records[!i]);
			return results[i];
		}

	if (!records[0] && !records[1]) {
		*ret_latest = NULL;
		for (int i = 0; i < 2; i++)
			if (results[i] < 0 && results[i] != -EBADMSG)
				return results[i];
		/* One torn first record beside a file that was never written: nothing had begun. */
		r = results[0] == 0 || results[1] == 0 ? 0 : -EBADMSG;
		return r;
	}
	latest = !records[0] || (records[1] && records[1]->sequence > records[0]->sequence);
	journal->sequence = records[latest]->sequence;
	memcpy(journal->last_hash, hashes[latest], sizeof(journal->last_hash));
	journal->unreadable = results[!latest] == -EIO ? file_paths[journal->pair][!latest] : NULL;

	*ret_latest = records[latest];
	journal_record_free(records[!latest]);
	return 1;
}

const char *journal_unreadable(const Journal *journal)
{
	return journal->unreadable;
}

TransactionKind journal_hint(const Vfs *vfs, int root_fd)
{
	TransactionKind pending = TRANSACTION_INVALID;
	uint64_t newest = 0;
	unsigned pair;

	/* Not directly: that reaches exfat-fuse each time, which stamps the access, whatever O_NOATIME says.
	 * The first look after a mount is a probe's, which reads no more than it asks for; the others find
	 * that in the cache. */
	if (find_pair(vfs, root_fd, 0, &pair) < 0)
		return TRANSACTION_INVALID;
	for (int i = 0; i < 2; i++) {
		uint8_t head[JOURNAL_RECORD_MIN];
		TransactionKind claimed;
		uint64_t sequence;

		if (read_head(vfs, root_fd, file_paths[pair][i], 0, head) > 0 &&
			journal_record_peek(head, &sequence, &claimed) && sequence >= newest) {
			newest = sequence;
			pending = claimed;
		}
	}
	return pending;
}

int journal_check(const Journal *journal, int flags)
{
	const Vfs *vfs = journal->vfs;
	size_t size = journal->builder.used + JOURNAL_MAC_SIZE;
	_cleanup_free_ uint8_t *buffer = aligned_alloc(DIRECT_ALIGN, CAPACITY_MAX + 2 * DIRECT_ALIGN);
	uint8_t hash[JOURNAL_HASH_SIZE] = {0};
	uint8_t *bytes;
	ssize_t n;
	int fd;

	if (!buffer)
		return -ENOMEM;
	fd = vfs->open(vfs, journal->root_fd, file_paths[journal->pair][journal->sequence % 2],
		READ_FLAGS | flags, 0);
	if (fd < 0)
		return fd;
	n = stream_read_at(vfs, fd, flags != 0, buffer, 0, size, &bytes);
	vfs->close(vfs, fd);
	if (n < 0)
		return (int)n;
	(void)crypto_generichash(hash, sizeof(hash), bytes, (size_t)n, NULL, 0);
	return memcmp(hash, journal->last_hash, sizeof(hash)) == 0 ? 0 : -EIO;
}

size_t journal_room(const Journal *journal)
{
	return MIN(journal->capacity, CAPACITY) - JOURNAL_RECORD_MIN - JOURNAL_SCOPE_MAX;
}

int journal_begin(Journal *journal, const JournalRecord *head)
{
	JournalRecord own = *head;

	own.sequence = journal->sequence + 1;
	memcpy(own.previous, journal->last_hash, sizeof(own.previous));
	journal->builder.limit = MIN(journal->capacity, (size_t)JOURNAL_RECORD_MAX);
	return journal_builder_begin(&journal->builder, &own, journal->drive_id);
}

int journal_add(Journal *journal, JournalList list, const JournalEntry *entry)
{
	return journal_builder_add(&journal->builder, list, entry);
}

int journal_write(Journal *journal)
{
	size_t size = journal_builder_end(&journal->builder, journal->mac_key);
	uint64_t sequence = journal->sequence + 1;
	int r;

	r = vfs_write_full(journal->vfs, journal->fds[sequence % 2], journal->builder.bytes, size, 0);
	if (r < 0)
		return r;
	(void)crypto_generichash(
		journal->last_hash, JOURNAL_HASH_SIZE, journal->builder.bytes, size, NULL, 0);
	journal->sequence = sequence;
	return 0;
}
