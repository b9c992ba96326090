/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Scope-bound cleanup and the few macros every file needs. */

#include <stddef.h>
#include <stdint.h>

#define _cleanup_(f)   __attribute__((cleanup(f)))
#define _printf_(a, b) __attribute__((format(printf, a, b)))
#define _pure_         __attribute__((pure))
#define _const_        __attribute__((const))
#define _noreturn_     __attribute__((noreturn))
#define _unused_       __attribute__((unused))
#define _warn_unused_  __attribute__((warn_unused_result))

#define ELEMENTSOF(x) (sizeof(x) / sizeof((x)[0]))
#define MIN(a, b)     ((a) < (b) ? (a) : (b))
#define MAX(a, b)     ((a) > (b) ? (a) : (b))

/* Hands a pointer over: the variable is NULL afterwards, so its cleanup does nothing. */
#define TAKE_PTR(p)                                                                                          \
	({                                                                                                   \
		__typeof__(p) _taken = (p);                                                                  \
		(p) = NULL;                                                                                  \
		_taken;                                                                                      \
	})

/* Hands a file descriptor over: the variable is -1 afterwards. */
#define TAKE_FD(fd)                                                                                          \
	({                                                                                                   \
		int _taken = (fd);                                                                           \
		(fd) = -1;                                                                                   \
		_taken;                                                                                      \
	})

/* Defines name##p, the function _cleanup_() wants, for a destructor that accepts NULL. */
#define DEFINE_CLEANUP(type, destroy)                                                                        \
	static inline void destroy##p(type *object)                                                          \
	{                                                                                                    \
		if (*object)                                                                                 \
			*object = destroy(*object);                                                          \
	}

#define USEC_PER_SEC  ((uint64_t)1000000)
#define USEC_PER_MSEC ((uint64_t)1000)
#define NSEC_PER_SEC  ((uint64_t)1000000000)
#define NSEC_PER_USEC ((uint64_t)1000)
