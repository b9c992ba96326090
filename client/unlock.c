/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "mount.h"
#include "passphrase.h"
#include "target.h"
#include "text.h"
#include "util/memory.h"
#include "verb.h"

#include <time.h>
#include <unistd.h>

/* Asking for a passphrase that will not even be looked at helps nobody. Attempts are counted for each user;
 * RetryAt is about the owner's, and what another one may try the daemon tells. */
static ExitCode check_attempts(const Client *client, const Drive *drive)
{
	time_t retry = (time_t)(drive->retry_at / USEC_PER_SEC), now = time(NULL);
	char wait[TEXT_SHORT_SIZE];

	if (drive->owner != geteuid() || retry <= now)
		return CODE_DONE;
	return client_fail(client, CODE_FAILED, outcome_name(OUTCOME_RATE_LIMITED),
		"Too many attempts. Try again in %s minutes.",
		text_duration((uint64_t)(retry - now) + 1, wait));
}

static void tell(const Client *client, const Drive *drive, const char *title)
{
	char state[128];

	client_say(client, "%s is %s.", title, drive_state(drive, state, sizeof(state)));
	if (*drive->pending)
		client_warn(
			client, "A run on it was interrupted. 'usbctl recover' explains what can be done.");
}

ExitCode verb_unlock(Client *client)
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
		code = check_attempts(client, drive);
	if (code == CODE_DONE)
		code = passphrase_call(client, drive, "Unlock", false, OPTION_BIT(OPTION_TIMEOUT));
	if (code == CODE_DONE)
		code = drive_refresh(client, drive);
	if (code == CODE_DONE)
		code = drive_conclude(client, drive, &title);
	if (code == CODE_DONE)
		tell(client, drive, title);
	return code;
}
