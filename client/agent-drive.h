/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The drives an agent watches, and which of them it has yet to ask for. */

#include "drive.h"

typedef struct AgentDrives AgentDrives;

typedef struct AgentDrive {
	AgentDrives *drives;
	Drive *drive;
	bool handled; /* asked for, or unlocked by somebody, since it was plugged in or mounted */
	sd_event_source *mount_timer;
} AgentDrive;

struct AgentDrives {
	Client *client;
	sd_event *event;
	bool mounts;                     /* have udisks2 mount what appears */
	void (*changed)(void *userdata); /* something changed other than by a signal that was handed in */
	void *userdata;
	AgentDrive **entries;
	size_t n, capacity;
};

void agent_drives_clear(AgentDrives *drives);

/* Forgets every drive; agent_drives_load() starts anew. */
void agent_drives_forget(AgentDrives *drives);

ExitCode agent_drives_load(AgentDrives *drives);

/* InterfacesAdded, InterfacesRemoved, PropertiesChanged of the daemon's. */
void agent_drives_on_signal(AgentDrives *drives, sd_bus_message *message);

AgentDrive *agent_drives_find(const AgentDrives *drives, const char *object);

/* Whether it is mounted, enrolled, locked, and owned by this user. */
bool agent_drive_is_ours(const AgentDrive *entry);

/* The first one that is ours and not handled yet; or NULL. */
AgentDrive *agent_drives_next(const AgentDrives *drives);
