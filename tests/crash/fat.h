/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * A FAT filesystem mounted from a model disk, under the engine's table of system calls. What it does with
 * persist units is what vfat was seen to do: an entry is made with start and size 0 and updated later,
 * every slot of a long name by itself; FAT cells are written as clusters are taken; an unlinked file's
 * clusters are given back at its last close and can be taken again at once; fsync of a folder does nothing;
 * fsync of a file makes its data, its own short slot and the whole FAT durable; a torn chain that is met
 * turns the filesystem read-only.
 *
 * Every write to a unit is logged, so that the crash states of a run can be made from the log alone.
 */

#include "disk.h"
#include "engine/vfs.h"

typedef enum LogKind {
	LOG_WRITE,
	LOG_FORCE,   /* an fsync: what this unit holds now is durable */
	LOG_BARRIER, /* everything is */
} LogKind;

typedef struct LogEntry {
	LogKind kind;
	unsigned unit;
	uint32_t value;
} LogEntry;

typedef struct Log {
	LogEntry *entries;
	size_t n, allocated;
} Log;

void log_add(Log *log, LogKind kind, unsigned unit, uint32_t value);
void log_clear(Log *log);

typedef enum Policy {
	POLICY_NEXT_FIT,     /* as vfat */
	POLICY_LATEST_FREED, /* the worst case of a full drive: what was freed last is taken first */
} Policy;

#define INODES_MAX  64
#define HANDLES_MAX 128
#define STREAMS_MAX 8

typedef struct Inode {
	bool used;
	unsigned references;
	bool unlinked;
	bool leased;
	bool asked; /* whether the lease holds, since it was taken */
	unsigned slot;
	Slot entry;
	uint32_t number;
} Inode;

typedef struct Handle {
	bool used;
	int inode; /* -1: a folder */
	DirectoryId directory;
	int flags;
} Handle;

typedef struct Stream_ {
	bool used;
	DirectoryId directory;
	unsigned position;
	DiskEntry found;
} DirectoryStream;

/* System calls that it matters to come before. */
typedef enum Call {
	CALL_OTHER,
	CALL_FSTAT,
	CALL_UNLINK,
	CALL_BARRIER,
} Call;

typedef struct Fs {
	Vfs vfs; /* first */
	Disk *disk;
	Log *log;
	Policy policy;
	bool leases; /* the kernel has them */
	bool read_only;
	bool dead;          /* killed: nothing works any more */
	unsigned mutations; /* system calls that change something, so far */
	unsigned calls;     /* all system calls */
	unsigned barriers;
	/* before each system call; NULL: nothing. Not called again from within. */
	void (*hook)(struct Fs *fs, void *userdata, bool mutates);
	void *hook_userdata;
	bool in_hook;
	Call call;             /* the one that the hook is called for */
	unsigned chains_freed; /* clusters were given back so often */
	/* the medium damages what is written to a file's data as the n-th such sector (from 0); -1: never */
	int damage_at;
	int sectors_written;
	unsigned overlay_unit; /* its cached copy is still good */
	uint32_t overlay;
	Inode inodes[INODES_MAX];
	Handle handles[HANDLES_MAX];
	DirectoryStream streams[STREAMS_MAX];
	uint32_t generations[SLOTS_MAX];
	unsigned next_fit;
	unsigned freed[CLUSTERS_MAX], n_freed;
	bool avoid_torn; /* takes no cluster that a torn chain leads to */
	int64_t clock;
} Fs;

/* Mounts `disk`, which is changed from now on, each change being added to `log` (NULL: not logged). */
void fs_mount(Fs *fs, Disk *disk, Log *log, Policy policy, int64_t clock);

/* The descriptor of the root directory: always open. */
int fs_root(void);

/* The process ends: every descriptor is closed, which gives unlinked files' clusters back. */
void fs_kill(Fs *fs);

/* Whether nobody else can work with this file now: it is leased, or is just being made. */
bool fs_is_busy(const Fs *fs, DirectoryId directory, const char *name);

unsigned fs_free_clusters(const Fs *fs);

/* The core under the table. */
int fs_lookup(Fs *fs, DirectoryId directory, const char *name); /* an inode, referenced; folders: -EISDIR */
int fs_create(Fs *fs, DirectoryId directory, const char *name); /* likewise; the name must be new */
void fs_release(Fs *fs, int inode);
ssize_t fs_read(Fs *fs, int inode, uint8_t *bytes, size_t size, uint64_t offset, bool direct);
ssize_t fs_write(Fs *fs, int inode, const uint8_t *bytes, size_t size, uint64_t offset);
int fs_unlink(Fs *fs, DirectoryId directory, const char *name);
/* Shortens a file within its last cluster; no more is asked for. Zeros its last sector behind the end. */
int fs_shorten(Fs *fs, int inode, uint32_t size);

void fs_update(Fs *fs, int inode); /* writes its entry back */
void fs_sync_file(Fs *fs, int inode);

void fs_fill_table(Fs *fs);
