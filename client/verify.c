/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "mount.h"
#include "run.h"
#include "verb.h"

ExitCode verb_verify(Client *client)
{
	_cleanup_target_ Target target = {0};
	_cleanup_transaction_ Transaction transaction = {0};
	const Run run = {
		.member = "Verify",
		.target_fd = -1,
		.past = "Found good:",
		.done = COUNT_VERIFIED,
		.nothing = "Nothing to do: there is no encrypted file there.",
	};
	ExitCode code;

	code = target_find(client, client->arguments.words, client->arguments.n_words, &target);
	if (code == CODE_DONE)
		code = mount_ensure(client, target.drive);
	return code == CODE_DONE ? run_transaction(client, &target, &run, &transaction) : code;
}
