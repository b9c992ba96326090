/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What replacement.c (up to the verification) and replacement-release.c (behind it) share. */

#include "engine/form.h"

/* Whether an error of a write, or of a barrier, means that the drive itself failed. */
bool error_is_fatal(int error);

/* FAILED, for that reason; `error` an errno of either sign, or 0. */
void replacement_fail(Replacement *replacement, Reason reason, int error);

/* The reason that a negative errno amounts to; `otherwise` where something is not permitted. */
Reason reason_of(int error, Reason otherwise);

/* A mode with write bits: FAT takes all of them, as far as its mount has any, or none. */
mode_t writable_mode(const ReplacementContext *context, mode_t mode);

/* Whether somebody works with a new plaintext: it bears its final name from the start. */
bool replacement_is_edited(
	const ReplacementContext *context, const Replacement *replacement, const struct stat *now);

/* A stream from the source to the new file, as far as they are open. */
void replacement_stream(const ReplacementContext *context, const Replacement *replacement, Stream *ret);
