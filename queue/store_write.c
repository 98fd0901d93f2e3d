/* store_write - what the writer's thread does with a list of operations. */
#include <stdlib.h>

#include "mta/base/check.h"
#include "queue/store_private.h"

/* A value above a page would have to find pages side by side, for which LMDB
 * reads its whole free list: so there are none. */
static enum err put_record(
	struct MDB_txn *t, unsigned db, uint64_t id, struct span rec)
{
	struct key k;
	enum err e =
		db_append(t, db, id_key(&k, id), span_head(rec, STORE_CHUNK));

	for (uint64_t piece = 1; e == ERR_OK && rec.n > STORE_CHUNK; piece++) {
		rec = span_skip(rec, STORE_CHUNK);
		e = db_append(t, db, piece_key(&k, id, piece),
			span_head(rec, STORE_CHUNK));
	}
	return e;
}

static enum err delete_pieces(
	struct MDB_txn *t, unsigned db, uint64_t id, uint64_t from)
{
	struct key k;
	enum err e = ERR_OK;

	for (uint64_t piece = from; e == ERR_OK; piece++)
		e = db_del(t, db,
			piece ? piece_key(&k, id, piece) : id_key(&k, id));
	return e == ERR_NOTFOUND ? ERR_OK : e;
}

static uint64_t chunks(uint64_t n)
{
	return n / STORE_CHUNK + (n % STORE_CHUNK != 0);
}

static enum err put_message(
	struct store *s, struct MDB_txn *t, const struct store_op *op)
{
	struct span body = blob_span(op->mem);
	struct key k;
	enum err e = put_record(t, s->db[DB_ENV], op->id.v, op->record);

	must(op->id.v != 0 && (!op->mem || body.n == op->size));
	for (uint64_t chunk = 0; e == ERR_OK && body.n; chunk++) {
		e = db_append(t, s->db[DB_BODY], piece_key(&k, op->id.v, chunk),
			span_head(body, STORE_CHUNK));
		body = span_skip(body, STORE_CHUNK);
	}
	return e;
}

enum err store_put_status(
	struct store *s, struct MDB_txn *t, const struct store_op *op)
{
	uint64_t pieces = chunks(op->record.n);
	enum err e = put_record(t, s->db[DB_STATUS], op->id.v, op->record);

	/* The one before may have been longer. */
	if (e == ERR_OK)
		e = delete_pieces(
			t, s->db[DB_STATUS], op->id.v, pieces ? pieces : 1);
	return e;
}

static enum err put_note(
	struct store *s, struct MDB_txn *t, const struct store_op *op)
{
	enum err e;

	must(op->key.n > 0 && op->key.n <= NOTE_KEY_MOST &&
		op->record.n <= NOTE_MOST);
	if (op->record.n)
		return db_put(t, s->db[DB_NOTES], op->key, op->record);
	e = db_del(t, s->db[DB_NOTES], op->key);
	return e == ERR_NOTFOUND ? ERR_OK : e;
}

static enum err delete_message(
	struct store *s, struct MDB_txn *t, const struct store_op *op)
{
	uint64_t n = op->in_file ? 0 : chunks(op->size);
	struct key k;
	enum err e = delete_pieces(t, s->db[DB_ENV], op->id.v, 0);

	if (e == ERR_OK)
		e = delete_pieces(t, s->db[DB_STATUS], op->id.v, 0);
	for (uint64_t chunk = 0; e == ERR_OK && chunk < n; chunk++) {
		e = db_del(t, s->db[DB_BODY], piece_key(&k, op->id.v, chunk));
		if (e == ERR_NOTFOUND)
			e = ERR_OK;
	}
	return e;
}

static void add_dead(struct store *s, struct store_op *op)
{
	if (s->ndead == s->dead_cap) {
		s->dead_cap = s->dead_cap ? s->dead_cap * 2 : 256;
		s->dead = x_realloc(
			s->dead, s->dead_cap * sizeof(struct store_op *));
	}
	s->dead[s->ndead++] = op;
}

static int by_id(const void *a, const void *b)
{
	struct store_op *const *x = a, *const *y = b;

	return (*x)->id.v < (*y)->id.v ? -1 : (*x)->id.v > (*y)->id.v;
}

/* The numbers that a transaction moves on. */
struct counters {
	uint64_t next, seq;
};

static enum err apply_one(struct store *s, struct MDB_txn *t,
	struct store_op *op, struct counters *c)
{
	switch (op->verb) {
	case STORE_DELETE:
		add_dead(s, op);
		return ERR_OK;
	case STORE_STATUS:
		return store_put_status(s, t, op);
	case STORE_NOTE:
		return put_note(s, t, op);
	case STORE_PUT:
		break;
	}
	if (op->id.v >= c->next)
		c->next = op->id.v + 1;
	if (op->seq >= c->seq)
		c->seq = op->seq + 1;
	return put_message(s, t, op);
}

static enum err put_be64(
	struct store *s, struct MDB_txn *t, struct span name, uint64_t v)
{
	uint8_t be[8];

	put_be(be, v, sizeof be);
	return db_put(
		t, s->db[DB_META], name, span((const char *)be, sizeof be));
}

static enum err put_counter(struct store *s, struct MDB_txn *t,
	struct span name, uint64_t now, uint64_t was)
{
	return now == was ? ERR_OK : put_be64(s, t, name, now);
}

/* Deletes go last and by id, so that neighbours share their pages: nothing
 * is ever done to a message after its delete. */
static enum err apply(struct store *s, struct MDB_txn *t,
	struct store_op *first, const struct store_op *end, struct counters *c)
{
	enum err e = ERR_OK;

	s->ndead = 0;
	for (struct store_op *op = first; e == ERR_OK && op != end;
		op = op->next)
		e = apply_one(s, t, op, c);
	if (s->ndead > 1)
		qsort(s->dead, s->ndead, sizeof(struct store_op *), by_id);
	for (unsigned i = 0; e == ERR_OK && i < s->ndead; i++)
		e = delete_message(s, t, s->dead[i]);
	if (e == ERR_OK)
		e = put_counter(s, t, SPAN("next"), c->next, s->next);
	if (e == ERR_OK)
		e = put_counter(s, t, SPAN("seq"), c->seq, s->seq);
	return e;
}

/* One transaction for first up to end. */
static enum err transact(
	struct store *s, struct store_op *first, struct store_op *end)
{
	struct MDB_txn *t;
	struct counters c = {s->next, s->seq};
	uint64_t n = 0;
	enum err e = db_begin(s, &t);

	if (e == ERR_OK)
		e = db_end(s, t, apply(s, t, first, end, &c));
	for (struct store_op *op = first; op != end; op = op->next) {
		op->result = e;
		n++;
	}
	if (e != ERR_OK)
		return e;
	s->next = c.next;
	s->seq = c.seq;
	s->turned = 0;
	atomic_fetch_add(&s->commits, 1);
	atomic_fetch_add(&s->ops, n);
	return ERR_OK;
}

enum err store_apply(struct store *s, struct store_op *op)
{
	op->next = NULL;
	return transact(s, op, NULL);
}

/* The operation after the last one of op's call; whether a put is in it. */
static struct store_op *call_end(struct store_op *op, int *put_r)
{
	*put_r = op->verb == STORE_PUT;
	for (; op->joined && op->next; op = op->next)
		*put_r |= op->next->verb == STORE_PUT;
	return op->next;
}

/* The device is full. Calls with a put fail as they are; the others, deletes
 * and statuses, are tried each on its own, because a small transaction finds
 * enough free pages in the file when a large one does not, and a delete frees
 * more. At last the reserve is spent. */
static void transact_frugally(struct store *s, struct store_op *first)
{
	struct store_op *op, *end;
	enum err e = ERR_OK;
	int put;

	for (op = first; op; op = end) {
		end = call_end(op, &put);
		if (put)
			continue; /* its result is set */
		if (e != ERR_OK && e != ERR_NOSPACE) {
			for (; op != end; op = op->next)
				op->result = e;
			continue;
		}
		e = transact(s, op, end);
		if (e == ERR_NOSPACE && dir_release(&s->dir))
			e = transact(s, op, end);
	}
}

/* Pages that a commit has freed can be used by the next but one: the state
 * before the last is kept. So when the last commit emptied a queue on a full
 * device, puts, which are all that is left to do, would never find room.
 * One commit of nothing, once, gives it to them. 1: it was made. */
static int turn(struct store *s)
{
	struct MDB_txn *t;
	enum err e;

	if (s->turned || atomic_load(&s->failed) != ERR_OK)
		return 0;
	e = db_begin(s, &t);
	if (e == ERR_OK)
		e = db_end(s, t, put_be64(s, t, SPAN("next"), s->next));
	s->turned = e == ERR_OK;
	return s->turned;
}

static void transact_full(struct store *s, struct store_op *first)
{
	uint64_t before = atomic_load(&s->commits);

	transact_frugally(s, first);
	if (atomic_load(&s->commits) == before && turn(s) &&
		transact(s, first, NULL) == ERR_NOSPACE)
		s->turned = 1; /* until something else is committed */
}

/* The names of the body files, before the records that speak of them. A call
 * with a file whose name cannot be made durable fails, the others go on. */
static int sync_names(struct store *s, struct store_op *first)
{
	uint8_t done[SUBDIRS] = {0};
	int bad = 0;

	for (struct store_op *op = first; op; op = op->next) {
		op->result = ERR_OK;
		if (op->verb == STORE_PUT && op->in_file)
			op->result = bodyfile_sync(s, op->id.v, done);
		bad |= op->result != ERR_OK;
	}
	return bad;
}

static enum err call_result(const struct store_op *op)
{
	for (; op->result == ERR_OK && op->joined && op->next; op = op->next)
		;
	return op->result;
}

/* Each call on its own: some have failed already. */
static void transact_rest(struct store *s, struct store_op *first)
{
	struct store_op *op, *end;
	enum err e;
	int put;

	for (op = first; op; op = end) {
		end = call_end(op, &put);
		e = call_result(op);
		if (e == ERR_OK)
			e = transact(s, op, end);
		for (; op != end; op = op->next)
			op->result = e;
	}
}

static void unlink_bodies(struct store *s, struct store_op *first)
{
	enum err e;

	for (struct store_op *op = first; op; op = op->next)
		if (op->verb == STORE_DELETE && op->in_file &&
			op->result == ERR_OK) {
			/* What stays is an orphan at the next start. */
			e = bodyfile_unlink(s, op->id.v);
			(void)e;
		}
}

static void commit(struct store *s, struct store_op *first)
{
	enum err e = (enum err)atomic_load(&s->failed);

	if (e != ERR_OK) {
		for (struct store_op *op = first; op; op = op->next)
			op->result = e;
		return;
	}
	if (sync_names(s, first)) {
		transact_rest(s, first);
		unlink_bodies(s, first);
		return;
	}
	e = transact(s, first, NULL);
	if (e == ERR_NOSPACE)
		transact_full(s, first);
	else if (e == ERR_OK)
		dir_reserve(&s->dir);
	unlink_bodies(s, first);
}

void store_commit(void *arg, struct store_op *first)
{
	struct store *s = arg;
	uint64_t began = loop_clock(s->o.loop), took;

	check_obj(s, STORE_MAGIC);
	atomic_store(&s->commit_began, began ? began : 1);
	commit(s, first);
	took = loop_clock(s->o.loop) - began;
	/* Only this thread makes it longer; a reader in between has seen the
	 * time so far. */
	if (took > atomic_load(&s->commit_most))
		atomic_store(&s->commit_most, took);
	atomic_store(&s->commit_last, took);
	atomic_store(&s->commit_began, 0);
}

void store_committed(void *arg)
{
	struct store *s = arg;
	enum err e = (enum err)atomic_load(&s->failed);

	check_obj(s, STORE_MAGIC);
	if (e == ERR_OK || s->told)
		return;
	s->told = 1;
	if (s->o.fatal)
		s->o.fatal(s->o.arg, e, s->fail_text);
}
