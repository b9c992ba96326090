/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "bus/agents.h"

#include "util/log.h"
#include "util/memory.h"

struct Agent {
	uid_t uid;
	char *sender;
	sd_bus_track *track;
	LIST_ENTRY(Agent) entries;
};

static void agent_free(Agent *agent)
{
	LIST_REMOVE(agent, entries);
	sd_bus_track_unref(agent->track);
	free(agent->sender);
	free(agent);
}

static int on_left(sd_bus_track *track, void *userdata)
{
	Agent *agent = userdata;

	(void)track;
	log_debug("The agent of uid %u has left", agent->uid);
	agent_free(agent);
	return 0;
}

Outcome agents_register(Bus *bus, sd_bus_message *message, uid_t uid)
{
	const char *sender = sd_bus_message_get_sender(message);
	Agent *agent;
	int r;

	LIST_FOREACH(agent, &bus->agents, entries)
	{
		if (agent->uid != uid)
			continue;
		return strcmp(agent->sender, sender) == 0 ? OUTCOME_DONE : OUTCOME_BUSY;
	}
	agent = new0(Agent, 1);
	if (!agent)
		return OUTCOME_NO_MEMORY;
	LIST_INSERT_HEAD(&bus->agents, agent, entries);
	agent->uid = uid;
	agent->sender = strdup(sender);
	r = agent->sender ? sd_bus_track_new(bus->bus, &agent->track, on_left, agent) : -1;
	if (r >= 0)
		r = sd_bus_track_add_sender(agent->track, message);
	if (r < 0) {
		agent_free(agent);
		return OUTCOME_NO_MEMORY;
	}
	log_debug("uid %u has an agent", uid);
	return OUTCOME_DONE;
}

void agents_clear(Bus *bus)
{
	while (!LIST_EMPTY(&bus->agents))
		agent_free(LIST_FIRST(&bus->agents));
}
