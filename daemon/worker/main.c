/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* usbcrypt-worker: does one job on one drive for usbcryptd, and ends. Not for anybody to start by hand. */

#include "util/log.h"
#include "util/secret.h"
#include "worker/environment.h"
#include "worker/worker.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__clang__)
/* Builds with sanitizers, which nobody installs, read no options from an environment that is emptied. Their
 * leak checker stops its own process by ptrace, and their symbolizer is another program: both are out of
 * reach. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
	return "detect_leaks=0:symbolize=0:abort_on_error=1:allocator_may_return_null=1";
}
#endif

int main(void)
{
	_cleanup_control_ Control *control = NULL;
	int r;

	log_setup("usbcrypt-worker", LOG_LEVEL_INFO);
	r = secret_init(); /* undumpable from here on */
	if (r >= 0)
		r = environment_check();
	if (r >= 0)
		r = environment_prepare();
	if (r >= 0)
		r = control_new(JOB_FD_CONTROL, &control);
	if (r < 0) {
		log_error(
			"Cannot start: %s. This program is started by usbcryptd alone.", strerrordesc_np(-r));
		return EXIT_FAILURE;
	}

	r = worker_run(control);
	return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
