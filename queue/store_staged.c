/* store_staged - messages of another database, in import/ of ours. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "mta/base/check.h"
#include "queue/staged.h"
#include "queue/store_private.h"

#define MARK "UMBRAMSG"

enum {
	MARK_SIZE = sizeof MARK - 1,
	HEAD = MARK_SIZE + 16 + 4 * 8,
	MSG_MOST = 256 << 20, /* octets of a file that is read at once */
	SMALL_PATH = 64,
};

static void name_of(uint64_t id, const char *ext, char out[static STAGED_NAME])
{
	snprintf(out, STAGED_NAME, "%016llx.%s", (unsigned long long)id, ext);
}

/* 0, or -1: not the name of a message. */
static int id_of(const char *name, uint64_t *id_r)
{
	return strlen(name) == 20 && strcmp(name + 16, ".msg") == 0
		       ? span_hex(span(name, 16), id_r)
		       : -1;
}

/* --- the client ----------------------------------------------------------- */

struct writing {
	int fd, code;
};

static enum err put(struct writing *w, struct span s)
{
	if (care_write_all(w->fd, s) == 0)
		return ERR_OK;
	w->code = errno;
	return err_from_errno(w->code);
}

static enum err on_piece(void *arg, struct span piece)
{
	return put(arg, piece);
}

static enum err begin(
	struct writing *w, int dir, const char *name, struct care_owner o)
{
	unlinkat(dir, name, 0);
	w->fd = care_create(dir, name, o);
	if (w->fd >= 0)
		return ERR_OK;
	w->code = errno;
	return err_from_errno(w->code);
}

static enum err end(struct writing *w, enum err e, int sync)
{
	if (e == ERR_OK && sync && fsync(w->fd) != 0) {
		w->code = errno;
		e = err_from_errno(w->code);
	}
	if (w->fd >= 0)
		close(w->fd);
	w->fd = -1;
	return e;
}

static enum err put_head(struct writing *w, struct care *c,
	const struct care_message *m, int file)
{
	uint8_t head[HEAD];
	uint64_t size = m->env.size;

	memcpy(head, MARK, MARK_SIZE);
	memcpy(head + MARK_SIZE, care_facts(c)->sid, 16);
	put_be(head + MARK_SIZE + 16, m->record.n, 8);
	put_be(head + MARK_SIZE + 24, m->status_record.n, 8);
	put_be(head + MARK_SIZE + 32, file ? 0 : size, 8);
	put_be(head + MARK_SIZE + 40, file ? size : 0, 8);
	return put(w, span((const char *)head, sizeof head));
}

static enum err write_body(struct writing *w, int dir, struct care_owner o,
	struct care *c, struct care_message *m)
{
	char name[STAGED_NAME];
	enum err e;

	name_of(m->id.v, "body", name);
	e = begin(w, dir, name, o);
	if (e == ERR_OK)
		e = end(w, care_body(c, m, on_piece, w), 1);
	if (e != ERR_OK || m->fault)
		unlinkat(dir, name, 0);
	return e;
}

/* The message under a name that is not looked at until it is whole. */
static enum err write_message(struct writing *w, int dir, struct care_owner o,
	struct care *c, struct care_message *m, int file)
{
	char tmp[STAGED_NAME], name[STAGED_NAME];
	enum err e;

	name_of(m->id.v, "tmp", tmp);
	name_of(m->id.v, "msg", name);
	e = begin(w, dir, tmp, o);
	if (e != ERR_OK)
		return e;
	e = put_head(w, c, m, file);
	if (e == ERR_OK)
		e = put(w, m->record);
	if (e == ERR_OK)
		e = put(w, m->status_record);
	if (e == ERR_OK && !file)
		e = care_body(c, m, on_piece, w);
	e = end(w, e, 0);
	if (e == ERR_OK && !m->fault && renameat(dir, tmp, dir, name) != 0) {
		w->code = errno;
		e = err_from_errno(w->code);
	}
	if (e != ERR_OK || m->fault)
		unlinkat(dir, tmp, 0);
	return e;
}

enum err staged_write(int at, struct care_owner o, struct care *c,
	struct care_message *m, int file, int *code_r)
{
	struct writing w = {.fd = -1};
	enum err e = ERR_OK;
	int dir;

	*code_r = 0;
	if (care_mkdir(at, STAGED_DIR, o) != 0 ||
		(dir = openat(at, STAGED_DIR,
			 O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)) <
			0) {
		*code_r = errno;
		return err_from_errno(*code_r);
	}
	if (file)
		e = write_body(&w, dir, o, c, m);
	if (e == ERR_OK && !m->fault)
		e = write_message(&w, dir, o, c, m, file);
	close(dir);
	*code_r = w.code;
	return e;
}

static DIR *open_staged(int at)
{
	int fd = openat(at, STAGED_DIR,
		O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);

	if (!d && fd >= 0)
		close(fd);
	return d;
}

int staged_clear(int at)
{
	DIR *d = open_staged(at);
	struct dirent *e;
	int code = 0;

	if (!d)
		return errno == ENOENT ? 0 : errno;
	while (code == 0 && (e = readdir(d)))
		if (e->d_name[0] != '.' &&
			unlinkat(dirfd(d), e->d_name, 0) != 0)
			code = errno;
	closedir(d);
	if (code == 0 && unlinkat(at, STAGED_DIR, AT_REMOVEDIR) != 0)
		code = errno;
	return code;
}

/* --- the daemon ----------------------------------------------------------- */

enum err store_staged_list(
	struct store *s, uint64_t *id_r, unsigned most, unsigned *n_r)
{
	struct dirent *e;
	DIR *d;

	check_obj(s, STORE_MAGIC);
	*n_r = 0;
	d = open_staged(s->dir.fd);
	if (!d)
		return errno == ENOENT ? ERR_OK : err_from_errno(errno);
	while (*n_r < most && (e = readdir(d)))
		if (id_of(e->d_name, &id_r[*n_r]) == 0)
			++*n_r;
	closedir(d);
	return ERR_OK;
}

static void path_of(uint64_t id, const char *ext, char out[static SMALL_PATH])
{
	char name[STAGED_NAME];

	name_of(id, ext, name);
	snprintf(out, SMALL_PATH, STAGED_DIR "/%s", name);
}

static enum err read_whole(int fd, struct blob **b_r)
{
	struct blob *b;
	struct stat st;
	ssize_t n = 1;

	if (fstat(fd, &st) != 0)
		return err_from_errno(errno);
	if (st.st_size < HEAD || st.st_size > MSG_MOST)
		return ERR_CORRUPT;
	b = blob_create((size_t)st.st_size);
	if (!b)
		return ERR_NOMEM;
	while (n > 0 && b->n < (size_t)st.st_size) {
		n = read(fd, b->p + b->n, (size_t)st.st_size - b->n);
		if (n < 0 && errno == EINTR)
			n = 1;
		else if (n > 0)
			b->n += (size_t)n;
	}
	if (b->n == (size_t)st.st_size) {
		*b_r = b;
		return ERR_OK;
	}
	blob_unref(b);
	return n < 0 ? err_from_errno(errno) : ERR_CORRUPT;
}

/* Takes n octets off *rest. */
static int take(struct span *rest, uint64_t n, struct span *v_r)
{
	if (n > rest->n)
		return -1;
	*v_r = span_head(*rest, (size_t)n);
	*rest = span_skip(*rest, (size_t)n);
	return 0;
}

static enum err parse(struct staged *st)
{
	struct span all = blob_span(st->file), rest = span_skip(all, HEAD);
	const char *n = all.p + MARK_SIZE + 16;

	if (!span_starts(all, SPAN(MARK)))
		return ERR_CORRUPT;
	memcpy(st->sid, all.p + MARK_SIZE, sizeof st->sid);
	st->in_file = get_be(n + 24, 8);
	if (take(&rest, get_be(n, 8), &st->env) != 0 ||
		take(&rest, get_be(n + 8, 8), &st->status) != 0 ||
		take(&rest, get_be(n + 16, 8), &st->body) != 0 || rest.n ||
		(st->in_file && st->body.n))
		return ERR_CORRUPT;
	return ERR_OK;
}

enum err store_staged_read(struct store *s, uint64_t id, struct staged *st)
{
	char path[SMALL_PATH];
	enum err e;
	int fd;

	check_obj(s, STORE_MAGIC);
	*st = (struct staged){0};
	path_of(id, "msg", path);
	fd = openat(s->dir.fd, path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return err_from_errno(errno);
	e = read_whole(fd, &st->file);
	close(fd);
	if (e == ERR_OK)
		e = parse(st);
	if (e != ERR_OK) {
		blob_unref(st->file);
		st->file = NULL;
	}
	return e;
}

enum err store_staged_adopt(struct store *s, uint64_t id, uint64_t file)
{
	char from[SMALL_PATH], to[BODY_NAME];
	int code;

	check_obj(s, STORE_MAGIC);
	code = bodyfile_make_subdir(s, file);
	if (code)
		return err_from_errno(code);
	path_of(id, "body", from);
	bodyfile_name(file, to);
	return linkat(s->dir.fd, from, s->dir.fd, to, 0) == 0
		       ? ERR_OK
		       : err_from_errno(errno);
}

void store_staged_drop(struct store *s, uint64_t id)
{
	char path[SMALL_PATH];

	check_obj(s, STORE_MAGIC);
	path_of(id, "msg", path);
	unlinkat(s->dir.fd, path, 0);
	path_of(id, "body", path);
	unlinkat(s->dir.fd, path, 0);
}

void store_staged_clear(struct store *s)
{
	check_obj(s, STORE_MAGIC);
	(void)staged_clear(s->dir.fd);
}
