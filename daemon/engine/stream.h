/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * One file's bytes from one descriptor to another: sealing, opening, reading back. Memory use does not depend
 * on the file's size. Large files are worked on by several threads at once, and always written in order:
 * filesystems without holes fill a gap with zeros first.
 *
 * Content tags say whether two readings gave the same bytes, without a slow hash: the sum modulo 2^128 of one
 * Poly1305 tag for each chunk, each under a one-time key of its own (Wegman and Carter 1981; RFC 8439 for the
 * tag). Order does not matter for the sum, so chunks can be tagged in parallel; position does, through the
 * key.
 */

#include "engine/pool.h"
#include "engine/vfs.h"

#define CONTENT_TAG_SIZE 16

typedef struct ContentTagger {
	const Secret *key; /* 32 bytes, of this run */
	uint64_t serial;   /* of this file within the run: no two files of a run share one */
} ContentTagger;

/* The key of a run's content tags: BLAKE2b-256 keyed with the scrub subkey over "usbcrypt content 1" and the
 * run's id. */
int stream_tag_key(const Secret *scrub_root, const uint8_t run[RUN_ID_SIZE], Secret **ret_key);

typedef struct Stream {
	const Vfs *vfs;
	int in_fd;
	bool in_direct; /* in_fd was opened with O_DIRECT */
	int out_fd;     /* -1: nowhere (reading back) */
	const Cipherfile *file;
	uint64_t plain_size;
	bool prefix; /* the plaintext may go on behind plain_size: that is not looked at */
	size_t held; /* stream_start()'s: bytes from the file's start that lie in the workspace */
	ContentTagger tagger;
	unsigned helpers; /* threads beside the caller's, for large files */
	bool (*stopped)(
		void *userdata); /* asked between segments; true ends it with -ECANCELED. May be NULL */
	void (*advanced)(void *userdata, uint64_t plain_bytes); /* after each segment. May be NULL */
	/* stream_open() only, and only without helpers: sees each authenticated segment in order; a negative
	 * return ends it. */
	int (*inspect)(void *userdata, uint64_t offset, const uint8_t *plain, size_t size);
	void *userdata;
	/* results */
	uint8_t content_tag[CONTENT_TAG_SIZE];
	uint8_t last_tag[SUITE_TAG_SIZE]; /* of the last chunk */
	pthread_mutex_t lock;
} Stream;

/* plaintext in -> head and chunks out. -ESTALE: the source is shorter or longer than plain_size. */
int stream_seal(Stream *stream, const uint8_t *head, size_t head_size, Workspace *workspace);

/* chunks in -> plaintext out, or only authenticated and tagged. -EBADMSG: not authentic. The tags may be had
 * without the plaintext's being written. */
int stream_open(Stream *stream, Workspace *workspace);

/* plaintext in -> content tag. -ESTALE as for stream_seal(). */
int stream_tag(Stream *stream, Workspace *workspace);

/* Reads an encrypted file's head through a descriptor that may be O_DIRECT, and opens it. Errors as
 * cipherfile_open(); -EBADMSG with REASON_TAMPERED also where the file is too short for a head. `file_size`
 * is the file's length; *ret_plain_size is what it gives. */
typedef struct HeadKeys {
	const Secret *file_root;
	const uint8_t *drive_id;
	uint32_t epoch;
} HeadKeys;
int stream_read_head(const Vfs *vfs, int fd, bool direct, uint64_t file_size, const HeadKeys *keys,
	Workspace *workspace, Cipherfile **ret_file, Attributes **ret_attributes, uint64_t *ret_plain_size,
	Reason *ret_reason);

/* The same for the file that stream_open() is called for next, with the same workspace: sets file and
 * plain_size, and keeps what it has read. A file of up to a segment is read only once. */
int stream_start(Stream *stream, uint64_t file_size, const HeadKeys *keys, Workspace *workspace,
	Cipherfile **ret_file, Attributes **ret_attributes, Reason *ret_reason);

/* Reads `size` bytes at `offset` into an aligned buffer, whatever alignment O_DIRECT asks for. *ret_bytes
 * points into the buffer, which must hold size + 2 * DIRECT_ALIGN. Returns the bytes there are (fewer than
 * size only at the end of the file), or a negative errno. */
ssize_t stream_read_at(const Vfs *vfs, int fd, bool direct, uint8_t *buffer, uint64_t offset, size_t size,
	uint8_t **ret_bytes);
