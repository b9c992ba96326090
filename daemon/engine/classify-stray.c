/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "engine/classify-case.h"

#include "util/memory.h"

#include <errno.h>

#define CLOCKS_DIFFER (24 * 60 * 60) /* seconds */

static bool is_beside(const Case *c, const char *path)
{
	const char *own = c->finding->entry->path;
	size_t folder = (size_t)(name_of_path(own) - own);

	return (size_t)(name_of_path(path) - path) == folder && strncmp(own, path, folder) == 0;
}

/* Whether another listed file of the same folder was to have the size and time of what was found. */
static bool is_as_anothers(const Case *c, bool trusted)
{
	for (size_t i = 0; i < c->n; i++) {
		const Finding *other = &c->all[i];

		if (other->trusted == trusted && other->entry != c->finding->entry &&
			is_beside(c, other->entry->path) &&
			form_is_as_recorded(&c->new, other->entry->new_size, &other->entry->new_mtime))
			return true;
	}
	return false;
}

/* A head that names another file that is not trusted was left in the cluster by an earlier attempt: its
 * source is there. */
static bool is_redundant(const Case *c, const char *path)
{
	for (size_t i = 0; i < c->n; i++) {
		const Finding *other = &c->all[i];

		if (!other->trusted && (other->action == ACTION_NONE || other->action == ACTION_DROP_NEW) &&
			strcmp(other->entry->path, path) == 0)
			return true;
	}
	return false;
}

/* Claimed by another, or one of its names: those of 8.3 look like aliases. */
static bool is_anothers(const Case *c, const char *stray)
{
	for (size_t i = 0; i < c->n; i++) {
		const Finding *other = &c->all[i];

		if (other == c->finding || !is_beside(c, other->entry->path))
			continue;
		if (strcmp(other->entry->new_name, stray) == 0 ||
			strcmp(name_of_path(other->entry->path), stray) == 0 ||
			strcmp(other->source_alias, stray) == 0 ||
			(other->replacement && strcmp(other->replacement->entry.new_name, stray) == 0))
			return true;
	}
	return false;
}

static bool stray_is_new_cipher(Case *c, const char *stray)
{
	_cleanup_free_ char *path = NULL;
	int r = head_path(c, stray, (uint64_t)c->new.st.st_size, &path);

	if (r < 0 || !path)
		return r == -EBADMSG;
	return strcmp(path, c->finding->entry->path) == 0 || (c->finding->leftover && is_redundant(c, path));
}

/* Read-only, as what is not complete: made in this run, so that it is no older than the encrypted file, but
 * for clocks and time zones. */
static bool stray_is_marked(Case *c)
{
	const JournalEntry *entry = c->finding->entry;

	return c->run->context.unordered && !(c->new.st.st_mode & 0222) &&
	       (uint64_t)c->new.st.st_size <= entry->new_size &&
	       c->new.st.st_mtim.tv_sec >= entry->mtime.tv_sec - CLOCKS_DIFFER &&plain_is_writable(c);
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
	if (is_as_anothers(c, true))
		return false;
	if (c->new.st.st_size == 0 || form_is_as_recorded(&c->new, entry->new_size, &entry->new_mtime) ||
		stray_is_marked(c))
		return true;
	if (c->finding->leftover || is_as_anothers(c, false))
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
		if (is_anothers(c, stray))
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
