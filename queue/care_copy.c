/* care_copy - a directory with the same queue.
 *
 * The database first, as it is at one moment, then the files of the bodies that
 * the copy speaks of. Of a live one messages leave meanwhile, and their files
 * with them: such a message is finished, and is taken out of the copy as well,
 * which thereby is as if it had been made later. No transaction is open while
 * files are copied. */
#include "queue/care_private.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "mta/base/check.h"

struct copying {
	struct care *from, *to; /* to: the copy of the database, at work */
	const char *path;
	int fd;        /* of the directory to */
	int out, code; /* the file that is being written, its errno */
	struct care_owner owner;
	struct care_copied *r;
	struct buf *why;
};

static enum err say(struct copying *k, const char *name)
{
	return care_say(k->path, name, errno, k->why);
}

static enum err on_piece(void *arg, struct span piece)
{
	struct copying *k = arg;

	if (care_write_all(k->out, piece) == 0)
		return ERR_OK;
	k->code = errno;
	return err_from_errno(k->code);
}

/* --- the database --------------------------------------------------------- */

static enum err copy_database(struct copying *k)
{
	int fd = care_create(k->fd, DATA_FILE, k->owner);
	struct stat st;
	enum err e;

	if (fd < 0)
		return say(k, DATA_FILE);
	e = db_copy(&k->from->s, fd);
	if (e == ERR_OK && (fsync(fd) != 0 || fstat(fd, &st) != 0))
		e = err_from_errno(errno);
	if (e == ERR_OK)
		k->r->octets += (uint64_t)st.st_size;
	close(fd);
	if (e == ERR_NOSPACE)
		return care_say(k->path, DATA_FILE, ENOSPC, k->why);
	if (e != ERR_OK)
		buf_addf(k->why, "%s/" DATA_FILE " cannot be copied to %s: %s",
			k->from->f.dir, k->path, err_text(e));
	return e;
}

/* A message that has left since: out of the copy too. */
static enum err take_out(struct copying *k, struct msg_id id)
{
	enum err e = care_forget(k->to, id);

	k->r->left++;
	k->r->messages--;
	if (e != ERR_OK)
		buf_addf(k->why, "%s/" DATA_FILE ": %s", k->path, err_text(e));
	return e;
}

/* --- files ---------------------------------------------------------------- */

static enum err make_subdir(struct copying *k, uint64_t file)
{
	char name[BODY_NAME];

	if (care_mkdir(k->fd, "bodies", k->owner) != 0)
		return say(k, "bodies");
	bodyfile_subdir(file, name);
	return care_mkdir(k->fd, name, k->owner) == 0 ? ERR_OK : say(k, name);
}

static enum err close_synced(struct copying *k, int fd, const char *name)
{
	int bad = fsync(fd) != 0, code = errno;

	close(fd);
	errno = code;
	return bad ? say(k, name) : ERR_OK;
}

/* m is the copy's, its file the original's. One that is not whole is copied as
 * far as it goes: whoever looks finds the same as here. */
static enum err copy_body(struct copying *k, struct care_message *m)
{
	char name[BODY_NAME];
	enum err e = make_subdir(k, m->id.v);
	int fd;

	if (e != ERR_OK)
		return e;
	bodyfile_name(m->id.v, name);
	fd = care_create(k->fd, name, k->owner);
	if (fd < 0)
		return say(k, name);
	k->out = fd;
	k->code = 0;
	e = care_body(k->from, m, on_piece, k);
	if (e == ERR_NOTFOUND) {
		close(fd);
		(void)!unlinkat(k->fd, name, 0);
		return take_out(k, m->id);
	}
	if (e != ERR_OK) {
		close(fd);
		if (k->code)
			return care_say(k->path, name, k->code, k->why);
		buf_addf(
			k->why, "%s/%s: %s", k->from->f.dir, name, err_text(e));
		return e;
	}
	k->r->files++;
	k->r->octets += m->env.size;
	return close_synced(k, fd, name);
}

static enum err copy_bodies(struct copying *k)
{
	struct care_message m = {0};
	enum err e;

	while ((e = care_next(k->to, m.id, &m)) == ERR_OK) {
		if (m.fault != CARE_ENVELOPE && m.copy)
			k->r->copies++;
		else
			k->r->messages++;
		k->r->faults += m.fault != CARE_FINE;
		if (m.fault == CARE_ENVELOPE || !m.env.in_file)
			continue;
		e = copy_body(k, &m);
		if (e != ERR_OK)
			return e;
		k->r->faults += m.fault >= CARE_BODY;
	}
	if (e != ERR_NOTFOUND)
		buf_addf(k->why, "%s/" DATA_FILE ": %s", k->path, err_text(e));
	return e == ERR_NOTFOUND ? ERR_OK : e;
}

/* Files of messages that were set aside: octets that somebody may want. */
static enum err copy_aside(struct copying *k, int from, const char *name)
{
	char to[300], buf[65536];
	/* The reader may be root, who made the link another user. */
	int in = openat(
		    from, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC),
	    out;
	ssize_t n = 1;
	enum err e = ERR_OK;

	snprintf(to, sizeof to, "damaged/%s", name);
	if (in < 0)
		return care_say(k->from->f.dir, to, errno, k->why);
	if (care_mkdir(k->fd, "damaged", k->owner) != 0 ||
		(out = care_create(k->fd, to, k->owner)) < 0) {
		e = say(k, to);
		close(in);
		return e;
	}
	while (e == ERR_OK && n > 0) {
		n = read(in, buf, sizeof buf);
		if (n < 0)
			e = care_say(k->from->f.dir, to, errno, k->why);
		else if (care_write_all(out, span(buf, (size_t)n)) != 0)
			e = say(k, to);
	}
	close(in);
	if (e == ERR_OK)
		return close_synced(k, out, to);
	close(out);
	return e;
}

static enum err copy_all_aside(struct copying *k)
{
	int fd = openat(k->from->s.dir.fd, "damaged",
		O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	enum err e = ERR_OK;
	struct dirent *d;
	struct msg_id id;
	DIR *dir;

	if (fd < 0)
		return errno == ENOENT ? ERR_OK
				       : care_say(k->from->f.dir, "damaged",
						 errno, k->why);
	dir = fdopendir(fd);
	if (!dir) {
		close(fd);
		return ERR_NOMEM;
	}
	while (e == ERR_OK && (d = readdir(dir)))
		if (msg_id_parse(span_str(d->d_name), &id) == 0)
			e = copy_aside(k, dirfd(dir), d->d_name);
	closedir(dir);
	return e;
}

/* --- all of it ------------------------------------------------------------ */

static enum err copy(struct copying *k)
{
	struct care_owner me = {geteuid(), getegid()};
	enum err e;

	if (care_mkdir(AT_FDCWD, k->path, me) != 0)
		return say(k, "");
	k->fd = open(k->path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (k->fd < 0)
		return say(k, "");
	e = copy_database(k);
	if (e == ERR_OK)
		e = care_open(&k->to, k->path, CARE_PRIVATE, k->why);
	if (e == ERR_OK)
		e = copy_bodies(k);
	care_close(&k->to);
	if (e == ERR_OK)
		e = copy_all_aside(k);
	close(k->fd);
	return e == ERR_OK ? care_sync(k->path, k->why) : e;
}

enum err care_copy(struct care *c, const char *to, struct care_owner o,
	struct care_copied *r, struct buf *why)
{
	struct copying k = {
		.from = c,
		.path = to,
		.owner = o,
		.r = r,
		.why = why,
	};

	check_obj(c, CARE_MAGIC);
	*r = (struct care_copied){0};
	return copy(&k);
}
