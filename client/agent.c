/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent-drive.h"
#include "mount.h"
#include "passphrase.h"
#include "pinentry.h"
#include "text.h"
#include "util/memory.h"
#include "verb.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#define ATTEMPTS  3
#define LABEL_MAX 80 /* bytes of a hostile label in a prompt */

/*
 *   watching --a drive wants asking--> prompting --passphrase--> unlocking --Done--> watching
 *                                       |    ^                      |
 *              cancelled, drive gone ---+    +--- wrong, attempts left
 */
typedef struct Agent {
	Client *client;
	sd_event *event;
	sd_bus_slot *signals[BUS_SUBSCRIPTIONS];
	AgentDrives drives;
	char *ttyname;
	/* The one prompt. */
	char *object; /* the drive it is about; NULL: none */
	Pinentry *pinentry;
	sd_bus_slot *unlock;
	unsigned attempts;
} Agent;

static void consider(Agent *agent);

static void stop_asking(Agent *agent)
{
	agent->unlock = sd_bus_slot_unref(agent->unlock);
	agent->pinentry = pinentry_free(agent->pinentry);
	agent->object = mfree(agent->object);
}

static void agent_clear(Agent *agent)
{
	stop_asking(agent);
	bus_unsubscribe(agent->signals);
	agent_drives_clear(&agent->drives);
	if (agent->client->bus)
		(void)sd_bus_detach_event(agent->client->bus);
	sd_event_unref(agent->event);
	free(agent->ttyname);
}

/* A line for the journal, or an object. */
static void tell(const Agent *agent, const Drive *drive, const char *event, const char *text)
{
	_cleanup_free_ char *title = drive_title(drive), *safe = text_safe(text);

	if (client_json(agent->client)) {
		cJSON *object = cJSON_CreateObject();

		cJSON_AddStringToObject(object, "type", "event");
		cJSON_AddStringToObject(object, "event", event);
		cJSON_AddStringToObject(object, "text", text);
		cJSON_AddItemToObject(object, "drive", drive_to_json(drive));
		(void)client_emit(object);
	} else if (!client_quiet(agent->client) && title && safe) {
		(void)fprintf(stderr, "usbctl agent: %s: %s\n", title, safe);
	}
}

static void ask(Agent *agent, const Drive *drive, const char *error);

static int on_unlocked(sd_bus_message *reply, void *userdata, sd_bus_error *ret_error)
{
	Agent *agent = userdata;
	const sd_bus_error *error = sd_bus_message_get_error(reply);
	AgentDrive *entry = agent_drives_find(&agent->drives, agent->object);
	Outcome outcome;

	(void)ret_error;
	agent->unlock = sd_bus_slot_unref(agent->unlock);
	if (!entry) {
		stop_asking(agent);
		consider(agent);
		return 0;
	}
	if (!error) {
		tell(agent, entry->drive, "unlocked", "unlocked");
		stop_asking(agent);
		consider(agent);
		return 0;
	}
	outcome = bus_error_outcome(error);
	if (outcome == OUTCOME_WRONG_PASSPHRASE && agent->attempts < ATTEMPTS) {
		tell(agent, entry->drive, "wrong-passphrase", "wrong passphrase");
		ask(agent, entry->drive, "This passphrase does not open the drive. Try again.");
		return 0;
	}
	tell(agent, entry->drive, outcome == OUTCOME_WRONG_PASSPHRASE ? "wrong-passphrase" : "failed",
		error->message && *error->message ? error->message : error->name);
	stop_asking(agent);
	consider(agent);
	return 0;
}

static int send_unlock(Agent *agent, const Drive *drive, const Secret *secret)
{
	_cleanup_message_ sd_bus_message *call = NULL;
	_cleanup_close_ int fd = -1;
	int r;

	r = passphrase_pipe(secret, &fd);
	if (r >= 0)
		r = sd_bus_message_new_method_call(
			agent->client->bus, &call, BUS_NAME, drive->object, BUS_INTERFACE_DRIVE, "Unlock");
	if (r >= 0)
		r = sd_bus_message_append_basic(call, 'h', &fd);
	if (r >= 0)
		r = bus_append_options(agent->client, call, OPTION_BIT(OPTION_TIMEOUT));
	if (r < 0)
		return r;
	return sd_bus_call_async(
		agent->client->bus, &agent->unlock, call, on_unlocked, agent, BUS_TIMEOUT_PERSON);
}

static void on_answer(
	Pinentry *pinentry, PinentryResult result, Secret *taken, const char *problem, void *userdata)
{
	_cleanup_secret_ Secret *secret = taken;
	_cleanup_free_ char *text = NULL;
	Agent *agent = userdata;
	AgentDrive *entry = agent_drives_find(&agent->drives, agent->object);
	int r;

	(void)pinentry;
	agent->pinentry = pinentry_free(agent->pinentry);
	if (entry && result == PINENTRY_GOT) {
		r = send_unlock(agent, entry->drive, secret);
		if (r >= 0)
			return;
		tell(agent, entry->drive, "failed", strerror(-r));
	} else if (entry && result == PINENTRY_CANCELLED) {
		tell(agent, entry->drive, "cancelled", "left locked; 'usbctl unlock' opens it");
	} else if (entry) {
		if (asprintf(&text, "pinentry failed: %s", problem) < 0)
			text = NULL;
		tell(agent, entry->drive, "failed", text ? text : "pinentry failed");
	}
	stop_asking(agent);
	consider(agent);
}

static void ask(Agent *agent, const Drive *drive, const char *error)
{
	const char *program = agent->client->arguments.values[OPTION_PINENTRY];
	_cleanup_free_ char *label = text_safe(*drive->label ? drive->label : "a drive without a name");
	_cleanup_free_ char *device = text_safe(drive->device), *description = NULL;
	PinentryQuestion question = {
		.program = program ? program : "pinentry",
		.ttyname = agent->ttyname,
		.title = "Unlock an encrypted drive",
		.prompt = "Passphrase:",
		.error = error,
	};
	int r = -ENOMEM;

	agent->attempts++;
	if (label && device &&
		asprintf(&description, "Please enter the passphrase of the encrypted drive\n\"%.*s\" (%s).",
			LABEL_MAX, label, device) >= 0) {
		question.description = description;
		r = pinentry_ask(agent->event, &question, on_answer, agent, &agent->pinentry);
	} else {
		description = NULL;
	}
	if (r >= 0)
		return;
	tell(agent, drive, "failed", strerror(-r));
	stop_asking(agent);
}

/* Asks for the first drive that wants it, if nobody is being asked. */
static void consider(Agent *agent)
{
	while (!agent->object) {
		AgentDrive *entry = agent_drives_next(&agent->drives);

		if (!entry)
			return;
		entry->handled = true;
		agent->object = strdup(entry->drive->object);
		if (!agent->object)
			return;
		agent->attempts = 0;
		tell(agent, entry->drive, "asking", "asking for the passphrase");
		ask(agent, entry->drive, NULL);
	}
}

/* A drive that changed or went away while its prompt is open. */
static void check_prompt(Agent *agent)
{
	AgentDrive *entry = agent->object ? agent_drives_find(&agent->drives, agent->object) : NULL;

	if (!agent->object || agent->unlock || (entry && agent_drive_is_ours(entry)))
		return;
	if (entry)
		tell(agent, entry->drive, "withdrawn", "no longer to be unlocked; the prompt is taken away");
	stop_asking(agent);
}

static void on_drives(void *userdata)
{
	Agent *agent = userdata;

	check_prompt(agent);
	consider(agent);
}

/* Registers and looks at what is there: at the beginning, and each time the daemon comes back. Where another
 * agent was faster, that one asks, and this one may as well end. */
static ExitCode join(Agent *agent)
{
	_cleanup_message_ sd_bus_message *call = NULL;
	_cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
	int r;

	r = sd_bus_message_new_method_call(
		agent->client->bus, &call, BUS_NAME, BUS_PATH, BUS_INTERFACE_MANAGER, "RegisterAgent");
	if (r >= 0)
		r = sd_bus_message_append(call, "a{sv}", 0);
	if (r < 0)
		return bus_fail_message(agent->client, r);
	r = sd_bus_call(agent->client->bus, call, BUS_TIMEOUT_PERSON, &error, NULL);
	if (r < 0 && bus_error_outcome(&error) == OUTCOME_BUSY) {
		client_warn(agent->client,
			"Another agent of yours asks for passphrases already; this one is not needed.");
		(void)sd_notify(0, "READY=1"); /* a service that ends well before it is ready has failed */
		return sd_event_exit(agent->event, CODE_DONE) < 0 ? CODE_FAILED : CODE_DONE;
	}
	if (r < 0)
		return bus_fail(agent->client, &error, r, false);
	(void)sd_notify(0, "READY=1");
	return agent_drives_load(&agent->drives);
}

static int on_name_owner_changed(Agent *agent, sd_bus_message *message)
{
	const char *name, *before, *after;

	if (sd_bus_message_read(message, "sss", &name, &before, &after) < 0)
		return 0;
	free(agent->client->daemon);
	agent->client->daemon = strdup(after);
	stop_asking(agent);
	agent_drives_forget(&agent->drives);
	if (!*after)
		return 0;
	if (join(agent) != CODE_DONE)
		return sd_event_exit(agent->event, CODE_FAILED);
	consider(agent);
	return 0;
}

static int on_signal(sd_bus_message *message, void *userdata, sd_bus_error *ret_error)
{
	Agent *agent = userdata;

	(void)ret_error;
	if (sd_bus_message_is_signal(message, "org.freedesktop.DBus", "NameOwnerChanged"))
		return on_name_owner_changed(agent, message);
	if (!bus_is_from_daemon(agent->client, message))
		return 0;
	agent_drives_on_signal(&agent->drives, message);
	on_drives(agent);
	return 0;
}

/* The terminal for a pinentry without a desktop: the given one, the agent's own, or, for a service, which has
 * none, the one that GnuPG's agent would ask on. */
static int choose_terminal(Agent *agent)
{
	const char *name = agent->client->arguments.values[OPTION_TTYNAME];
	char own[64];

	if (!name)
		name = ttyname_r(STDIN_FILENO, own, sizeof(own)) == 0 ? own : getenv("GPG_TTY");
	if (!name || !*name)
		return 0;
	agent->ttyname = strdup(name);
	return agent->ttyname ? 0 : -ENOMEM;
}

static int prepare(Agent *agent)
{
	sigset_t signals;
	int r;

	sigemptyset(&signals);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGTERM);
	sigprocmask(SIG_BLOCK, &signals, NULL);
	r = choose_terminal(agent);
	if (r >= 0)
		r = secret_init();
	if (r >= 0)
		r = sd_event_new(&agent->event);
	if (r >= 0)
		r = sd_event_add_signal(agent->event, NULL, SIGINT, NULL, NULL);
	if (r >= 0)
		r = sd_event_add_signal(agent->event, NULL, SIGTERM, NULL, NULL);
	if (r >= 0)
		r = sd_bus_attach_event(agent->client->bus, agent->event, SD_EVENT_PRIORITY_NORMAL);
	if (r >= 0)
		r = sd_bus_set_exit_on_disconnect(agent->client->bus, true);
	/* So that at the end a connection that is gone can be told from one that is not. */
	if (r >= 0)
		r = sd_bus_set_close_on_exit(agent->client->bus, false);
	agent->drives.event = agent->event;
	return r;
}

ExitCode verb_agent(Client *client)
{
	_cleanup_(agent_clear) Agent agent = {.client = client};
	ExitCode code;
	int r;

	agent.drives = (AgentDrives){
		.client = client,
		.mounts = !arguments_has(&client->arguments, OPTION_NO_MOUNT),
		.changed = on_drives,
		.userdata = &agent,
	};
	code = bus_connect(client);
	if (code != CODE_DONE)
		return code;
	r = prepare(&agent);
	if (r < 0)
		return client_fail_errno(client, r, "The agent cannot start", NULL);
	code = bus_subscribe(client, on_signal, &agent, agent.signals);
	if (code == CODE_DONE)
		code = join(&agent);
	if (code != CODE_DONE)
		return code;
	consider(&agent);
	r = sd_event_loop(agent.event);
	if (r < 0)
		return client_fail_errno(client, r, "The agent cannot go on", NULL);
	if (!sd_bus_is_open(client->bus))
		return client_fail(client, CODE_UNREACHABLE, "Unreachable", "The system bus went away.");
	return (ExitCode)r;
}
