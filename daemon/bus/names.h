/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The bus's names, shared with clients. Documented member by member in dbus/org.usbcrypt.UsbCrypt1.xml. */

#define BUS_NAME                  "org.usbcrypt.UsbCrypt1"
#define BUS_PATH                  "/org/usbcrypt/UsbCrypt1"
#define BUS_PATH_DRIVES           BUS_PATH "/drives"
#define BUS_PATH_TRANSACTIONS     BUS_PATH "/transactions"
#define BUS_INTERFACE_MANAGER     BUS_NAME ".Manager"
#define BUS_INTERFACE_DRIVE       BUS_NAME ".Drive"
#define BUS_INTERFACE_TRANSACTION BUS_NAME ".Transaction"
#define BUS_ERROR_PREFIX          BUS_NAME ".Error."

#define POLKIT_ACTION_PREFIX "org.usbcrypt.usbcrypt1."
