/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "worker/scratch.h"

#include "util/io.h"
#include "util/memory.h"
#include "util/secret.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <malloc.h>
#include <stdio.h>
#include <sys/mman.h>

#define HEAP_ROOM  (512 * 1024)
#define STACK_ROOM (128 * 1024) /* cracklib's mangling takes less than half of it */
#define MAPS_MAX   (256 * 1024)

#if defined(__SANITIZE_ADDRESS__)
#define ALLOCATOR_IS_LIBC 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ALLOCATOR_IS_LIBC 0
#endif
#endif
#ifndef ALLOCATOR_IS_LIBC
#define ALLOCATOR_IS_LIBC 1
#endif

void __attribute__((noinline)) scratch_wipe_stack(void)
{
	uint8_t room[STACK_ROOM];

	secret_wipe(room, sizeof(room));
}

/* Everything that is allocated from now on comes from the heap that was locked, and the heap never shrinks.
 */
static int make_room_in_heap(void)
{
	void *room;

	if (!mallopt(M_MMAP_THRESHOLD, HEAP_ROOM * 2) || !mallopt(M_TRIM_THRESHOLD, INT_MAX))
		return -EINVAL;
	room = malloc(HEAP_ROOM);
	if (!room)
		return -ENOMEM;
	free(room);
	return 0;
}

static int lock_mapping(const char *maps, const char *name)
{
	uintptr_t begin, end;
	const char *line;

	line = strstr(maps, name);
	if (!line)
		return -ENODATA;
	while (line > maps && line[-1] != '\n')
		line--;
	if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR, &begin, &end) != 2)
		return -EBADMSG;
	return mlock((const void *)begin, end - begin) < 0 ? -errno : 0;
}

int scratch_lock(void)
{
	_cleanup_free_ char *maps = NULL;
	int r;

	/* Before the file is read, so that it shows them as they will be. */
	scratch_wipe_stack();
	if (ALLOCATOR_IS_LIBC) {
		r = make_room_in_heap();
		if (r < 0)
			return r;
	}
	r = read_host_file(AT_FDCWD, "/proc/self/maps", MAPS_MAX, &maps, NULL);
	if (r >= 0)
		r = lock_mapping(maps, "[stack]\n");
	if (r >= 0 && ALLOCATOR_IS_LIBC) /* a sanitizer's allocator keeps everything, everywhere */
		r = lock_mapping(maps, "[heap]\n");
	return r;
}
