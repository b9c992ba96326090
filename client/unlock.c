/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "mount.h"
#include "passphrase.h"
#include "polkit-agent.h"
#include "target.h"
#include "text.h"
#include "util/memory.h"
#include "verb.h"

#include <stdio.h>
#include <time.h>

/* Asking for a passphrase that will not even be looked at helps nobody. */
static ExitCode check(const Client *client, const Drive *drive)
{
	char wait[TEXT_SHORT_SIZE];
	time_t retry = (time_t)(drive->retry_at / USEC_PER_SEC), now = time(NULL);

	if (drive->owner != DRIVE_OWNER_UNKNOWN && !drive->enrolled)
		return client_fail_outcome(
			client, OUTCOME_NOT_ENROLLED, outcome_name(OUTCOME_NOT_ENROLLED), NULL, false);
	if (retry > now)
		return client_fail(client, CODE_FAILED, outcome_name(OUTCOME_RATE_LIMITED),
			"Too many attempts. Try again in %s minutes.",
			text_duration((uint64_t)(retry - now) + 1, wait));
	return CODE_DONE;
}

static void tell(const Client *client, const Drive *drive, const char *title)
{
	char state[128];

	if (client->document)
		cJSON_AddItemToObject(client->document, "drive", drive_to_json(drive));
	client_say(client, "%s is %s.", title, drive_state(drive, state, sizeof(state)));
	if (*drive->pending)
		client_warn(
			client, "A run on it was interrupted. 'usbctl recover' explains what can be done.");
}

ExitCode verb_unlock(Client *client)
{
	_cleanup_drive_ Drive *drive = NULL;
	_cleanup_secret_ Secret *secret = NULL;
	_cleanup_free_ char *title = NULL;
	ExitCode code;

	code = target_find_drive(client, client->arguments.words, client->arguments.n_words, &drive);
	if (code == CODE_DONE)
		code = mount_ensure(client, drive);
	if (code == CODE_DONE)
		code = check(client, drive);
	if (code != CODE_DONE)
		return code;
	title = drive_title(drive);
	if (!title)
		return client_fail_memory(client);
	code = passphrase_get(client, title, false, &secret);
	if (code != CODE_DONE)
		return code;
	polkit_agent_start(client);
	code = passphrase_call(client, drive->object, "Unlock", secret, OPTION_BIT(OPTION_TIMEOUT));
	if (code == CODE_DONE)
		code = drive_refresh(client, drive);
	if (code == CODE_DONE)
		tell(client, drive, title);
	return code;
}
