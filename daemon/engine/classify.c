/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "engine/classify-case.h"

#include "util/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>

#define READ_FLAGS (O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOATIME)

static void decide(Case *c, Action action, Reason reason)
{
	c->finding->action = action;
	c->finding->reason = reason;
}

static int open_cipher(Case *c, const Form *cipher, Cipherfile **ret_file, Stream *ret_stream)
{
	const Volume *volume = c->run->volume;
	const HeadKeys keys = {volume->file_root, volume->drive_id, volume->epoch};
	_cleanup_attributes_ Attributes *attributes = NULL;
	Reason reason;
	int r;

	*ret_stream = (Stream){.vfs = volume->vfs, .in_fd = cipher->fd, .out_fd = -1, .userdata = c};
	r = stream_read_head(volume->vfs, cipher->fd, false, (uint64_t)cipher->st.st_size, &keys,
		c->workspace, ret_file, &attributes, &ret_stream->plain_size, &reason);
	c->writable = r >= 0 && !attributes_are_read_only(attributes);
	return r;
}

bool plain_is_writable(Case *c)
{
	_cleanup_cipherfile_ Cipherfile *file = NULL;
	Stream stream;

	return c->source.present && open_cipher(c, &c->source, &file, &stream) >= 0 && c->writable;
}

/* Whether the encrypted form is whole, and the very one that was listed. */
static bool cipher_is_whole(Case *c, const Form *cipher)
{
	_cleanup_cipherfile_ Cipherfile *file = NULL;
	Stream stream;

	if (!cipher->present || open_cipher(c, cipher, &file, &stream) < 0)
		return false;
	stream.file = file;
	stream.helpers = c->run->context.helpers;
	stream.advanced = c->run->context.alive;
	stream.userdata = c->run;
	if (stream_open(&stream, c->workspace) < 0)
		return false;
	memcpy(c->last_tag, stream.last_tag, SUITE_TAG_SIZE);
	return sodium_is_zero(c->finding->entry->last_tag, SUITE_TAG_SIZE) ||
	       memcmp(stream.last_tag, c->finding->entry->last_tag, SUITE_TAG_SIZE) == 0;
}

/* Whether the first `size` bytes of a plain form are what was read, or written, by their content tag. A
 * negative errno: they cannot be read. */
static int plain_is_whole(Case *c, const Form *plain, uint64_t size)
{
	const JournalEntry *entry = c->finding->entry;
	Stream stream = {
		.vfs = c->run->volume->vfs,
		.in_fd = plain->fd,
		.out_fd = -1,
		.plain_size = size,
		.prefix = true,
		.tagger = {.key = c->run->tag_key, .serial = entry->serial},
		.helpers = c->run->context.helpers,
		.advanced = c->run->context.alive,
		.userdata = c->run,
	};
	int r;

	if ((uint64_t)plain->st.st_size < size)
		return false;
	r = stream_tag(&stream, c->workspace);
	if (r < 0)
		return r == -ESTALE ? false : r;
	return memcmp(stream.content_tag, entry->content_tag, CONTENT_TAG_SIZE) == 0;
}

/* Compares a piece of the plain form with what the encrypted one holds there. */
static int inspect_plain(void *userdata, uint64_t offset, const uint8_t *plain, size_t size)
{
	Case *c = userdata;
	const Form *form = c->run->context.encrypting ? &c->source : &c->new;
	uint8_t *bytes = c->scratch.plain;
	ssize_t n = vfs_read_full(c->run->volume->vfs, form->fd, bytes, size, offset);

	run_advance(c->run, 0, 0); /* a large file takes minutes: usbcryptd hears that it is being read */
	if (n < 0)
		return (int)n;
	if (c->zeros_explain) {
		for (size_t i = 0; i < (size_t)n; i += SCRUB_SECTOR) {
			size_t sector = MIN((size_t)SCRUB_SECTOR, (size_t)n - i);

			if (memcmp(bytes + i, plain + i, sector) != 0 && !sodium_is_zero(bytes + i, sector))
				return -ESTALE;
		}
		return 0;
	}
	if ((size_t)n < size)
		return -ESTALE;
	if (c->scrub_key)
		return scrub_explains(c->scrub_key, offset, bytes, plain, size) ? 0 : -ESTALE;
	return memcmp(bytes, plain, size) == 0 ? 0 : -ESTALE;
}

int compare_forms(Case *c, const Form *cipher)
{
	_cleanup_cipherfile_ Cipherfile *file = NULL;
	Stream stream;
	int r;

	r = open_cipher(c, cipher, &file, &stream);
	if (r < 0)
		return r;
	stream.file = file;
	stream.inspect = inspect_plain;
	r = workspace_init(&c->scratch);
	if (r >= 0)
		r = stream_open(&stream, c->workspace);
	workspace_clear(&c->scratch);
	return r;
}

/* ---- an interrupted encrypt: the source is plain, the new file encrypted ---- */

int head_path(Case *c, const char *name, uint64_t size_of_file, char **ret_path)
{
	const Volume *volume = c->run->volume;
	const ReplacementContext *context = &c->run->context;
	_cleanup_cipherfile_ Cipherfile *file = NULL;
	_cleanup_attributes_ Attributes *attributes = NULL;
	size_t size = MIN(context->cluster, (size_t)SEGMENT_SEALED), head_size;
	uint8_t *bytes = c->workspace->sealed;
	Reason reason;
	ssize_t n;
	int fd, r;

	*ret_path = NULL;
	fd = volume->vfs->open(volume->vfs, c->directory->fd, name, READ_FLAGS | context->medium_flags, 0);
	if (fd < 0)
		return 0;
	n = volume->vfs->pread(volume->vfs, fd, bytes, size, 0);
	volume->vfs->close(volume->vfs, fd);
	if (n < 0)
		return 0;
	if ((size_t)n < cipherfile_fixed_size || !cipherfile_is_magic(bytes, (size_t)n))
		return -EBADMSG;
	head_size = cipherfile_head_size(bytes);
	if (head_size > size_of_file)
		return -EBADMSG;
	if (head_size == 0 || head_size > (size_t)n)
		return 0;
	r = cipherfile_open(volume->file_root, volume->drive_id, volume->epoch, bytes, head_size, &file,
		&attributes, &reason);
	if (r < 0)
		return reason == REASON_TAMPERED ? -EBADMSG : 0;
	/* A head that an earlier attempt left in the cluster says another size than this entry. */
	r = cipherfile_check_size(file, attributes, size_of_file);
	if (r < 0)
		return r;
	*ret_path = strdup(attributes->path);
	return *ret_path ? 0 : -ENOMEM;
}

int head_is_of_this(Case *c, const char *name, uint64_t size_of_file)
{
	_cleanup_free_ char *path = NULL;
	int r = head_path(c, name, size_of_file, &path);

	if (r < 0 || !path)
		return r;
	if (c->run->context.encrypting)
		return strcmp(path, c->finding->entry->path) == 0;
	return strcmp(name_of_path(path), c->finding->replacement->entry.new_name) == 0;
}

/* Whether a scrub, and nobody else, has made the source longer: by the mark it leaves on its entry, or, where
 * it reaches to the very end of the last cluster, by its pattern before. */
static int is_marked(Case *c, bool at_end)
{
	const JournalEntry *entry = c->finding->entry;
	int r;

	/* Where the time is the mark it is so exactly: an edit may be as young as the one that was recorded.
	 */
	if (c->run->context.unordered ? times_match(&c->source.st.st_mtim, &entry->mtime) ||
						(!(c->source.st.st_mode & S_IWUSR) && !entry->read_only)
				      : same_time(&c->source.st.st_mtim, &entry->mtime))
		return 1;
	if (!at_end)
		return 0;
	r = scrub_recognize(c->run->volume->vfs, c->source.fd, entry->size, c->scrub_key, c->workspace);
	return r < 0 ? r : r == SCRUB_SOME;
}

/* Whether what stands in the source behind its recorded end is the scrub's, which reaches to the end of the
 * last cluster: marked as that, or pattern, or nothing yet. What somebody appended is not. 1, 0 or a negative
 * errno. */
static int tail_is_ours(Case *c)
{
	uint64_t cluster = c->run->context.cluster, size = c->finding->entry->size;
	uint64_t now = (uint64_t)c->source.st.st_size, begin = size / SCRUB_SECTOR * SCRUB_SECTOR;
	uint64_t end = (size + cluster - 1) / cluster * cluster;
	uint8_t pattern[SCRUB_SECTOR], bytes[SCRUB_SECTOR];
	int r;

	if (now <= size)
		return 1;
	if (!c->scrub_key || now > end)
		return 0;
	r = is_marked(c, now == end);
	if (r != 0)
		return r;
	for (uint64_t offset = begin; offset < now; offset += SCRUB_SECTOR) {
		size_t skip = offset < size ? (size_t)(size - offset) : 0;
		ssize_t n = vfs_read_full(c->run->volume->vfs, c->source.fd, bytes, sizeof(bytes), offset);

		if (n < 0)
			return (int)n;
		if ((size_t)n <= skip)
			continue;
		scrub_pattern(c->scrub_key, offset, pattern, sizeof(pattern));
		if (memcmp(bytes + skip, pattern + skip, (size_t)n - skip) != 0 &&
			!sodium_is_zero(bytes + skip, (size_t)n - skip))
			return 0;
	}
	return 1;
}

/* Whether the source is what its encrypted form holds, and none of it a pattern. */
static bool is_original(Case *c)
{
	const ScrubKey *key = c->scrub_key;
	int r;

	c->scrub_key = NULL;
	r = compare_forms(c, &c->new);
	c->scrub_key = key;
	return r >= 0;
}

/* A scrub that was cut short may have damaged a sector and left its pattern in none: then size and time are
 * as recorded, and the content is not. Or its time and size alone have got to the medium, and the content is:
 * they are put back. */
static bool source_is_untouched(Case *c)
{
	const JournalEntry *entry = c->finding->entry;
	bool read_only = !(c->source.st.st_mode & S_IWUSR);

	if (!c->scrub_key && !form_is_as_recorded(&c->source, entry->size, &entry->mtime))
		return false;
	if (c->learned && !is_original(c))
		return false;
	if (c->scrub_key && !c->learned && plain_is_whole(c, &c->source, entry->size) <= 0)
		return false;
	if (c->scrub_key && tail_is_ours(c) <= 0)
		return false;
	c->finding->restore =
		c->run->context.scrub &&
		((uint64_t)c->source.st.st_size != entry->size ||
			!same_time(&c->source.st.st_mtim, &entry->mtime) || read_only != entry->read_only);
	return true;
}

static void decide_encrypt_untrusted(Case *c)
{
	if (!c->source.present && !c->new.present)
		decide(c, ACTION_REPORT, REASON_GONE);
	else if (!c->source.present)
		decide(c, ACTION_KEEP,
			REASON_PENDING); /* never "done": its clusters may be free for the taking */
	else if (!c->new.present)
		decide(c, ACTION_NONE, REASON_INVALID);
	else if (source_is_untouched(c) || head_is_of_this(c, c->finding->replacement->entry.new_name,
						   (uint64_t)c->new.st.st_size) == -EBADMSG)
		decide(c, ACTION_DROP_NEW, REASON_INVALID);
	else
		decide(c, ACTION_KEEP, REASON_EDITED);
}

static void decide_encrypt_trusted(Case *c)
{
	const JournalEntry *entry = c->finding->entry;
	bool recorded = c->source.present && form_is_as_recorded(&c->source, entry->size, &entry->mtime);
	int r;

	if (!c->source.present && !c->new.present) {
		decide(c, ACTION_REPORT, REASON_GONE);
	} else if (!cipher_is_whole(c, &c->new)) {
		/* An intact source beside no new file was taken out of the run; otherwise the medium has
		 * failed. */
		if (recorded && !c->new.present)
			decide(c, ACTION_NONE, REASON_INVALID);
		else
			decide(c, ACTION_KEEP, REASON_MEDIUM_FAILED);
	} else if (!c->source.present) {
		decide(c, ACTION_NONE, REASON_INVALID);
	} else {
		r = compare_forms(c, &c->new);
		if (r >= 0) {
			r = tail_is_ours(c);
			r = r == 0 ? -ESTALE : r;
		}
		if (r >= 0)
			decide(c, ACTION_FINISH, REASON_INVALID);
		else
			decide(c, r == -ESTALE ? ACTION_REPORT : ACTION_KEEP,
				r == -ESTALE ? REASON_EDITED : REASON_PENDING);
	}
}

/* What is being taken away again goes, where the source is whole. */
static void decide_abandoned(Case *c)
{
	const JournalEntry *entry = c->finding->entry;
	bool encrypting = c->run->context.encrypting;

	if (encrypting ? form_is_as_recorded(&c->source, entry->size, &entry->mtime)
		       : cipher_is_whole(c, &c->source))
		decide(c, ACTION_DROP_NEW, REASON_INVALID);
	else
		decide(c, ACTION_KEEP, encrypting ? REASON_EDITED : REASON_MEDIUM_FAILED);
}

static int decide_encrypt(Case *c)
{
	if (c->scrub_key && !c->finding->trusted && c->source.present) {
		int r = scrub_recognize(c->run->volume->vfs, c->source.fd, (uint64_t)c->source.st.st_size,
			c->scrub_key, c->workspace);

		/* A tiny file's bytes may arrive without the size that shows more of the pattern. */
		if (r == SCRUB_SOME || (r == SCRUB_PERHAPS && !c->learned &&
					       (uint64_t)c->source.st.st_size == c->finding->entry->size &&
					       is_marked(c, false) &&
					       plain_is_whole(c, &c->source, c->finding->entry->size) == 0)) {
			c->finding->trusted = c->finding->promoted = true;
		} else if (r < 0) {
			/* It cannot be read: whether its new file can be trusted stays open. */
			decide(c, ACTION_KEEP, REASON_PENDING);
			return 0;
		}
	}
	if (c->finding->trusted)
		decide_encrypt_trusted(c);
	else
		decide_encrypt_untrusted(c);
	return 0;
}

/* ---- an interrupted decrypt: the source is encrypted, the new file plain ---- */

bool new_is_ours(Case *c)
{
	const JournalEntry *entry = c->finding->entry;
	int r;

	if (form_is_as_recorded(&c->new, entry->new_size, &entry->new_mtime) || c->new.st.st_size == 0)
		return true;
	/* It is read-only until it is complete. */
	if (c->run->context.unordered && c->writable && !(c->new.st.st_mode & 0222))
		return true;
	c->zeros_explain = true;
	r = (uint64_t)c->new.st.st_size <= entry->new_size ? compare_forms(c, &c->source) : -ESTALE;
	c->zeros_explain = false;
	return r >= 0;
}

static void decide_decrypt_untrusted(Case *c)
{
	if (!c->source.present && !c->new.present)
		decide(c, ACTION_REPORT, REASON_GONE);
	else if (!c->source.present)
		decide(c, ACTION_KEEP, REASON_PENDING);
	else if (!c->new.present)
		decide(c, ACTION_NONE, REASON_INVALID);
	else if (!cipher_is_whole(c, &c->source))
		decide(c, ACTION_KEEP, REASON_MEDIUM_FAILED);
	else if (new_is_ours(c))
		decide(c, ACTION_DROP_NEW, REASON_INVALID);
	else
		decide(c, ACTION_KEEP, REASON_EDITED);
}

int plain_is_as_written(Case *c)
{
	uint64_t size = c->finding->entry->new_size;

	return (uint64_t)c->new.st.st_size == size ? plain_is_whole(c, &c->new, size) : 0;
}

static void decide_decrypt_trusted(Case *c)
{
	int r;

	if (!c->source.present)
		decide(c, c->new.present ? ACTION_NONE : ACTION_REPORT,
			c->new.present ? REASON_INVALID : REASON_GONE);
	else if (!c->new.present)
		decide(c, ACTION_NONE, REASON_INVALID);
	else if (!c->run->may_decrypt)
		decide(c, ACTION_KEEP, REASON_PENDING);
	else if ((r = plain_is_as_written(c)) > 0)
		decide(c, ACTION_FINISH, REASON_INVALID);
	else
		decide(c, r < 0 ? ACTION_KEEP : ACTION_REPORT, r < 0 ? REASON_PENDING : REASON_EDITED);
}

/* ---- */

/* What this record intends, a newer one that was lost may have sealed, and the source have been scrubbed
 * then: by the tag that the new file alone still tells. If that is not whole, nothing was sealed. */
static void learn_tag(Case *c, ScrubKey *key)
{
	JournalEntry *entry = c->finding->entry;

	if (!c->run->context.scrub || c->finding->trusted || c->finding->leftover || c->scrub_key ||
		!c->source.present || !cipher_is_whole(c, &c->new))
		return;
	memcpy(entry->last_tag, c->last_tag, SUITE_TAG_SIZE);
	memcpy(c->finding->replacement->entry.last_tag, c->last_tag, SUITE_TAG_SIZE);
	scrub_key_derive(c->run->volume->scrub_root, c->last_tag, key);
	c->scrub_key = key;
	c->learned = true;
}

int classify(Run *run, Finding *findings, size_t n, size_t i, Strays *strays, Workspace *workspace)
{
	Finding *finding = &findings[i];
	const Vfs *vfs = run->volume->vfs;
	_cleanup_directory_ Directory *directory = NULL;
	Case c = {.run = run,
		.finding = finding,
		.all = findings,
		.n = n,
		.strays = strays,
		.workspace = workspace,
		.source = {.fd = -1},
		.new = {.fd = -1}};
	ScrubKey key;
	int r;

	if (run->context.scrub && !sodium_is_zero(finding->entry->last_tag, SUITE_TAG_SIZE)) {
		scrub_key_derive(run->volume->scrub_root, finding->entry->last_tag, &key);
		c.scrub_key = &key;
	}
	decide(&c, ACTION_NONE, REASON_INVALID);
	r = directory_open_parent(vfs, run->volume->root_fd, finding->entry->path, &directory);
	if (r == -ENOENT || r == -ENOTDIR || r == -ELOOP || r == -EXDEV) {
		if (!vfs->is_alive(vfs))
			return -ENODEV;
		decide(&c, ACTION_REPORT, REASON_GONE);
		return 0;
	}
	c.directory = directory;
	if (r >= 0)
		r = replacement_adopt(directory, finding->entry, &finding->replacement);
	if (r >= 0)
		r = case_open_forms(&c);
	if (r >= 0 && (c.new.present || !finding->leftover)) {
		finding->replacement->source = c.source.st;
		finding->replacement->found_new = c.new.st;
		finding->replacement->seen = c.new.present;
		if (run->doubtful)
			learn_tag(&c, &key);
		if (c.abandoned)
			decide_abandoned(&c);
		else if (run->context.encrypting)
			r = decide_encrypt(&c);
		else if (finding->trusted)
			decide_decrypt_trusted(&c);
		else
			decide_decrypt_untrusted(&c);
		if (finding->leftover)
			finding->restore = false;
	}
	form_close(vfs, &c.source);
	form_close(vfs, &c.new);
	if (r == -ENOMEM || r == -ENODEV || !vfs->is_alive(vfs))
		return r < 0 ? r : -ENODEV;
	/* One that cannot be opened or read now keeps the drive pending, not the others from being settled.
	 */
	if (r < 0)
		decide(&c, ACTION_KEEP, REASON_PENDING);
	return 0;
}
