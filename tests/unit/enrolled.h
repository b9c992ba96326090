/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A drive that is enrolled, as cheaply as it may be. */

#include "fixture.h"

#include "engine/copy.h"

#define PASSPHRASE "correct horse battery staple"

static const EnrollParameters cheap = {SUITE_XCHACHA20_POLY1305, CHEAP_MEMORY, CHEAP_PASSES};

typedef struct Enrolled {
	Fixture f;
	DriveIdentity identity;
	Secret *passphrase, *key;
} Enrolled;

static inline void enrolled_begin(Enrolled *e)
{
	*e = (Enrolled){};
	fixture_begin(&e->f);
	e->passphrase = secret_of_string(PASSPHRASE);
	assert_int_equal(drive_enroll(&e->f.vfs, e->f.root_fd, e->passphrase, &cheap, &e->identity, &e->key),
		OUTCOME_DONE);
}

static inline void enrolled_end(Enrolled *e)
{
	secret_free(e->key);
	secret_free(e->passphrase);
	fixture_end(&e->f);
}

static inline Outcome unlock_with(Fixture *f, const char *text, DriveIdentity *ret_identity, bool *ret_rewrap)
{
	_cleanup_secret_ Secret *passphrase = secret_of_string(text), *key = NULL;
	Outcome outcome;

	outcome = drive_unlock(&f->vfs, f->root_fd, passphrase, ret_identity, &key, ret_rewrap);
	assert_true((key != NULL) == (outcome == OUTCOME_DONE));
	return outcome;
}

static inline Outcome unlock(Fixture *f, const char *text)
{
	DriveIdentity identity;
	bool rewrap;

	return unlock_with(f, text, &identity, &rewrap);
}

static inline Secret *metadata_mac_of(const Enrolled *e)
{
	Secret *mac;

	assert_int_equal(subkey_derive(e->key, SUBKEY_METADATA_MAC, &mac), 0);
	return mac;
}

static inline Outcome enroll(Fixture *f)
{
	_cleanup_secret_ Secret *passphrase = secret_of_string(PASSPHRASE), *key = NULL;
	DriveIdentity identity;
	Outcome outcome;

	outcome = drive_enroll(&f->vfs, f->root_fd, passphrase, &cheap, &identity, &key);
	assert_true((key != NULL) == (outcome == OUTCOME_DONE));
	return outcome;
}

static inline bool exists(const Fixture *f, const char *path)
{
	return faccessat(f->root_fd, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

static inline void assert_same_identity(const DriveIdentity *a, const DriveIdentity *b)
{
	assert_memory_equal(a->id, b->id, sizeof(a->id));
	assert_memory_equal(a->digest, b->digest, sizeof(a->digest));
	assert_int_equal(a->suite, b->suite);
	assert_int_equal(a->epoch, b->epoch);
	assert_true(a->generation == b->generation);
	assert_int_equal(a->degraded, b->degraded);
}
