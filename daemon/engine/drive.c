/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "engine/drive.h"

#include "engine/unlock.h"
#include "util/memory.h"

_Static_assert(ELEMENTSOF(((DriveFiles *)0)->fds) == COPY_MAX, "one file for each copy");

static void identity_set(const Copies *copies, CopyName name, DriveIdentity *ret)
{
	const Metadata *m = copies->metadata[name];
	const Metadata *other = copies->metadata[name == COPY_A ? COPY_B : COPY_A];

	*ret = (DriveIdentity){
		.suite = m->suite,
		.epoch = m->epoch,
		.generation = m->generation,
		.degraded = !other || memcmp(other->digest, m->digest, sizeof(m->digest)) != 0,
	};
	memcpy(ret->id, m->drive_id, sizeof(ret->id));
	memcpy(ret->digest, m->digest, sizeof(ret->digest));
}

void drive_open(const Vfs *vfs, int root_fd, DriveFiles *ret_files)
{
	for (CopyName name = COPY_A; name < COPY_MAX; name++) {
		ret_files->fds[name] = -1;
		ret_files->outcomes[name] = copy_open(vfs, root_fd, name, &ret_files->fds[name]);
	}
}

Outcome drive_probe_files(const Vfs *vfs, DriveFiles *files, DriveFacts *ret_facts)
{
	_cleanup_copies_ Copies copies = {};
	CopyName order[COPY_MAX];
	const Metadata *m;
	Outcome outcome;

	*ret_facts = (DriveFacts){.suite = SUITE_INVALID};
	for (CopyName name = COPY_A; name < COPY_MAX; name++) {
		copies.outcomes[name] = files->outcomes[name];
		if (copies.outcomes[name] == OUTCOME_DONE) {
			copies.outcomes[name] = copy_read(vfs, files->fds[name], &copies.metadata[name]);
			vfs->close(vfs, files->fds[name]);
			files->fds[name] = -1;
		}
	}
	copies_order(&copies, order);
	m = copies.metadata[order[0]];
	if (!m) {
		outcome = copies_verdict(&copies);
		return outcome == OUTCOME_NOT_ENROLLED ? OUTCOME_DONE : outcome;
	}

	ret_facts->enrolled = true;
	ret_facts->suite = m->suite;
	ret_facts->version = m->version;
	memcpy(ret_facts->id, m->drive_id, sizeof(ret_facts->id));
	for (size_t i = 0; i < m->n_slots; i++)
		ret_facts->kdf_memory = MAX(ret_facts->kdf_memory, m->slots[i].kdf.memory);
	return OUTCOME_DONE;
}

Outcome drive_unlock(const Vfs *vfs, int root_fd, const Secret *passphrase, DriveIdentity *ret_identity,
	Secret **ret_drive_key, bool *ret_rewrap)
{
	_cleanup_copies_ Copies copies = {};
	_cleanup_unlocked_ Unlocked unlocked = {};
	const Metadata *m;
	Outcome outcome;

	copies_load(vfs, root_fd, &copies);
	outcome = unlocked_find(&copies, passphrase, &unlocked);
	if (outcome != OUTCOME_DONE)
		return outcome;

	m = copies.metadata[unlocked.name];
	identity_set(&copies, unlocked.name, ret_identity);
	*ret_rewrap = kdf_cost(&m->slots[unlocked.slot].kdf) < KDF_COST_FLOOR;
	*ret_drive_key = TAKE_PTR(unlocked.drive_key);
	return OUTCOME_DONE;
}

Outcome drive_identify(const Vfs *vfs, int root_fd, const Secret *metadata_mac, DriveIdentity *ret_identity)
{
	_cleanup_copies_ Copies copies = {};
	CopyName name;

	copies_load(vfs, root_fd, &copies);
	name = copies_believed(&copies, metadata_mac);
	if (name == COPY_MAX)
		return copies.metadata[COPY_A] || copies.metadata[COPY_B] ? OUTCOME_TAMPERED
									  : copies_verdict(&copies);
	if (copies.metadata[name]->suite == SUITE_INVALID)
		return OUTCOME_UNSUPPORTED;
	identity_set(&copies, name, ret_identity);
	return OUTCOME_DONE;
}
