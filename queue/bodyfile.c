/* bodyfile - bodies that have files of their own: <dir>/bodies/xx/ID.
 *
 * xx is the second byte of the id in hex: no directory grows large, and files
 * made at the same time share one. ID is the id as people see it. No name is
 * made of anything that came from the network. A file is durable when its
 * data, its entry in bodies/xx and the entry of xx in bodies/ are: the last is
 * made sure of once per run and subdirectory, before the first file is made in
 * it; the entry in bodies/xx by the writer's thread, once for all files of a
 * commit, before the records that speak of them.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "mta/base/check.h"
#include "queue/store_private.h"

enum { HANDLE_MAGIC = 0xb0d1f, NAME_SIZE = BODY_NAME };

struct handle {
	unsigned magic;
	int fd;
	uint64_t off;
};

static unsigned subdir(uint64_t file)
{
	return file >> 8 & 255;
}

static void subdir_name(unsigned sub, char out[static NAME_SIZE])
{
	snprintf(out, NAME_SIZE, "bodies/%02x", sub);
}

void bodyfile_subdir(uint64_t file, char out[static BODY_NAME])
{
	subdir_name(subdir(file), out);
}

void bodyfile_name(uint64_t file, char out[static BODY_NAME])
{
	struct msg_id id = {file};
	char text[MSG_ID_TEXT];

	msg_id_text(id, text);
	snprintf(out, NAME_SIZE, "bodies/%02x/%s", subdir(file), text);
}

static int sync_at(int dir, const char *path)
{
	int fd = openat(dir, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), err;

	if (fd < 0)
		return errno;
	err = fsync(fd) == 0 ? 0 : errno;
	close(fd);
	return err;
}

/* Pool threads may do this at the same time; each makes sure for itself. */
int bodyfile_make_subdir(struct store *s, uint64_t file)
{
	atomic_uchar *known = &s->subdir_known[subdir(file)];
	char name[NAME_SIZE];
	int err;

	if (atomic_load(known))
		return 0;
	subdir_name(subdir(file), name);
	if (mkdirat(s->dir.fd, "bodies", 0700) != 0 && errno != EEXIST)
		return errno;
	if (mkdirat(s->dir.fd, name, 0700) != 0 && errno != EEXIST)
		return errno;
	if ((err = sync_at(s->dir.fd, ".")) ||
		(err = sync_at(s->dir.fd, "bodies")))
		return err;
	atomic_store(known, 1);
	return 0;
}

static void handle_free(struct handle *h)
{
	if (h->fd >= 0)
		close(h->fd);
	h->magic = 0;
	free(h);
}

enum err store_file_create(struct store *s, uint64_t file, void **h_r)
{
	char name[NAME_SIZE];
	struct handle *h;
	int err;

	check_obj(s, STORE_MAGIC);
	err = bodyfile_make_subdir(s, file);
	if (err)
		return err_from_errno(err);
	bodyfile_name(file, name);
	h = x_calloc(1, sizeof *h);
	h->magic = HANDLE_MAGIC;
	h->fd = openat(
		s->dir.fd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (h->fd < 0) {
		err = errno;
		handle_free(h);
		return err_from_errno(err);
	}
	*h_r = h;
	return ERR_OK;
}

enum err store_file_write(void *hv, uint64_t off, struct span s)
{
	struct handle *h = hv;
	ssize_t n;

	check_obj(h, HANDLE_MAGIC);
	must(off == h->off);
	while (s.n) {
		n = pwrite(h->fd, s.p, s.n, (off_t)h->off);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_from_errno(errno);
		h->off += (uint64_t)n;
		s = span_skip(s, (size_t)n);
	}
	return ERR_OK;
}

enum err store_file_finish(void **hp)
{
	struct handle *h = *hp;
	int err = 0;

	check_obj(h, HANDLE_MAGIC);
	*hp = NULL;
	if (fdatasync(h->fd) != 0)
		err = errno;
	handle_free(h);
	return err_from_errno(err);
}

enum err bodyfile_sync(
	struct store *s, uint64_t file, uint8_t done[static SUBDIRS])
{
	uint8_t *e = &done[subdir(file)]; /* enum err + 1; 0: not yet */
	char name[NAME_SIZE];

	if (!*e) {
		subdir_name(subdir(file), name);
		*e = (uint8_t)(err_from_errno(sync_at(s->dir.fd, name)) + 1);
	}
	return (enum err)(*e - 1);
}

void store_file_abandon(struct store *s, uint64_t file, void **hp)
{
	struct handle *h = *hp;
	enum err e;

	*hp = NULL;
	if (h) {
		check_obj(h, HANDLE_MAGIC);
		handle_free(h);
	}
	/* What cannot be removed now is an orphan at the next start. */
	e = bodyfile_unlink(s, file);
	(void)e;
}

enum err store_file_read(struct store *s, uint64_t file, uint64_t off, char *p,
	size_t n, size_t *got_r)
{
	char name[NAME_SIZE];
	size_t got = 0;
	ssize_t k;
	int fd, err = 0;

	check_obj(s, STORE_MAGIC);
	*got_r = 0;
	bodyfile_name(file, name);
	/* umbra db reads as root what belongs to the daemon's user. */
	fd = openat(s->dir.fd, name,
		O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return err_from_errno(errno);
	while (got < n) {
		k = pread(fd, p + got, n - got, (off_t)(off + got));
		if (k < 0 && errno == EINTR)
			continue;
		if (k < 0)
			err = errno;
		if (k <= 0)
			break;
		got += (size_t)k;
	}
	close(fd);
	*got_r = got;
	return err_from_errno(err);
}

enum err bodyfile_unlink(struct store *s, uint64_t file)
{
	char name[NAME_SIZE];

	bodyfile_name(file, name);
	return unlinkat(s->dir.fd, name, 0) == 0 ? ERR_OK
						 : err_from_errno(errno);
}

enum err bodyfile_set_aside(struct store *s, uint64_t file)
{
	char from[NAME_SIZE], to[NAME_SIZE], text[MSG_ID_TEXT];
	struct msg_id id = {file};
	enum err e = ERR_OK;

	bodyfile_name(file, from);
	msg_id_text(id, text);
	snprintf(to, sizeof to, "damaged/%s", text);
	if (faccessat(s->dir.fd, from, F_OK, 0) != 0)
		return ERR_OK;
	if (mkdirat(s->dir.fd, "damaged", 0700) != 0 && errno != EEXIST)
		return err_from_errno(errno);
	if (renameat(s->dir.fd, from, s->dir.fd, to) != 0)
		e = err_from_errno(errno);
	return e;
}

/* Names that are not ours are left alone. */
static uint64_t sweep_subdir(DIR *d, unsigned sub,
	int (*wanted)(void *arg, uint64_t file), void *arg)
{
	char name[NAME_SIZE];
	struct dirent *e;
	struct msg_id id;
	uint64_t gone = 0;

	while ((e = readdir(d))) {
		if (msg_id_parse(span_str(e->d_name), &id) != 0 ||
			subdir(id.v) != sub)
			continue;
		bodyfile_name(id.v, name);
		if (strcmp(name + sizeof "bodies/xx", e->d_name) != 0 ||
			wanted(arg, id.v))
			continue;
		gone += unlinkat(dirfd(d), e->d_name, 0) == 0;
	}
	return gone;
}

enum err bodyfile_sweep(struct store *s,
	int (*wanted)(void *arg, uint64_t file), void *arg, uint64_t *gone_r)
{
	char name[NAME_SIZE];
	DIR *d;
	int fd;

	for (unsigned sub = 0; sub < SUBDIRS; sub++) {
		subdir_name(sub, name);
		fd = openat(
			s->dir.fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (fd < 0 && errno == ENOENT)
			continue;
		if (fd < 0)
			return err_from_errno(errno);
		d = fdopendir(fd);
		if (!d) {
			close(fd);
			return ERR_NOMEM;
		}
		*gone_r += sweep_subdir(d, sub, wanted, arg);
		closedir(d);
	}
	return ERR_OK;
}
