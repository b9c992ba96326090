/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "device/monitor.h"

#include "util/log.h"
#include "util/memory.h"

#include <errno.h>
#include <stdbool.h>
#include <sys/epoll.h>

#define DEVICE_TAG          "usbcrypt"
#define RECEIVE_BUFFER_SIZE (8 * 1024 * 1024)

struct DeviceMonitor {
	DeviceMonitorHandlers handlers;
	struct udev *udev;
	struct udev_monitor *monitor;
	sd_event_source *source;
};

DeviceMonitor *device_monitor_free(DeviceMonitor *monitor)
{
	if (!monitor)
		return NULL;
	sd_event_source_disable_unref(monitor->source);
	if (monitor->monitor)
		udev_monitor_unref(monitor->monitor);
	if (monitor->udev)
		udev_unref(monitor->udev);
	return mfree(monitor);
}

static void monitor_report(DeviceMonitor *monitor, struct udev_device *udev_device)
{
	const char *action = udev_device_get_action(udev_device);
	const char *name = udev_device_get_sysname(udev_device);
	Device *device = NULL;
	int r;

	if (!name)
		return;
	if ((action && strcmp(action, "remove") == 0) ||
		udev_device_has_current_tag(udev_device, DEVICE_TAG) <= 0) {
		monitor->handlers.gone(monitor->handlers.userdata, name);
		return;
	}
	r = device_new(udev_device, &device);
	if (r == -ENODATA) {
		monitor->handlers.gone(monitor->handlers.userdata, name);
		return;
	}
	if (r < 0) {
		log_error("A device was left aside: out of memory");
		return;
	}
	monitor->handlers.present(monitor->handlers.userdata, device);
}

int device_monitor_start(DeviceMonitor *monitor)
{
	struct udev_enumerate *enumerate = udev_enumerate_new(monitor->udev);
	struct udev_list_entry *entry;
	int r;

	if (!enumerate)
		return -ENOMEM;
	r = udev_enumerate_add_match_subsystem(enumerate, "block");
	if (r >= 0)
		r = udev_enumerate_add_match_tag(enumerate, DEVICE_TAG);
	if (r >= 0)
		r = udev_enumerate_add_match_is_initialized(enumerate);
	if (r >= 0)
		r = udev_enumerate_scan_devices(enumerate);
	if (r >= 0) {
		monitor->handlers.resync_begin(monitor->handlers.userdata);
		udev_list_entry_foreach (entry, udev_enumerate_get_list_entry(enumerate)) {
			struct udev_device *device =
				udev_device_new_from_syspath(monitor->udev, udev_list_entry_get_name(entry));

			if (!device)
				continue; /* gone in between */
			monitor_report(monitor, device);
			udev_device_unref(device);
		}
		monitor->handlers.resync_end(monitor->handlers.userdata);
	}
	udev_enumerate_unref(enumerate);
	return r < 0 ? r : 0;
}

static int on_uevent(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	DeviceMonitor *monitor = userdata;
	struct udev_device *device;
	int r;

	(void)source;
	(void)fd;
	(void)revents;
	errno = 0;
	device = udev_monitor_receive_device(monitor->monitor);
	if (device) {
		monitor_report(monitor, device);
		udev_device_unref(device);
		return 0;
	}
	if (errno == ENOBUFS) {
		log_warning("Events of udev were lost; looking at all devices again");
		r = device_monitor_start(monitor);
		if (r < 0)
			log_error("Cannot list the devices: %s", strerror(-r));
	}
	return 0;
}

int device_monitor_new(sd_event *event, const DeviceMonitorHandlers *handlers, DeviceMonitor **ret_monitor)
{
	_cleanup_(device_monitor_freep) DeviceMonitor *monitor = new0(DeviceMonitor, 1);
	int r;

	if (!monitor)
		return -ENOMEM;
	monitor->handlers = *handlers;
	monitor->udev = udev_new();
	if (!monitor->udev)
		return -ENOMEM;
	monitor->monitor = udev_monitor_new_from_netlink(monitor->udev, "udev");
	if (!monitor->monitor)
		return errno > 0 ? -errno : -ENOMEM;
	r = udev_monitor_filter_add_match_subsystem_devtype(monitor->monitor, "block", NULL);
	if (r >= 0)
		r = udev_monitor_filter_add_match_tag(monitor->monitor, DEVICE_TAG);
	if (r >= 0)
		(void)udev_monitor_set_receive_buffer_size(monitor->monitor, RECEIVE_BUFFER_SIZE);
	if (r >= 0)
		r = udev_monitor_enable_receiving(monitor->monitor);
	if (r >= 0)
		r = sd_event_add_io(event, &monitor->source, udev_monitor_get_fd(monitor->monitor), EPOLLIN,
			on_uevent, monitor);
	/* Before the bus: who asks about a drive after its event was sent sees the drive. */
	if (r >= 0)
		r = sd_event_source_set_priority(monitor->source, SD_EVENT_PRIORITY_IMPORTANT);
	if (r < 0)
		return r;
	(void)sd_event_source_set_description(monitor->source, "udev");
	*ret_monitor = TAKE_PTR(monitor);
	return 0;
}
