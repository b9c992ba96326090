/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "engine/drive.h"

#include "engine/copy.h"
#include "engine/layout.h"
#include "engine/unlock.h"
#include "util/memory.h"

#include <errno.h>
#include <sodium.h>

#define FIRST_SLOT  1
#define FIRST_EPOCH 1

static Outcome kdf_outcome(int error)
{
	switch (error) {
	case -ENOMEM:
		return OUTCOME_NO_MEMORY;
	case -EINVAL:
		return OUTCOME_INVALID_ARGUMENT;
	default:
		return OUTCOME_FAILED;
	}
}

static int metadata_mac_key(const Secret *drive_key, Secret **ret_key)
{
	return subkey_derive(drive_key, SUBKEY_METADATA_MAC, ret_key);
}

/* Everything an enrolled drive says, made before the drive is touched. */
static Outcome compose(const Secret *passphrase, const EnrollParameters *parameters, const Secret *drive_key,
	uint8_t bytes[METADATA_SIZE])
{
	_cleanup_metadata_ Metadata *metadata = NULL;
	_cleanup_secret_ Secret *metadata_mac = NULL;
	Slot slot = {.id = FIRST_SLOT, .type = SLOT_PASSPHRASE, .epoch = FIRST_EPOCH};
	uint8_t drive_id[DRIVE_ID_SIZE];
	int r;

	r = kdf_choose(parameters->kdf_memory, parameters->kdf_passes, &slot.kdf);
	if (r < 0)
		return kdf_outcome(r);
	randombytes_buf(drive_id, sizeof(drive_id));
	r = slot_wrap(&slot, METADATA_VERSION, drive_id, passphrase, drive_key);
	if (r < 0)
		return kdf_outcome(r);
	r = metadata_mac_key(drive_key, &metadata_mac);
	if (r >= 0)
		r = metadata_new(drive_id, parameters->suite, &slot, &metadata);
	if (r >= 0)
		r = metadata_format(metadata, 1, metadata_mac, bytes);
	return r < 0 ? OUTCOME_FAILED : OUTCOME_DONE;
}

/* Whether there is room for a new drive: nothing there, or what an interrupted enroll left, taken away. */
static Outcome make_room(const Vfs *vfs, int root_fd)
{
	_cleanup_copies_ Copies copies = {};
	LayoutState state;
	Outcome outcome;

	outcome = layout_examine(vfs, root_fd, &state);
	if (outcome != OUTCOME_DONE || state == LAYOUT_ABSENT)
		return outcome;
	copies_load(vfs, root_fd, &copies);
	for (CopyName name = COPY_A; name < COPY_MAX; name++)
		if (copies.outcomes[name] == OUTCOME_DONE || copies.outcomes[name] == OUTCOME_UNSUPPORTED)
			return OUTCOME_ALREADY_ENROLLED;
	/* Copy b is begun when copy a is durable, and the journal when both are: a drive with a torn first
	 * copy and neither of those never had an encrypted file. Anything else is not ours to overwrite. */
	if (state != LAYOUT_WITHOUT_JOURNAL || copies.outcomes[COPY_B] != OUTCOME_NOT_ENROLLED)
		return OUTCOME_TAMPERED;
	if (copies.outcomes[COPY_A] != OUTCOME_NOT_ENROLLED && copies.outcomes[COPY_A] != OUTCOME_TAMPERED)
		return copies.outcomes[COPY_A];
	return layout_remove(vfs, root_fd);
}

Outcome drive_enroll(const Vfs *vfs, int root_fd, const Secret *passphrase,
	const EnrollParameters *parameters, DriveIdentity *ret_identity, Secret **ret_drive_key)
{
	_cleanup_secret_ Secret *drive_key = NULL, *metadata_mac = NULL;
	uint8_t bytes[METADATA_SIZE];
	Outcome outcome;

	if (!suite_available(parameters->suite))
		return OUTCOME_UNSUPPORTED;
	if (secret_new_random(DRIVE_KEY_SIZE, &drive_key) < 0 ||
		metadata_mac_key(drive_key, &metadata_mac) < 0)
		return OUTCOME_FAILED;
	outcome = make_room(vfs, root_fd);
	if (outcome != OUTCOME_DONE)
		return outcome;
	outcome = compose(passphrase, parameters, drive_key, bytes);
	if (outcome != OUTCOME_DONE)
		return outcome;

	outcome = layout_create(vfs, root_fd);
	for (CopyName name = COPY_A; outcome == OUTCOME_DONE && name < COPY_MAX; name++)
		outcome = copy_write(vfs, root_fd, name, bytes);
	if (outcome == OUTCOME_DONE)
		outcome = drive_identify(vfs, root_fd, metadata_mac, ret_identity);
	if (outcome != OUTCOME_DONE) {
		(void)layout_remove(vfs, root_fd);
		return outcome;
	}
	*ret_drive_key = TAKE_PTR(drive_key);
	return OUTCOME_DONE;
}

Outcome drive_rewrap(const Vfs *vfs, int root_fd, const Secret *passphrase, const Secret *drive_key,
	const EnrollParameters *parameters)
{
	_cleanup_copies_ Copies copies = {};
	_cleanup_unlocked_ Unlocked unlocked = {};
	_cleanup_secret_ Secret *metadata_mac = NULL;
	uint8_t bytes[METADATA_SIZE];
	CopyName other;
	Metadata *m;
	Outcome outcome;
	Slot slot;
	int r;

	if (metadata_mac_key(drive_key, &metadata_mac) < 0)
		return OUTCOME_FAILED;
	copies_load(vfs, root_fd, &copies);
	outcome = unlocked_find(&copies, passphrase, &unlocked);
	if (outcome != OUTCOME_DONE)
		return outcome;
	/* The drive that was unlocked before, and no other in its place. */
	if (secret_size(drive_key) != DRIVE_KEY_SIZE ||
		sodium_memcmp(secret_view(drive_key), secret_view(unlocked.drive_key), DRIVE_KEY_SIZE) != 0)
		return OUTCOME_TAMPERED;

	m = copies.metadata[unlocked.name];
	slot = m->slots[unlocked.slot];
	r = kdf_choose(parameters->kdf_memory, parameters->kdf_passes, &slot.kdf);
	if (r >= 0)
		r = slot_wrap(&slot, m->version, m->drive_id, passphrase, drive_key);
	if (r < 0)
		return kdf_outcome(r);
	r = metadata_replace_slot(m, &slot);
	if (r >= 0)
		r = metadata_format(m, m->generation + 1, metadata_mac, bytes);
	if (r < 0)
		return OUTCOME_FAILED;

	/* The believed copy goes last: until the other one is durable it is all there is. */
	other = unlocked.name == COPY_A ? COPY_B : COPY_A;
	outcome = layout_create(vfs, root_fd);
	if (outcome == OUTCOME_DONE)
		outcome = copy_write(vfs, root_fd, other, bytes);
	if (outcome == OUTCOME_DONE)
		outcome = copy_write(vfs, root_fd, unlocked.name, bytes);
	return outcome;
}

Outcome drive_unenroll(const Vfs *vfs, int root_fd)
{
	LayoutState state;
	Outcome outcome;

	outcome = layout_examine(vfs, root_fd, &state);
	if (outcome != OUTCOME_DONE)
		return outcome;
	return state == LAYOUT_ABSENT ? OUTCOME_NOT_ENROLLED : layout_remove(vfs, root_fd);
}
