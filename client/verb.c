/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "verb.h"

#include <string.h>

#define B(option) OPTION_BIT(OPTION_##option)

const Verb VERB_TABLE[] = {
	{"list", "", 0, 0, 0, verb_list, "List the drives that are plugged in.",
		"One line for each USB drive: its name, device, filesystem and size, where it is mounted, "
		"and "
		"whether it is enrolled, locked or unlocked."},
	{"status", "[DRIVE]", 0, 1, 0, verb_status, "Say how a drive, or each drive, is doing.",
		"Locked or not and until when, how many files are plain and how many encrypted (which are "
		"counted now, on mounted drives that are enrolled), what an interrupted run left pending and "
		"what "
		"to do about it. Exits with 6 when something is pending."},
	{"enroll", "[DRIVE]", 0, 1, B(PASSPHRASE_FD) | B(PASSPHRASE_FILE) | B(SUITE) | B(TIMEOUT),
		verb_enroll, "Make a drive ready for encryption and choose its passphrase.",
		"Makes a random key for the drive and stores it on the drive, wrapped under a passphrase "
		"that is "
		"asked for twice. No file is touched yet; the drive is unlocked afterwards. Without the "
		"passphrase "
		"nobody, and no tool, brings the files back."},
	{"unenroll", "[DRIVE]", 0, 1, B(PASSPHRASE_FD) | B(PASSPHRASE_FILE), verb_unenroll,
		"Take usbcrypt's own files off a drive again.",
		"Asks for the passphrase. Refused while encrypted files are left: decrypt them first."},
	{"unlock", "[DRIVE]", 0, 1, B(PASSPHRASE_FD) | B(PASSPHRASE_FILE) | B(TIMEOUT), verb_unlock,
		"Open a drive with its passphrase.",
		"The drive's key is kept until it is locked again: by 'usbctl lock', after a while without a "
		"run, "
		"when it is unmounted or pulled out, when the machine sleeps or you log out. A drive that is "
		"not "
		"mounted yet is mounted by udisks2 first."},
	{"lock", "[DRIVE]", 0, 1, B(ALL) | B(FORCE), verb_lock, "Forget a drive's key.",
		"Locking a locked drive is no error. While a run is going on it is refused, unless --force "
		"cancels "
		"the run first."},
	{"encrypt", "[DRIVE] [PATH...]", 0, VERB_WORDS_ANY,
		B(NO_SCRUB) | B(SKIP_UNFIT) | B(DRY_RUN) | B(UNVERIFIED_MEDIUM), verb_encrypt,
		"Encrypt the plain files of a drive, in place.",
		"Everything below the PATHs, or the whole drive. Each plain file is overwritten and removed "
		"only "
		"after its encrypted form was read back from the medium and found good; pull the drive out "
		"at any "
		"moment, and every file is whole as one or the other. Links and special files are left alone "
		"and "
		"counted. Ctrl-C stops it cleanly; pressed twice it lets the run go on without usbctl."},
	{"decrypt", "[DRIVE] [PATH...]", 0, VERB_WORDS_ANY,
		B(TO) | B(SKIP_UNFIT) | B(DRY_RUN) | B(UNVERIFIED_MEDIUM), verb_decrypt,
		"Decrypt the encrypted files of a drive, or copy them off.",
		"Everything below the PATHs, or the whole drive, with names, times and modes as they were. "
		"--to "
		"writes the files below another directory and leaves the drive untouched: for a read-only or "
		"failing stick, for one with a recovery pending, and for backups."},
	{"verify", "[DRIVE] [PATH...]", 0, VERB_WORDS_ANY, 0, verb_verify,
		"Check that every encrypted file is whole and authentic.",
		"Reads everything below the PATHs, or the whole drive, and changes nothing."},
	{"recover", "[DRIVE]", 0, 1, B(RESUME) | B(ROLLBACK) | B(SETTLE) | B(DRY_RUN), verb_recover,
		"Finish, or take back, what an interrupted run left.",
		"Without an option: says what is pending and what each option would do, and on a terminal "
		"asks "
		"which it shall be. The drive has to be unlocked."},
	{"header-backup", "[DRIVE] FILE", 1, 2, 0, verb_header_backup,
		"Save a copy of the drive's wrapped key to FILE.",
		"Whoever loses both copies of .usbcrypt/{a,b}/drive.json loses every encrypted file; FILE is "
		"a third "
		"one. It opens nothing without the passphrase it was made under, but keep it where you would "
		"keep "
		"the drive. FILE must not exist yet."},
	{"monitor", "", 0, 0, 0, verb_monitor, "Print what happens to drives, until Ctrl-C.",
		"One line for each drive that appears, leaves, is mounted, locked or unlocked, and for each "
		"run that "
		"begins or ends."},
	{"agent", "", 0, 0, B(PINENTRY) | B(TTYNAME) | B(TIMEOUT) | B(NO_MOUNT), verb_agent,
		"Ask for the passphrase when one of your drives appears.",
		"Runs in the background, usually as a systemd user service: when an enrolled, locked drive "
		"of yours "
		"appears it asks through pinentry and unlocks it. One agent for each user; a second one says "
		"so and "
		"exits with 0."},
	{"help", "[VERB]", 0, 1, 0, verb_help, "Show help, or all about one verb.", NULL},
};

const size_t VERB_TABLE_SIZE = ELEMENTSOF(VERB_TABLE);

const Verb *verb_by_name(const char *name)
{
	for (size_t i = 0; i < VERB_TABLE_SIZE; i++)
		if (strcmp(VERB_TABLE[i].name, name) == 0)
			return &VERB_TABLE[i];
	return NULL;
}
