/* care_change - what is changed in a copy that nobody else has, and a smaller
 * file for a daemon that is stopped. */
#include "queue/care_private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "mta/base/check.h"

enum { AT_ONCE = 1024, STATUS_MOST = 64 << 20 };

enum err care_forget(struct care *c, struct msg_id id)
{
	struct store_op op = {.verb = STORE_DELETE, .id = id, .in_file = 1};

	must(c->how == CARE_PRIVATE);
	return store_apply(&c->s, &op);
}

/* --- another identity ----------------------------------------------------- */

static struct span bytes(const uint8_t *p, size_t n)
{
	return span((const char *)p, n);
}

/* The starts are of the old database: their numbers prove nothing in the new
 * one, whose own begin at 1. */
static enum err drop_starts(struct care *c, struct MDB_txn *t)
{
	char name[1 + KEY_ID];
	struct db_cursor at;
	enum err e;

	for (;;) {
		e = db_cursor_open(t, c->s.db[DB_META], &at);
		if (e != ERR_OK)
			return e;
		at.key = SPAN("i");
		e = db_move(&at, DB_SEEK);
		db_cursor_close(&at);
		if (e == ERR_NOTFOUND ||
			(e == ERR_OK &&
				(at.key.n != sizeof name || *at.key.p != 'i')))
			return ERR_OK;
		if (e != ERR_OK)
			return e;
		memcpy(name, at.key.p, sizeof name);
		e = db_del(t, c->s.db[DB_META], span(name, sizeof name));
		if (e != ERR_OK)
			return e;
	}
}

static enum err change_meta(
	struct care *c, struct MDB_txn *t, const uint8_t sid[16])
{
	const uint8_t one[8] = {0, 0, 0, 0, 0, 0, 0, 1};
	enum err e = drop_starts(c, t);

	if (e == ERR_OK)
		e = db_put(t, c->s.db[DB_META], SPAN("sid"), bytes(sid, 16));
	if (e == ERR_OK)
		e = db_put(t, c->s.db[DB_META], SPAN("seq"), bytes(one, 8));
	if (e == ERR_OK && care_have(c, DB_NOTES)) {
		e = db_del(t, c->s.db[DB_NOTES], NOTE_ASIDE);
		if (e == ERR_NOTFOUND)
			e = ERR_OK;
	}
	return e;
}

int care_take_over(struct care_message *m, const uint8_t sid[16],
	struct arena *a, struct buf *out)
{
	const struct ownership *was = owner_of(&m->env, &m->status);
	struct status s = m->status;
	uint32_t gen = was->gen ? was->gen : 1;

	if (!s.rcpt) {
		s.nrcpt = m->env.nrcpt;
		s.rcpt = arena_alloc(a, s.nrcpt * sizeof *s.rcpt);
	}
	s.moved = 1;
	s.owner = (struct ownership){.gen = gen + 1};
	memcpy(s.owner.sid, sid, 16);
	s.ntarget = 0;
	return status_encode(&s, out);
}

/* Of ours, with an identity that peers know: taken over. */
static enum err change_message(struct care *c, struct MDB_txn *t,
	struct care_message *m, const uint8_t sid[16])
{
	struct store_op op = {.verb = STORE_STATUS, .id = m->id};
	struct buf b;
	enum err e = ERR_LIMIT;

	buf_init(&b, STATUS_MOST);
	if (care_take_over(m, sid, &c->mem, &b) == 0) {
		op.record = buf_span(&b);
		e = store_put_status(&c->s, t, &op);
	}
	buf_fini(&b);
	return e;
}

/* So many messages behind *at in one transaction. */
static enum err change_some(
	struct care *c, struct msg_id *at, const uint8_t sid[16], uint64_t *n)
{
	struct care_message m = {.id = *at};
	struct MDB_txn *t;
	enum err e = db_begin(&c->s, &t), more = ERR_OK;

	if (e != ERR_OK)
		return e;
	for (int i = 0; e == ERR_OK && i < AT_ONCE; i++) {
		more = care_next(c, m.id, &m);
		if (more != ERR_OK)
			break;
		if (m.fault || m.copy || !m.env.mid.seq || !m.pending)
			continue;
		e = change_message(c, t, &m, sid);
		++*n;
	}
	*at = m.id;
	e = db_end(&c->s, t, e);
	return e == ERR_OK ? more : e;
}

enum err care_new_identity(
	struct care *c, const uint8_t sid[16], uint64_t *n_r, struct buf *why)
{
	struct msg_id at = {0};
	struct MDB_txn *t;
	enum err e;

	check_obj(c, CARE_MAGIC);
	must(c->how == CARE_PRIVATE);
	*n_r = 0;
	do
		e = change_some(c, &at, sid, n_r);
	while (e == ERR_OK);
	if (e == ERR_NOTFOUND)
		e = db_begin(&c->s, &t);
	if (e == ERR_OK)
		e = db_end(&c->s, t, change_meta(c, t, sid));
	if (e == ERR_NOSPACE)
		care_say(c->f.dir, DATA_FILE, ENOSPC, why);
	else if (e != ERR_OK)
		buf_addf(why, "%s/" DATA_FILE ": %s", c->f.dir, err_text(e));
	return e;
}

/* --- a smaller file ------------------------------------------------------- */

static enum err write_small(struct care *c, uint64_t *file_r)
{
	struct care_owner o = {c->f.owner, c->f.group};
	struct stat st;
	enum err e;
	int fd;

	if (unlinkat(c->s.dir.fd, COMPACT_FILE, 0) != 0 && errno != ENOENT)
		return err_from_errno(errno);
	fd = care_create(c->s.dir.fd, COMPACT_FILE, o);
	if (fd < 0)
		return err_from_errno(errno);
	e = db_copy(&c->s, fd);
	if (e == ERR_OK && (fsync(fd) != 0 || fstat(fd, &st) != 0))
		e = err_from_errno(errno);
	if (e == ERR_OK)
		*file_r = (uint64_t)st.st_size;
	close(fd);
	return e;
}

/* LMDB's lock file speaks of the old one; it is made anew by the next start. */
enum err care_compact(struct care *c, uint64_t *file_r, struct buf *why)
{
	int dir = c->s.dir.fd;
	enum err e;

	check_obj(c, CARE_MAGIC);
	must(c->how == CARE_CHANGE);
	e = write_small(c, file_r);
	if (e == ERR_OK &&
		((unlinkat(dir, LMDB_LOCK, 0) != 0 && errno != ENOENT) ||
			renameat(dir, COMPACT_FILE, dir, DATA_FILE) != 0 ||
			fsync(dir) != 0))
		e = err_from_errno(errno);
	if (e == ERR_OK)
		return ERR_OK;
	unlinkat(dir, COMPACT_FILE, 0);
	buf_addf(why, "%s/" COMPACT_FILE ": %s; the queue is as it was",
		c->f.dir, err_text(e));
	return e;
}
