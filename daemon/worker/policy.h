/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Which passphrases are good enough, by libpwquality. Ours: 12 bytes, a digit and another class, no word of
 * the dictionary. /etc/security/pwquality.conf can change everything but what the daemon's own configuration
 * asks for at least.
 */

#include "protocol/record.h"

#define POLICY_DICTIONARY_FILES 3

typedef struct Policy Policy;

/* Reads the host's configuration and opens the dictionary, before the sandbox closes the filesystem. A zero
 * stands for our default. A missing dictionary is logged, and not used. */
int policy_load(uint32_t min_length, uint32_t min_classes, Policy **ret_policy);
Policy *policy_free(Policy *policy);
DEFINE_CLEANUP(Policy *, policy_free)
#define _cleanup_policy_ _cleanup_(policy_freep)

/* The dictionary's files, which have to stay readable: descriptors that live as long as the policy. Returns
 * how many, 0 or POLICY_DICTIONARY_FILES. */
size_t policy_dictionary(const Policy *policy, int ret_fds[POLICY_DICTIONARY_FILES]);

/* DONE, or WEAK_PASSPHRASE with the reason as the message. */
Outcome policy_check(Policy *policy, const Secret *passphrase, ResultRecord *result);
