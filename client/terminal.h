/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The terminal: asking, and how wide it is. */

#include "util/secret.h"

/* The controlling terminal, for reading and writing; -ENXIO when there is none. */
int terminal_open(void);

/* Asks on an open terminal without echo and reads one line, without its newline, straight into locked memory.
 * A signal that ends or stops usbctl finds the terminal as it was. -ECANCELED: end of file; -EMSGSIZE: more
 * than `max` bytes; -ENOMEM. An empty line is a secret of size 0's stand-in: NULL. */
int terminal_ask_secret(int fd, const char *prompt, size_t max, Secret **ret_secret);

/* Asks on an open terminal and reads one line. -ECANCELED: end of file. */
int terminal_ask(int fd, const char *prompt, char *answer, size_t size);

/* Columns; 80 when it does not say. */
unsigned terminal_columns(int fd);

/* Whether a line on this descriptor can be drawn over: a terminal that is not dumb, and wide enough. */
bool terminal_can_redraw(int fd);
