/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "mount.h"
#include "run.h"
#include "text.h"
#include "util/memory.h"
#include "verb.h"

static void warn_before(const Client *client, const Drive *drive)
{
	_cleanup_free_ char *filesystem =
		text_safe(*drive->filesystem ? drive->filesystem : "an unknown filesystem");

	if (arguments_has(&client->arguments, OPTION_DRY_RUN) ||
		arguments_has(&client->arguments, OPTION_NO_SCRUB) || drive_scrubs(drive) || !filesystem)
		return;
	client_warn(client,
		"Mind: on %s it cannot be promised that overwriting a plain file reaches the place where its "
		"bytes are "
		"stored. After this run, programs that undelete files may still find some of them.",
		filesystem);
}

/* What an encrypted drive still gives away, said once after each run. */
static void tell_remnants(const Client *client, const Transaction *t)
{
	if (transaction_count(t, COUNT_ENCRYPTED) == 0)
		return;
	if (arguments_has(&client->arguments, OPTION_NO_SCRUB))
		client_say(client, "The plain files were removed, not overwritten: programs that undelete "
				   "files can bring "
				   "them back.");
	client_say(client, "Mind: names and folders stay visible. What was deleted from this drive earlier, "
			   "copies that other "
			   "programs made elsewhere, and remnants in flash cells that the drive itself no "
			   "longer reads are not "
			   "covered.");
}

ExitCode verb_encrypt(Client *client)
{
	_cleanup_target_ Target target = {0};
	_cleanup_transaction_ Transaction transaction = {0};
	const Run run = {
		.member = "Encrypt",
		.options = OPTION_BIT(OPTION_NO_SCRUB) | OPTION_BIT(OPTION_SKIP_UNFIT) |
			   OPTION_BIT(OPTION_DRY_RUN) | OPTION_BIT(OPTION_UNVERIFIED_MEDIUM),
		.target_fd = -1,
		.changing = !arguments_has(&client->arguments, OPTION_DRY_RUN),
		.past = "Encrypted",
		.done = COUNT_ENCRYPTED,
		.nothing = "Nothing to do: there is no plain file there.",
	};
	ExitCode code;

	code = target_find(client, client->arguments.words, client->arguments.n_words, &target);
	if (code == CODE_DONE)
		code = mount_ensure(client, target.drive);
	if (code != CODE_DONE)
		return code;
	warn_before(client, target.drive);
	code = run_transaction(client, &target, &run, &transaction);
	tell_remnants(client, &transaction);
	return code;
}
