/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "drive.h"
#include "text.h"
#include "util/memory.h"
#include "verb.h"

#include <errno.h>

static int add_row(TextTable *table, const Drive *drive)
{
	_cleanup_free_ char *title = drive_title(drive), *device = text_safe(drive->device);
	_cleanup_free_ char *filesystem = text_safe(drive->filesystem), *mount = NULL;
	char state[128], size[TEXT_SHORT_SIZE];
	int r;

	mount = text_path(drive_mount_point(drive) ? drive_mount_point(drive) : "-", 0);
	if (!title || !device || !filesystem || !mount)
		return -ENOMEM;
	r = text_table_add(table, title);
	if (r >= 0)
		r = text_table_add(table, device);
	if (r >= 0)
		r = text_table_add(table, *filesystem ? filesystem : "-");
	if (r >= 0)
		r = text_table_add(table, drive->size > 0 ? text_bytes(drive->size, size) : "-");
	if (r >= 0)
		r = text_table_add(table, drive_state(drive, state, sizeof(state)));
	if (r >= 0)
		r = text_table_add(table, mount);
	return r;
}

static int show(const DriveList *list)
{
	static const char *const heads[] = {"DRIVE", "DEVICE", "FILESYSTEM", "SIZE", "STATE", "MOUNTED AT"};
	_cleanup_(text_table_clear) TextTable table = {.columns = ELEMENTSOF(heads)};
	int r = 0;

	for (size_t i = 0; r >= 0 && i < ELEMENTSOF(heads); i++)
		r = text_table_add(&table, heads[i]);
	for (size_t i = 0; r >= 0 && i < list->n; i++)
		r = add_row(&table, list->drives[i]);
	if (r >= 0)
		text_table_print(&table);
	return r;
}

ExitCode verb_list(Client *client)
{
	_cleanup_(drive_list_clear) DriveList list = {0};
	ExitCode code;

	code = drive_list_get(client, &list);
	if (code != CODE_DONE)
		return code;
	if (client->document) {
		cJSON *drives = cJSON_AddArrayToObject(client->document, "drives");

		for (size_t i = 0; i < list.n; i++)
			cJSON_AddItemToArray(drives, drive_to_json(list.drives[i]));
		return CODE_DONE;
	}
	if (client_quiet(client))
		return CODE_DONE;
	if (list.n == 0)
		client_say(client, "No USB drive is plugged in.");
	else if (show(&list) < 0)
		return client_fail_memory(client);
	return CODE_DONE;
}
