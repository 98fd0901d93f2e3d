/* store_read - reads on the loop, the scan at the start, setting aside. */
#include <stdlib.h>

#include "mta/base/check.h"
#include "queue/store_private.h"

enum { SCAN_STEPS = 8, ORPHANS_AT_ONCE = 256 };

static enum err get_record(
	struct store *s, unsigned db, uint64_t id, struct buf *rec_r)
{
	struct key k;
	struct span v;
	enum err e = db_get(s->read, db, id_key(&k, id), &v);

	for (uint64_t piece = 1; e == ERR_OK; piece++) {
		buf_add(rec_r, v);
		if (v.n != STORE_CHUNK)
			return ERR_OK;
		e = db_get(s->read, db, piece_key(&k, id, piece), &v);
		if (e == ERR_NOTFOUND)
			return ERR_OK;
	}
	return e;
}

static enum err read_record(
	struct store *s, unsigned db, uint64_t id, struct buf *rec_r)
{
	enum err e;

	check_obj(s, STORE_MAGIC);
	buf_clear(rec_r);
	e = db_read(s);
	if (e == ERR_OK)
		e = get_record(s, s->db[db], id, rec_r);
	db_read_end(s);
	return e == ERR_OK && rec_r->full ? ERR_LIMIT : e;
}

enum err store_read_env(struct store *s, struct msg_id id, struct buf *rec_r)
{
	return read_record(s, DB_ENV, id.v, rec_r);
}

enum err store_read_status(
	struct store *s, struct msg_id id, unsigned nrcpt, struct buf *rec_r)
{
	(void)nrcpt;
	return read_record(s, DB_STATUS, id.v, rec_r);
}

enum err store_read_note(struct store *s, struct span key, struct buf *rec_r)
{
	struct span v;
	enum err e;

	check_obj(s, STORE_MAGIC);
	buf_clear(rec_r);
	e = db_read(s);
	if (e == ERR_OK)
		e = db_get(s->read, s->db[DB_NOTES], key, &v);
	if (e == ERR_OK)
		buf_add(rec_r, v);
	db_read_end(s);
	return e == ERR_OK && rec_r->full ? ERR_LIMIT : e;
}

static enum err next_note(struct store *s, struct span after, struct buf *key_r,
	struct buf *rec_r)
{
	struct db_cursor c;
	enum err e = db_cursor_open(s->read, s->db[DB_NOTES], &c);

	if (e != ERR_OK)
		return e;
	c.key = after;
	e = db_move(&c, after.n ? DB_SEEK : DB_FIRST);
	if (e == ERR_OK && after.n && span_eq(c.key, after))
		e = db_move(&c, DB_NEXT);
	if (e == ERR_OK) {
		buf_add(key_r, c.key);
		buf_add(rec_r, c.v);
	}
	db_cursor_close(&c);
	return e == ERR_OK && (key_r->full || rec_r->full) ? ERR_LIMIT : e;
}

enum err store_next_note(struct store *s, struct span after, struct buf *key_r,
	struct buf *rec_r)
{
	char copy[NOTE_KEY_MOST]; /* after may be what key_r holds */
	enum err e;

	check_obj(s, STORE_MAGIC);
	must(after.n <= sizeof copy);
	if (after.n)
		memcpy(copy, after.p, after.n);
	buf_clear(key_r);
	buf_clear(rec_r);
	e = db_read(s);
	if (e == ERR_OK)
		e = next_note(s, span(copy, after.n), key_r, rec_r);
	db_read_end(s);
	return e;
}

static enum err get_chunks(
	struct store *s, uint64_t id, uint64_t size, struct blob *mem)
{
	struct key k;
	struct span v;
	uint64_t left = size;
	enum err e;

	for (uint64_t chunk = 0; left; chunk++) {
		e = db_get(
			s->read, s->db[DB_BODY], piece_key(&k, id, chunk), &v);
		if (e != ERR_OK)
			return e == ERR_NOTFOUND ? ERR_CORRUPT : e;
		if (v.n != (left < STORE_CHUNK ? left : STORE_CHUNK))
			return ERR_CORRUPT;
		memcpy(mem->p + mem->n, v.p, v.n);
		mem->n += v.n;
		left -= v.n;
	}
	return ERR_OK;
}

enum err store_read_body(
	struct store *s, struct msg_id id, uint64_t size, struct blob **mem_r)
{
	struct blob *mem = blob_create(size);
	enum err e;

	check_obj(s, STORE_MAGIC);
	if (!mem)
		return ERR_NOMEM;
	e = db_read(s);
	if (e == ERR_OK)
		e = get_chunks(s, id.v, size, mem);
	db_read_end(s);
	if (e != ERR_OK) {
		blob_unref(mem);
		return e;
	}
	*mem_r = mem;
	return ERR_OK;
}

/* ids - numbers in ascending order. */
struct ids {
	uint64_t *v;
	size_t n, cap;
};

static void ids_add(struct ids *ids, uint64_t id)
{
	if (ids->n == ids->cap) {
		ids->cap = ids->cap ? ids->cap * 2 : 1024;
		ids->v = x_realloc(ids->v, ids->cap * sizeof *ids->v);
	}
	ids->v[ids->n++] = id;
}

static int ids_have(void *arg, uint64_t id)
{
	const struct ids *ids = arg;
	size_t lo = 0, hi = ids->n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (ids->v[mid] < id)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < ids->n && ids->v[lo] == id;
}

/* walk - a cursor that gives one record after the other. */
struct walk {
	struct db_cursor c;
	enum err e; /* of the cursor, which is ahead of the record */
	int have;   /* id and rec are one */
	uint64_t id;
	struct span rec;
	struct buf whole; /* of a record in pieces */
};

/* Pieces that follow no first one of theirs can be read by nobody and are
 * passed over. */
static void walk_next(struct walk *w)
{
	while (w->e == ERR_OK && w->c.key.n != KEY_ID)
		w->e = db_move(&w->c, DB_NEXT);
	w->have = w->e == ERR_OK;
	if (!w->have)
		return;
	w->id = get_be(w->c.key.p, KEY_ID);
	w->rec = w->c.v;
	w->e = db_move(&w->c, DB_NEXT);
	if (w->rec.n != STORE_CHUNK)
		return;
	buf_clear(&w->whole);
	buf_add(&w->whole, w->rec);
	while (w->e == ERR_OK && w->c.key.n == KEY_PIECE &&
		get_be(w->c.key.p, KEY_ID) == w->id) {
		buf_add(&w->whole, w->c.v);
		w->e = db_move(&w->c, DB_NEXT);
	}
	w->rec = buf_span(&w->whole);
}

static enum err walk_open(struct walk *w, struct store *s, unsigned db)
{
	enum err e = db_cursor_open(s->read, s->db[db], &w->c);

	buf_init(&w->whole, SIZE_MAX);
	if (e != ERR_OK)
		return e;
	w->e = db_move(&w->c, DB_FIRST);
	walk_next(w);
	return ERR_OK;
}

static enum err walk_close(struct walk *w)
{
	db_cursor_close(&w->c);
	buf_fini(&w->whole);
	return w->e == ERR_NOTFOUND ? ERR_OK : w->e;
}

typedef uint64_t (*scan_fn)(
	void *arg, struct msg_id id, struct span env, struct span status);

/* What a scan has found. */
struct scan {
	struct ids seen, status, body; /* envelopes; orphans of the others */
	uint64_t chunks;               /* that the envelopes have */
	int sure;                      /* each has said how many */
};

/* Envelopes and statuses are walked once, side by side. */
static enum err scan_envelopes(
	struct store *s, scan_fn fn, void *arg, struct scan *found)
{
	struct walk env = {0}, status = {0};
	enum err e, e1, e2;

	e = walk_open(&env, s, DB_ENV);
	if (e == ERR_OK)
		e = walk_open(&status, s, DB_STATUS);
	for (; e == ERR_OK && env.have; walk_next(&env)) {
		struct msg_id id = {env.id};
		uint64_t size;
		int ours;

		for (; status.have && status.id < env.id; walk_next(&status))
			ids_add(&found->status, status.id);
		ours = status.have && status.id == env.id;
		size = fn(arg, id, env.rec, ours ? status.rec : span(NULL, 0));
		if (size == STORE_SIZE_UNKNOWN)
			found->sure = 0;
		else
			found->chunks += (size + STORE_CHUNK - 1) / STORE_CHUNK;
		ids_add(&found->seen, env.id);
		if (ours)
			walk_next(&status);
	}
	for (; e == ERR_OK && status.have; walk_next(&status))
		ids_add(&found->status, status.id);
	e1 = walk_close(&env);
	e2 = walk_close(&status);
	return e != ERR_OK ? e : e1 != ERR_OK ? e1 : e2;
}

/* Only keys are looked at, but each is in a page with its chunk: all of the
 * database is read. So this is done only when there are more chunks than the
 * envelopes have, or fewer. Small bodies are stepped over, large ones jumped
 * over. */
static enum err scan_bodies(
	struct store *s, const struct ids *seen, struct ids *orphans)
{
	struct db_cursor c;
	struct key k;
	uint64_t id = 0, now;
	size_t at = 0;
	unsigned steps = 0;
	enum err e = db_cursor_open(s->read, s->db[DB_BODY], &c);

	if (e != ERR_OK)
		return e;
	e = db_move(&c, DB_FIRST);
	while (e == ERR_OK && c.key.n >= KEY_ID) {
		now = get_be(c.key.p, KEY_ID);
		if (now != id) {
			id = now;
			steps = 0;
			while (at < seen->n && seen->v[at] < id)
				at++;
			if (at == seen->n || seen->v[at] != id)
				ids_add(orphans, id);
		}
		if (++steps < SCAN_STEPS || id == UINT64_MAX) {
			e = db_move(&c, DB_NEXT);
		} else {
			c.key = id_key(&k, id + 1);
			e = db_move(&c, DB_SEEK);
		}
	}
	db_cursor_close(&c);
	return e == ERR_NOTFOUND ? ERR_OK : e;
}

static enum err first_of(
	struct MDB_txn *t, unsigned db, uint64_t id, struct db_cursor *at_r)
{
	struct key k;
	enum err e = db_cursor_open(t, db, at_r);

	if (e != ERR_OK)
		return e;
	at_r->key = id_key(&k, id);
	e = db_move(at_r, DB_SEEK);
	db_cursor_close(at_r);
	if (e == ERR_OK && (at_r->key.n < KEY_ID || at_r->key.n > KEY_PIECE ||
				   get_be(at_r->key.p, KEY_ID) != id))
		return ERR_NOTFOUND;
	return e;
}

/* Deletes every key of id in db; with keep, a copy of each goes to the damaged
 * ones, under that letter and the same key. What LMDB returned is gone with
 * the first change, hence the copies. */
static enum err clear_id(
	struct store *s, struct MDB_txn *t, unsigned db, uint64_t id, char keep)
{
	char name[1 + KEY_PIECE] = {keep}, copy[STORE_CHUNK];
	struct db_cursor at;
	struct span key;
	enum err e;

	while ((e = first_of(t, s->db[db], id, &at)) == ERR_OK) {
		memcpy(name + 1, at.key.p, at.key.n);
		key = span(name, at.key.n + 1);
		if (keep) {
			at.v = span_head(at.v, sizeof copy);
			memcpy(copy, at.v.p, at.v.n);
			e = db_put(
				t, s->db[DB_DAMAGED], key, span(copy, at.v.n));
		}
		if (e == ERR_OK)
			e = db_del(t, s->db[db], span_skip(key, 1));
		if (e != ERR_OK)
			return e;
	}
	return e == ERR_NOTFOUND ? ERR_OK : e;
}

/* On a full device orphans stay for another start; they do no harm. */
static enum err clear_orphans(
	struct store *s, unsigned db, const struct ids *ids)
{
	struct MDB_txn *t;
	enum err e = ERR_OK;
	size_t end;

	for (size_t i = 0; e == ERR_OK && i < ids->n;) {
		end = i + ORPHANS_AT_ONCE < ids->n ? i + ORPHANS_AT_ONCE
						   : ids->n;
		e = db_begin(s, &t);
		if (e != ERR_OK)
			return e;
		for (; e == ERR_OK && i < end; i++)
			e = clear_id(s, t, db, ids->v[i], 0);
		e = db_end(s, t, e);
	}
	return e == ERR_NOSPACE ? ERR_OK : e;
}

enum err store_scan(struct store *s, scan_fn fn, void *arg, uint64_t *orphans_r)
{
	struct scan found = {.sure = 1};
	uint64_t files = 0, chunks;
	enum err e;

	check_obj(s, STORE_MAGIC);
	e = db_read(s);
	db_read_ahead(s, 1);
	if (e == ERR_OK)
		e = scan_envelopes(s, fn, arg, &found);
	db_read_ahead(s, 0);
	if (e == ERR_OK)
		e = db_count(s->read, s->db[DB_BODY], &chunks);
	if (e == ERR_OK && (!found.sure || chunks != found.chunks))
		e = scan_bodies(s, &found.seen, &found.body);
	db_read_end(s);
	if (e == ERR_OK)
		e = clear_orphans(s, DB_STATUS, &found.status);
	if (e == ERR_OK)
		e = clear_orphans(s, DB_BODY, &found.body);
	if (e == ERR_OK)
		e = bodyfile_sweep(s, ids_have, &found.seen, &files);
	*orphans_r = found.status.n + found.body.n + files;
	free(found.seen.v);
	free(found.status.v);
	free(found.body.v);
	return e;
}

enum err store_set_aside(struct store *s, struct msg_id id)
{
	enum err e = (enum err)atomic_load(&s->failed);
	struct MDB_txn *t;
	uint8_t starts[8];

	check_obj(s, STORE_MAGIC);
	put_be(starts, s->nstart, sizeof starts);
	if (e == ERR_OK)
		e = db_begin(s, &t);
	if (e != ERR_OK)
		return e;
	e = clear_id(s, t, DB_ENV, id.v, 'e');
	if (e == ERR_OK)
		e = clear_id(s, t, DB_STATUS, id.v, 's');
	if (e == ERR_OK)
		e = clear_id(s, t, DB_BODY, id.v, 'b');
	if (e == ERR_OK)
		e = db_put(t, s->db[DB_NOTES], NOTE_ASIDE,
			span((const char *)starts, sizeof starts));
	e = db_end(s, t, e);
	return e == ERR_OK ? bodyfile_set_aside(s, id.v) : e;
}
