/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "worker/job.h"

#include "util/memory.h"

#include <errno.h>

#define JOB_PATHS_MAX 65536
#define BIT(subkey)   (1U << (subkey))

#define SUBKEYS_READ (BIT(SUBKEY_METADATA_MAC) | BIT(SUBKEY_FILE_ROOT))
#define SUBKEYS_ALL  (SUBKEYS_READ | BIT(SUBKEY_JOURNAL_MAC) | BIT(SUBKEY_SCRUB_ROOT))

static const JobTraits traits[JOB_KIND_MAX] = {
	[JOB_PROBE] = {.name = "probe", .system_user = true},
	[JOB_NODE] = {.name = "node", .system_user = true},
	[JOB_ENROLL] = {.name = "enroll",
		.passphrase = true,
		.access = ACCESS_CHANGE,
		.refused_on_read_only = true},
	[JOB_UNENROLL] = {.name = "unenroll",
		.passphrase = true,
		.access = ACCESS_CHANGE,
		.refused_on_read_only = true},
	[JOB_UNLOCK] = {.name = "unlock", .passphrase = true, .mends_metadata = true, .access = ACCESS_READ},
	[JOB_SURVEY] = {.name = "survey", .access = ACCESS_READ},
	[JOB_ENCRYPT] = {.name = "encrypt",
		.access = ACCESS_CHANGE,
		.refused_on_read_only = true,
		.subkeys = SUBKEYS_ALL},
	[JOB_DECRYPT] = {.name = "decrypt",
		.target = true,
		.access = ACCESS_CHANGE,
		.refused_on_read_only = true,
		.subkeys = SUBKEYS_ALL},
	[JOB_VERIFY] = {.name = "verify", .access = ACCESS_READ, .subkeys = SUBKEYS_READ},
	[JOB_RECOVER] = {.name = "recover",
		.access = ACCESS_CHANGE,
		.refused_on_read_only = true,
		.subkeys = SUBKEYS_ALL},
};

static bool writes_elsewhere(const Job *job)
{
	return job->record.flags & JOB_HAS_TARGET;
}

Access job_access(const Job *job)
{
	if (job->traits->access > ACCESS_READ && (writes_elsewhere(job) || job->record.flags & JOB_DRY_RUN))
		return ACCESS_READ;
	return job->traits->access;
}

bool job_changes_drive(const Job *job)
{
	return job->traits->refused_on_read_only && !writes_elsewhere(job);
}

unsigned job_subkeys(const Job *job)
{
	return writes_elsewhere(job) ? SUBKEYS_READ : job->traits->subkeys;
}

bool job_holds_secrets(const Job *job)
{
	return job->traits->passphrase || job->traits->subkeys != 0;
}

static int job_check(const Job *job)
{
	const JobRecord *record = &job->record;
	bool passphrase = record->flags & JOB_HAS_PASSPHRASE, target = record->flags & JOB_HAS_TARGET;

	if (passphrase != job->traits->passphrase || (target && !job->traits->target))
		return -EINVAL;
	if (record->n_paths > JOB_PATHS_MAX || record->recovery_mode >= RECOVERY_MODE_MAX)
		return -EINVAL;
	/* A worker for the system user must never run as root: it reads hostile bytes, or waits for years. */
	if (job->traits->system_user && (record->uid == 0 || record->gid == 0))
		return -EINVAL;
	if (record->uid == (uid_t)-1 || record->gid == (gid_t)-1)
		return -EINVAL;
	return 0;
}

int job_receive(Control *control, Job *ret_job)
{
	Job job = {0};
	Record *record;
	int r;

	r = control_receive(control, &record);
	if (r < 0)
		return r;
	if (record->header.type != RECORD_JOB || record->job.kind >= JOB_KIND_MAX ||
		!traits[record->job.kind].name)
		return -EINVAL;
	job.record = record->job;
	job.traits = &traits[job.record.kind];
	r = job_check(&job);
	if (r < 0)
		return r;

	/* One more than needed: a list without paths has an address, too. */
	job.paths = new0(char *, job.record.n_paths + (size_t)1);
	if (!job.paths)
		return -ENOMEM;
	for (uint32_t i = 0; i <= job.record.n_paths; i++) {
		RecordType expected = i < job.record.n_paths ? RECORD_PATH : RECORD_START;

		r = control_receive(control, &record);
		if (r >= 0 && record->header.type != expected)
			r = -EINVAL;
		if (r >= 0 && expected == RECORD_PATH && record->path[0] == '/')
			r = -EINVAL;
		if (r >= 0 && expected == RECORD_PATH) {
			job.paths[i] = strdup(record->path);
			if (!job.paths[i])
				r = -ENOMEM;
		}
		if (r < 0) {
			job_clear(&job);
			return r;
		}
	}
	*ret_job = job;
	return 0;
}

void job_clear(Job *job)
{
	for (uint32_t i = 0; job->paths && i < job->record.n_paths; i++)
		free(job->paths[i]);
	job->paths = mfree(job->paths);
}
