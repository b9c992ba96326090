/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "bus/polkit.h"

#include "bus/names.h"
#include "util/log.h"
#include "util/memory.h"

#include <errno.h>
#include <stdio.h>

#define POLKIT_NAME      "org.freedesktop.PolicyKit1"
#define POLKIT_PATH      "/org/freedesktop/PolicyKit1/Authority"
#define POLKIT_INTERFACE "org.freedesktop.PolicyKit1.Authority"

#define POLKIT_ALLOW_INTERACTION 1U

/* A person needs longer than sd-bus's 25 s. */
#define ANSWER_TIMEOUT (120 * USEC_PER_SEC)
#define LABEL_MAX      32

struct PolkitQuery {
	sd_bus *bus;
	sd_bus_slot *slot;
	char *cancellation;
	void (*answered)(void *userdata, PolkitAnswer answer);
	void *userdata;
	bool pending;
};

PolkitQuery *polkit_query_free(PolkitQuery *query)
{
	if (!query)
		return NULL;
	sd_bus_slot_unref(query->slot);
	if (query->pending) {
		_cleanup_(sd_bus_message_unrefp) sd_bus_message *message = NULL;
		int r;

		/* Nobody waits for the answer. */
		r = sd_bus_message_new_method_call(query->bus, &message, POLKIT_NAME, POLKIT_PATH,
			POLKIT_INTERFACE, "CancelCheckAuthorization");
		if (r >= 0)
			r = sd_bus_message_append(message, "s", query->cancellation);
		if (r >= 0)
			r = sd_bus_message_set_expect_reply(message, 0);
		if (r >= 0)
			(void)sd_bus_send(query->bus, message, NULL);
	}
	sd_bus_unref(query->bus);
	free(query->cancellation);
	return mfree(query);
}

static int on_answer(sd_bus_message *answer, void *userdata, sd_bus_error *error)
{
	PolkitQuery *query = userdata;
	int authorized = 0, challenge = 0;
	int r;

	(void)error;
	query->pending = false;
	if (sd_bus_message_is_method_error(answer, NULL)) {
		const sd_bus_error *e = sd_bus_message_get_error(answer);

		/* A question that timed out is still open at polkit's. */
		query->pending = sd_bus_message_is_method_error(answer, SD_BUS_ERROR_NO_REPLY) ||
				 sd_bus_message_is_method_error(answer, SD_BUS_ERROR_TIMEOUT);
		log_notice("polkit gave no answer, which means no: %s", e && e->message ? e->message : "?");
	} else {
		/* What follows are details of no interest. */
		r = sd_bus_message_enter_container(answer, 'r', "bba{ss}");
		if (r >= 0)
			r = sd_bus_message_read(answer, "bb", &authorized, &challenge);
		if (r < 0) {
			log_error("polkit's answer makes no sense, which means no");
			authorized = challenge = 0;
		}
	}
	if (authorized)
		query->answered(query->userdata, POLKIT_YES);
	else
		query->answered(query->userdata, challenge ? POLKIT_NOBODY_TO_ASK : POLKIT_NO);
	return 0;
}

int polkit_ask(sd_bus_message *call, const char *action, const char *drive,
	void (*answered)(void *userdata, PolkitAnswer answer), void *userdata, PolkitQuery **ret_query)
{
	static uint64_t last;
	_cleanup_(sd_bus_message_unrefp) sd_bus_message *message = NULL;
	sd_bus *bus = sd_bus_message_get_bus(call);
	const char *sender = sd_bus_message_get_sender(call);
	PolkitQuery *query;
	char id[128];
	uint32_t flags;
	int r;

	if (!sender)
		return -EBADMSG;
	query = new0(PolkitQuery, 1);
	if (!query)
		return -ENOMEM;
	query->bus = sd_bus_ref(bus);
	query->answered = answered;
	query->userdata = userdata;
	if (asprintf(&query->cancellation, "usbcryptd-%llu", (unsigned long long)++last) < 0) {
		query->cancellation = NULL;
		(void)polkit_query_free(query);
		return -ENOMEM;
	}
	(void)snprintf(id, sizeof(id), POLKIT_ACTION_PREFIX "%s", action);
	flags = sd_bus_message_get_allow_interactive_authorization(call) > 0 ? POLKIT_ALLOW_INTERACTION : 0;

	r = sd_bus_message_new_method_call(
		bus, &message, POLKIT_NAME, POLKIT_PATH, POLKIT_INTERFACE, "CheckAuthorization");
	if (r >= 0)
		r = sd_bus_message_append(
			message, "(sa{sv})s", "system-bus-name", 1, "name", "s", sender, id);
	if (r >= 0)
		r = drive ? sd_bus_message_append(message, "a{ss}", 1, "drive", drive)
			  : sd_bus_message_append(message, "a{ss}", 0);
	if (r >= 0)
		r = sd_bus_message_append(message, "us", flags, query->cancellation);
	if (r >= 0)
		r = sd_bus_call_async(bus, &query->slot, message, on_answer, query, ANSWER_TIMEOUT);
	if (r < 0) {
		(void)polkit_query_free(query);
		return r;
	}
	query->pending = true;
	*ret_query = query;
	return 0;
}

static bool is_plain(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       (c && strchr(" -_.", c));
}

char *polkit_describe(const char *node, const char *label)
{
	char plain[LABEL_MAX + 1], *text;
	size_t n = 0;

	for (; *label && n < LABEL_MAX; label++)
		plain[n++] = is_plain(*label) ? *label : '?';
	plain[n] = 0;
	if (n == 0)
		return strdup(node);
	return asprintf(&text, "%s (%s)", node, plain) < 0 ? NULL : text;
}
