/* held - a message's envelope, status and body while somebody needs them.
 *
 * A message just taken in keeps what it came with until its first attempt is
 * over; anything else is read for a lease and goes with it. What waits for a
 * first attempt and is in nobody's hands is in q->cached and is accounted in
 * the budget, whose over() drops it, oldest first: what has waited longest is
 * most likely behind a next hop that is not there.
 */
#include "queue/control_private.h"

#include <stdlib.h>

/* In the list of what can be dropped, and out of it. */
static void cache(struct queue *q, struct held *h)
{
	list_append(&q->cached, &h->node);
	h->cached = 1;
	q->budget.cached += h->cost;
	if (h->body)
		body_cache(h->body, 1);
}

static void uncache(struct queue *q, struct held *h)
{
	list_del(&h->node);
	if (!h->cached)
		return;
	h->cached = 0;
	q->budget.cached -= h->cost;
	if (h->body)
		body_cache(h->body, 0);
}

static void held_free(struct queue *q, struct held *h)
{
	uint64_t cost = h->cost;

	if (h->m)
		h->m->held = NULL;
	uncache(q, h);
	body_unref(&h->body);
	blob_unref(h->record);
	arena_fini(&h->arena);
	free(h);
	if (cost)
		budget_give(&q->budget, cost);
}

void held_rest(struct queue *q, struct held *h)
{
	must(h->refs == 0);
	if (!h->m || !h->keep) {
		held_free(q, h);
		return;
	}
	cache(q, h);
	/* Who waits for room does not ask again: it is made here. */
	if (!list_empty(&q->budget.waiters))
		held_drop_some(q);
}

void held_put(struct queue *q, struct held *h)
{
	must(h->refs > 0);
	if (--h->refs == 0)
		held_rest(q, h);
}

void held_drop_some(void *queue)
{
	struct queue *q = queue;
	struct held *h;
	uint64_t now = loop_now(q->o.loop);

	check_obj(q, QUEUE_MAGIC);
	while (q->budget.used > budget_room(&q->budget) / 4 * 3 &&
		(h = list_first(&q->cached, struct held, node)))
		held_free(q, h);
	if (q->budget.used <= budget_room(&q->budget))
		return;
	if (q->memory_said && now + 1 - q->memory_said < 60000)
		return;
	q->memory_said = now + 1;
	log_event(q->o.log, EV_QUEUE_MEMORY, F_U("used", q->budget.used),
		F_U("limit", budget_room(&q->budget)));
}

void held_drop_all(struct queue *q)
{
	struct held *h;

	while ((h = list_first(&q->cached, struct held, node)))
		held_free(q, h);
}

enum err held_make(struct queue *q, struct blob *take_record, struct held **h_r,
	const char **why_r)
{
	struct held *h = x_calloc(1, sizeof *h);
	enum err e;

	list_init(&h->node);
	h->record = take_record;
	e = envelope_decode(blob_span(take_record), &h->arena, &h->env, why_r);
	if (e == ERR_OK && h->env.nrcpt == 0) {
		e = ERR_CORRUPT;
		*why_r = "no recipients";
	}
	if (e != ERR_OK) {
		held_free(q, h);
		return e;
	}
	h->cost = sizeof *h + take_record->cap + h->arena.total;
	budget_take(&q->budget, h->cost);
	*h_r = h;
	return ERR_OK;
}

/* A status on its way is newer than the one in the store. */
static enum err read_status(struct queue *q, struct message *m)
{
	enum err e;

	buf_clear(&q->tmp);
	if (m->write) {
		struct buf *b =
			m->write->newer.n ? &m->write->newer : &m->write->now;

		buf_add(&q->tmp, buf_span(b));
		return q->tmp.full ? ERR_LIMIT : ERR_OK;
	}
	e = store_read_status(q->store, m->id, m->nrcpt, &q->tmp);
	if (e == ERR_NOTFOUND) {
		buf_clear(&q->tmp);
		return ERR_OK;
	}
	return e;
}

static enum err load_status(
	struct queue *q, struct message *m, struct held *h, const char **why_r)
{
	enum err e;

	*why_r = "status cannot be read";
	e = read_status(q, m);
	if (e != ERR_OK || q->tmp.n == 0)
		return e;
	e = status_decode(arena_span(&h->arena, buf_span(&q->tmp)), &h->arena,
		&h->status, why_r);
	if (e == ERR_OK && h->status.nrcpt != m->nrcpt) {
		*why_r = "status of another number of recipients";
		e = ERR_CORRUPT;
	}
	return e;
}

static enum err load(struct queue *q, struct message *m, struct held **h_r,
	const char **why_r)
{
	struct blob *record;
	struct held *h;
	enum err e;

	*why_r = "envelope cannot be read";
	buf_clear(&q->tmp);
	e = store_read_env(q->store, m->id, &q->tmp);
	if (e != ERR_OK)
		return e;
	record = blob_create(q->tmp.n);
	if (!record)
		return ERR_NOMEM;
	memcpy(record->p, q->tmp.p, q->tmp.n);
	record->n = q->tmp.n;
	e = held_make(q, record, &h, why_r);
	if (e != ERR_OK)
		return e;
	if (h->env.id.v != m->id.v || h->env.nrcpt != m->nrcpt) {
		*why_r = "envelope of another message";
		e = ERR_CORRUPT;
	} else {
		e = load_status(q, m, h, why_r);
	}
	if (e != ERR_OK) {
		held_free(q, h);
		return e;
	}
	h->m = m;
	m->held = h;
	*h_r = h;
	return ERR_OK;
}

static enum err load_body(
	struct queue *q, struct message *m, struct held *h, const char **why_r)
{
	struct blob *mem;
	enum err e;

	*why_r = "body cannot be read";
	if (h->env.in_file) {
		h->body = body_from_file(m->id.v, h->env.size, h->env.crc);
		return ERR_OK;
	}
	e = store_read_body(q->store, m->id, h->env.size, &mem);
	if (e != ERR_OK)
		return e;
	if (crc32c(0, blob_span(mem)) != h->env.crc) {
		blob_unref(mem);
		*why_r = "the body is not what was stored (checksum)";
		return ERR_CORRUPT;
	}
	h->body = body_from_blob(mem, &q->budget);
	return ERR_OK;
}

enum err held_get(struct queue *q, struct message *m, int with_body,
	struct held **h_r, const char **why_r)
{
	struct held *h = m->held;
	struct crash_at was = crash_note(m->id.v, WORK_READING);
	enum err e = ERR_OK;

	if (!h)
		e = load(q, m, &h, why_r);
	crash_back(was);
	if (e != ERR_OK)
		return e;
	h->refs++;
	uncache(q, h);
	if (with_body && m->bad_body) {
		*why_r = "the file of the body is not what was stored";
		e = message_leased(m) ? ERR_BUSY : ERR_CORRUPT;
	} else if (with_body && !h->body) {
		e = load_body(q, m, h, why_r);
	}
	if (e != ERR_OK) {
		held_put(q, h);
		return e;
	}
	*h_r = h;
	return ERR_OK;
}
