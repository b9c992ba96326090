/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/request.h"

#include "util/fd.h"
#include "util/memory.h"

#include <errno.h>

#define PATHS_MAX   65536
#define BIT(subkey) (1U << (subkey))

Request *request_new(JobKind kind)
{
	Request *request = new0(Request, 1);

	if (!request)
		return NULL;
	request->kind = kind;
	request->caller.uid = UID_UNKNOWN;
	request->caller.gid = (gid_t)-1;
	request->passphrase_fd = -1;
	request->target_fd = -1;
	return request;
}

Request *request_free(Request *request)
{
	if (!request)
		return NULL;
	for (size_t i = 0; i < request->n_paths; i++)
		free(request->paths[i]);
	free(request->paths);
	safe_close(request->passphrase_fd);
	safe_close(request->target_fd);
	return mfree(request);
}

static bool path_is_valid(const char *path, size_t size)
{
	if (size == 0 || size > RECORD_PATH_MAX || memchr(path, 0, size))
		return false;
	for (size_t at = 0; at <= size;) {
		const char *part = path + at, *slash = memchr(part, '/', size - at);
		size_t n = slash ? (size_t)(slash - part) : size - at;

		if (n == 0 || (n == 1 && part[0] == '.') || (n == 2 && part[0] == '.' && part[1] == '.'))
			return false;
		at += n + 1;
	}
	return true;
}

int request_add_path(Request *request, const void *bytes, size_t size)
{
	char *path;
	int r;

	if (!path_is_valid(bytes, size))
		return -EINVAL;
	if (request->n_paths >= PATHS_MAX)
		return -E2BIG;
	r = array_grow(&request->paths, &request->paths_capacity, request->n_paths + 1, sizeof(char *));
	if (r < 0)
		return r;
	path = strndup(bytes, size);
	if (!path)
		return -ENOMEM;
	request->paths[request->n_paths++] = path;
	return 0;
}

bool request_writes(const Request *request)
{
	if (request->target_fd >= 0)
		return false;
	return request->kind == JOB_ENROLL || request->kind == JOB_UNENROLL || request->kind == JOB_ENCRYPT ||
	       request->kind == JOB_DECRYPT || request->kind == JOB_RECOVER;
}

unsigned request_subkeys(const Request *request)
{
	unsigned reading = BIT(SUBKEY_FILE_ROOT) | BIT(SUBKEY_METADATA_MAC);

	switch (request->kind) {
	case JOB_VERIFY:
		return reading;
	case JOB_ENCRYPT:
	case JOB_DECRYPT:
	case JOB_RECOVER:
		return request_writes(request) ? reading | BIT(SUBKEY_JOURNAL_MAC) | BIT(SUBKEY_SCRUB_ROOT)
					       : reading;
	default:
		return 0;
	}
}

const char *job_kind_name(JobKind kind)
{
	static const char *const names[JOB_KIND_MAX] = {
		[JOB_PROBE] = "probe",
		[JOB_NODE] = "node",
		[JOB_ENROLL] = "enroll",
		[JOB_UNENROLL] = "unenroll",
		[JOB_UNLOCK] = "unlock",
		[JOB_SURVEY] = "survey",
		[JOB_ENCRYPT] = "encrypt",
		[JOB_DECRYPT] = "decrypt",
		[JOB_VERIFY] = "verify",
		[JOB_RECOVER] = "recover",
	};

	return kind > 0 && kind < JOB_KIND_MAX ? names[kind] : "?";
}

TransactionKind job_kind_transaction(JobKind kind)
{
	switch (kind) {
	case JOB_SURVEY:
		return TRANSACTION_SURVEY;
	case JOB_ENCRYPT:
		return TRANSACTION_ENCRYPT;
	case JOB_DECRYPT:
		return TRANSACTION_DECRYPT;
	case JOB_VERIFY:
		return TRANSACTION_VERIFY;
	case JOB_RECOVER:
		return TRANSACTION_RECOVER;
	default:
		return TRANSACTION_INVALID;
	}
}
