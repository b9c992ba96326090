/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Transactions that change nothing on the drive: survey and verify (engine/transaction.h), and decrypting to
 * elsewhere. */

#include "engine/run.h"

/* Writes the plaintext of every encrypted file that the options ask for below options->target_fd, a folder of
 * the host's, under the same paths. The drive may be read-only, failing, or have a recovery pending. */
Outcome export_run(
	Volume *volume, const TransactionOptions *options, const Observer *observer, TransactionResult *ret);
