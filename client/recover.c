/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "mount.h"
#include "run.h"
#include "terminal.h"
#include "text.h"
#include "util/fd.h"
#include "util/memory.h"
#include "verb.h"

#include <unistd.h>

static void explain(const Client *client, const Drive *drive, const char *title)
{
	bool encrypting = strcmp(drive->pending, "encrypt") == 0;

	client_say(client,
		"A run that was to %s %s was interrupted. Every file is whole, as one form or the other.",
		encrypting ? "encrypt" : "decrypt", title);
	client_say(client,
		"  usbctl recover --resume    settles what is half done, then %s the remaining files",
		encrypting ? "encrypts" : "decrypts");
	client_say(client, "  usbctl recover --rollback  settles what is half done, then %s",
		encrypting ? "decrypts those that were done" : "encrypts all that is plain there");
	client_say(client,
		"  usbctl recover --settle    settles what is half done, and leaves the others as they are");
	client_say(client, "With --dry-run each says what it would do. Before a risk of any kind, 'usbctl "
			   "decrypt --to DIR' "
			   "copies the files off without touching the drive.");
	if (drive->locked)
		client_say(client, "The drive is locked: run 'usbctl unlock' first.");
}

/* The mode the command line names; RECOVERY_MODE_INVALID: none. */
static RecoveryMode given_mode(const Arguments *arguments)
{
	if (arguments_has(arguments, OPTION_RESUME))
		return RECOVERY_RESUME;
	if (arguments_has(arguments, OPTION_ROLLBACK))
		return RECOVERY_ROLLBACK;
	return arguments_has(arguments, OPTION_SETTLE) ? RECOVERY_SETTLE : RECOVERY_MODE_INVALID;
}

static RecoveryMode ask(void)
{
	_cleanup_close_ int fd = terminal_open();
	char answer[64];

	if (fd < 0 || terminal_ask(fd, "Type resume, rollback or settle; anything else leaves it for now: ",
			      answer, sizeof(answer)) < 0)
		return RECOVERY_MODE_INVALID;
	return recovery_mode_from_name(answer);
}

/* No mode was named: says what is pending, and asks where there is somebody to ask. */
static ExitCode choose(Client *client, const Drive *drive, RecoveryMode *ret_mode)
{
	_cleanup_free_ char *title = drive_title(drive);

	if (!title)
		return client_fail_memory(client);
	if (client->document) {
		cJSON_AddItemToObject(client->document, "drive", drive_to_json(drive));
		cJSON_AddStringToObject(client->document, "result",
			outcome_name(*drive->pending ? OUTCOME_INTERRUPTED : OUTCOME_DONE));
	}
	*ret_mode = RECOVERY_MODE_INVALID;
	if (!*drive->pending) {
		client_say(client, "Nothing is pending on %s.", title);
		return CODE_DONE;
	}
	explain(client, drive, title);
	if (!drive->locked && !client_json(client) && !client_quiet(client) && isatty(STDIN_FILENO) &&
		isatty(STDOUT_FILENO)) {
		(void)client_output_alive(); /* what was said comes before the question */
		*ret_mode = ask();
	}
	return *ret_mode == RECOVERY_MODE_INVALID ? CODE_INTERRUPTED : CODE_DONE;
}

ExitCode verb_recover(Client *client)
{
	_cleanup_target_ Target target = {0};
	_cleanup_transaction_ Transaction transaction = {0};
	Run run = {
		.member = "Recover",
		.options = OPTION_BIT(OPTION_DRY_RUN),
		.target_fd = -1,
		.changing = !arguments_has(&client->arguments, OPTION_DRY_RUN),
		.past = "Recovered; finished:",
		.done = COUNT_ENCRYPTED,
		.nothing = "Nothing was left to recover.",
	};
	RecoveryMode mode = given_mode(&client->arguments);
	bool encrypts;
	ExitCode code;

	code = target_find_drive(client, client->arguments.words, client->arguments.n_words, &target.drive);
	if (code == CODE_DONE)
		code = mount_ensure(client, target.drive);
	if (code == CODE_DONE && mode == RECOVERY_MODE_INVALID)
		code = choose(client, target.drive, &mode);
	if (code != CODE_DONE || mode == RECOVERY_MODE_INVALID)
		return code;
	run.mode = recovery_mode_name(mode);
	encrypts = (strcmp(target.drive->pending, "encrypt") == 0) == (mode != RECOVERY_ROLLBACK);
	if (!encrypts)
		run.done = COUNT_DECRYPTED;
	run.past = encrypts ? "Recovered. Encrypted" : "Recovered. Decrypted";
	return run_transaction(client, &target, &run, &transaction);
}
