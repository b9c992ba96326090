/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* usbcryptd: parse arguments, make the manager and its face on the bus, run the loop. */

#include "bus/bus.h"
#include "core/config.h"
#include "core/environment.h"
#include "core/manager.h"
#include "util/log.h"
#include "util/memory.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <systemd/sd-daemon.h>

/* A drive that does not answer is not waited for. */
#define SETTLE_TIMEOUT (2 * USEC_PER_SEC)

typedef struct Arguments {
	const char *config;
	bool debug;
} Arguments;

static const char usage[] = "usbcryptd [--config FILE] [--debug]\n"
			    "usbcryptd --help | --version\n"
			    "\n"
			    "Encrypts the files of removable drives on request; see usbctl(1).\n"
			    "It is started by the system bus: systemctl status usbcryptd\n";

/* 1: go on; 0: done; negative: usage. */
static int parse_arguments(int argc, char **argv, Arguments *ret)
{
	static const struct option options[] = {
		{"config", required_argument, NULL, 'c'},
		{"debug", no_argument, NULL, 'd'},
		{"help", no_argument, NULL, 'h'},
		{"version", no_argument, NULL, 'v'},
		{0},
	};
	int c;

	while ((c = getopt_long(argc, argv, "h", options, NULL)) >= 0)
		switch (c) {
		case 'c':
			ret->config = optarg;
			break;
		case 'd':
			ret->debug = true;
			break;
		case 'h':
			fputs(usage, stdout);
			return 0;
		case 'v':
			puts("usbcryptd " USBCRYPT_VERSION);
			return 0;
		default:
			return -EINVAL;
		}
	return optind == argc ? 1 : -EINVAL;
}

static int on_stop_signal(sd_event_source *source, const struct signalfd_siginfo *info, void *userdata)
{
	(void)source;
	(void)info;
	(void)sd_notify(0, "STOPPING=1");
	manager_stop(userdata);
	return 0;
}

static int run(Config *config)
{
	_cleanup_(sd_event_unrefp) sd_event *event = NULL;
	_cleanup_(manager_freep) Manager *manager = NULL;
	_cleanup_(bus_freep) Bus *bus = NULL;
	sigset_t blocked;
	int r;

	/* Children are told of by sd-event, the rest by the loop; a closed pipe is an error code. */
	(void)sigemptyset(&blocked);
	(void)sigaddset(&blocked, SIGCHLD);
	(void)sigaddset(&blocked, SIGTERM);
	(void)sigaddset(&blocked, SIGINT);
	(void)sigprocmask(SIG_BLOCK, &blocked, NULL);
	(void)signal(SIGPIPE, SIG_IGN);

	r = sd_event_default(&event);
	if (r >= 0)
		r = manager_new(event, config, &manager);
	if (r >= 0)
		r = sd_event_add_signal(event, NULL, SIGTERM, on_stop_signal, manager);
	if (r >= 0)
		r = sd_event_add_signal(event, NULL, SIGINT, on_stop_signal, manager);
	if (r >= 0)
		r = bus_new(manager, &bus);
	if (r >= 0)
		r = manager_start(manager);
	if (r >= 0)
		r = manager_settle(manager, SETTLE_TIMEOUT);
	if (r >= 0)
		r = bus_publish(bus);
	if (r >= 0)
		r = sd_event_set_watchdog(event, true);
	if (r < 0)
		return r;
	(void)sd_notify(0, "READY=1");
	return sd_event_loop(event);
}

int main(int argc, char **argv)
{
	_cleanup_config_ Config config = {0};
	_cleanup_free_ char *message = NULL;
	Arguments arguments = {0};
	int r;

	r = parse_arguments(argc, argv, &arguments);
	if (r == 0)
		return EXIT_SUCCESS;
	if (r < 0) {
		fputs(usage, stderr);
		return 2;
	}
	log_setup("usbcryptd", arguments.debug ? LOG_LEVEL_DEBUG : LOG_LEVEL_INFO);
	r = secret_init();
	if (r < 0) {
		log_error("Cannot begin: %s", strerrordesc_np(-r));
		return EXIT_FAILURE;
	}
	r = config_load(arguments.config ? arguments.config : CONFIG_PATH_DEFAULT, arguments.config != NULL,
		&config, &message);
	if (r < 0) {
		log_error("%s", message ? message : "There is not enough memory");
		return EXIT_FAILURE;
	}
	r = run(&config);
	if (r < 0)
		log_error("Ended by an error: %s", strerrordesc_np(-r));
	return r < 0 ? EXIT_FAILURE : r;
}
