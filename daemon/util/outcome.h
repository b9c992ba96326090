/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * How a request ends, and why a single file was left out. Both are stable: the names below are what clients
 * see (bus/errors.c puts the D-Bus prefix before them; usbctl maps them to exit codes), so entries are added,
 * never renamed. Technical failures inside a function stay negative errnos; these are what the domain
 * decides.
 */

#include "util/macro.h"

/* X(constant, stable name, what it means and what to do about it) */
#define OUTCOMES(X)                                                                                          \
	X(DONE, "Done", "Done.")                                                                             \
	X(PARTIAL, "Partial", "Done in part: some files were left out, each of them is named.")              \
	X(CANCELLED, "Cancelled", "Cancelled. Nothing is pending; every file is whole.")                     \
	X(INTERRUPTED, "Interrupted",                                                                        \
		"A run on this drive was interrupted. Plug it in, then run 'usbctl recover' before "         \
		"anything else.")                                                                            \
	X(FAILED, "Failed", "It failed. The log of usbcryptd says why: journalctl -u usbcryptd.")            \
	X(WRONG_PASSPHRASE, "WrongPassphrase", "The passphrase does not open this drive.")                   \
	X(WEAK_PASSPHRASE, "WeakPassphrase",                                                                 \
		"The passphrase is too weak. Choose a longer one, of several words.")                        \
	X(LOCKED, "Locked", "The drive is locked. Run 'usbctl unlock' first.")                               \
	X(NOT_ENROLLED, "NotEnrolled", "The drive is not enrolled. Run 'usbctl enroll' first.")              \
	X(ALREADY_ENROLLED, "AlreadyEnrolled", "The drive is enrolled already.")                             \
	X(BUSY, "Busy", "The drive is busy with another request. Try again when that has ended.")            \
	X(NO_SPACE, "NoSpace",                                                                               \
		"There is not enough free space on the drive. Make room on it, then try again.")             \
	X(NO_MEMORY, "NoMemory", "There is not enough memory for the key derivation this drive asks for.")   \
	X(READ_ONLY, "ReadOnly",                                                                             \
		"The drive is read-only. If it turned so by itself, as damaged ones do, unmount it, mount "  \
		"it again and repeat this. 'usbctl decrypt --to DIR' works as it is.")                       \
	X(FILESYSTEM_DAMAGED, "FilesystemDamaged",                                                           \
		"The drive's filesystem is damaged, as one that was pulled out may be: what is written now " \
		"could overwrite files. Unmount it, repair it (fsck.exfat -y, of the package exfatprogs, "   \
		"or Windows' error checking), mount it again and repeat this. 'usbctl decrypt --to DIR' "    \
		"works as it is.")                                                                           \
	X(TAMPERED, "Tampered", "What the drive holds was altered or is damaged. Nothing was changed.")      \
	X(UNSUPPORTED, "Unsupported", "This drive needs something that this version does not know.")         \
	X(RATE_LIMITED, "RateLimited", "Too many attempts. Wait, then try again.")                           \
	X(NO_SUCH_DRIVE, "NoSuchDrive", "There is no such drive.")                                           \
	X(DRIVE_GONE, "DriveGone",                                                                           \
		"The drive is gone. Plug it in again (or, after the machine slept, unmount it and mount it " \
		"again), then run 'usbctl recover'.")                                                        \
	X(NOT_MOUNTED, "NotMounted",                                                                         \
		"The drive is not mounted. Mount it first, for instance with 'udisksctl mount'.")            \
	X(UNSAFE_MOUNT, "UnsafeMount",                                                                       \
		"The drive is mounted without nosuid and nodev. Mount it again with both.")                  \
	X(INVALID_ARGUMENT, "InvalidArgument", "An argument is not valid.")                                  \
	X(UNFIT_FILES, "UnfitFiles",                                                                         \
		"Some files cannot be processed; each is named and nothing was changed. --skip-unfit goes "  \
		"on without them.")                                                                          \
	X(FILES_ENCRYPTED, "FilesEncrypted", "There are encrypted files on the drive. Decrypt them first.")  \
	X(UNVERIFIED_MEDIUM, "UnverifiedMedium",                                                             \
		"What was written cannot be read back from the medium here. --unverified-medium goes on "    \
		"all the same.")                                                                             \
	X(MEDIUM_FAILED, "MediumFailed",                                                                     \
		"The drive does not return what was written to it. Copy your files off; do not trust it "    \
		"further.")                                                                                  \
	X(NOT_AUTHORIZED, "NotAuthorized", "You are not allowed to do this.")                                \
	X(REFUSED_ENVIRONMENT, "RefusedEnvironment",                                                         \
		"The configuration refuses to work in this environment.")                                    \
	X(TIMED_OUT, "TimedOut", "The passphrase did not arrive in time.")

typedef enum Outcome {
#define OUTCOME_ENUMERATE(constant, name, text) OUTCOME_##constant,
	OUTCOMES(OUTCOME_ENUMERATE)
#undef OUTCOME_ENUMERATE
	OUTCOME_MAX,
	OUTCOME_INVALID = -1,
} Outcome;

/* X(constant, stable name, text) */
#define REASONS(X)                                                                                           \
	X(IO, "io", "the drive returned an error")                                                           \
	X(UNREADABLE, "unreadable", "no permission to read it")                                              \
	X(NOT_WRITABLE, "not-writable", "no permission to overwrite or to remove it")                        \
	X(IN_USE, "in-use", "another program has it open")                                                   \
	X(CHANGED, "changed", "it changed while it was read")                                                \
	X(GONE, "gone", "it went away before its turn came")                                                 \
	X(TOO_LARGE, "too-large", "its encrypted form would exceed this filesystem's 4 GiB limit")           \
	X(CLASH, "clash", "the name its other form would have is taken")                                     \
	X(PATH_TOO_LONG, "path-too-long", "its path is too long")                                            \
	X(NO_SPACE, "no-space", "not enough free space for it")                                              \
	X(TAMPERED, "tampered", "it was altered or is damaged")                                              \
	X(FOREIGN, "foreign", "it was encrypted for another drive")                                          \
	X(MOVED, "moved", "it was found elsewhere than where it was encrypted; restored where it was found") \
	X(UNSUPPORTED, "unsupported", "it needs something that this version does not know")                  \
	X(MEDIUM_FAILED, "medium-failed", "the drive did not return what was written to it")                 \
	X(HARD_LINK, "hard-link", "it has several names (hard links)")                                       \
	X(SPECIAL, "special", "it is neither a file, a folder nor a link")                                   \
	X(FOREIGN_MOUNT, "foreign-mount", "another filesystem is mounted there")                             \
	X(EDITED, "edited", "it was edited after the interruption; both forms were kept")                    \
	X(ATTRIBUTES, "attributes", "some of its attributes could not be restored")                          \
	X(PENDING, "pending", "its recovery is not finished; copy it off with 'usbctl decrypt --to DIR'")

typedef enum Reason {
#define REASON_ENUMERATE(constant, name, text) REASON_##constant,
	REASONS(REASON_ENUMERATE)
#undef REASON_ENUMERATE
	REASON_MAX,
	REASON_INVALID = -1,
} Reason;

/* The stable name ("WrongPassphrase"), and the sentence that says what to do. Never NULL; unknown values are
 * FAILED. */
const char *outcome_name(Outcome outcome);
const char *outcome_text(Outcome outcome);
Outcome outcome_from_name(const char *name);

/* The stable name ("in-use"), and the text after the file's name. Never NULL; unknown values are IO. */
const char *reason_name(Reason reason);
const char *reason_text(Reason reason);
