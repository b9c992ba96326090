/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* polkit's text agent, so that a person at a terminal can be asked to authenticate without a desktop. */

#include "client.h"

/* Starts it when standard input is a terminal, and waits until it is ready. Not installed: nothing happens.
 */
void polkit_agent_start(Client *client);
void polkit_agent_stop(Client *client);
