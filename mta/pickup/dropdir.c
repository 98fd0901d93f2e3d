/* dropdir - directories and files by the system's calls. Relative to the open
 * directory, so that nobody who may rename its parents can redirect us. */
#include "mta/pickup/dropdir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "mta/base/check.h"

enum { TRIES = 1000 };

struct dropdir {
	int fd;
};

struct dropfile {
	int fd;
	struct stat st; /* when it was opened */
};

static const char *unfit(const struct stat *st)
{
	if (!S_ISDIR(st->st_mode))
		return "is not a directory";
	if (st->st_uid != 0 && st->st_uid != geteuid())
		return "belongs to neither root nor the user of umbrad: chown "
		       "it";
	if (st->st_mode & S_IWOTH)
		return "may be written to by everybody, so everybody could "
		       "send under any name: chmod o-w it";
	return NULL;
}

enum err dropdir_open(struct dropdir **d_r, const char *path, struct buf *why)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	const char *text = NULL;
	enum err e = ERR_OK;
	struct stat st;

	*d_r = NULL;
	if (fd < 0 || fstat(fd, &st) != 0) {
		e = err_from_errno(errno);
		text = errno == ENOENT ? "does not exist: mkdir it"
				       : strerror(errno);
	} else if ((text = unfit(&st))) {
		e = ERR_PERM;
	} else if (faccessat(fd, ".", W_OK | X_OK, AT_EACCESS) != 0) {
		e = err_from_errno(errno);
		text = "cannot be written to by umbrad: chown or chmod it";
	} else if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
		e = errno == EWOULDBLOCK ? ERR_BUSY : err_from_errno(errno);
		text = "is in use by another process";
	}
	if (e != ERR_OK) {
		buf_addf(why, "%s %s", path, text);
		if (fd >= 0)
			close(fd);
		return e;
	}
	*d_r = x_calloc(1, sizeof **d_r);
	(*d_r)->fd = fd;
	return ERR_OK;
}

int dropdir_current(const struct dropdir *d, const char *path)
{
	struct stat now, ours;

	return stat(path, &now) == 0 && fstat(d->fd, &ours) == 0 &&
	       now.st_dev == ours.st_dev && now.st_ino == ours.st_ino &&
	       !unfit(&ours);
}

void dropdir_close(struct dropdir **dp)
{
	struct dropdir *d = *dp;

	*dp = NULL;
	if (!d)
		return;
	close(d->fd);
	free(d);
}

enum err dropdir_list(
	struct dropdir *d, const char *suffix, unsigned max, struct buf *names)
{
	int fd = openat(d->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	size_t tail = strlen(suffix);
	struct dirent *e;
	enum err err;

	if (!dir) {
		err = err_from_errno(errno);
		if (fd >= 0)
			close(fd);
		return err;
	}
	errno = 0;
	while (max && (e = readdir(dir))) {
		size_t n = strlen(e->d_name);

		if (e->d_name[0] == '.' || n <= tail ||
			strcmp(e->d_name + n - tail, suffix) != 0)
			continue;
		buf_add(names, span(e->d_name, n + 1));
		max--;
	}
	err = max && errno ? err_from_errno(errno) : ERR_OK;
	closedir(dir);
	return err;
}

/* Never over a file that is there. */
static int rename_new(int fd, const char *from, const char *to)
{
	if (renameat2(fd, from, fd, to, RENAME_NOREPLACE) == 0)
		return 0;
	if (errno != EINVAL && errno != ENOSYS)
		return -1;
	/* A file system that does not know how. */
	if (faccessat(fd, to, F_OK, AT_SYMLINK_NOFOLLOW) == 0) {
		errno = EEXIST;
		return -1;
	}
	return renameat(fd, from, fd, to);
}

enum err dropdir_move(struct dropdir *d, const char *from, const char *stem,
	const char *suffix, char name_r[static DROP_NAME])
{
	char to[DROP_NAME];
	int n;

	for (int i = 0; i < TRIES; i++) {
		n = i ? snprintf(to, sizeof to, "%s-%d%s", stem, i, suffix)
		      : snprintf(to, sizeof to, "%s%s", stem, suffix);
		if (n < 0 || (size_t)n >= sizeof to)
			return ERR_LIMIT;
		if (rename_new(d->fd, from, to) == 0) {
			memcpy(name_r, to, (size_t)n + 1);
			return ERR_OK;
		}
		if (errno != EEXIST)
			return err_from_errno(errno);
	}
	return ERR_EXISTS;
}

enum err dropdir_sync(struct dropdir *d)
{
	/* EINVAL: a file system without it. There is nothing better then. */
	return fsync(d->fd) == 0 || errno == EINVAL ? ERR_OK
						    : err_from_errno(errno);
}

enum err dropdir_remove(struct dropdir *d, const char *name)
{
	if (unlinkat(d->fd, name, 0) != 0 && errno != ENOENT)
		return err_from_errno(errno);
	return dropdir_sync(d);
}

static struct drop_ident ident(const struct stat *st)
{
	return (struct drop_ident){
		.inode = (uint64_t)st->st_ino,
		.time = (uint64_t)st->st_ctim.tv_sec * 1000000000 +
			(uint64_t)st->st_ctim.tv_nsec,
		.size = (uint64_t)st->st_size,
	};
}

enum err dropfile_open(struct dropfile **f_r, struct dropdir *d,
	const char *name, struct buf *why)
{
	/* NONBLOCK: somebody may have put a FIFO there. */
	int fd = openat(
		d->fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	struct dropfile *f;
	struct stat st;
	enum err e;

	*f_r = NULL;
	if (fd < 0 || fstat(fd, &st) != 0) {
		e = err_from_errno(errno);
		buf_addf(why, "cannot be read: %s",
			errno == ELOOP ? "it is a symbolic link"
				       : strerror(errno));
		if (fd >= 0)
			close(fd);
		return e;
	}
	/* A second name could be of a file that only we may read. */
	if (!S_ISREG(st.st_mode) || st.st_nlink != 1) {
		buf_adds(why, S_ISREG(st.st_mode) ? "has several names (hard "
						    "links)"
						  : "is not a regular file");
		close(fd);
		return ERR_PERM;
	}
	f = x_calloc(1, sizeof *f);
	f->fd = fd;
	f->st = st;
	*f_r = f;
	return ERR_OK;
}

uint64_t dropfile_size(const struct dropfile *f)
{
	return (uint64_t)f->st.st_size;
}

struct drop_ident dropfile_ident(const struct dropfile *f)
{
	return ident(&f->st);
}

enum err dropfile_read(
	struct dropfile *f, uint64_t at, char *p, size_t n, size_t *got_r)
{
	size_t got = 0;
	ssize_t rc;

	*got_r = 0;
	while (got < n) {
		rc = pread(f->fd, p + got, n - got, (off_t)(at + got));
		if (rc < 0 && errno == EINTR)
			continue;
		if (rc < 0)
			return err_from_errno(errno);
		if (rc == 0)
			break;
		got += (size_t)rc;
	}
	*got_r = got;
	return ERR_OK;
}

int dropfile_changed(const struct dropfile *f)
{
	struct stat st;

	return fstat(f->fd, &st) != 0 || st.st_size != f->st.st_size ||
	       st.st_mtim.tv_sec != f->st.st_mtim.tv_sec ||
	       st.st_mtim.tv_nsec != f->st.st_mtim.tv_nsec;
}

void dropfile_close(struct dropfile **fp)
{
	struct dropfile *f = *fp;

	*fp = NULL;
	if (!f)
		return;
	close(f->fd);
	free(f);
}
