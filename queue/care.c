/* care - opening a queue's directory from outside, and its messages one by
 * one.
 *
 * Every call reads in a transaction of its own, so that a live database is
 * never held up; what is read of one message in two of them is only believed
 * when the message is still there afterwards. */
#include "queue/care_private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "mta/base/check.h"

enum { RECORD_MOST = 64 << 20, FILE_PIECE = 256 * 1024 };

const struct care_fault_row care_fault_rows[CARE_FAULT_COUNT] = {
#define X(id, name, what, advice) [id] = {name, what, advice},
	CARE_FAULTS(X)
#undef X
};

int care_have(const struct care *c, unsigned db)
{
	return c->have >> db & 1;
}

/* --- opening -------------------------------------------------------------- */

/* Whoever looks is an administrator: what belongs to the daemon's user shall
 * stay his. */
static void explain(
	const struct care *c, const char *file, int code, struct buf *why)
{
	if (code != EACCES && code != EPERM) {
		dir_explain(&c->s.dir, file, code, why);
		return;
	}
	buf_addf(why,
		"%s%s%s: %s; type it as root, or as the user that the daemon "
		"runs as",
		c->s.dir.path, *file ? "/" : "", file, strerror(code));
}

/* The directory is its owner's: what stands in a file's place may lead us
 * (root) to where he may not go, or make us wait for ever. */
static enum err strange(const struct care *c, const char *file, struct buf *why)
{
	buf_addf(why,
		"%s/%s is not a regular file; the queue's are, and a link is "
		"not followed: put the file itself there",
		c->s.dir.path, file);
	return ERR_PERM;
}

static enum err open_dir(struct care *c, const char *dir, struct buf *why)
{
	struct store_dir *d = &c->s.dir;
	struct stat st;
	int code;

	d->path = x_strdup(dir);
	d->fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (d->fd < 0 || fstat(d->fd, &st) != 0) {
		code = errno;
		explain(c, "", code, why);
		return err_from_errno(code);
	}
	c->f.owner = st.st_uid;
	c->f.group = st.st_gid;
	if (fstatat(d->fd, DATA_FILE, &st, AT_SYMLINK_NOFOLLOW) != 0) {
		code = errno;
		if (code == ENOENT)
			buf_addf(why,
				"%s: there is no queue here (no " DATA_FILE
				"); the directory is node.data of its "
				"configuration",
				dir);
		else
			explain(c, DATA_FILE, code, why);
		return err_from_errno(code);
	}
	c->f.file = (uint64_t)st.st_size;
	return S_ISREG(st.st_mode) ? ERR_OK : strange(c, DATA_FILE, why);
}

static void read_pid(struct care *c)
{
	char text[24] = "";
	uint64_t pid;
	ssize_t n = pread(c->s.dir.lock, text, sizeof text - 1, 0);

	if (n > 0 &&
		span_u64(span(text, strcspn(text, "\n")), INT32_MAX, &pid) == 0)
		c->f.pid = (long)pid;
}

static int open_lock(const struct care *c)
{
	return openat(c->s.dir.fd, LOCK_FILE,
		O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
}

/* A directory without a lock file has never been a daemon's: a copy. Its daemon
 * may start while it is changed. Somebody may make the file before we do. */
static int lock_file(struct care *c)
{
	struct care_owner o = {c->f.owner, c->f.group};
	int fd = open_lock(c);

	if (fd >= 0 || errno != ENOENT || c->how != CARE_CHANGE)
		return fd;
	fd = care_create(c->s.dir.fd, LOCK_FILE, o);
	return fd < 0 && errno == EEXIST ? open_lock(c) : fd;
}

static enum err take_lock(struct care *c, struct buf *why)
{
	struct store_dir *d = &c->s.dir;
	struct stat st;
	int code;

	d->lock = lock_file(c);
	if (d->lock < 0 && errno == ENOENT)
		return ERR_OK;
	if (d->lock < 0 ? errno == ELOOP
			: fstat(d->lock, &st) != 0 || !S_ISREG(st.st_mode))
		return strange(c, LOCK_FILE, why);
	if (d->lock >= 0 &&
		flock(d->lock, (c->how == CARE_ANY ? LOCK_SH : LOCK_EX) |
				       LOCK_NB) == 0)
		return ERR_OK;
	code = errno;
	if (d->lock < 0 || code != EWOULDBLOCK) {
		explain(c, LOCK_FILE, code, why);
		return err_from_errno(code);
	}
	c->f.live = 1;
	read_pid(c);
	if (c->how == CARE_ANY)
		return ERR_OK;
	buf_addf(why, "%s is in use by another process", d->path);
	if (c->f.pid)
		buf_addf(why, ", pid %ld", c->f.pid);
	buf_adds(why, ": stop it first (systemctl stop umbra)");
	return ERR_BUSY;
}

static enum err get_fixed(
	struct care *c, struct span name, size_t n, struct span *v_r)
{
	enum err e = db_get(c->s.read, c->s.db[DB_META], name, v_r);

	return e == ERR_NOTFOUND || (e == ERR_OK && v_r->n != n) ? ERR_CORRUPT
								 : e;
}

static enum err count_starts(struct care *c)
{
	struct db_cursor at;
	enum err e = db_cursor_open(c->s.read, c->s.db[DB_META], &at);

	if (e != ERR_OK)
		return e;
	at.key = SPAN("i");
	for (e = db_move(&at, DB_SEEK);
		e == ERR_OK && at.key.n == 1 + KEY_ID && at.key.p[0] == 'i';
		e = db_move(&at, DB_NEXT))
		c->f.starts++;
	db_cursor_close(&at);
	return e == ERR_NOTFOUND ? ERR_OK : e;
}

static enum err read_meta(struct care *c)
{
	struct span v;
	enum err e;

	if (!care_have(c, DB_META) || !care_have(c, DB_ENV) ||
		!care_have(c, DB_BODY) || !care_have(c, DB_STATUS))
		return ERR_CORRUPT;
	e = db_read(&c->s);
	if (e == ERR_OK)
		e = get_fixed(c, SPAN("schema"), 4, &v);
	if (e == ERR_OK)
		c->f.schema = (unsigned)get_be(v.p, 4);
	if (e == ERR_OK)
		e = get_fixed(c, SPAN("sid"), sizeof c->f.sid, &v);
	if (e == ERR_OK)
		memcpy(c->f.sid, v.p, sizeof c->f.sid);
	if (e == ERR_OK)
		e = count_starts(c);
	db_read_end(&c->s);
	return e;
}

static enum err read_facts(struct care *c, struct buf *why)
{
	uint64_t whole;
	enum err e = read_meta(c);

	if (e == ERR_OK && c->f.schema > STORE_SCHEMA) {
		buf_addf(why,
			"%s/" DATA_FILE " has schema version %u and this "
			"program knows versions up to %u: it was written by a "
			"newer Umbra; use the umbra of that one",
			c->f.dir, c->f.schema, STORE_SCHEMA);
		return ERR_VERSION;
	}
	if (e == ERR_OK)
		e = db_whole(&c->s, &whole);
	if (e != ERR_OK) {
		buf_addf(why,
			"%s/" DATA_FILE " is damaged, or not a queue of "
			"Umbra's",
			c->f.dir);
		return e == ERR_NOTFOUND ? ERR_CORRUPT : e;
	}
	c->f.truncated = whole > c->f.file ? whole - c->f.file : 0;
	return ERR_OK;
}

enum err care_open(struct care **c_r, const char *dir, enum care_open_how how,
	struct buf *why)
{
	struct care *c = x_calloc(1, sizeof *c);
	enum err e;

	c->magic = CARE_MAGIC;
	c->how = how;
	c->s.magic = STORE_MAGIC;
	c->s.dir = (struct store_dir){.fd = -1, .lock = -1};
	buf_init(&c->record, RECORD_MOST);
	buf_init(&c->status, RECORD_MOST);
	e = open_dir(c, dir, why);
	c->f.dir = c->s.dir.path;
	if (e == ERR_OK && how != CARE_PRIVATE)
		e = take_lock(c, why);
	if (e == ERR_OK)
		e = db_look(&c->s,
			how == CARE_PRIVATE ? DB_PRIVATE
			: c->f.live         ? DB_BESIDE
					    : DB_ALONE,
			&c->have, why);
	if (e == ERR_OK)
		e = read_facts(c, why);
	if (e != ERR_OK) {
		care_close(&c);
		return e;
	}
	*c_r = c;
	return ERR_OK;
}

void care_close(struct care **cp)
{
	struct care *c = *cp;

	if (!c)
		return;
	check_obj(c, CARE_MAGIC);
	db_close(&c->s);
	dir_close(&c->s.dir);
	buf_fini(&c->record);
	buf_fini(&c->status);
	arena_fini(&c->mem);
	c->magic = 0;
	free(c);
	*cp = NULL;
}

const struct care_facts *care_facts(const struct care *c)
{
	check_obj(c, CARE_MAGIC);
	return &c->f;
}

/* --- messages ------------------------------------------------------------- */

static enum err next_id(struct care *c, uint64_t after, struct msg_id *id_r)
{
	struct db_cursor at;
	struct key k;
	enum err e;

	if (after == UINT64_MAX)
		return ERR_NOTFOUND;
	e = db_read(&c->s);
	if (e != ERR_OK)
		return e;
	e = db_cursor_open(c->s.read, c->s.db[DB_ENV], &at);
	if (e == ERR_OK) {
		at.key = id_key(&k, after + 1);
		e = db_move(&at, DB_SEEK);
		/* Pieces of an envelope whose beginning is not there. */
		while (e == ERR_OK && at.key.n != KEY_ID)
			e = db_move(&at, DB_NEXT);
		if (e == ERR_OK)
			id_r->v = get_be(at.key.p, KEY_ID);
		db_cursor_close(&at);
	}
	db_read_end(&c->s);
	return e;
}

int care_gone(struct care *c, struct msg_id id)
{
	struct key k;
	struct span v;
	enum err e = db_read(&c->s);

	if (e == ERR_OK)
		e = db_get(c->s.read, c->s.db[DB_ENV], id_key(&k, id.v), &v);
	db_read_end(&c->s);
	return e == ERR_NOTFOUND;
}

static void blame(
	struct care_message *m, enum care_fault fault, const char *why)
{
	m->fault = fault;
	m->why = why;
}

static void decode_status(struct care *c, struct care_message *m)
{
	const char *why = "";

	if (m->status_record.n == 0)
		return;
	if (status_decode(m->status_record, &c->mem, &m->status, &why) !=
		ERR_OK)
		blame(m, CARE_STATUS, why);
	else if (m->status.nrcpt != m->env.nrcpt)
		blame(m, CARE_STATUS, "status of another number of recipients");
	if (m->fault)
		m->status = (struct status){0};
}

static void decode(struct care *c, struct care_message *m)
{
	const char *why = "";

	if (envelope_decode(m->record, &c->mem, &m->env, &why) != ERR_OK)
		blame(m, CARE_ENVELOPE, why);
	else if (m->env.id.v != m->id.v)
		blame(m, CARE_ENVELOPE, "envelope of another message");
	else if (m->env.nrcpt == 0)
		blame(m, CARE_ENVELOPE, "no recipients");
	if (m->fault)
		return;
	decode_status(c, m);
	m->copy = owner_of(&m->env, &m->status)->node.n != 0;
	m->pending = m->env.nrcpt;
	for (unsigned i = 0; m->status.rcpt && i < m->env.nrcpt; i++)
		m->pending -= m->status.rcpt[i].state != RCPT_PENDING;
}

/* ERR_NOTFOUND: it left between two reads. */
static enum err read_records(struct care *c, struct msg_id id)
{
	enum err e = store_read_env(&c->s, id, &c->record);

	if (e != ERR_OK)
		return e;
	e = store_read_status(&c->s, id, 0, &c->status);
	if (e == ERR_NOTFOUND) {
		buf_clear(&c->status);
		e = ERR_OK;
	}
	if (e == ERR_OK && c->f.live && care_gone(c, id))
		return ERR_NOTFOUND;
	return e;
}

enum err care_next(struct care *c, struct msg_id after, struct care_message *m)
{
	enum err e;

	check_obj(c, CARE_MAGIC);
	*m = (struct care_message){.id = after};
	arena_fini(&c->mem);
	do {
		e = next_id(c, m->id.v, &m->id);
		if (e != ERR_OK)
			return e;
		e = read_records(c, m->id);
	} while (e == ERR_NOTFOUND);
	if (e == ERR_LIMIT) {
		blame(m, CARE_ENVELOPE, "the record has no end");
		return ERR_OK;
	}
	if (e != ERR_OK)
		return e;
	m->record = buf_span(&c->record);
	m->status_record = buf_span(&c->status);
	decode(c, m);
	return ERR_OK;
}

/* --- bodies --------------------------------------------------------------- */

struct body_read {
	enum err (*fn)(void *arg, struct span piece);
	void *arg;
	uint32_t crc;
};

static enum err give(struct body_read *r, struct span piece)
{
	r->crc = crc32c(r->crc, piece);
	return r->fn && piece.n ? r->fn(r->arg, piece) : ERR_OK;
}

/* In one transaction: what is not there in it is not there at all. */
static enum err chunk_by_chunk(
	struct care *c, struct care_message *m, struct body_read *r)
{
	uint64_t left = m->env.size;
	struct key k;
	struct span v;
	enum err e;

	for (uint64_t chunk = 0; left; chunk++) {
		e = db_get(c->s.read, c->s.db[DB_BODY],
			piece_key(&k, m->id.v, chunk), &v);
		if (e == ERR_NOTFOUND || e == ERR_CORRUPT ||
			(e == ERR_OK &&
				v.n != (left < STORE_CHUNK ? left
							   : STORE_CHUNK))) {
			blame(m, CARE_BODY, "a part of the body is not there");
			return ERR_OK;
		}
		if (e == ERR_OK)
			e = give(r, v);
		if (e != ERR_OK)
			return e;
		left -= v.n;
	}
	return ERR_OK;
}

static enum err in_chunks(
	struct care *c, struct care_message *m, struct body_read *r)
{
	enum err e = db_read(&c->s);

	if (e != ERR_OK)
		return e;
	e = chunk_by_chunk(c, m, r);
	db_read_end(&c->s);
	if (e == ERR_OK && !m->fault && r->crc != m->env.crc)
		blame(m, CARE_BODY_SUM,
			"the checksum of the body does not match");
	return e;
}

static enum err in_file(
	struct care *c, struct care_message *m, struct body_read *r)
{
	char *p = x_realloc(NULL, FILE_PIECE);
	uint64_t off = 0;
	size_t got = FILE_PIECE;
	enum err e = ERR_OK;

	while (e == ERR_OK && got == FILE_PIECE && off <= m->env.size) {
		e = store_file_read(&c->s, m->id.v, off, p, FILE_PIECE, &got);
		off += got;
		if (e == ERR_OK)
			e = give(r, span(p, got));
		else
			blame(m, CARE_FILE,
				e == ERR_NOTFOUND ? "its file is not there"
						  : "its file cannot be read");
	}
	free(p);
	if (m->fault)
		return e == ERR_PERM ? e : ERR_OK;
	if (e == ERR_OK && off != m->env.size)
		blame(m, CARE_FILE, "its file is not as long as it was");
	else if (e == ERR_OK && r->crc != m->env.crc)
		blame(m, CARE_FILE_SUM,
			"the checksum of the body does not match");
	return e;
}

enum err care_body(struct care *c, struct care_message *m,
	enum err (*fn)(void *arg, struct span piece), void *arg)
{
	struct body_read r = {.fn = fn, .arg = arg};
	enum care_fault before = m->fault;
	enum err e;

	check_obj(c, CARE_MAGIC);
	must(m->fault == CARE_FINE || m->fault == CARE_STATUS);
	m->fault = CARE_FINE;
	e = m->env.in_file ? in_file(c, m, &r) : in_chunks(c, m, &r);
	if (m->fault == CARE_FINE)
		m->fault = before;
	if (e == ERR_OK && m->fault >= CARE_BODY && c->f.live &&
		care_gone(c, m->id))
		return ERR_NOTFOUND;
	return e;
}
