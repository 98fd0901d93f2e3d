/* store_dir - the queue's directory: who may use it, the lock, the reserve.
 *
 * The lock is flock(2) on umbra.lock, taken before the database is opened; it
 * ends with the process, however that ends. The pid inside is for the message
 * of a second process only.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "mta/base/check.h"
#include "queue/store_private.h"

#define RESERVE_FILE "umbra.reserve"

enum { LOCK_TRIES = 100, LOCK_STEP_MS = 1 };

void dir_explain(
	const struct store_dir *d, const char *file, int err, struct buf *why)
{
	const char *slash = *file ? "/" : "";
	struct stat st;

	buf_addf(why, "%s%s%s: %s", d->path, slash, file, strerror(err));
	if (err == ENOSPC || err == EDQUOT) {
		buf_addf(
			why, "; make room on its file system (df %s)", d->path);
		return;
	}
	if (err == EROFS) {
		buf_adds(why, "; its file system is mounted read-only");
		return;
	}
	if (err != EACCES && err != EPERM)
		return;
	if (fstatat(d->fd, *file ? file : d->path, &st, 0) != 0 &&
		stat(d->path, &st) != 0) {
		buf_addf(why,
			"; this program runs as uid %u: look at the "
			"directories above it",
			(unsigned)geteuid());
		return;
	}
	buf_addf(why,
		"; owner uid %u, mode %04o, this program runs as uid %u: "
		"chown -R %u %s && chmod 700 %s",
		(unsigned)st.st_uid, (unsigned)st.st_mode & 07777,
		(unsigned)geteuid(), (unsigned)geteuid(), d->path, d->path);
}

/* Makes the directory's own entry durable in the one above it. */
static int sync_parent(const char *path)
{
	char *parent = x_calloc(1, strlen(path) + 4);
	int fd, rc;

	memcpy(parent, path, strlen(path));
	memcpy(parent + strlen(path), "/..", 4);
	fd = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	free(parent);
	if (fd < 0)
		return -1;
	rc = fsync(fd);
	close(fd);
	return rc;
}

static enum err open_path(struct store_dir *d, struct buf *why)
{
	struct stat st;
	int err;

	d->fd = open(d->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (d->fd < 0 && errno == ENOENT && mkdir(d->path, 0700) == 0) {
		d->fresh = 1;
		d->fd = open(d->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (d->fd >= 0 && sync_parent(d->path) != 0) {
			err = errno;
			dir_explain(d, "", err, why);
			return err_from_errno(err);
		}
	}
	if (d->fd < 0 || fstat(d->fd, &st) != 0) {
		err = errno;
		dir_explain(d, "", err, why);
		if (err == ENOENT)
			buf_addf(why, "; mkdir -p -m 700 %s", d->path);
		return err_from_errno(err);
	}
	if (st.st_mode & 022) {
		buf_addf(why,
			"%s: mode %04o lets others write into the queue: "
			"chmod go-w %s",
			d->path, (unsigned)st.st_mode & 07777, d->path);
		return ERR_PERM;
	}
	return ERR_OK;
}

int store_in_use(const char *dir)
{
	int at = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int fd = at < 0 ? -1 : openat(at, LOCK_FILE, O_RDONLY | O_CLOEXEC);
	int rc = fd < 0 ? 0 : flock(fd, LOCK_SH | LOCK_NB);
	int used = rc != 0 && errno == EWOULDBLOCK;

	if (fd >= 0)
		close(fd);
	if (at >= 0)
		close(at);
	return used;
}

/* 0 or -1. Who only looks (store_in_use) has it for an instant, too. */
static int try_lock(int fd)
{
	for (int i = 0; flock(fd, LOCK_EX | LOCK_NB) != 0; i++) {
		if (errno != EWOULDBLOCK || i == LOCK_TRIES)
			return -1;
		(void)!poll(NULL, 0, LOCK_STEP_MS);
	}
	return 0;
}

static enum err take_lock(struct store_dir *d, struct buf *why)
{
	char pid[24] = "";
	struct buf text;
	ssize_t n;
	int err;

	d->lock = openat(d->fd, LOCK_FILE, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (d->lock < 0 || try_lock(d->lock) != 0) {
		err = errno;
		if (err != EWOULDBLOCK || d->lock < 0) {
			dir_explain(d, LOCK_FILE, err, why);
			return err_from_errno(err);
		}
		n = pread(d->lock, pid, sizeof pid - 1, 0);
		buf_addf(why,
			"%s: the queue is in use by another process, pid "
			"%.*s; only one umbrad can use a directory: stop "
			"that one, or set another node.data",
			d->path, n > 0 ? (int)strcspn(pid, "\n") : 1,
			n > 0 ? pid : "?");
		return ERR_BUSY;
	}
	buf_init(&text, 32);
	buf_addf(&text, "%ld\n", (long)getpid());
	/* On a full device there may be no room for it, which is no reason
	 * not to deliver what is queued. */
	if (ftruncate(d->lock, 0) != 0 ||
		pwrite(d->lock, text.p, text.n, 0) < 0)
		errno = 0;
	buf_fini(&text);
	return ERR_OK;
}

enum err dir_open(struct store_dir *d, const char *path, struct buf *why)
{
	struct stat st;
	enum err e;

	*d = (struct store_dir){.fd = -1, .lock = -1};
	d->path = x_strdup(path);
	e = open_path(d, why);
	if (e == ERR_OK)
		e = take_lock(d, why);
	if (e != ERR_OK) {
		dir_close(d);
		return e;
	}
	d->reserve = fstatat(d->fd, RESERVE_FILE, &st, 0) == 0 &&
		     st.st_blocks * 512 >= RESERVE_SIZE;
	return ERR_OK;
}

void dir_close(struct store_dir *d)
{
	if (d->lock >= 0)
		close(d->lock);
	if (d->fd >= 0)
		close(d->fd);
	free(d->path);
	*d = (struct store_dir){.fd = -1, .lock = -1};
}

enum err dir_space(const struct store_dir *d, struct store_space *sp_r)
{
	struct statvfs v;

	if (fstatvfs(d->fd, &v) != 0)
		return err_from_errno(errno);
	sp_r->free = v.f_frsize * (geteuid() == 0 ? v.f_bfree : v.f_bavail);
	sp_r->total = v.f_frsize * v.f_blocks;
	return ERR_OK;
}

static int room(const struct store_dir *d, uint64_t want)
{
	struct store_space sp;

	return dir_space(d, &sp) == ERR_OK && sp.free >= want;
}

/* Only when three times the size is free, so that it is not taken from under
 * a queue that has just found room. */
void dir_reserve(struct store_dir *d)
{
	int fd;

	if (d->reserve || !room(d, (uint64_t)3 * RESERVE_SIZE))
		return;
	fd = openat(d->fd, RESERVE_FILE, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		return;
	d->reserve = posix_fallocate(fd, 0, RESERVE_SIZE) == 0;
	if (!d->reserve && ftruncate(fd, 0) != 0)
		errno = 0;
	close(fd);
}

int dir_release(struct store_dir *d)
{
	int fd, ok;

	if (!d->reserve)
		return 0;
	fd = openat(d->fd, RESERVE_FILE, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return 0;
	/* Blocks are free for others only after the file system's journal
	 * has let go of them: hence the fsync. */
	ok = ftruncate(fd, 0) == 0 && fsync(fd) == 0;
	close(fd);
	d->reserve = 0;
	return ok;
}
