/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "bus/bus.h"

/* Puts a drive on the bus, takes it off, and announces what has changed of it. */
int drive_bus_add(Bus *bus, Drive *drive);
void drive_bus_remove(Drive *drive);
void drive_bus_changed(Drive *drive, unsigned properties);

/* Its object path; NULL when it is not on the bus. */
const char *drive_bus_path(const Drive *drive);

/* The methods' handlers (drive-methods.c); userdata is the DriveFace. */
typedef struct Announcer Announcer;

typedef struct DriveFace {
	Bus *bus;
	Drive *drive;
	char *path;
	sd_bus_slot *slot;
	Announcer *announcer;
} DriveFace;

int drive_method_enroll(sd_bus_message *message, void *userdata, sd_bus_error *error);
int drive_method_unenroll(sd_bus_message *message, void *userdata, sd_bus_error *error);
int drive_method_unlock(sd_bus_message *message, void *userdata, sd_bus_error *error);
int drive_method_lock(sd_bus_message *message, void *userdata, sd_bus_error *error);
int drive_method_survey(sd_bus_message *message, void *userdata, sd_bus_error *error);
int drive_method_encrypt(sd_bus_message *message, void *userdata, sd_bus_error *error);
int drive_method_decrypt(sd_bus_message *message, void *userdata, sd_bus_error *error);
int drive_method_verify(sd_bus_message *message, void *userdata, sd_bus_error *error);
int drive_method_recover(sd_bus_message *message, void *userdata, sd_bus_error *error);
