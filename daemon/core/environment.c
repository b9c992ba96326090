/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/environment.h"

#include "util/io.h"
#include "util/log.h"
#include "util/memory.h"

#include <fcntl.h>
#include <unistd.h>

static bool is_traced(void)
{
	_cleanup_free_ char *status = NULL;
	char *line;

	/* What cannot be found out counts as the worse case. */
	if (read_host_file(AT_FDCWD, "/proc/self/status", 65536, &status, NULL) < 0)
		return true;
	line = strstr(status, "\nTracerPid:");
	return !line || strtol(line + strlen("\nTracerPid:"), NULL, 10) != 0;
}

static bool is_preloaded(void)
{
	static const char *const variables[] = {"LD_PRELOAD", "LD_AUDIT", "LD_LIBRARY_PATH"};
	_cleanup_free_ char *preload = NULL;

	for (size_t i = 0; i < ELEMENTSOF(variables); i++) {
		const char *value = getenv(variables[i]);

		if (value && *value)
			return true;
	}
	if (read_host_file(AT_FDCWD, "/etc/ld.so.preload", 65536, &preload, NULL) < 0)
		return false;
	return preload[strspn(preload, " \t\n:")] != 0;
}

static bool is_virtual(void)
{
	_cleanup_free_ char *cpu = NULL;

	if (access("/sys/hypervisor/type", F_OK) == 0)
		return true;
	if (read_host_file(AT_FDCWD, "/proc/cpuinfo", (size_t)4 << 20, &cpu, NULL) < 0)
		return false;
	return strstr(cpu, " hypervisor") != NULL;
}

void environment_look(Environment *ret)
{
	*ret = (Environment){
		.traced = is_traced(),
		.preload = is_preloaded(),
		.virtual_machine = is_virtual(),
	};
}

const char *environment_refusal(const Environment *environment, const Config *config)
{
	const struct {
		bool found;
		Policy policy;
		const char *text;
	} policies[] = {
		{environment->traced, config->traced,
			"usbcryptd is being traced, which PolicyTraced= does not allow."},
		{environment->preload, config->preload,
			"Libraries are preloaded into usbcryptd, which PolicyPreload= does not allow."},
		{environment->virtual_machine, config->virtual_machine,
			"This is a virtual machine, which PolicyVirtual= does not allow."},
	};

	for (size_t i = 0; i < ELEMENTSOF(policies); i++) {
		if (!policies[i].found || policies[i].policy == POLICY_ALLOW)
			continue;
		if (policies[i].policy == POLICY_REFUSE)
			return policies[i].text;
		log_warning("Allowed all the same: %s", policies[i].text);
	}
	return NULL;
}
