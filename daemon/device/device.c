/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "device/device.h"

#include "util/memory.h"

#include <errno.h>
#include <stdbool.h>

Device *device_free(Device *device)
{
	if (!device)
		return NULL;
	free(device->name);
	free(device->node);
	free(device->filesystem);
	free(device->label);
	free(device->uuid);
	free(device->seat);
	return mfree(device);
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

char *device_decode(const char *encoded)
{
	char *text = malloc(strlen(encoded) + 1), *out = text;

	if (!text)
		return NULL;
	while (*encoded) {
		int high = -1, low = -1;

		if (encoded[0] == '\\' && encoded[1] == 'x' && (high = hex_digit(encoded[2])) >= 0)
			low = hex_digit(encoded[3]);
		/* A NUL cannot be part of a C string: it stays as it was written. */
		if (low >= 0 && (high | low) != 0) {
			*out++ = (char)(high << 4 | low);
			encoded += 4;
		} else {
			*out++ = *encoded++;
		}
	}
	*out = 0;
	return text;
}

static const char *property(struct udev_device *device, const char *name, const char *otherwise)
{
	const char *value = udev_device_get_property_value(device, name);

	return value ? value : otherwise;
}

static uint64_t disk_sequence(struct udev_device *device)
{
	const char *text = udev_device_get_property_value(device, "DISKSEQ");
	struct udev_device *disk;

	if (!text)
		text = udev_device_get_sysattr_value(device, "diskseq");
	if (!text) {
		/* Borrowed from `device`. */
		disk = udev_device_get_parent_with_subsystem_devtype(device, "block", "disk");
		text = disk ? udev_device_get_sysattr_value(disk, "diskseq") : NULL;
	}
	return text ? strtoull(text, NULL, 10) : 0;
}

int device_new(struct udev_device *udev_device, Device **ret_device)
{
	_cleanup_device_ Device *device = new0(Device, 1);
	const char *name = udev_device_get_sysname(udev_device);
	const char *node = udev_device_get_devnode(udev_device);
	const char *filesystem = udev_device_get_property_value(udev_device, "ID_FS_TYPE");
	const char *label = udev_device_get_property_value(udev_device, "ID_FS_LABEL_ENC");

	if (!device)
		return -ENOMEM;
	if (!name || !node || !filesystem)
		return -ENODATA;
	device->name = strdup(name);
	device->node = strdup(node);
	device->number = udev_device_get_devnum(udev_device);
	device->disk_sequence = disk_sequence(udev_device);
	device->filesystem = strdup(filesystem);
	device->label = label ? device_decode(label) : strdup(property(udev_device, "ID_FS_LABEL", ""));
	device->uuid = strdup(property(udev_device, "ID_FS_UUID", ""));
	device->seat = strdup(property(udev_device, "ID_SEAT", "seat0"));
	if (!device->name || !device->node || !device->filesystem || !device->label || !device->uuid ||
		!device->seat)
		return -ENOMEM;
	*ret_device = TAKE_PTR(device);
	return 0;
}
