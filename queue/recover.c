/* recover - the schedule rebuilt from the records at start.
 *
 * One pass over the envelopes in id order, each with its status. Nothing is
 * kept of a record but what the schedule needs. What cannot be read is set
 * aside, and what is finished deleted, after the pass (the store is being read
 * until then); and the start goes on: one bad record must not keep a queue from
 * being delivered.
 */
#include "queue/control_private.h"

#include <inttypes.h>
#include <stdlib.h>

#include "mta/base/be.h"

struct recovery {
	struct queue *q;
	uint64_t *damaged;
	size_t ndamaged, cap;
	struct message **finished;
	size_t nfinished, finished_cap;
};

/* Room for one more in a growing array. */
static void *room(void *v, size_t n, size_t *cap, size_t size)
{
	if (n < *cap)
		return v;
	*cap = *cap ? *cap * 2 : 16;
	return x_realloc(v, *cap * size);
}

static void damaged(struct recovery *r, struct msg_id id, const char *why)
{
	log_event(r->q->o.log, EV_QUEUE_DAMAGED, F_ID("msg", id),
		F_STR("reason", why));
	r->damaged = room(r->damaged, r->ndamaged, &r->cap, sizeof *r->damaged);
	r->damaged[r->ndamaged++] = id.v;
}

static const char *decode(struct arena *a, struct msg_id id, struct span env,
	struct span status, struct envelope *e_r, struct status *s_r)
{
	const char *why = "damaged";

	*s_r = (struct status){0};
	if (envelope_decode(env, a, e_r, &why) != ERR_OK)
		return why;
	if (e_r->id.v != id.v)
		return "envelope of another message";
	if (e_r->nrcpt == 0)
		return "no recipients";
	if (status.n == 0)
		return NULL;
	if (status_decode(status, a, s_r, &why) != ERR_OK)
		return why;
	if (s_r->nrcpt != e_r->nrcpt)
		return "status of another number of recipients";
	return NULL;
}

/* Until when deferred recipients wait: never longer than a deferral takes,
 * whatever the clock did meanwhile. */
static uint64_t due_in(struct queue *q, const struct status *s)
{
	uint64_t wall = loop_wall(q->o.loop);
	uint64_t most = q->o.retry.message_interval / 10 * 11;

	if (s->due <= wall)
		return 0;
	return s->due - wall < most ? s->due - wall : most;
}

unsigned message_pending(const struct status *s, unsigned nrcpt)
{
	unsigned n = nrcpt;

	for (unsigned i = 0; s->rcpt && i < nrcpt; i++)
		n -= s->rcpt[i].state != RCPT_PENDING;
	return n;
}

void message_schedule(struct queue *q, struct message *m,
	const struct envelope *e, const struct status *s)
{
	uint8_t *mode = arena_alloc(&q->scratch, e->nrcpt);
	uint64_t due = due_in(q, s);

	for (unsigned i = 0; i < e->nrcpt; i++) {
		const struct rcpt_status *t = s->rcpt ? &s->rcpt[i] : NULL;

		mode[i] = ROUTE_READY;
		if (t && t->state != RCPT_PENDING)
			mode[i] = ROUTE_SKIP;
		else if (t && t->attempts)
			mode[i] = due ? ROUTE_DEFERRED : ROUTE_READY;
	}
	message_route(q, m, e, mode, due, route_keys(q, e, s->redirect));
	for (struct leg *l = m->legs; l && s->rcpt; l = l->next)
		for (unsigned i = 0; i < l->nrcpt; i++)
			if (s->rcpt[leg_rcpt(l, i)].attempts > l->attempts)
				l->attempts = s->rcpt[leg_rcpt(l, i)].attempts;
}

static void take_up(
	struct recovery *r, const struct envelope *e, const struct status *s)
{
	struct queue *q = r->q;
	int copy = owner_of(e, s)->node.n != 0;
	struct message *m = message_new(q, e, copy);

	m->noticed = s->delay_noticed != 0;
	message_orders(q, m, e, s);
	m->pending = message_pending(s, e->nrcpt);
	if (e->mid.seq && q->ev.found)
		m->tag = q->ev.found(q->ev.arg, m, e, s);
	if (m->tag && !copy)
		message_set_barred(q, m, 1);
	if (m->pending == 0) {
		r->finished = room(r->finished, r->nfinished, &r->finished_cap,
			sizeof(struct message *));
		r->finished[r->nfinished++] = m;
	} else if (!copy && !m->barred) {
		message_schedule(q, m, e, s);
	}
}

static uint64_t on_record(
	void *arg, struct msg_id id, struct span env, struct span status)
{
	struct recovery *r = arg;
	struct crash_at was = crash_note(id.v, WORK_RECOVERY);
	struct arena a = {0};
	struct envelope e;
	struct status s;
	const char *why = NULL;
	uint64_t size = STORE_SIZE_UNKNOWN;

	if (poison_unreadable(r->q, id))
		why = "poison: the program crashed when it was taken up";
	else
		why = decode(&a, id, env, status, &e, &s);
	if (why) {
		damaged(r, id, why);
	} else {
		take_up(r, &e, &s);
		size = e.in_file ? 0 : e.size;
	}
	crash_back(was);
	if (id.v >= r->q->next_id)
		r->q->next_id = id.v + 1;
	arena_fini(&a);
	arena_fini(&r->q->scratch);
	return size;
}

static enum err set_aside(struct recovery *r, struct buf *why)
{
	for (size_t i = 0; i < r->ndamaged; i++) {
		enum err e = store_set_aside(
			r->q->store, (struct msg_id){r->damaged[i]});

		if (e == ERR_OK || e == ERR_NOTFOUND)
			continue;
		/* It is still on disk and comes up again at the next start;
		 * only a disk that fails ends this one. */
		if (e == ERR_IO) {
			buf_addf(why, "%s: cannot set a damaged message aside",
				r->q->o.dir);
			return e;
		}
	}
	return ERR_OK;
}

/* All earlier starts when this one found something damaged. Else those that
 * the last one knew of that did: another may have ended before anybody asked.
 */
static void suspect(struct queue *q, size_t ndamaged)
{
	enum err e = store_read_note(q->store, NOTE_ASIDE, &q->tmp);
	unsigned n;

	store_starts(q->store, &n);
	if (ndamaged || (e != ERR_OK && e != ERR_NOTFOUND)) {
		q->suspect = n - 1;
		return;
	}
	q->suspect = 0;
	if (e != ERR_OK)
		return;
	q->suspect = get_be(q->tmp.p, (unsigned)q->tmp.n);
	if (q->suspect > n - 1) /* not ours: nonsense */
		q->suspect = n - 1;
}

enum err queue_recover(struct queue *q, struct buf *why)
{
	struct recovery r = {.q = q};
	uint64_t orphans = 0, start = loop_clock(q->o.loop);
	enum err e;

	check_obj(q, QUEUE_MAGIC);
	must(list_empty(&q->messages));
	poison_begin(q);
	e = orders_load(q, why);
	if (e != ERR_OK)
		return e;
	e = store_scan(q->store, on_record, &r, &orphans);
	suspect(q, r.ndamaged);
	if (e != ERR_OK)
		buf_addf(why, "%s: the queue cannot be read: %s", q->o.dir,
			err_text(e));
	else
		e = set_aside(&r, why);
	for (size_t i = 0; i < r.nfinished; i++)
		message_done(q, r.finished[i]);
	if (e == ERR_OK)
		poison_suspend(q);
	if (e == ERR_OK)
		log_event(q->o.log, EV_QUEUE_RECOVERED,
			F_U("messages", q->nmessages),
			F_U("finished", r.nfinished), F_U("orphans", orphans),
			F_U("damaged", r.ndamaged),
			F_U("ms", loop_clock(q->o.loop) - start));
	free(r.damaged);
	free(r.finished);
	return e;
}
