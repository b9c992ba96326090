/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A passphrase as keys are derived from it (FORMAT.md, "Passphrase"). */

#include "util/secret.h"

#define PASSPHRASE_SIZE_MAX 1024 /* bytes as typed, without the newline */

/* One trailing newline stripped, Unicode NFC where it is valid UTF-8; every copy that is made on the way is a
 * Secret. *passphrase is replaced, and left as it was on an error: -EMSGSIZE above PASSPHRASE_SIZE_MAX bytes,
 * -EINVAL when nothing is left, -ENOMEM, -EPERM. */
int passphrase_normalize(Secret **passphrase);
