/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "mount.h"
#include "passphrase.h"
#include "target.h"
#include "util/memory.h"
#include "verb.h"

ExitCode verb_enroll(Client *client)
{
	_cleanup_drive_ Drive *drive = NULL;
	_cleanup_free_ char *title = NULL;
	const char *suite = client->arguments.values[OPTION_SUITE];
	ExitCode code;

	code = target_find_drive(client, client->arguments.words, client->arguments.n_words, &drive);
	if (code == CODE_DONE)
		code = mount_ensure(client, drive);
	if (code != CODE_DONE)
		return code;
	if (drive->enrolled)
		return client_fail_outcome(client, OUTCOME_ALREADY_ENROLLED,
			outcome_name(OUTCOME_ALREADY_ENROLLED), NULL, false);
	if (suite && strcmp(suite, "aes-256-gcm") == 0)
		client_warn(client,
			"Mind: with aes-256-gcm this drive cannot be opened on machines whose processor has "
			"no AES instructions. The default, xchacha20-poly1305, opens everywhere.");
	code = passphrase_call(
		client, drive, "Enroll", true, OPTION_BIT(OPTION_SUITE) | OPTION_BIT(OPTION_TIMEOUT));
	if (code == CODE_DONE)
		code = drive_refresh(client, drive);
	if (code == CODE_DONE)
		code = drive_conclude(client, drive, &title);
	if (code != CODE_DONE)
		return code;
	client_say(client,
		"%s is enrolled and unlocked. No file is encrypted yet: 'usbctl encrypt' does that.", title);
	client_say(client,
		"There is no way back without the passphrase. 'usbctl header-backup FILE' keeps a copy of "
		"the wrapped key, in case the drive's own copies are damaged.");
	return CODE_DONE;
}
