/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "target.h"

#include "place.h"
#include "text.h"
#include "util/escape.h"
#include "util/memory.h"

#include <errno.h>
#include <stdio.h>
#include <strings.h>
#include <sys/stat.h>

#define PATH_ON_DRIVE_MAX 4096 /* bytes */

void target_clear(Target *target)
{
	drive_free(target->drive);
	for (size_t i = 0; i < target->n_paths; i++)
		free(target->paths[i]);
	free(target->paths);
	*target = (Target){0};
}

static char *quote(const char *word)
{
	return text_path(word, 200);
}

static ExitCode fail_word(const Client *client, ExitCode code, const char *word, const char *what)
{
	_cleanup_free_ char *quoted = quote(word);

	if (!quoted)
		return client_fail_memory(client);
	return client_fail(client, code, code == CODE_USAGE ? "Usage" : outcome_name(OUTCOME_NO_SUCH_DRIVE),
		"'%s' %s", quoted, what);
}

/* "STICK (/dev/sdb1), OTHER (/dev/sdc1)" */
static ExitCode fail_ambiguous(const Client *client, const DriveList *list, const char *what)
{
	_cleanup_free_ char *names = strdup("");

	for (size_t i = 0; names && i < list->n; i++) {
		_cleanup_free_ char *title = drive_title(list->drives[i]);
		_cleanup_free_ char *device = text_safe(list->drives[i]->device), *before = names;

		names = NULL;
		if (!title || !device ||
			asprintf(&names, "%s%s%s (%s)", before, i > 0 ? ", " : "", title, device) < 0)
			names = NULL;
	}
	if (!names)
		return client_fail_memory(client);
	return client_fail(
		client, CODE_USAGE, "Usage", "%s: %s. Name one of them by its device.", what, names);
}

static bool has_name(const Drive *drive, const char *word)
{
	_cleanup_free_ char *escaped = NULL;

	if (!*word)
		return false;
	if (strcasecmp(drive->id, word) == 0 || strcasecmp(drive->uuid, word) == 0 ||
		strcmp(drive->label, word) == 0)
		return true;
	escaped = escape_string(word); /* labels come escaped */
	return escaped && strcmp(drive->label, escaped) == 0;
}

/* Takes the drive at `index` out of the list. */
static Drive *take(DriveList *list, size_t index)
{
	Drive *drive = list->drives[index];

	list->drives[index] = list->drives[--list->n];
	return drive;
}

static ExitCode find_by_device(Client *client, DriveList *list, const char *word, dev_t device, Drive **ret)
{
	_cleanup_message_ sd_bus_message *call = NULL, *reply = NULL;
	const char *object;
	ExitCode code;
	int r;

	code = bus_new_call(client, BUS_PATH, BUS_INTERFACE_MANAGER, "FindDrives", &call);
	if (code != CODE_DONE)
		return code;
	r = sd_bus_message_open_container(call, 'a', "{sv}");
	if (r >= 0)
		r = bus_append_option(call, "device", "t", (uint64_t)device);
	if (r >= 0)
		r = sd_bus_message_close_container(call);
	if (r < 0)
		return bus_fail_message(client, r);
	code = bus_call(client, call, &reply);
	if (code != CODE_DONE)
		return code;
	r = sd_bus_message_enter_container(reply, 'a', "o");
	while (r >= 0 && (r = sd_bus_message_read_basic(reply, 'o', &object)) > 0)
		for (size_t i = 0; i < list->n; i++)
			if (strcmp(list->drives[i]->object, object) == 0) {
				*ret = take(list, i);
				return CODE_DONE;
			}
	if (r < 0)
		return bus_fail_message(client, r);
	return fail_word(client, CODE_NO_SUCH_DRIVE, word,
		"is not on a USB drive that usbcrypt serves. 'usbctl list' shows those that are plugged in.");
}

static ExitCode add_path(Client *client, Target *target, char *path, const char *word)
{
	_cleanup_free_ char *taken = path;
	int r;

	if (strlen(path) > PATH_ON_DRIVE_MAX)
		return fail_word(client, CODE_USAGE, word, "is too long for a path on a drive.");
	r = array_grow(&target->paths, &target->paths_capacity, target->n_paths + 1, sizeof(char *));
	if (r < 0)
		return client_fail_memory(client);
	target->paths[target->n_paths++] = TAKE_PTR(taken);
	return CODE_DONE;
}

static ExitCode add_place(Client *client, Target *target, const Place *place, const char *word)
{
	char *path;
	int r;

	r = place_on_drive(place, drive_mount_point(target->drive), &path);
	if (r == -EXDEV)
		return fail_word(
			client, CODE_USAGE, word, "is outside the part of the drive that is served.");
	if (r < 0)
		return client_fail_memory(client);
	return add_path(client, target, path, word);
}

static ExitCode fail_place(const Client *client, int error, const char *word, ExitCode code)
{
	_cleanup_free_ char *what = NULL;

	if (error == -ENOMEM)
		return client_fail_memory(client);
	if (error == -ENODEV)
		return fail_word(client, code, word, "is not on a drive.");
	if (asprintf(&what, "cannot be found: %s.", strerror(-error)) < 0) {
		what = NULL;
		return client_fail_memory(client);
	}
	return fail_word(client, code, word, what);
}

/* A PATH: an ordinary one of the host, or one relative to the drive's root. */
static ExitCode resolve_path(Client *client, Target *target, const char *word, dev_t device, bool ordinary)
{
	_cleanup_place_ Place place = {0};
	char *path;
	int r;

	if (!*word)
		return client_fail(client, CODE_USAGE, "Usage", "A PATH is empty.");
	if (!ordinary && word[0] != '/') {
		r = path_clean(word, &path);
		if (r == -EXDEV)
			return fail_word(client, CODE_USAGE, word, "leads out of the drive.");
		if (r < 0)
			return client_fail_memory(client);
		return add_path(client, target, path, word);
	}
	r = place_resolve(word, &place);
	if (r < 0)
		return fail_place(client, r, word, CODE_USAGE);
	if (place.node)
		return fail_word(client, CODE_USAGE, word, "is a device, not a path on the drive.");
	if (device == 0) { /* chosen by name: which device that is shows where it is mounted */
		_cleanup_place_ Place root = {0};

		if (drive_mount_point(target->drive) &&
			place_resolve(drive_mount_point(target->drive), &root) >= 0)
			device = root.device;
	}
	if (place.device != device)
		return fail_word(client, CODE_USAGE, word, "is not on that drive.");
	return add_place(client, target, &place, word);
}

/* Whether a word can only be a path. */
static bool is_path(const char *word)
{
	return strchr(word, '/') || strcmp(word, ".") == 0 || strcmp(word, "..") == 0;
}

static ExitCode find_by_name(Client *client, DriveList *list, const char *word, Drive **ret)
{
	DriveList found = {0};
	size_t index = 0;
	ExitCode code;

	for (size_t i = 0; i < list->n; i++) {
		if (!has_name(list->drives[i], word))
			continue;
		index = i;
		if (drive_list_add(&found, list->drives[i]) < 0) {
			free(found.drives);
			return client_fail_memory(client);
		}
	}
	if (found.n > 1) {
		code = fail_ambiguous(client, &found, "Several drives have that name");
	} else {
		*ret = found.n == 1 ? take(list, index) : NULL;
		code = CODE_DONE;
	}
	free(found.drives);
	return code;
}

static ExitCode find_first(Client *client, DriveList *list, const char *word, Target *target,
	dev_t *ret_device, bool *ret_ordinary)
{
	_cleanup_place_ Place place = {0};
	struct stat st;
	ExitCode code;
	int r;

	*ret_ordinary = false;
	*ret_device = 0;
	if (!*word)
		return client_fail(client, CODE_USAGE, "Usage", "DRIVE is empty.");
	if (!is_path(word)) {
		code = find_by_name(client, list, word, &target->drive);
		if (code != CODE_DONE || target->drive)
			return code;
		if (lstat(word, &st) < 0)
			return fail_word(client, CODE_NO_SUCH_DRIVE, word,
				"is no drive's label, UUID or id, and no path. 'usbctl list' shows the "
				"drives; to name "
				"a file on one, name the drive first.");
	}
	r = place_resolve(word, &place);
	if (r < 0)
		return fail_place(client, r, word, CODE_NO_SUCH_DRIVE);
	code = find_by_device(client, list, word, place.device, &target->drive);
	if (code != CODE_DONE)
		return code;
	*ret_device = place.device;
	if (place.node || !*place.path)
		return CODE_DONE;
	*ret_ordinary = true;
	return add_place(client, target, &place, word);
}

/* A path that is the drive's root stands for all of it. */
static void simplify(Target *target)
{
	bool whole = false;

	for (size_t i = 0; i < target->n_paths; i++)
		whole = whole || !*target->paths[i];
	for (size_t i = 0; whole && i < target->n_paths; i++)
		free(target->paths[i]);
	if (whole)
		target->n_paths = 0;
}

ExitCode target_find(Client *client, char *const *words, size_t n_words, Target *ret)
{
	_cleanup_(drive_list_clear) DriveList list = {0};
	_cleanup_target_ Target target = {0};
	bool ordinary;
	dev_t device;
	ExitCode code;

	code = drive_list_get(client, &list);
	if (code != CODE_DONE)
		return code;
	if (n_words == 0) {
		if (list.n == 0)
			return client_fail(client, CODE_NO_SUCH_DRIVE, outcome_name(OUTCOME_NO_SUCH_DRIVE),
				"No USB drive is plugged in.");
		if (list.n > 1)
			return fail_ambiguous(client, &list, "Several drives are plugged in");
		target.drive = take(&list, 0);
	} else {
		code = find_first(client, &list, words[0], &target, &device, &ordinary);
		if (code != CODE_DONE)
			return code;
	}
	for (size_t i = 1; i < n_words; i++) {
		code = resolve_path(client, &target, words[i], device, ordinary);
		if (code != CODE_DONE)
			return code;
	}
	simplify(&target);
	*ret = target;
	target = (Target){0};
	return CODE_DONE;
}

ExitCode target_find_drive(Client *client, char *const *words, size_t n_words, Drive **ret)
{
	_cleanup_target_ Target target = {0};
	ExitCode code;

	code = target_find(client, words, n_words, &target);
	if (code == CODE_DONE)
		*ret = TAKE_PTR(target.drive);
	return code;
}

int target_append_paths(sd_bus_message *message, const Target *target)
{
	int r;

	r = sd_bus_message_open_container(message, 'a', "ay");
	for (size_t i = 0; r >= 0 && i < target->n_paths; i++)
		r = sd_bus_message_append_array(message, 'y', target->paths[i], strlen(target->paths[i]));
	return r < 0 ? r : sd_bus_message_close_container(message);
}
