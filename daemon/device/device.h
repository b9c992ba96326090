/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What udev says of a block device. Its texts come from the drive: hostile, but free of NUL. */

#include "util/macro.h"

#include <libudev.h>
#include <sys/types.h>

typedef struct Device {
	char *name; /* the kernel's: "sdb1" */
	char *node; /* "/dev/sdb1" */
	dev_t number;
	uint64_t disk_sequence; /* of the whole disk: tells this disk from the next one at the same node */
	char *filesystem;       /* ID_FS_TYPE */
	char *label;            /* decoded, not escaped; "" when there is none */
	char *uuid;             /* ID_FS_UUID; "" when there is none */
	char *seat;             /* "seat0" */
} Device;

/* -ENODATA: it holds no filesystem, or is half gone. The udev device is only borrowed. */
int device_new(struct udev_device *udev_device, Device **ret_device);

/* Accepts NULL, returns NULL. */
Device *device_free(Device *device);
DEFINE_CLEANUP(Device *, device_free)
#define _cleanup_device_ _cleanup_(device_freep)

/* udev's ID_FS_*_ENC: \xNN becomes the byte again. For the caller to free; NULL when out of memory. */
char *device_decode(const char *encoded);
