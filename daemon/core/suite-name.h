/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Suites as the bus names them and records number them. engine/suite.h is where they are defined, out of the
 * daemon's reach; a test holds the two together. */

#include "util/macro.h"

/* "" for 0 and unknown ones. */
const char *suite_number_name(uint32_t number);

/* 0 for an unknown one. */
uint32_t suite_number_from_name(const char *name);
