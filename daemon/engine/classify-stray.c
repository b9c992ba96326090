/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "engine/classify-case.h"

#include "util/memory.h"

#include <errno.h>

/* Whether this holds of another file that is not trusted. */
static bool another_fits(const Case *c,
	bool (*fits)(const Case *c, const JournalEntry *other, const char *path), const char *path)
{
	for (size_t i = 0; i < c->n; i++)
		if (!c->all[i].trusted && c->all[i].entry != c->finding->entry &&
			fits(c, c->all[i].entry, path))
			return true;
	return false;
}

static bool is_at(const Case *c _unused_, const JournalEntry *other, const char *path)
{
	return strcmp(other->path, path) == 0;
}

static bool is_beside(const Case *c, const char *path)
{
	const char *own = c->finding->entry->path;
	size_t folder = (size_t)(name_of_path(own) - own);

	return (size_t)(name_of_path(path) - path) == folder && strncmp(own, path, folder) == 0;
}

/* It lies in the same folder, and was to have this size and time. */
static bool is_as_recorded(const Case *c, const JournalEntry *other, const char *path _unused_)
{
	return is_beside(c, other->path) && form_is_as_recorded(&c->new, other->new_size, &other->new_mtime);
}

static bool is_claimed(const Case *c, const char *stray)
{
	for (size_t i = 0; i < c->n; i++) {
		const Finding *other = &c->all[i];

		if (other != c->finding && other->replacement && is_beside(c, other->entry->path) &&
			(strcmp(other->replacement->entry.new_name, stray) == 0 ||
				strcmp(other->source_alias, stray) == 0))
			return true;
	}
	return false;
}

/* The same of an encrypted one: by its head, or by the lack of one. A head of another file that is not
 * trusted either was left in the cluster by an earlier attempt: its source is there. */
static bool stray_is_new_cipher(Case *c, const char *stray)
{
	_cleanup_free_ char *path = NULL;
	int r = head_path(c, stray, (uint64_t)c->new.st.st_size, &path);

	if (r < 0 || !path)
		return r == -EBADMSG;
	return is_at(c, c->finding->entry, path) || (c->finding->leftover && another_fits(c, is_at, path));
}

/* Whether a stray is what a torn creation, or a torn deletion, left of a new file that is not trusted. */
static bool stray_is_new(Case *c, const char *stray)
{
	const JournalEntry *entry = c->finding->entry;

	/* A name that is durable is torn by a deletion alone: the run had left the file out, as it may until
	 * its source is scrubbed. */
	if (c->finding->trusted) {
		if (!c->source.present || c->run->context.scrub)
			return false;
		if (c->run->context.encrypting)
			c->abandoned = head_is_of_this(c, stray, (uint64_t)c->new.st.st_size) == 1;
		else
			c->abandoned = plain_is_as_written(c) > 0;
		return c->abandoned;
	}
	if (c->run->context.encrypting)
		return stray_is_new_cipher(c, stray);
	/* Nothing is read that need not be: its chain may be torn, and another's. */
	if (c->new.st.st_size == 0 || is_as_recorded(c, entry, NULL) ||
		(c->run->context.unordered && !(c->new.st.st_mode & 0222) &&
			(uint64_t)c->new.st.st_size <= entry->new_size))
		return true;
	if (c->finding->leftover || another_fits(c, is_as_recorded, NULL))
		return false;
	/* Torn in its data too, nothing of it can be told from what lay there before. */
	return (uint64_t)c->new.st.st_size == entry->new_size || (c->source.present && new_is_ours(c));
}

/* Whether a stray is what a torn deletion left of the source, its new file being whole and trusted. */
static bool stray_is_source(Case *c, const char *stray)
{
	const JournalEntry *entry = c->finding->entry;

	if (!c->finding->trusted || !c->new.present)
		return false;
	if (!c->run->context.encrypting)
		return head_is_of_this(c, stray, (uint64_t)c->source.st.st_size) != 0;
	if ((uint64_t)c->source.st.st_size < entry->size ||
		(uint64_t)c->source.st.st_size - entry->size > c->run->context.cluster)
		return false;
	/* Where it cannot be read its clusters were given back already: it is named, and waits for a repair.
	 */
	return compare_forms(c, &c->new) != -ESTALE;
}

/* Looks for a form under an alias that a torn long name left. Decides whose it is by `is_it`. */
static int find_stray(Case *c, Form *form, const char *name, bool (*is_it)(Case *c, const char *stray),
	const char **ret_stray)
{
	const Vfs *vfs = c->run->volume->vfs;
	const char *stray;
	size_t position = 0;
	int r;

	*ret_stray = NULL;
	r = strays_load(c->strays, vfs, c->directory);
	while (r >= 0 && (stray = strays_next(c->strays, name, &position))) {
		if (is_claimed(c, stray))
			continue;
		form_close(vfs, form);
		r = form_open(vfs, c->directory, stray, form);
		if (r < 0 || !form->present || !is_it(c, stray))
			continue;
		*ret_stray = stray;
		return 0;
	}
	form_close(vfs, form);
	*form = (Form){.fd = -1};
	return r;
}

int case_open_forms(Case *c)
{
	Finding *finding = c->finding;
	Replacement *replacement = finding->replacement;
	const Vfs *vfs = c->run->volume->vfs;
	const char *stray;
	int r;

	r = form_open(vfs, c->directory, replacement->name, &c->source);
	if (r >= 0 && !finding->leftover)
		r = form_open(vfs, c->directory, replacement->entry.new_name, &c->new);
	if (r < 0)
		return r;
	if (!c->new.present) {
		form_close(vfs, &c->new);
		r = find_stray(c, &c->new, replacement->entry.new_name, stray_is_new, &stray);
		if (r < 0)
			return r;
		if (stray) {
			char *alias = strdup(stray);

			if (!alias)
				return -ENOMEM;
			free(replacement->entry.new_name);
			replacement->entry.new_name = alias;
		}
	}
	if (!c->source.present) {
		form_close(vfs, &c->source);
		r = find_stray(c, &c->source, replacement->name, stray_is_source, &stray);
		if (r < 0)
			return r;
		if (stray) {
			strcpy(finding->source_alias, stray);
			replacement->name = finding->source_alias;
		}
	}
	return 0;
}
