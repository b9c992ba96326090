/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "engine/stream.h"

#include "util/memory.h"

#include <errno.h>
#include <sodium.h>

typedef struct Sealing {
	Stream *stream;
	const uint8_t *head;
	size_t head_size;
	uint64_t n_segments;
} Sealing;

static uint64_t segment_count(uint64_t plain_size)
{
	return plain_size == 0 ? 1 : (plain_size + SEGMENT_PLAIN - 1) / SEGMENT_PLAIN;
}

static size_t segment_plain_size(uint64_t plain_size, uint64_t segment)
{
	return (size_t)MIN((uint64_t)SEGMENT_PLAIN, plain_size - segment * SEGMENT_PLAIN);
}

/* Chunks of a segment of `size` plaintext bytes; an empty file has one, empty, chunk. */
static size_t chunk_count(size_t size)
{
	return size == 0 ? 1 : (size + CHUNK_SIZE - 1) / CHUNK_SIZE;
}

/* As stream_read_at(). Up to `beyond` of the bytes are not expected to be there: they are not asked for again
 * when a read gives all the others. */
static ssize_t read_range(const Vfs *vfs, int fd, bool direct, uint8_t *buffer, uint64_t offset, size_t size,
	size_t beyond, uint8_t **ret_bytes)
{
	size_t skip = direct ? (size_t)(offset % DIRECT_ALIGN) : 0;
	size_t whole = direct ? (skip + size + DIRECT_ALIGN - 1) / DIRECT_ALIGN * DIRECT_ALIGN : size;
	size_t done = 0;

	while (done < whole) {
		ssize_t n = vfs->pread(vfs, fd, buffer + done, whole - done, offset - skip + done);

		if (n < 0)
			return n;
		done += (size_t)n;
		/* A short direct read that is not aligned has met the end of the file. */
		if (n == 0 || (direct && n % DIRECT_ALIGN != 0) || done >= skip + size - beyond)
			break;
	}
	*ret_bytes = buffer + skip;
	return (ssize_t)(done > skip ? MIN(done - skip, size) : 0);
}

ssize_t stream_read_at(const Vfs *vfs, int fd, bool direct, uint8_t *buffer, uint64_t offset, size_t size,
	uint8_t **ret_bytes)
{
	return read_range(vfs, fd, direct, buffer, offset, size, 0, ret_bytes);
}

int stream_tag_key(const Secret *scrub_root, const uint8_t run[RUN_ID_SIZE], Secret **ret_key)
{
	static const char domain[] = "usbcrypt content 1";
	_cleanup_secret_ Secret *key = NULL;
	crypto_generichash_state state;
	int r;

	r = secret_new(32, &key);
	if (r < 0)
		return r;
	(void)crypto_generichash_init(
		&state, secret_view(scrub_root), secret_size(scrub_root), secret_size(key));
	(void)crypto_generichash_update(&state, (const uint8_t *)domain, sizeof(domain) - 1);
	(void)crypto_generichash_update(&state, run, RUN_ID_SIZE);
	(void)crypto_generichash_final(&state, secret_bytes(key), secret_size(key));
	secret_wipe(&state, sizeof(state));
	*ret_key = TAKE_PTR(key);
	return 0;
}

/* Adds to the stream's content tag what the chunks of one segment contribute. */
static void tag_segment(Stream *stream, uint64_t segment, const uint8_t *plain, size_t size)
{
	uint8_t sum[CONTENT_TAG_SIZE] = {0};

	for (size_t i = 0; i < chunk_count(size); i++) {
		uint64_t index = segment * SEGMENT_CHUNKS + i;
		uint8_t key[crypto_onetimeauth_KEYBYTES] = {0}, nonce[crypto_stream_chacha20_NONCEBYTES];
		uint8_t tag[crypto_onetimeauth_BYTES];

		/* The one-time key: ChaCha20's keystream for nonce = serial, starting at block = chunk index.
		 */
		for (size_t b = 0; b < sizeof(nonce); b++)
			nonce[b] = (uint8_t)(stream->tagger.serial >> (8 * b));
		(void)crypto_stream_chacha20_xor_ic(
			key, key, sizeof(key), nonce, index, secret_view(stream->tagger.key));
		(void)crypto_onetimeauth(
			tag, plain + i * CHUNK_SIZE, MIN((size_t)CHUNK_SIZE, size - i * CHUNK_SIZE), key);
		sodium_add(sum, tag, sizeof(sum));
		secret_wipe(key, sizeof(key));
	}
	pthread_mutex_lock(&stream->lock);
	sodium_add(stream->content_tag, sum, sizeof(sum));
	pthread_mutex_unlock(&stream->lock);
}

static int stream_begin(const Stream *stream)
{
	return stream->stopped && stream->stopped(stream->userdata) ? -ECANCELED : 0;
}

static void stream_advance(const Stream *stream, size_t bytes)
{
	if (stream->advanced)
		stream->advanced(stream->userdata, bytes);
}

/* Reads one segment of plaintext, all of it. */
static int read_plain(
	const Stream *stream, uint64_t segment, Workspace *workspace, uint8_t **ret_plain, size_t *ret_size)
{
	size_t size = segment_plain_size(stream->plain_size, segment);
	bool last = segment + 1 == segment_count(stream->plain_size);
	/* One byte more than there should be shows a file that has grown. */
	size_t beyond = last && !stream->prefix ? 1 : 0;
	ssize_t n = read_range(stream->vfs, stream->in_fd, stream->in_direct, workspace->plain,
		segment * SEGMENT_PLAIN, size + beyond, beyond, ret_plain);

	if (n < 0)
		return (int)n;
	*ret_size = size;
	return (size_t)n == size ? 0 : -ESTALE;
}

static int seal_compute(void *userdata, uint64_t segment, Workspace *workspace)
{
	Sealing *sealing = userdata;
	Stream *stream = sealing->stream;
	uint8_t *plain, *sealed = workspace->sealed + (segment == 0 ? sealing->head_size : 0);
	size_t size, n;
	int r;

	r = stream_begin(stream);
	if (r < 0)
		return r;
	r = read_plain(stream, segment, workspace, &plain, &size);
	if (r < 0)
		return r;
	tag_segment(stream, segment, plain, size);

	n = chunk_count(size);
	for (size_t i = 0; i < n; i++) {
		bool last = segment + 1 == sealing->n_segments && i + 1 == n;
		size_t chunk = MIN((size_t)CHUNK_SIZE, size - i * CHUNK_SIZE);

		r = cipherfile_seal_chunk(stream->file, segment * SEGMENT_CHUNKS + i, last,
			plain + i * CHUNK_SIZE, chunk, sealed + i * CHUNK_SEALED_SIZE);
		if (r < 0)
			return r;
		if (last)
			memcpy(stream->last_tag, sealed + i * CHUNK_SEALED_SIZE + chunk, SUITE_TAG_SIZE);
	}
	return 0;
}

static int seal_commit(void *userdata, uint64_t segment, Workspace *workspace)
{
	const Sealing *sealing = userdata;
	const Stream *stream = sealing->stream;
	size_t size = segment_plain_size(stream->plain_size, segment);
	size_t sealed = size + chunk_count(size) * SUITE_TAG_SIZE;
	uint64_t offset = sealing->head_size + segment * SEGMENT_SEALED;
	int r;

	if (segment == 0) {
		memcpy(workspace->sealed, sealing->head, sealing->head_size);
		sealed += sealing->head_size;
		offset = 0;
	}
	r = vfs_write_full(stream->vfs, stream->out_fd, workspace->sealed, sealed, offset);
	if (r < 0)
		return r;
	stream_advance(stream, size);
	return 0;
}

static int stream_run(Stream *stream, const Segments *segments, Workspace *workspace)
{
	int r;

	memset(stream->content_tag, 0, sizeof(stream->content_tag));
	pthread_mutex_init(&stream->lock, NULL);
	r = segments_run(segments, segment_count(stream->plain_size), stream->helpers, workspace);
	pthread_mutex_destroy(&stream->lock);
	return r;
}

int stream_seal(Stream *stream, const uint8_t *head, size_t head_size, Workspace *workspace)
{
	Sealing sealing = {
		.stream = stream,
		.head = head,
		.head_size = head_size,
		.n_segments = segment_count(stream->plain_size),
	};
	Segments segments = {.userdata = &sealing, .compute = seal_compute, .commit = seal_commit};

	return stream_run(stream, &segments, workspace);
}

/* The sealed bytes of one segment: those that stream_start() has left, or from the file. */
static int read_sealed(const Stream *stream, uint64_t segment, size_t size, size_t beyond,
	Workspace *workspace, uint8_t **ret_sealed)
{
	size_t head_size = cipherfile_get_head_size(stream->file);
	ssize_t n;

	if (segment == 0 && stream->held >= head_size + size) {
		*ret_sealed = workspace->sealed + head_size;
		return stream->held > head_size + size && beyond > 0 ? -EBADMSG : 0;
	}
	n = read_range(stream->vfs, stream->in_fd, stream->in_direct, workspace->sealed,
		head_size + segment * SEGMENT_SEALED, size + beyond, beyond, ret_sealed);
	if (n < 0)
		return (int)n;
	return (size_t)n == size ? 0 : -EBADMSG;
}

static int open_compute(void *userdata, uint64_t segment, Workspace *workspace)
{
	Stream *stream = userdata;
	size_t size = segment_plain_size(stream->plain_size, segment), n = chunk_count(size);
	bool last_segment = segment + 1 == segment_count(stream->plain_size);
	uint8_t *sealed;
	int r;

	r = stream_begin(stream);
	if (r < 0)
		return r;
	/* One byte more than there should be shows trailing rubbish. */
	r = read_sealed(stream, segment, size + n * SUITE_TAG_SIZE, last_segment ? 1 : 0, workspace, &sealed);
	if (r < 0)
		return r;
	for (size_t i = 0; i < n; i++) {
		bool last = last_segment && i + 1 == n;
		size_t chunk = MIN((size_t)CHUNK_SIZE, size - i * CHUNK_SIZE);

		r = cipherfile_open_chunk(stream->file, segment * SEGMENT_CHUNKS + i, last,
			sealed + i * CHUNK_SEALED_SIZE, chunk + SUITE_TAG_SIZE,
			workspace->plain + i * CHUNK_SIZE);
		if (r < 0)
			return r;
		if (last)
			memcpy(stream->last_tag, sealed + i * CHUNK_SEALED_SIZE + chunk, SUITE_TAG_SIZE);
	}
	if (stream->inspect) {
		r = stream->inspect(stream->userdata, segment * SEGMENT_PLAIN, workspace->plain, size);
		if (r < 0)
			return r;
	}
	if (stream->tagger.key)
		tag_segment(stream, segment, workspace->plain, size);
	if (stream->out_fd < 0)
		stream_advance(stream, size);
	return 0;
}

static int open_commit(void *userdata, uint64_t segment, Workspace *workspace)
{
	const Stream *stream = userdata;
	size_t size = segment_plain_size(stream->plain_size, segment);
	int r;

	r = vfs_write_full(stream->vfs, stream->out_fd, workspace->plain, size, segment * SEGMENT_PLAIN);
	if (r < 0)
		return r;
	stream_advance(stream, size);
	return 0;
}

int stream_open(Stream *stream, Workspace *workspace)
{
	Segments segments = {
		.userdata = stream,
		.compute = open_compute,
		.commit = stream->out_fd >= 0 ? open_commit : NULL,
	};

	return stream_run(stream, &segments, workspace);
}

static int tag_compute(void *userdata, uint64_t segment, Workspace *workspace)
{
	Stream *stream = userdata;
	uint8_t *plain;
	size_t size;
	int r;

	r = stream_begin(stream);
	if (r < 0)
		return r;
	r = read_plain(stream, segment, workspace, &plain, &size);
	if (r < 0)
		return r;
	tag_segment(stream, segment, plain, size);
	stream_advance(stream, size);
	return 0;
}

int stream_tag(Stream *stream, Workspace *workspace)
{
	Segments segments = {.userdata = stream, .compute = tag_compute};

	return stream_run(stream, &segments, workspace);
}

/* Reads `want` bytes, and opens the head at their start. Returns how many of them there were. */
static ssize_t read_head(const Vfs *vfs, int fd, bool direct, uint64_t file_size, size_t want,
	const HeadKeys *keys, Workspace *workspace, Cipherfile **ret_file, Attributes **ret_attributes,
	uint64_t *ret_plain_size, Reason *ret_reason)
{
	uint8_t *bytes;

	*ret_reason = REASON_TAMPERED;
	for (;;) {
		/* The file may well be shorter. */
		ssize_t n = read_range(vfs, fd, direct, workspace->sealed, 0, want,
			want - (size_t)MIN((uint64_t)want, file_size), &bytes);
		size_t head_size;
		int r;

		if (n < 0) {
			*ret_reason = REASON_IO;
			return (int)n;
		}
		if ((size_t)n < cipherfile_fixed_size)
			return -EBADMSG;
		head_size = cipherfile_head_size(bytes);
		if (head_size == 0) /* it says which of its fields is at fault */
			head_size = cipherfile_fixed_size;
		if (head_size > want) {
			want = head_size;
			continue;
		}
		if ((size_t)n < head_size)
			return -EBADMSG;
		r = cipherfile_open(keys->file_root, keys->drive_id, keys->epoch, bytes, head_size, ret_file,
			ret_attributes, ret_reason);
		if (r < 0)
			return r;
		r = cipherfile_check_size(*ret_file, *ret_attributes, file_size);
		if (r >= 0)
			r = cipherfile_plain_size(head_size, file_size, ret_plain_size);
		if (r < 0) {
			*ret_reason = REASON_TAMPERED;
			*ret_file = cipherfile_free(*ret_file);
			*ret_attributes = attributes_free(*ret_attributes);
		}
		return r < 0 ? r : n;
	}
}

/* Most heads fit into the first block; a longer one is read again in full. */
int stream_read_head(const Vfs *vfs, int fd, bool direct, uint64_t file_size, const HeadKeys *keys,
	Workspace *workspace, Cipherfile **ret_file, Attributes **ret_attributes, uint64_t *ret_plain_size,
	Reason *ret_reason)
{
	ssize_t n = read_head(vfs, fd, direct, file_size, DIRECT_ALIGN, keys, workspace, ret_file,
		ret_attributes, ret_plain_size, ret_reason);

	return n < 0 ? (int)n : 0;
}

int stream_start(Stream *stream, uint64_t file_size, const HeadKeys *keys, Workspace *workspace,
	Cipherfile **ret_file, Attributes **ret_attributes, Reason *ret_reason)
{
	/* One byte more shows a file that has grown. */
	size_t want = file_size < SEGMENT_SEALED ? (size_t)file_size + 1 : DIRECT_ALIGN;
	ssize_t n = read_head(stream->vfs, stream->in_fd, stream->in_direct, file_size,
		MAX(want, (size_t)DIRECT_ALIGN), keys, workspace, ret_file, ret_attributes,
		&stream->plain_size, ret_reason);

	if (n < 0)
		return (int)n;
	stream->file = *ret_file;
	stream->held = (size_t)n;
	return 0;
}
