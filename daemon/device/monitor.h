/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Hears of drives from udev: block devices that carry our tag *now* (a device that lost it, or that was
 * detached, still has it among its old tags). The rules that set it are udev/70-usbcrypt.rules.
 */

#include "device/device.h"

#include <systemd/sd-event.h>

typedef struct DeviceMonitor DeviceMonitor;

typedef struct DeviceMonitorHandlers {
	void *userdata;
	/* A drive is there, new or changed, or nothing about it has changed at all. Takes the device. */
	void (*present)(void *userdata, Device *device);
	/* It is gone, or no drive of ours any more. Also called for names that were never present. */
	void (*gone)(void *userdata, const char *name);
	/* Events were lost; everything that is there is reported as present afterwards. What is not
	 * between begin and end is gone. */
	void (*resync_begin)(void *userdata);
	void (*resync_end)(void *userdata);
} DeviceMonitorHandlers;

/* Starts to listen; nothing is reported before device_monitor_start(). */
int device_monitor_new(sd_event *event, const DeviceMonitorHandlers *handlers, DeviceMonitor **ret_monitor);

/* Reports what is there already (between resync_begin and resync_end). */
int device_monitor_start(DeviceMonitor *monitor);

DeviceMonitor *device_monitor_free(DeviceMonitor *monitor);
DEFINE_CLEANUP(DeviceMonitor *, device_monitor_free)
