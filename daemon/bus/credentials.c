/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "bus/credentials.h"

#include "util/fd.h"
#include "util/memory.h"

#include <errno.h>
#include <pwd.h>

struct CredentialsQuery {
	sd_bus_slot *slot;
	void (*answered)(void *userdata, int error, const Caller *caller);
	void *userdata;
};

CredentialsQuery *credentials_query_free(CredentialsQuery *query)
{
	if (!query)
		return NULL;
	sd_bus_slot_unref(query->slot);
	return mfree(query);
}

static bool has_group(const Caller *caller, gid_t gid)
{
	for (size_t i = 0; i < caller->n_groups; i++)
		if (caller->groups[i] == gid)
			return true;
	return false;
}

/* The broker names all groups and does not say which is the primary one. The local user database says, which
 * (unlike NSS) never waits for a network; a group that the broker did not name is never taken. */
static gid_t primary_group(const Caller *caller)
{
	_cleanup_fclose_ FILE *f = fopen("/etc/passwd", "re");
	struct passwd *user;

	if (caller->n_groups == 0)
		return (gid_t)-1;
	while (f && (user = fgetpwent(f)))
		if (user->pw_uid == caller->uid && has_group(caller, user->pw_gid))
			return user->pw_gid;
	return has_group(caller, caller->uid) ? caller->uid : caller->groups[0];
}

static int read_credentials(sd_bus_message *answer, Caller *caller)
{
	bool has_uid = false, has_groups = false;
	int r;

	r = sd_bus_message_enter_container(answer, 'a', "{sv}");
	if (r < 0)
		return r;
	while ((r = sd_bus_message_enter_container(answer, 'e', "sv")) > 0) {
		const char *name;

		r = sd_bus_message_read(answer, "s", &name);
		if (r < 0)
			return r;
		if (strcmp(name, "UnixUserID") == 0) {
			r = sd_bus_message_read(answer, "v", "u", &caller->uid);
			has_uid = r >= 0;
		} else if (strcmp(name, "UnixGroupIDs") == 0) {
			const uint32_t *groups;
			size_t size;

			r = sd_bus_message_enter_container(answer, 'v', "au");
			if (r >= 0)
				r = sd_bus_message_read_array(answer, 'u', (const void **)&groups, &size);
			if (r >= 0)
				r = sd_bus_message_exit_container(answer);
			if (r >= 0) {
				caller->n_groups = MIN(size / sizeof(uint32_t), (size_t)JOB_GROUPS_MAX);
				for (size_t i = 0; i < caller->n_groups; i++)
					caller->groups[i] = groups[i];
				has_groups = true;
			}
		} else {
			r = sd_bus_message_skip(answer, "v");
		}
		if (r < 0)
			return r;
		r = sd_bus_message_exit_container(answer);
		if (r < 0)
			return r;
	}
	if (r < 0)
		return r;
	if (!has_uid || !has_groups || caller->uid == UID_UNKNOWN)
		return -ENODATA;
	caller->gid = primary_group(caller);
	return caller->gid == (gid_t)-1 ? -ENODATA : 0;
}

static int on_answer(sd_bus_message *answer, void *userdata, sd_bus_error *error)
{
	CredentialsQuery *query = userdata;
	_cleanup_free_ Caller *caller = new0(Caller, 1);
	int r = -ENOMEM;

	(void)error;
	if (caller)
		r = sd_bus_message_is_method_error(answer, NULL) ? -ESRCH : read_credentials(answer, caller);
	query->answered(query->userdata, r, r < 0 ? NULL : caller);
	return 0;
}

int credentials_ask(sd_bus_message *call, void (*answered)(void *userdata, int error, const Caller *caller),
	void *userdata, CredentialsQuery **ret_query)
{
	CredentialsQuery *query = new0(CredentialsQuery, 1);
	int r;

	if (!query)
		return -ENOMEM;
	query->answered = answered;
	query->userdata = userdata;
	r = sd_bus_call_method_async(sd_bus_message_get_bus(call), &query->slot, "org.freedesktop.DBus",
		"/org/freedesktop/DBus", "org.freedesktop.DBus", "GetConnectionCredentials", on_answer, query,
		"s", sd_bus_message_get_sender(call));
	if (r < 0) {
		(void)credentials_query_free(query);
		return r;
	}
	*ret_query = query;
	return 0;
}
