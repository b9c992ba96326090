/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "polkit-agent.h"
#include "target.h"
#include "util/memory.h"
#include "verb.h"

static ExitCode lock(Client *client, const char *object, const char *interface, const char *member)
{
	_cleanup_message_ sd_bus_message *call = NULL;
	ExitCode code;
	int r;

	polkit_agent_start(client);
	code = bus_new_call(client, object, interface, member, &call);
	if (code != CODE_DONE)
		return code;
	r = bus_append_options(client, call, OPTION_BIT(OPTION_FORCE));
	if (r < 0)
		return bus_fail_message(client, r);
	return bus_call(client, call, NULL);
}

ExitCode verb_lock(Client *client)
{
	_cleanup_drive_ Drive *drive = NULL;
	_cleanup_free_ char *title = NULL;
	ExitCode code;

	if (arguments_has(&client->arguments, OPTION_ALL)) {
		code = bus_connect(client);
		if (code == CODE_DONE)
			code = lock(client, BUS_PATH, BUS_INTERFACE_MANAGER, "LockAll");
		if (code == CODE_DONE)
			client_say(client, "All drives are locked.");
		return code;
	}
	code = target_find_drive(client, client->arguments.words, client->arguments.n_words, &drive);
	if (code == CODE_DONE)
		code = lock(client, drive->object, BUS_INTERFACE_DRIVE, "Lock");
	if (code == CODE_DONE)
		code = drive_refresh(client, drive);
	if (code == CODE_DONE)
		code = drive_conclude(client, drive, &title);
	if (code != CODE_DONE)
		return code;
	client_say(client, "%s is %s.", title, drive->enrolled ? "locked" : "not enrolled");
	return CODE_DONE;
}
