/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "engine/form.h"

#include <errno.h>
#include <fcntl.h>

#define READ_FLAGS     (O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOATIME)
#define TIME_TOLERANCE 2 /* seconds: the coarsest filesystem's clock */

int form_open(const Vfs *vfs, const Directory *directory, const char *name, Form *ret)
{
	int r;

	*ret = (Form){.fd = -1};
	r = vfs->open(vfs, directory->fd, name, READ_FLAGS, 0);
	if (r == -ENOENT || r == -ELOOP || r == -ENXIO)
		return vfs->is_alive(vfs) ? 0 : -ENODEV;
	if (r < 0)
		return r;
	ret->fd = r;
	r = vfs->fstat(vfs, ret->fd, &ret->st);
	if (r < 0)
		return r;
	ret->present = S_ISREG(ret->st.st_mode);
	return 0;
}

void form_close(const Vfs *vfs, Form *form)
{
	if (form->fd >= 0)
		vfs->close(vfs, form->fd);
	form->fd = -1;
}

bool same_file(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

bool same_time(const struct timespec *a, const struct timespec *b)
{
	return a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec;
}

bool unchanged(const struct stat *a, const struct stat *b)
{
	return same_file(a, b) && a->st_size == b->st_size && same_time(&a->st_mtim, &b->st_mtim) &&
	       same_time(&a->st_ctim, &b->st_ctim);
}

bool times_match(const struct timespec *a, const struct timespec *b)
{
	time_t difference = a->tv_sec - b->tv_sec;

	return difference <= TIME_TOLERANCE && difference >= -TIME_TOLERANCE;
}

bool form_is_as_recorded(const Form *form, uint64_t size, const struct timespec *mtime)
{
	return (uint64_t)form->st.st_size == size && times_match(&form->st.st_mtim, mtime);
}
