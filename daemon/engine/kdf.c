/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "engine/kdf.h"

#include <errno.h>
#include <sodium.h>
#include <sys/sysinfo.h>
#include <time.h>

_Static_assert(crypto_pwhash_argon2id_SALTBYTES == KDF_SALT_SIZE, "salt size");
_Static_assert(KDF_PASSES_MIN >= crypto_pwhash_argon2id_OPSLIMIT_MIN, "passes");

bool kdf_parameters_are_valid(const KdfParameters *p)
{
	return p->memory >= KDF_MEMORY_MIN && p->memory <= KDF_MEMORY_MAX &&
	       p->memory % KDF_MEMORY_STEP == 0 && p->passes >= KDF_PASSES_MIN && p->passes <= KDF_PASSES_MAX;
}

uint64_t kdf_cost(const KdfParameters *parameters)
{
	return parameters->memory * parameters->passes;
}

static uint64_t machine_memory(void)
{
	struct sysinfo info;

	return sysinfo(&info) == 0 ? (uint64_t)info.totalram * info.mem_unit : UINT64_MAX;
}

int kdf_derive(const Secret *passphrase, const uint8_t salt[KDF_SALT_SIZE], const KdfParameters *parameters,
	Secret **ret_key)
{
	_cleanup_secret_ Secret *key = NULL;
	int r;

	if (!kdf_parameters_are_valid(parameters))
		return -EINVAL;
	/* Overcommit would grant it all the same, and the kernel then kill us. */
	if (parameters->memory > machine_memory())
		return -ENOMEM;
	r = secret_new(KDF_KEY_SIZE, &key);
	if (r < 0)
		return r;
	/* Parameters are in bounds, so that only memory can be wanting. */
	if (crypto_pwhash_argon2id(secret_bytes(key), KDF_KEY_SIZE, (const char *)secret_view(passphrase),
		    secret_size(passphrase), salt, parameters->passes, (size_t)parameters->memory,
		    crypto_pwhash_argon2id_ALG_ARGON2ID13) != 0)
		return -ENOMEM;
	*ret_key = TAKE_PTR(key);
	return 0;
}

static uint64_t monotonic_nsec(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * NSEC_PER_SEC + (uint64_t)now.tv_nsec;
}

int kdf_choose(uint64_t memory, uint32_t passes, KdfParameters *ret_parameters)
{
	static const uint8_t salt[KDF_SALT_SIZE];
	_cleanup_secret_ Secret *trial = NULL, *key = NULL;
	KdfParameters p = {.memory = memory, .passes = passes};
	uint64_t start, each, most;
	int r;

	if (p.memory == 0)
		p.memory = machine_memory() < KDF_MACHINE_SMALL ? KDF_MEMORY_SMALL : KDF_MEMORY_USUAL;
	if (p.passes == 0) {
		p.passes = KDF_PASSES_MIN;
		if (!kdf_parameters_are_valid(&p))
			return -EINVAL;
		r = secret_new_random(16, &trial);
		if (r < 0)
			return r;
		start = monotonic_nsec();
		r = kdf_derive(trial, salt, &p, &key);
		if (r < 0)
			return r;
		each = (monotonic_nsec() - start) / p.passes;
		most = MIN((uint64_t)KDF_PASSES_MAX, KDF_COST_CHOSEN / p.memory);
		p.passes = (uint32_t)MIN(NSEC_PER_SEC / MAX(each, (uint64_t)1), most);
		p.passes = MAX(p.passes, KDF_PASSES_MIN);
		/* Never below the floor, or the slot would be re-wrapped at once. */
		while (kdf_cost(&p) < KDF_COST_FLOOR)
			p.passes++;
	}
	if (!kdf_parameters_are_valid(&p))
		return -EINVAL;
	*ret_parameters = p;
	return 0;
}
