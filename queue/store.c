/* store - opening and closing the queue's store, and who it is. */
#include <errno.h>
#include <malloc.h>
#include <stdlib.h>
#include <unistd.h>

#include "mta/base/check.h"
#include "queue/staged.h"
#include "queue/store_private.h"

enum { START_KEY = 9, START_VALUE = 16 };

static enum err get_meta(struct store *s, struct MDB_txn *t, struct span name,
	size_t size, struct span *v_r)
{
	enum err e = db_get(t, s->db[DB_META], name, v_r);

	if (e == ERR_NOTFOUND || (e == ERR_OK && v_r->n != size))
		return ERR_CORRUPT;
	return e;
}

static enum err put_meta(struct store *s, struct MDB_txn *t, struct span name,
	const uint8_t *p, size_t size)
{
	return db_put(t, s->db[DB_META], name, span((const char *)p, size));
}

static void add_start(struct store *s, uint64_t inc, uint64_t first)
{
	s->start = x_realloc(s->start, (s->nstart + 1) * sizeof *s->start);
	s->start[s->nstart++] = (struct store_start){inc, first};
}

/* Starts are stored as "i" and their big-endian number; the value is their inc
 * and the first sequence number of their run. (Schema 1 had no inc: those
 * starts made no copies.) */
static enum err read_starts(
	struct store *s, struct MDB_txn *t, uint64_t *last_r)
{
	struct db_cursor c;
	enum err e = db_cursor_open(t, s->db[DB_META], &c);

	*last_r = 0;
	if (e != ERR_OK)
		return e;
	c.key = SPAN("i");
	for (e = db_move(&c, DB_SEEK);
		e == ERR_OK && c.key.n == START_KEY && c.key.p[0] == 'i';
		e = db_move(&c, DB_NEXT)) {
		*last_r = get_be(c.key.p + 1, 8);
		if (c.v.n == START_VALUE)
			add_start(s, get_be(c.v.p, 8), get_be(c.v.p + 8, 8));
	}
	db_cursor_close(&c);
	return e == ERR_NOTFOUND ? ERR_OK : e;
}

static enum err next_start(struct store *s, struct MDB_txn *t)
{
	uint8_t name[START_KEY] = "i", v[START_VALUE];
	uint64_t last;
	enum err e = read_starts(s, t, &last);

	if (e != ERR_OK)
		return e;
	s->identity.inc = rand_u64(loop_rand(s->o.loop));
	add_start(s, s->identity.inc, s->identity.seq);
	put_be(name + 1, last + 1, 8);
	put_be(v, s->identity.inc, 8);
	put_be(v + 8, s->identity.seq, 8);
	return put_meta(
		s, t, span((const char *)name, sizeof name), v, sizeof v);
}

static enum err make_identity(struct store *s, struct MDB_txn *t)
{
	struct rand *r = loop_rand(s->o.loop);
	uint64_t base = (uint64_t)1 << 35;

	rand_bytes(r, s->identity.sid, sizeof s->identity.sid);
	s->identity.next = base + rand_below(r, base);
	s->identity.seq = 1;
	return put_meta(
		s, t, SPAN("sid"), s->identity.sid, sizeof s->identity.sid);
}

/* Numbers that were handed out and not stored before a crash must not come
 * again: hence the skip. */
static enum err read_identity(struct store *s, struct MDB_txn *t)
{
	struct span v;
	enum err e = get_meta(s, t, SPAN("sid"), sizeof s->identity.sid, &v);

	if (e != ERR_OK)
		return e;
	memcpy(s->identity.sid, v.p, sizeof s->identity.sid);
	e = get_meta(s, t, SPAN("next"), 8, &v);
	if (e != ERR_OK)
		return e;
	if (__builtin_add_overflow(
		    get_be(v.p, 8), STORE_ID_SKIP, &s->identity.next))
		return ERR_CORRUPT;
	/* A number of a message that has copies is never skipped. */
	s->identity.seq = 1;
	e = db_get(t, s->db[DB_META], SPAN("seq"), &v);
	if (e == ERR_OK && v.n == 8)
		s->identity.seq = get_be(v.p, 8);
	else if (e != ERR_NOTFOUND)
		return e == ERR_OK ? ERR_CORRUPT : e;
	return s->identity.seq ? ERR_OK : ERR_CORRUPT;
}

/* A database of a newer schema is told from a strange or damaged one before
 * anything is changed. */
static enum err check_schema(
	struct store *s, struct MDB_txn *t, int *fresh_r, struct buf *why)
{
	struct span v;
	uint64_t schema;
	enum err e = db_table(s, t, DB_META, 0);

	*fresh_r = 0;
	if (e == ERR_NOTFOUND) {
		e = db_empty(t, fresh_r);
		return e == ERR_OK && !*fresh_r ? ERR_CORRUPT : e;
	}
	if (e == ERR_OK)
		e = get_meta(s, t, SPAN("schema"), 4, &v);
	if (e != ERR_OK)
		return e;
	schema = get_be(v.p, 4);
	if (schema > STORE_SCHEMA) {
		buf_addf(why,
			"%s/" DATA_FILE " has schema version %u and this "
			"program knows versions up to %u: it was written by a "
			"newer Umbra; install that one (nothing was changed)",
			s->dir.path, (unsigned)schema, STORE_SCHEMA);
		return ERR_VERSION;
	}
	return schema > 0 ? ERR_OK : ERR_CORRUPT;
}

static enum err put_number(
	struct store *s, struct MDB_txn *t, struct span name, uint64_t v)
{
	uint8_t be[8];

	put_be(be, v, sizeof be);
	return put_meta(s, t, name, be, sizeof be);
}

/* An older schema differs only in what it lacks: it becomes the present one
 * here. */
static enum err begin_run(struct store *s, struct MDB_txn *t, struct buf *why)
{
	const uint8_t schema[4] = {0, 0, 0, STORE_SCHEMA};
	int fresh;
	enum err e = check_schema(s, t, &fresh, why);

	s->nstart = 0;
	for (unsigned i = 0; e == ERR_OK && i < DB_COUNT; i++)
		e = db_table(s, t, i, 1);
	if (e == ERR_OK)
		e = put_meta(s, t, SPAN("schema"), schema, sizeof schema);
	if (e == ERR_OK)
		e = fresh ? make_identity(s, t) : read_identity(s, t);
	if (e == ERR_OK)
		e = next_start(s, t);
	if (e == ERR_OK)
		e = put_number(s, t, SPAN("next"), s->identity.next);
	if (e == ERR_OK)
		e = put_number(s, t, SPAN("seq"), s->identity.seq);
	s->next = s->identity.next;
	s->seq = s->identity.seq;
	return e;
}

static enum err first_txn(struct store *s, struct buf *why)
{
	struct MDB_txn *t;
	enum err e = db_begin(s, &t);

	return e == ERR_OK ? db_end(s, t, begin_run(s, t, why)) : e;
}

static enum err start(struct store *s, struct buf *why)
{
	enum err e = first_txn(s, why);

	if (e == ERR_NOSPACE && dir_release(&s->dir))
		e = first_txn(s, why);
	if (e == ERR_NOSPACE)
		dir_explain(&s->dir, DATA_FILE, ENOSPC, why);
	else if (e == ERR_CORRUPT)
		buf_addf(why,
			"%s/" DATA_FILE " is damaged, or not a queue of "
			"Umbra's. Restore %s from a backup, or keep it for "
			"recovery and start with an empty queue: mv %s "
			"%s.damaged",
			s->dir.path, s->dir.path, s->dir.path, s->dir.path);
	else if (e != ERR_OK && why->n == 0)
		buf_adds(why, s->fail_text);
	if (e != ERR_OK)
		return e;
	if (fsync(s->dir.fd) != 0) {
		dir_explain(&s->dir, "", errno, why);
		return ERR_IO;
	}
	dir_reserve(&s->dir);
	return ERR_OK;
}

/* LMDB takes every dirty page from malloc and gives it back at the commit;
 * with the defaults glibc returns that memory to the kernel each time, which
 * doubles the cost of a large message. */
static void keep_heap(void)
{
	mallopt(M_TRIM_THRESHOLD, 1 << 30);
	mallopt(M_MMAP_THRESHOLD, 64 << 20);
}

static void destroy(struct store *s)
{
	doing_close(s);
	db_close(s);
	dir_close(&s->dir);
	free(s->dead);
	free(s->start);
	s->magic = 0;
	free(s);
}

enum err store_open(
	struct store **s_r, const struct store_options *o, struct buf *why)
{
	struct store *s = x_calloc(1, sizeof *s);
	struct writer_options w = {
		.loop = o->loop,
		.commit = store_commit,
		.committed = store_committed,
		.arg = s,
	};
	enum err e;

	s->magic = STORE_MAGIC;
	s->o = *o;
	s->doing_fd = -1;
	keep_heap();
	e = dir_open(&s->dir, o->dir, why);
	if (e == ERR_OK)
		e = db_open(s, why);
	if (e == ERR_OK)
		e = start(s, why);
	if (e == ERR_OK) {
		e = writer_create(&s->writer, &w);
		if (e != ERR_OK)
			buf_adds(why, "cannot start the queue's writer thread");
	}
	if (e != ERR_OK) {
		destroy(s);
		return e;
	}
	doing_open(s);
	store_staged_clear(s);
	*s_r = s;
	return ERR_OK;
}

enum err store_check(const char *dir, struct buf *why)
{
	struct store s = {.dir = {.fd = -1, .lock = -1}};
	int fresh;
	enum err e;

	s.dir.path = x_strdup(dir);
	e = db_peek(&s, why);
	if (e == ERR_OK) {
		e = check_schema(&s, s.read, &fresh, why);
		if (e != ERR_OK && why->n == 0)
			buf_addf(why, "%s/" DATA_FILE ": %s", dir, err_text(e));
	} else if (e == ERR_NOTFOUND) {
		e = ERR_OK;
	}
	db_close(&s);
	dir_close(&s.dir);
	return e;
}

void store_close(struct store **sp)
{
	struct store *s = *sp;

	if (!s)
		return;
	check_obj(s, STORE_MAGIC);
	writer_close(&s->writer);
	destroy(s);
	*sp = NULL;
}

void store_identity(const struct store *s, struct store_identity *id_r)
{
	check_obj(s, STORE_MAGIC);
	*id_r = s->identity;
}

const struct store_start *store_starts(const struct store *s, unsigned *n_r)
{
	check_obj(s, STORE_MAGIC);
	*n_r = s->nstart;
	return s->start;
}

enum err store_space(struct store *s, struct store_space *sp_r)
{
	check_obj(s, STORE_MAGIC);
	return dir_space(&s->dir, sp_r);
}

/* A commit under way has lasted at least so long; without the one before it a
 * slow disk would look quick each time that a commit begins. */
static uint64_t commit_ms(struct store *s)
{
	uint64_t most = atomic_exchange(&s->commit_most, 0);
	uint64_t began = atomic_load(&s->commit_began);
	uint64_t now = loop_clock(s->o.loop), last;

	if (began == 0) {
		if (most == 0)
			atomic_store(&s->commit_last, 0);
		return most;
	}
	last = atomic_load(&s->commit_last);
	if (most < last)
		most = last;
	return now > began && now - began > most ? now - began : most;
}

enum err store_load(struct store *s, struct store_load *l_r)
{
	enum err e;

	check_obj(s, STORE_MAGIC);
	*l_r = (struct store_load){0};
	e = db_load(s, l_r);
	l_r->uncommitted = writer_owed(s->writer);
	l_r->commit_ms = commit_ms(s);
	return e;
}

void store_submit(struct store *s, struct store_op *first)
{
	check_obj(s, STORE_MAGIC);
	writer_submit(s->writer, first);
}

void store_stats(const struct store *s, struct store_stats *st_r)
{
	static const char *const full[] = {NULL,
		"the queue's file system is full, or a quota is used up",
		"the queue's database has reached 1 TiB, the most it can be"};

	check_obj(s, STORE_MAGIC);
	st_r->commits = atomic_load(&s->commits);
	st_r->ops = atomic_load(&s->ops);
	st_r->full = full[atomic_load(&s->full)];
}
