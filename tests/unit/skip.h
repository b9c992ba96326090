/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A test that cannot run here says why: the runner shows the line. After cmocka.h. */

#include <stdio.h>

#define skip_because(why)                                                                                    \
	do {                                                                                                 \
		(void)fputs("skipped: " why "\n", stderr);                                                   \
		skip();                                                                                      \
	} while (0)

#if defined(__SANITIZE_ADDRESS__)
#define UNDER_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define UNDER_ASAN 1
#endif
#endif

#ifdef UNDER_ASAN
#define skip_under_asan(why) skip_because("under AddressSanitizer " why)
#else
#define skip_under_asan(why) ((void)0)
#endif

#define ASAN_LOCKS_NOTHING "mlock() does nothing"
