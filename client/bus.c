/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "bus.h"

#include "text.h"
#include "util/memory.h"

#include <errno.h>
#include <stdarg.h>

#define DRIVER_NAME      "org.freedesktop.DBus"
#define DRIVER_PATH      "/org/freedesktop/DBus"
#define DRIVER_ERROR     DRIVER_NAME ".Error."
#define TIMEOUT_ACTIVATE (60 * USEC_PER_SEC)

static const char UNREACHABLE[] = "Unreachable";
static const char ADVICE_DAEMON[] =
	"See 'systemctl status usbcryptd', and 'journalctl -u usbcryptd' for its log.";

/* Errors that are not the daemon's own, by name or by the beginning of it. */
static const struct {
	const char *name;
	ExitCode code;
	const char *result;
	const char *text;
} BUS_ERRORS[] = {
	{DRIVER_ERROR "ServiceUnknown", CODE_UNREACHABLE, UNREACHABLE,
		"usbcryptd is not running and cannot be started by the bus. Is it installed?"},
	{DRIVER_ERROR "NameHasNoOwner", CODE_UNREACHABLE, UNREACHABLE, "usbcryptd is not running."},
	{DRIVER_ERROR "NoReply", CODE_UNREACHABLE, UNREACHABLE, "usbcryptd ended or did not answer."},
	{DRIVER_ERROR "Timeout", CODE_UNREACHABLE, UNREACHABLE, "usbcryptd did not answer in time."},
	{DRIVER_ERROR "TimedOut", CODE_UNREACHABLE, UNREACHABLE, "usbcryptd did not start in time."},
	{DRIVER_ERROR "Disconnected", CODE_UNREACHABLE, UNREACHABLE,
		"The connection to the system bus broke."},
	{DRIVER_ERROR "NoServer", CODE_UNREACHABLE, UNREACHABLE, "The system bus does not answer."},
	{DRIVER_ERROR "Spawn.", CODE_UNREACHABLE, UNREACHABLE, "usbcryptd could not be started."},
	/* sd-bus's own, from this end of the connection. */
	{"System.Error.ETIMEDOUT", CODE_UNREACHABLE, UNREACHABLE, "The system bus did not answer in time."},
	{"System.Error.ENOTCONN", CODE_UNREACHABLE, UNREACHABLE, "The connection to the system bus broke."},
	{"System.Error.ECONNRESET", CODE_UNREACHABLE, UNREACHABLE, "The connection to the system bus broke."},
	{"org.freedesktop.systemd1.", CODE_UNREACHABLE, UNREACHABLE, "systemd could not start usbcryptd."},
	{DRIVER_ERROR "AccessDenied", CODE_NOT_AUTHORIZED, "NotAuthorized",
		"The system bus does not let you talk to usbcryptd."},
	{DRIVER_ERROR "InteractiveAuthorizationRequired", CODE_NOT_AUTHORIZED, "NotAuthorized",
		"This needs to be authorised, and there is nobody to ask."},
	{DRIVER_ERROR "UnknownObject", CODE_NO_SUCH_DRIVE, "NoSuchDrive", "The drive is not there any more."},
};

ExitCode bus_fail_message(const Client *client, int r)
{
	return client_fail_errno(client, r, "A message of the bus could not be handled", ADVICE_DAEMON);
}

Outcome bus_error_outcome(const sd_bus_error *error)
{
	size_t length = strlen(BUS_ERROR_PREFIX);

	if (!error->name || strncmp(error->name, BUS_ERROR_PREFIX, length) != 0)
		return OUTCOME_INVALID;
	return outcome_from_name(error->name + length);
}

ExitCode bus_fail(const Client *client, const sd_bus_error *error, int r, bool changing)
{
	_cleanup_free_ char *name = NULL, *message = NULL;
	size_t length = strlen(BUS_ERROR_PREFIX);

	if (!sd_bus_error_is_set(error)) {
		if (r == -ENOMEM)
			return client_fail_memory(client);
		return client_fail(client, CODE_UNREACHABLE, UNREACHABLE,
			"The conversation with usbcryptd broke off: %s. %s", strerror(-r), ADVICE_DAEMON);
	}
	name = text_safe(error->name);
	message = text_safe(error->message ? error->message : "");
	if (!name || !message)
		return client_fail_memory(client);
	if (strncmp(error->name, BUS_ERROR_PREFIX, length) == 0)
		return client_fail_outcome(
			client, bus_error_outcome(error), name + length, error->message, changing);
	for (size_t i = 0; i < ELEMENTSOF(BUS_ERRORS); i++) {
		const char *known = BUS_ERRORS[i].name;
		size_t n = strlen(known);

		if (known[n - 1] == '.' ? strncmp(error->name, known, n) : strcmp(error->name, known))
			continue;
		return client_fail(client, BUS_ERRORS[i].code, BUS_ERRORS[i].result, "%s%s%s",
			BUS_ERRORS[i].text, BUS_ERRORS[i].code == CODE_UNREACHABLE ? " " : "",
			BUS_ERRORS[i].code == CODE_UNREACHABLE ? ADVICE_DAEMON : "");
	}
	return client_fail(client, CODE_FAILED, outcome_name(OUTCOME_FAILED), "%s (%s). %s",
		*message ? message : "usbcryptd refused", name, ADVICE_DAEMON);
}

int bus_refresh_daemon(Client *client)
{
	_cleanup_message_ sd_bus_message *reply = NULL;
	const char *owner;
	int r;

	r = sd_bus_call_method(client->bus, DRIVER_NAME, DRIVER_PATH, DRIVER_NAME, "GetNameOwner", NULL,
		&reply, "s", BUS_NAME);
	if (r < 0)
		return r;
	r = sd_bus_message_read_basic(reply, 's', &owner);
	if (r < 0)
		return r;
	free(client->daemon);
	client->daemon = strdup(owner);
	return client->daemon ? 0 : -ENOMEM;
}

static int start_daemon(Client *client, sd_bus_error *error)
{
	_cleanup_message_ sd_bus_message *call = NULL;
	int r;

	r = sd_bus_message_new_method_call(
		client->bus, &call, DRIVER_NAME, DRIVER_PATH, DRIVER_NAME, "StartServiceByName");
	if (r < 0)
		return r;
	r = sd_bus_message_append(call, "su", BUS_NAME, (uint32_t)0);
	if (r < 0)
		return r;
	return sd_bus_call(client->bus, call, TIMEOUT_ACTIVATE, error, NULL);
}

ExitCode bus_connect(Client *client)
{
	_cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
	int r;

	if (client->bus)
		return CODE_DONE;
	r = sd_bus_open_system(&client->bus);
	if (r < 0)
		return client_fail(client, CODE_UNREACHABLE, UNREACHABLE,
			"The system bus cannot be reached: %s. Is dbus running?", strerror(-r));
	(void)sd_bus_set_allow_interactive_authorization(client->bus, true);
	if (bus_refresh_daemon(client) >= 0)
		return CODE_DONE;
	r = start_daemon(client, &error);
	if (r < 0)
		return bus_fail(client, &error, r, false);
	r = bus_refresh_daemon(client);
	if (r < 0)
		return client_fail(client, CODE_UNREACHABLE, UNREACHABLE,
			"usbcryptd ended right after it was started. %s", ADVICE_DAEMON);
	return CODE_DONE;
}

bool bus_is_from_daemon(const Client *client, sd_bus_message *message)
{
	const char *sender = sd_bus_message_get_sender(message);

	return sender && client->daemon && strcmp(sender, client->daemon) == 0;
}

ExitCode bus_new_call(const Client *client, const char *path, const char *interface, const char *member,
	sd_bus_message **ret)
{
	int r = sd_bus_message_new_method_call(client->bus, ret, BUS_NAME, path, interface, member);

	return r < 0 ? bus_fail_message(client, r) : CODE_DONE;
}

int bus_append_option(sd_bus_message *message, const char *name, const char *type, ...)
{
	va_list ap;
	int r;

	r = sd_bus_message_open_container(message, 'e', "sv");
	if (r >= 0)
		r = sd_bus_message_append_basic(message, 's', name);
	if (r >= 0)
		r = sd_bus_message_open_container(message, 'v', type);
	if (r >= 0) {
		va_start(ap, type);
		r = sd_bus_message_appendv(message, type, ap);
		va_end(ap);
	}
	if (r >= 0)
		r = sd_bus_message_close_container(message);
	if (r >= 0)
		r = sd_bus_message_close_container(message);
	return r;
}

int bus_append_options(const Client *client, sd_bus_message *message, unsigned options)
{
	const Arguments *a = &client->arguments;
	int r;

	r = sd_bus_message_open_container(message, 'a', "{sv}");
	for (int i = 0; r >= 0 && i < OPTION_MAX; i++) {
		if (!(options & a->present & OPTION_BIT(i)))
			continue;
		if (i == OPTION_TIMEOUT)
			r = bus_append_option(message, "timeout", "t", a->timeout);
		else if (OPTION_TABLE[i].value)
			r = bus_append_option(message, OPTION_TABLE[i].name, "s", a->values[i]);
		else
			r = bus_append_option(message, OPTION_TABLE[i].name, "b", 1);
	}
	if (r >= 0)
		r = sd_bus_message_close_container(message);
	return r;
}

ExitCode bus_call(const Client *client, sd_bus_message *call, sd_bus_message **ret_reply)
{
	_cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
	int r;

	r = sd_bus_call(client->bus, call, BUS_TIMEOUT_PERSON, &error, ret_reply);
	return r < 0 ? bus_fail(client, &error, r, false) : CODE_DONE;
}

ExitCode bus_subscribe(Client *client, sd_bus_message_handler_t on_signal, void *userdata,
	sd_bus_slot *slots[BUS_SUBSCRIPTIONS])
{
	static const char *const rules[BUS_SUBSCRIPTIONS] = {
		"type='signal',sender='" BUS_NAME "',path_namespace='" BUS_PATH "'",
		"type='signal',sender='" DRIVER_NAME "',interface='" DRIVER_NAME
		"',member='NameOwnerChanged',arg0='" BUS_NAME "'",
	};
	int r;

	for (size_t i = 0; i < ELEMENTSOF(rules); i++) {
		r = sd_bus_add_match(client->bus, &slots[i], rules[i], on_signal, userdata);
		if (r < 0)
			return bus_fail_message(client, r);
	}
	return CODE_DONE;
}

void bus_unsubscribe(sd_bus_slot *slots[BUS_SUBSCRIPTIONS])
{
	for (size_t i = 0; i < BUS_SUBSCRIPTIONS; i++)
		slots[i] = sd_bus_slot_unref(slots[i]);
}
