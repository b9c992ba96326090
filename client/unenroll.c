/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "mount.h"
#include "passphrase.h"
#include "target.h"
#include "util/memory.h"
#include "verb.h"

ExitCode verb_unenroll(Client *client)
{
	_cleanup_drive_ Drive *drive = NULL;
	_cleanup_free_ char *title = NULL;
	ExitCode code;

	code = target_find_drive(client, client->arguments.words, client->arguments.n_words, &drive);
	if (code == CODE_DONE)
		code = mount_ensure(client, drive);
	if (code == CODE_DONE)
		code = drive_require_enrolled(client, drive);
	if (code == CODE_DONE)
		code = passphrase_call(client, drive, "Unenroll", false, 0);
	if (code == CODE_DONE)
		code = drive_conclude(client, drive, &title);
	if (code != CODE_DONE)
		return code;
	client_say(client, "%s is no longer enrolled; usbcrypt's own files are gone from it.", title);
	return CODE_DONE;
}
