/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Every frozen vector through the library, and the generator against what is frozen. */

#include "vector.h"

#include "engine/cipherfile.h"
#include "engine/metadata.h"
#include "engine/names.h"

#include <spawn.h>
#include <sys/wait.h>

extern char **environ;

/* What a reader of a vector comes to. */
typedef struct Judgement {
	const char *verdict, *step;
	Attributes *attributes;
	Cipherfile *file;
	uint8_t *plain;
	size_t plain_size;
} Judgement;

static void judgement_clear(Judgement *j)
{
	cipherfile_free(j->file);
	attributes_free(j->attributes);
	free(j->plain);
}
#define _cleanup_judgement_ _cleanup_(judgement_clear)

static const char *verdict_of(Reason reason)
{
	switch (reason) {
	case REASON_FOREIGN:
		return "foreign";
	case REASON_UNSUPPORTED:
		return "unsupported";
	case REASON_TAMPERED:
		return "tampered";
	default:
		return reason_name(reason);
	}
}

static Secret *file_root_of(const uint8_t *drive_key)
{
	_cleanup_secret_ Secret *key = secret_of(drive_key, DRIVE_KEY_SIZE);
	Secret *root;

	assert_int_equal(subkey_derive(key, SUBKEY_FILE_ROOT, &root), 0);
	return root;
}

static void read_chunks(const uint8_t *data, size_t size, Judgement *j)
{
	size_t at = cipherfile_get_head_size(j->file), done = 0;

	for (uint64_t index = 0; at < size; index++) {
		size_t n = MIN(size - at, (size_t)CHUNK_SEALED_SIZE);
		bool last = at + n == size;
		int r = cipherfile_open_chunk(j->file, index, last, data + at, n, j->plain + done);

		/* Only authenticating must come to the same. */
		assert_int_equal(cipherfile_open_chunk(j->file, index, last, data + at, n, NULL), r);
		if (r < 0) {
			assert_int_equal(r, -EBADMSG);
			j->verdict = "tampered";
			j->step = "chunk";
			return;
		}
		done += n - SUITE_TAG_SIZE;
		at += n;
	}
	j->plain_size = done;
	j->verdict = "success";
	j->step = "";
}

/* A reader, as FORMAT.md's "Reading an encrypted file" has it. */
static void read_file(const uint8_t *data, size_t size, const Secret *root, const uint8_t *drive_id,
	uint32_t epoch, Judgement *j)
{
	Reason reason = REASON_INVALID;
	size_t head_size = size;
	int r;

	j->step = "head";
	if (size >= cipherfile_fixed_size) {
		head_size = cipherfile_head_size(data);
		if (head_size == 0 || head_size > size)
			head_size = cipherfile_fixed_size;
	}
	r = cipherfile_open(root, drive_id, epoch, data, head_size, &j->file, &j->attributes, &reason);
	if (r < 0) {
		assert_int_equal(r, -EBADMSG);
		j->verdict = verdict_of(reason);
		return;
	}
	if (cipherfile_check_size(j->file, j->attributes, size) < 0) {
		j->verdict = "tampered";
		j->step = "size";
		return;
	}
	j->plain = malloc((size_t)j->attributes->size + 1);
	assert_non_null(j->plain);
	read_chunks(data, size, j);
}

static bool needs_unavailable_suite(const Vector *v)
{
	return strstr(v->name, "aes-256-gcm") && !suite_available(SUITE_AES_256_GCM);
}

static const char *judge_file(const Vector *v)
{
	_cleanup_judgement_ Judgement j = {};
	_cleanup_secret_ Secret *root = NULL;
	_cleanup_free_ uint8_t *bytes = NULL, *expected = NULL;
	uint8_t key[DRIVE_KEY_SIZE], drive_id[DRIVE_ID_SIZE], hash[32], expected_hash[32];
	size_t size, expected_size;

	if (needs_unavailable_suite(v))
		return NULL;
	(void)vector_get_hex(v, "drive-key", key, sizeof(key));
	(void)vector_get_hex(v, "drive-id", drive_id, sizeof(drive_id));
	root = file_root_of(key);
	read_file(v->body, v->body_size, root, drive_id, (uint32_t)vector_get_number(v, "epoch"), &j);
	if (!vector_is(v, "expect", j.verdict) || !vector_is(v, "step", j.step))
		return "another verdict";
	if (strcmp(j.verdict, "success") != 0)
		return NULL;

	if (j.plain_size != vector_get_number(v, "payload-size"))
		return "another payload size";
	(void)crypto_generichash(hash, sizeof(hash), j.plain, j.plain_size, NULL, 0);
	(void)vector_get_hex(v, "payload-blake2b", expected_hash, sizeof(expected_hash));
	if (memcmp(hash, expected_hash, sizeof(hash)) != 0)
		return "another payload";
	assert_int_equal(attributes_encode(j.attributes, &bytes, &size), 0);
	expected = malloc(ATTRIBUTES_SIZE_MAX);
	assert_non_null(expected);
	expected_size = vector_get_hex(v, "attributes", expected, ATTRIBUTES_SIZE_MAX);
	if (strstr(v->name, "unknown") || strstr(v->name, "known-critical"))
		return NULL; /* not what a writer of today makes */
	return size == expected_size && memcmp(bytes, expected, size) == 0 ? NULL : "other attributes";
}

static void every_file_is_judged_as_frozen(void **state _unused_)
{
	vectors_each("files", 130, judge_file);
}

/* libsodium's random bytes, replaced by those of a vector: then a writer must make the same file. */
static const uint8_t *fixed_random;

static const char *fixed_name(void)
{
	return "vector";
}

static uint32_t fixed_word(void)
{
	fail_msg("a writer drew a word");
	return 0;
}

static void fixed_bytes(void *const bytes, const size_t size)
{
	memcpy(bytes, fixed_random, size);
	fixed_random += size;
}

static const char *rewrite_file(const Vector *v)
{
	static randombytes_implementation fixed = {
		.implementation_name = fixed_name, .random = fixed_word, .buf = fixed_bytes};
	_cleanup_judgement_ Judgement j = {};
	_cleanup_cipherfile_ Cipherfile *file = NULL;
	_cleanup_secret_ Secret *root = NULL;
	_cleanup_free_ uint8_t *head = NULL, *sealed = NULL;
	uint8_t key[DRIVE_KEY_SIZE], drive_id[DRIVE_ID_SIZE];
	size_t size, at;
	int r;

	if (!vector_is(v, "expect", "success") || needs_unavailable_suite(v) || strstr(v->name, "unknown") ||
		strstr(v->name, "known-critical"))
		return NULL;
	(void)vector_get_hex(v, "drive-key", key, sizeof(key));
	(void)vector_get_hex(v, "drive-id", drive_id, sizeof(drive_id));
	root = file_root_of(key);
	read_file(v->body, v->body_size, root, drive_id, 1, &j);
	assert_string_equal(j.verdict, "success");

	fixed_random = v->body + 48; /* file id and salt */
	assert_int_equal(randombytes_set_implementation(&fixed), 0);
	r = cipherfile_create(
		root, drive_id, 1, cipherfile_get_suite(j.file), j.attributes, &file, &head, &size);
	assert_int_equal(randombytes_set_implementation(&randombytes_sysrandom_implementation), 0);
	assert_int_equal(r, 0);
	if (size > v->body_size || memcmp(head, v->body, size) != 0)
		return "another head";
	if (cipherfile_sealed_size(size, j.plain_size) != v->body_size)
		return "another length";

	sealed = malloc(CHUNK_SEALED_SIZE);
	assert_non_null(sealed);
	at = size;
	for (size_t index = 0, done = 0; at < v->body_size; index++) {
		size_t n = MIN(j.plain_size - done, (size_t)CHUNK_SIZE);

		r = cipherfile_seal_chunk(file, index, done + n == j.plain_size, j.plain + done, n, sealed);
		assert_int_equal(r, 0);
		if (memcmp(sealed, v->body + at, n + SUITE_TAG_SIZE) != 0)
			return "another chunk";
		done += n;
		at += n + SUITE_TAG_SIZE;
	}
	return NULL;
}

static void every_good_file_is_written_the_same_again(void **state _unused_)
{
	vectors_each("files", 130, rewrite_file);
}

static Outcome expected_outcome(const Vector *v)
{
	static const struct {
		const char *name;
		Outcome outcome;
	} names[] = {{"success", OUTCOME_DONE}, {"tampered", OUTCOME_TAMPERED},
		{"unsupported", OUTCOME_UNSUPPORTED}, {"wrong-passphrase", OUTCOME_WRONG_PASSPHRASE}};

	for (size_t i = 0; i < ELEMENTSOF(names); i++)
		if (vector_is(v, "expect", names[i].name))
			return names[i].outcome;
	fail_msg("%s: expects what no reader says", v->name);
	return OUTCOME_INVALID;
}

static const char *judge_drive(const Vector *v)
{
	_cleanup_metadata_ Metadata *metadata = NULL;
	_cleanup_secret_ Secret *passphrase = NULL, *drive_key = NULL;
	uint8_t bytes[PASSPHRASE_SIZE_MAX + 1], key[DRIVE_KEY_SIZE], id[DRIVE_ID_SIZE];
	Outcome expected = expected_outcome(v), outcome;
	DriveIdentity identity;
	const char *problem = NULL;
	Fixture f;
	bool rewrap;
	size_t n;

	outcome = metadata_parse(v->body, v->body_size, &metadata);
	if (outcome != (vector_is(v, "step", "parse") ? expected : OUTCOME_DONE))
		return "parsed otherwise";

	n = vector_get_hex(v, "passphrase", bytes, sizeof(bytes));
	passphrase = secret_of(bytes, n);
	assert_int_equal(passphrase_normalize(&passphrase), 0);
	fixture_begin(&f);
	put_copies(&f, v->body, v->body_size);
	outcome = drive_unlock(&f.vfs, f.root_fd, passphrase, &identity, &drive_key, &rewrap);
	fixture_end(&f);
	if (outcome != expected)
		return outcome_name(outcome);
	if (outcome != OUTCOME_DONE)
		return drive_key ? "a key in spite of a refusal" : NULL;

	(void)vector_get_hex(v, "drive-key", key, sizeof(key));
	(void)vector_get_hex(v, "drive-id", id, sizeof(id));
	if (memcmp(key, secret_view(drive_key), sizeof(key)) != 0)
		problem = "another drive key";
	else if (memcmp(id, identity.id, sizeof(id)) != 0 ||
		 identity.epoch != vector_get_number(v, "epoch") ||
		 identity.generation != vector_get_number(v, "generation") ||
		 !vector_is(v, "suite", suite_name(identity.suite)) || identity.degraded)
		problem = "another identity";
	return problem;
}

static void every_drive_is_judged_as_frozen(void **state _unused_)
{
	vectors_each("drives", 120, judge_drive);
}

static int run(const char *const *arguments)
{
	char *const *argv = (char *const *)(uintptr_t)arguments;
	int status;
	pid_t pid;

	assert_int_equal(posix_spawnp(&pid, argv[0], NULL, NULL, argv, environ), 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void the_generator_makes_what_is_frozen(void **state _unused_)
{
	char script[4096];
	const char *arguments[] = {"python3", "-B", script, "--check", NULL};

	(void)snprintf(script, sizeof(script), "%s/generate.py", vectors_path());
	assert_int_equal(run(arguments), 0);
}

typedef struct Frozen {
	Fixture fixture;
	DriveIdentity identity;
	Secret *passphrase, *root;
	size_t n_files, n_moved;
} Frozen;

static void open_frozen_file(
	Frozen *frozen, const char *found, const char *path, size_t size, const char *hash)
{
	_cleanup_judgement_ Judgement j = {};
	_cleanup_free_ uint8_t *data = NULL;
	uint8_t digest[32], expected[32];
	const char *name = name_of_path(found);
	char restored[NAME_BYTES_MAX + 1];
	size_t data_size;

	data = get_file(frozen->fixture.root_fd, found, &data_size);
	assert_true(cipherfile_is_magic(data, data_size));
	read_file(data, data_size, frozen->root, frozen->identity.id, frozen->identity.epoch, &j);
	assert_string_equal(j.verdict, "success");
	assert_int_equal(j.plain_size, size);
	assert_string_equal(j.attributes->path, path);
	assert_int_equal(name_for_plain(name, j.attributes->path, restored), 0);
	assert_string_equal(restored, name_of_path(path));
	(void)crypto_generichash(digest, sizeof(digest), j.plain, j.plain_size, NULL, 0);
	(void)hex_into(hash, expected, sizeof(expected));
	assert_memory_equal(digest, expected, sizeof(digest));
}

static void unlock_frozen(Frozen *frozen)
{
	_cleanup_secret_ Secret *key = NULL;
	bool rewrap;

	assert_int_equal(drive_unlock(&frozen->fixture.vfs, frozen->fixture.root_fd, frozen->passphrase,
				 &frozen->identity, &key, &rewrap),
		OUTCOME_DONE);
	assert_int_equal(subkey_derive(key, SUBKEY_FILE_ROOT, &frozen->root), 0);
}

static void follow_manifest(Frozen *frozen, char *line)
{
	char *words[6] = {}, *rest = NULL;
	uint8_t found[NAME_BYTES_MAX + 1] = {}, path[NAME_BYTES_MAX + 1] = {};
	size_t n = 0;

	if (strncmp(line, "passphrase ", 11) == 0) {
		frozen->passphrase = secret_of_string(line + 11);
		unlock_frozen(frozen);
		return;
	}
	for (char *w = strtok_r(line, " ", &rest); w && n < ELEMENTSOF(words); w = strtok_r(NULL, " ", &rest))
		words[n++] = w;
	if (strcmp(words[0], "file") == 0) {
		(void)hex_into(words[1], found, NAME_BYTES_MAX);
		(void)hex_into(words[2], path, NAME_BYTES_MAX);
		open_frozen_file(frozen, (const char *)found, (const char *)path, strtoul(words[3], NULL, 10),
			words[4]);
		frozen->n_files++;
	} else if (strcmp(words[0], "moved") == 0) {
		_cleanup_judgement_ Judgement j = {};
		_cleanup_free_ uint8_t *data = NULL;
		size_t size;

		(void)hex_into(words[1], found, NAME_BYTES_MAX);
		(void)hex_into(words[2], path, NAME_BYTES_MAX);
		data = get_file(frozen->fixture.root_fd, (const char *)found, &size);
		read_file(data, size, frozen->root, frozen->identity.id, frozen->identity.epoch, &j);
		assert_string_equal(j.verdict, "success");
		assert_string_equal(j.attributes->path, (const char *)path);
		frozen->n_moved++;
	}
}

static void the_frozen_drive_of_version_1_opens(void **state _unused_)
{
	Frozen frozen = {};
	_cleanup_free_ char *manifest = NULL;
	char archive[4096], list[4096], *rest = NULL;
	const char *arguments[] = {"tar", "-xzf", archive, "-C", frozen.fixture.path, NULL};
	DriveFacts facts;
	size_t size;

	fixture_begin(&frozen.fixture);
	(void)snprintf(archive, sizeof(archive), "%s/drive-v1.tar.gz", vectors_path());
	(void)snprintf(list, sizeof(list), "%s/drive-v1.txt", vectors_path());
	assert_int_equal(run(arguments), 0);
	assert_int_equal(drive_probe(&frozen.fixture.vfs, frozen.fixture.root_fd, &facts), OUTCOME_DONE);
	assert_true(facts.enrolled);
	assert_int_equal(facts.version, 1);

	manifest = (char *)get_file(AT_FDCWD, list, &size);
	for (char *line = strtok_r(manifest, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
		follow_manifest(&frozen, line);
	assert_int_equal(frozen.n_files, 5);
	assert_int_equal(frozen.n_moved, 1);
	secret_free(frozen.passphrase);
	secret_free(frozen.root);
	fixture_end(&frozen.fixture);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_file_is_judged_as_frozen),
		cmocka_unit_test(every_good_file_is_written_the_same_again),
		cmocka_unit_test(every_drive_is_judged_as_frozen),
		cmocka_unit_test(the_frozen_drive_of_version_1_opens),
		cmocka_unit_test(the_generator_makes_what_is_frozen),
	};

	if (secret_init() < 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
