/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "engine/stray.h"

#include "util/memory.h"

#include <ctype.h>
#include <errno.h>

/* Characters of a name that its alias always keeps: after some clashes that is XXHHHH~N. */
#define STEM_SURE 2

void strays_clear(Strays *strays)
{
	directory_unref(strays->directory);
	free(strays->names);
	*strays = (Strays){0};
}

/* BASE~N.EXT, in capitals: what FAT makes of a name that is none of 8.3. */
static bool has_alias_form(const char *name)
{
	const char *tilde = strchr(name, '~'), *dot = strchr(name, '.');
	size_t n = strlen(name);

	if (n >= STRAY_NAME_MAX || !tilde || tilde == name || !isdigit((unsigned char)tilde[1]) ||
		tilde - name > 6)
		return false;
	if (dot && (dot < tilde || strchr(dot + 1, '.') || strlen(dot + 1) > 3))
		return false;
	for (const char *c = name; *c; c++)
		if (islower((unsigned char)*c))
			return false;
	return true;
}

int strays_load(Strays *strays, const Vfs *vfs, Directory *directory)
{
	void *stream;
	int r;

	if (strays->directory && strcmp(strays->directory->path, directory->path) == 0)
		return 0;
	strays_clear(strays);
	r = vfs->dir_open(vfs, directory->fd, &stream);
	if (r < 0)
		return r;
	for (;;) {
		char alias[VFS_SHORT_NAME_MAX];
		VfsEntry entry;

		r = vfs->dir_next(vfs, stream, &entry);
		if (r <= 0)
			break;
		if (!has_alias_form(entry.name))
			continue;
		/* One that has a long name as well is somebody's who likes such names. */
		r = vfs->short_name(vfs, directory->fd, entry.name, alias);
		if (r == -EOPNOTSUPP) {
			r = 0;
			break;
		}
		if (r < 0 && r != -ENOENT)
			break;
		if (r == 0 && *alias)
			continue;
		r = array_grow(&strays->names, &strays->allocated, strays->n + 1, sizeof(*strays->names));
		if (r < 0)
			break;
		strcpy(strays->names[strays->n++], entry.name);
	}
	vfs->dir_close(vfs, stream);
	if (r < 0)
		strays_clear(strays);
	else
		strays->directory = directory_ref(directory);
	return r;
}

/* Whether a character of an alias may stand for that of a name. */
static bool fits(char alias, char name)
{
	return isalnum((unsigned char)name) ? alias == toupper((unsigned char)name) : true;
}

static bool may_be_alias(const char *alias, const char *name)
{
	const char *alias_dot = strchr(alias, '.'), *dot = strrchr(name, '.');
	size_t n = 0;

	if (dot == name)
		dot = NULL;
	for (const char *c = name; *c && c != dot && n < STEM_SURE && alias[n] != '~'; c++) {
		if (*c == ' ' || *c == '.')
			continue;
		/* Other characters may have become one byte, or several. */
		if (!isalnum((unsigned char)*c) && *c != '_' && *c != '-')
			break;
		if (!fits(alias[n++], *c))
			return false;
	}
	n = 0;
	if (!dot || !dot[1])
		return !alias_dot;
	for (const char *c = dot + 1; *c && n < 3; c++) {
		if (!isalnum((unsigned char)*c))
			return true;
		if (!alias_dot || !fits(alias_dot[1 + n++], *c))
			return false;
	}
	return alias_dot && strlen(alias_dot + 1) == n;
}

/* A name of 8.3 in capitals has no long one that could be torn. */
static bool is_short_name(const char *name)
{
	const char *dot = strchr(name, '.');
	size_t stem = dot ? (size_t)(dot - name) : strlen(name);

	if (stem == 0 || stem > 8 || (dot && (strchr(dot + 1, '.') || strlen(dot + 1) > 3)))
		return false;
	for (const char *c = name; *c; c++)
		if (!isupper((unsigned char)*c) && !isdigit((unsigned char)*c) && !strchr(".~_-", *c))
			return false;
	return true;
}

const char *strays_next(const Strays *strays, const char *name, size_t *position)
{
	if (is_short_name(name))
		return NULL;
	while (*position < strays->n) {
		const char *stray = strays->names[(*position)++];

		if (may_be_alias(stray, name))
			return stray;
	}
	return NULL;
}
