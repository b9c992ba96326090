/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "bus/logind.h"

#include "util/fd.h"
#include "util/log.h"
#include "util/memory.h"

#include <errno.h>
#include <fcntl.h>

#define LOGIND_NAME      "org.freedesktop.login1"
#define LOGIND_PATH      "/org/freedesktop/login1"
#define LOGIND_INTERFACE "org.freedesktop.login1.Manager"

/* logind waits five seconds (InhibitDelayMaxSec=) at most. A worker that has not stopped by then is killed:
 * what it leaves can be recovered, its keys must not go to sleep with the machine. */
#define SLEEP_PATIENCE (4 * USEC_PER_SEC)

struct Logind {
	Bus *bus;
	sd_bus_slot *matches[5];
	sd_bus_slot *inhibit, *list;
	int inhibitor;
	bool preparing;
	sd_event_source *patience;
	uid_t *users; /* that had a session when last looked */
	size_t n_users;
};

Logind *logind_free(Logind *logind)
{
	if (!logind)
		return NULL;
	for (size_t i = 0; i < ELEMENTSOF(logind->matches); i++)
		sd_bus_slot_unref(logind->matches[i]);
	sd_bus_slot_unref(logind->inhibit);
	sd_bus_slot_unref(logind->list);
	sd_event_source_disable_unref(logind->patience);
	safe_close(logind->inhibitor);
	free(logind->users);
	return mfree(logind);
}

/* ---- sleep and shutdown */

static int on_inhibitor(sd_bus_message *answer, void *userdata, sd_bus_error *error)
{
	Logind *logind = userdata;
	int fd;

	(void)error;
	logind->inhibit = sd_bus_slot_unref(logind->inhibit);
	if (sd_bus_message_is_method_error(answer, NULL) || sd_bus_message_read(answer, "h", &fd) < 0) {
		log_notice("logind grants no delay: drives are locked only while the machine goes to sleep");
		return 0;
	}
	safe_close(logind->inhibitor);
	logind->inhibitor = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	return 0;
}

static void take_inhibitor(Logind *logind)
{
	int r;

	if (logind->inhibitor >= 0 || logind->inhibit)
		return;
	r = sd_bus_call_method_async(logind->bus->bus, &logind->inhibit, LOGIND_NAME, LOGIND_PATH,
		LOGIND_INTERFACE, "Inhibit", on_inhibitor, logind, "ssss", "sleep:shutdown", "usbcryptd",
		"Encrypted drives are locked first", "delay");
	if (r < 0)
		log_warning("Cannot ask logind for a delay: %s", strerrordesc_np(-r));
}

static void go_ahead(Logind *logind)
{
	logind->patience = sd_event_source_disable_unref(logind->patience);
	logind->inhibitor = safe_close(logind->inhibitor);
}

static int on_patience_ended(sd_event_source *source, uint64_t usec, void *userdata)
{
	Logind *logind = userdata;

	(void)source;
	(void)usec;
	log_warning("Jobs did not stop before the machine sleeps, and are killed");
	manager_kill_jobs(logind->bus->manager);
	go_ahead(logind);
	return 0;
}

void logind_on_idle(Logind *logind)
{
	if (logind && logind->preparing)
		go_ahead(logind);
}

static int on_prepare(sd_bus_message *signal, void *userdata, sd_bus_error *error)
{
	Logind *logind = userdata;
	Manager *manager = logind->bus->manager;
	int start;

	(void)error;
	if (sd_bus_message_read(signal, "b", &start) < 0)
		return 0;
	logind->preparing = start != 0;
	if (!start) {
		take_inhibitor(logind);
		return 0;
	}
	log_info("The machine is about to sleep or to shut down: all drives are locked");
	(void)manager_lock_all(manager, UID_UNKNOWN, true);
	if (manager->keys)
		key_store_forget_all(manager->keys);
	if (manager_is_idle(manager) ||
		sd_event_add_time_relative(manager->event, &logind->patience, CLOCK_BOOTTIME, SLEEP_PATIENCE,
			100 * USEC_PER_MSEC, on_patience_ended, logind) < 0)
		go_ahead(logind);
	return 0;
}

/* ---- sessions */

static bool has_user(const uid_t *users, size_t n, uid_t uid)
{
	for (size_t i = 0; i < n; i++)
		if (users[i] == uid)
			return true;
	return false;
}

static int on_sessions(sd_bus_message *answer, void *userdata, sd_bus_error *error)
{
	Logind *logind = userdata;
	_cleanup_free_ uid_t *users = NULL;
	size_t n = 0, capacity = 0;
	uint32_t uid;
	int r;

	(void)error;
	logind->list = sd_bus_slot_unref(logind->list);
	if (sd_bus_message_is_method_error(answer, NULL))
		return 0;
	r = sd_bus_message_enter_container(answer, 'a', "(susso)");
	while (r > 0) {
		r = sd_bus_message_read(answer, "(susso)", NULL, &uid, NULL, NULL, NULL);
		if (r <= 0)
			break;
		r = array_grow(&users, &capacity, n + 1, sizeof(uid_t));
		if (r < 0)
			break;
		users[n++] = uid;
		r = 1;
	}
	if (r < 0) {
		log_warning("Cannot read logind's list of sessions: %s", strerrordesc_np(-r));
		return 0;
	}
	for (size_t i = 0; i < logind->n_users; i++)
		if (!has_user(users, n, logind->users[i])) {
			log_info("The last session of uid %u has ended", logind->users[i]);
			(void)manager_lock_all(logind->bus->manager, logind->users[i], true);
		}
	free(logind->users);
	logind->users = TAKE_PTR(users);
	logind->n_users = n;
	return 0;
}

static void list_sessions(Logind *logind)
{
	int r;

	/* A list that is under way may be older than what has just happened. */
	logind->list = sd_bus_slot_unref(logind->list);
	r = sd_bus_call_method_async(logind->bus->bus, &logind->list, LOGIND_NAME, LOGIND_PATH,
		LOGIND_INTERFACE, "ListSessions", on_sessions, logind, NULL);
	if (r < 0)
		log_warning("Cannot ask logind for its sessions: %s", strerrordesc_np(-r));
}

static int on_session(sd_bus_message *signal, void *userdata, sd_bus_error *error)
{
	(void)signal;
	(void)error;
	list_sessions(userdata);
	return 0;
}

/* logind was started, or has come back: it knows nothing of an inhibitor of ours. */
static int on_name_owner(sd_bus_message *signal, void *userdata, sd_bus_error *error)
{
	Logind *logind = userdata;
	const char *name, *old, *new;

	(void)error;
	if (sd_bus_message_read(signal, "sss", &name, &old, &new) < 0 || !*new)
		return 0;
	logind->inhibitor = safe_close(logind->inhibitor);
	take_inhibitor(logind);
	list_sessions(logind);
	return 0;
}

int logind_new(Bus *bus, Logind **ret_logind)
{
	static const struct {
		const char *member;
		sd_bus_message_handler_t handler;
	} signals[] = {
		{"PrepareForSleep", on_prepare},
		{"PrepareForShutdown", on_prepare},
		{"SessionNew", on_session},
		{"SessionRemoved", on_session},
	};
	Logind *logind = new0(Logind, 1);
	int r;

	if (!logind)
		return -ENOMEM;
	logind->bus = bus;
	logind->inhibitor = -1;
	r = sd_bus_add_match_async(bus->bus, &logind->matches[4],
		"type='signal',sender='org.freedesktop.DBus',path='/org/freedesktop/DBus',"
		"interface='org.freedesktop.DBus',member='NameOwnerChanged',arg0='" LOGIND_NAME "'",
		on_name_owner, NULL, logind);
	for (size_t i = 0; i < ELEMENTSOF(signals) && r >= 0; i++)
		r = sd_bus_match_signal_async(bus->bus, &logind->matches[i], LOGIND_NAME, LOGIND_PATH,
			LOGIND_INTERFACE, signals[i].member, signals[i].handler, NULL, logind);
	if (r < 0) {
		(void)logind_free(logind);
		return r;
	}
	take_inhibitor(logind);
	list_sessions(logind);
	*ret_logind = logind;
	return 0;
}
