/* intake - taking messages in, and finding their next hops.
 *
 * The fast path, one recipient or one next hop, does one encoding, one
 * allocation for the message with its leg inside, and compares the hop's key
 * once. Everything that routes (intake, recovery, a changed routing) goes
 * through message_route.
 */
#include "queue/control_private.h"

#include <stdlib.h>

struct msg_id queue_next_id(struct queue *q)
{
	check_obj(q, QUEUE_MAGIC);
	return (struct msg_id){q->next_id++};
}

struct msg_id queue_first_free_id(const struct queue *q)
{
	check_obj(q, QUEUE_MAGIC);
	return (struct msg_id){q->next_id};
}

uint64_t queue_next_seq(struct queue *q)
{
	check_obj(q, QUEUE_MAGIC);
	return q->next_seq++;
}

uint64_t queue_suspect(const struct queue *q)
{
	check_obj(q, QUEUE_MAGIC);
	return q->suspect;
}

uint64_t queue_first_free_seq(const struct queue *q)
{
	check_obj(q, QUEUE_MAGIC);
	return q->next_seq;
}

struct span *route_keys(
	struct queue *q, const struct envelope *e, struct span redirect)
{
	struct span *key =
		arena_alloc(&q->scratch, e->nrcpt * sizeof(struct span));
	struct crash_at was = crash_note(e->id.v, WORK_ROUTING);

	q->ev.route(q->ev.arg, e, redirect, key, &q->scratch);
	crash_back(was);
	return key;
}

static struct leg *leg_for(
	struct queue *q, struct message *m, struct span key, int deferred)
{
	struct nexthop *h = hop_get(q, key);
	struct leg *l = h->gather[deferred];

	if (!l) {
		l = h->gather[deferred] = leg_new(q, m);
		leg_attach(q, l, h);
	}
	return l;
}

/* Fills the legs: of[i] is the leg of recipient i, or NULL. */
static void fill(struct queue *q, struct message *m, struct leg **of)
{
	unsigned *v = arena_alloc(&q->scratch, m->nrcpt * sizeof(unsigned));
	unsigned *end = arena_alloc(&q->scratch, m->nrcpt * sizeof(unsigned));
	unsigned at = 0;

	/* Counting sort by leg: l->nrcpt counts, then every leg has its run
	 * of v, whose end is kept under the leg's first recipient. */
	for (unsigned i = 0; i < m->nrcpt; i++)
		if (of[i] && of[i]->rcpt.one == i) {
			end[i] = at;
			at += of[i]->nrcpt;
		}
	for (unsigned i = 0; i < m->nrcpt; i++)
		if (of[i])
			v[end[of[i]->rcpt.one]++] = i;
	for (unsigned i = m->nrcpt; i-- > 0;) {
		struct leg *l = of[i];
		unsigned n;

		if (!l || l->rcpt.one != i)
			continue;
		n = l->nrcpt;
		l->nrcpt = 0;
		leg_set_rcpt(q, l, v + end[i] - n, n);
	}
}

static void place_leg(
	struct queue *q, struct leg *l, int deferred, uint64_t due_ms)
{
	if (deferred)
		leg_defer(q, l, due_ms);
	else
		leg_ready(q, l);
}

/* With several recipients: groups them by next hop, in one pass over the
 * recipients; h->gather remembers the leg that is being gathered. */
static void route_many(struct queue *q, struct message *m, const uint8_t *mode,
	uint64_t due_ms, const struct span *key)
{
	struct leg **of =
		arena_alloc(&q->scratch, m->nrcpt * sizeof(struct leg *));

	for (unsigned i = 0; i < m->nrcpt; i++) {
		if (mode && mode[i] == ROUTE_SKIP)
			continue;
		of[i] = leg_for(
			q, m, key[i], mode && mode[i] == ROUTE_DEFERRED);
		if (of[i]->nrcpt++ == 0)
			of[i]->rcpt.one = i;
	}
	for (unsigned i = 0; i < m->nrcpt; i++)
		if (of[i])
			of[i]->hop->gather[0] = of[i]->hop->gather[1] = NULL;
	/* leg_set_rcpt overwrites rcpt.one, which tells a leg's first: so the
	 * places are given before. */
	for (unsigned i = 0; i < m->nrcpt; i++)
		if (of[i] && of[i]->rcpt.one == i)
			place_leg(q, of[i], mode && mode[i] == ROUTE_DEFERRED,
				due_ms);
	fill(q, m, of);
}

void message_route(struct queue *q, struct message *m, const struct envelope *e,
	const uint8_t *mode, uint64_t due_ms, const struct span *keys)
{
	int fresh = !m->legs && m->held && m->held->keep;
	struct leg *l;

	if (!keys)
		keys = route_keys(q, e, span(NULL, 0));
	if (m->nrcpt > 1) {
		route_many(q, m, mode, due_ms, keys);
	} else {
		l = leg_new(q, m);
		leg_attach(q, l, hop_get(q, keys[0]));
		l->nrcpt = 1;
		place_leg(q, l, mode && mode[0] == ROUTE_DEFERRED, due_ms);
	}
	if (fresh)
		for (l = m->legs; l; l = l->next)
			leg_count_in(q, l);
}

/* On a full disk it is tried again: there it matters most. A file that is not
 * unlinked in the end is an orphan, removed at the next start. */
static void on_unlinked(struct store_op *op)
{
	struct queue *q = op->arg;

	if (op->result == ERR_NOSPACE && !q->stopped)
		queue_submit_again(q, op);
	else
		free(op);
}

int intake_unlinks(const struct store_op *op)
{
	return op->done == on_unlinked;
}

/* The body file of a message that was not committed: with an error nothing
 * remains. */
static void unlink_file(struct queue *q, struct msg_id id)
{
	struct store_op *op = x_calloc(1, sizeof *op);

	op->verb = STORE_DELETE;
	op->id = id;
	op->in_file = 1;
	op->done = on_unlinked;
	op->arg = q;
	store_submit(q->store, op);
}

void queue_abandon_body(struct queue *q, const struct body *body)
{
	check_obj(q, QUEUE_MAGIC);
	if (!body->mem && !q->stopped)
		unlink_file(q, (struct msg_id){body->file});
}

static void intake_failed(struct queue *q, struct intake *i, enum err e)
{
	int file = !i->body->mem;

	if (i->held)
		held_put(q, i->held);
	i->held = NULL;
	body_unref(&i->body);
	if (e == ERR_NOSPACE)
		queue_say_full(q);
	if (file && !q->stopped)
		unlink_file(q, i->op.id);
	i->done(i, e);
}

static void taken(struct queue *q, const struct message *m)
{
	q->taken++;
	rate_count(&q->in, loop_now(q->o.loop));
	if (m->suspended)
		log_event(q->o.log, EV_MESSAGE_HELD, F_ID("msg", m->id),
			F_TRACE("trace", m->held->env.trace),
			F_SPAN("reason", m->held->env.held));
}

static void on_put(struct store_op *op)
{
	struct intake *i = container_of(op, struct intake, op);
	struct queue *q = i->q;
	struct held *h = i->held;
	struct message *m;

	if (op->result != ERR_OK) {
		intake_failed(q, i, op->result);
		return;
	}
	body_unref(&i->body);
	i->held = NULL;
	m = i->message = message_new(q, &h->env, h->env.owner.node.n != 0);
	m->tag = i->tag;
	m->held = h;
	h->m = m;
	h->keep = !m->copy;
	if (i->barred && !m->copy)
		message_set_barred(q, m, 1);
	m->noticed = h->status.delay_noticed != 0;
	m->pending = message_pending(&h->status, m->nrcpt);
	message_orders(q, m, &h->env, &h->status);
	if (!m->copy && !m->barred)
		message_route(q, m, &h->env, NULL, 0, NULL);
	arena_fini(&q->scratch);
	if (!m->copy)
		taken(q, m);
	h->keep &= !m->suspended; /* its first attempt may be far away */
	held_put(q, h);
	i->done(i, ERR_OK);
}

/* done never fires inside queue_intake: at the end of the turn. */
static void refuse(struct queue *q, struct intake *i, enum err e)
{
	i->op.result = e;
	i->op.next = NULL;
	*q->refused_tail = &i->op;
	q->refused_tail = &i->op.next;
	queue_want_turn(q);
}

void intake_run_refused(struct queue *q)
{
	struct store_op *op = q->refused, *next;

	q->refused = NULL;
	q->refused_tail = &q->refused;
	for (; op; op = next) {
		next = op->next;
		intake_failed(
			q, container_of(op, struct intake, op), op->result);
	}
}

/* The record, and what it says read back from it: the caller's envelope need
 * not outlive the call, and a record that cannot be read is never stored. */
static enum err encode(
	struct queue *q, const struct envelope *env, struct held **h_r)
{
	struct blob *b;
	const char *why;

	buf_clear(&q->tmp);
	if (env->nrcpt == 0 || (env->owner.node.n && !env->mid.seq))
		return ERR_SYNTAX;
	if (envelope_encode(env, &q->tmp) != 0)
		return ERR_LIMIT;
	b = blob_create(q->tmp.n);
	if (!b)
		return ERR_NOMEM;
	memcpy(b->p, q->tmp.p, q->tmp.n);
	b->n = q->tmp.n;
	return held_make(q, b, h_r, &why);
}

/* The same as it is to be stored: that it is held is part of the record that
 * makes it durable. What comes with a reason keeps it. */
static enum err encode_held(
	struct queue *q, const struct envelope *env, struct held **h_r)
{
	struct envelope copy = *env;
	struct buf reason;
	enum err e;

	if (env->owner.node.n || env->held.n || !q->ev.hold)
		return encode(q, env, h_r);
	buf_init(&reason, REASON_MAX);
	if (q->ev.hold(q->ev.arg, env, &reason))
		copy.held = reason.n ? buf_span(&reason) : SPAN("held");
	e = encode(q, &copy, h_r);
	buf_fini(&reason);
	return e;
}

static void begin_intake(struct queue *q, struct intake *i,
	const struct envelope *env, struct body *body)
{
	check_obj(q, QUEUE_MAGIC);
	must(env->id.v != 0 && env->id.v < q->next_id);
	must(body->size == env->size && !body->mem == !!env->in_file);
	must(!(i->barred || env->owner.node.n) || i->tag);
	i->q = q;
	i->held = NULL;
	i->message = NULL;
	i->body = body_ref(body);
	i->op = (struct store_op){
		.verb = STORE_PUT,
		.id = env->id,
		.mem = body->mem,
		.size = body->mem ? body->size : 0,
		.in_file = !body->mem,
		.done = on_put,
	};
}

static void submit(struct queue *q, struct intake *i, struct body *body)
{
	i->held->refs = 1;
	i->held->body = body_ref(body);
	i->op.record = blob_span(i->held->record);
	store_submit(q->store, &i->op);
}

void queue_intake(struct queue *q, struct intake *i, const struct envelope *env,
	struct body *body)
{
	enum err e;

	begin_intake(q, i, env, body);
	i->op.seq = env->owner.node.n ? 0 : env->mid.seq;
	e = encode_held(q, env, &i->held);
	if (e == ERR_OK)
		submit(q, i, body);
	else
		refuse(q, i, e);
}

/* first_status - the status that a message comes with. */
struct first_status {
	struct store_op op;
	struct buf record;
};

static void on_first_status(struct store_op *op)
{
	struct first_status *f = container_of(op, struct first_status, op);

	buf_fini(&f->record);
	free(f);
}

/* Behind the PUT, and read back as that is. */
static enum err with_status(struct intake *i, const struct status *s)
{
	struct first_status *f = x_calloc(1, sizeof *f);
	struct held *h = i->held;
	const char *why;
	enum err e = ERR_LIMIT;

	buf_init(&f->record, SIZE_MAX);
	if (status_encode(s, &f->record) == 0)
		e = status_decode(arena_span(&h->arena, buf_span(&f->record)),
			&h->arena, &h->status, &why);
	if (e == ERR_OK && h->status.nrcpt != h->env.nrcpt)
		e = ERR_SYNTAX;
	f->op = (struct store_op){
		.verb = STORE_STATUS,
		.id = i->op.id,
		.record = buf_span(&f->record),
		.done = on_first_status,
	};
	if (e == ERR_OK)
		i->op.next = &f->op;
	else
		on_first_status(&f->op);
	return e;
}

void queue_intake_again(struct queue *q, struct intake *i,
	const struct envelope *env, const struct status *s, struct body *body)
{
	enum err e;

	begin_intake(q, i, env, body);
	must(i->barred && s->moved && s->owner.node.n == 0 &&
		env->owner.node.n == 0);
	e = encode_held(q, env, &i->held);
	if (e == ERR_OK)
		e = with_status(i, s);
	if (e == ERR_OK)
		submit(q, i, body);
	else
		refuse(q, i, e);
}

struct blob *queue_intake_record(const struct intake *i)
{
	return i->held ? blob_ref(i->held->record) : NULL;
}

/* The recipients of l whose key is another one now: taken out of l and marked
 * in mode. Returns how many. */
static unsigned take_moved(
	struct queue *q, struct leg *l, const struct span *key, uint8_t *mode)
{
	unsigned *stay = arena_alloc(&q->scratch, l->nrcpt * sizeof(unsigned));
	unsigned n = 0, was = l->nrcpt;

	for (unsigned i = 0; i < l->nrcpt; i++) {
		unsigned r = leg_rcpt(l, i);

		if (span_eq(key[r], l->hop->node.key))
			stay[n++] = r;
		else
			mode[r] = ROUTE_READY;
	}
	if (n == was)
		return 0;
	if (n) {
		leg_set_rcpt(q, l, stay, n);
	} else {
		leg_detach(q, l);
		leg_free(q, l);
	}
	return was - n;
}

/* A recipient that stays with its hop keeps its wait; one that moves is tried
 * at once: what it waited for was said by somebody else. */
static void reroute(struct queue *q, struct message *m, struct held *h)
{
	struct span *key = route_keys(q, &h->env, h->status.redirect);
	uint8_t *mode = arena_alloc(&q->scratch, m->nrcpt);
	unsigned moved = 0;
	struct leg *l, *next;

	for (l = m->legs; l; l = next) {
		next = l->next;
		if (l->state == LEG_READY || l->state == LEG_DEFERRED ||
			l->state == LEG_PARKED)
			moved += take_moved(q, l, key, mode);
	}
	if (moved)
		message_route(q, m, &h->env, mode, 0, key);
}

void message_reroute(struct queue *q, struct message *m)
{
	struct held *h;
	struct leg *l = m->legs;
	const char *why;
	enum err e;

	while (l && l->state == LEG_LEASED)
		l = l->next;
	if (!l)
		return;
	e = held_get(q, m, 0, &h, &why);
	/* What cannot be read now shows at its next lease. */
	if (e != ERR_OK)
		return;
	reroute(q, m, h);
	arena_fini(&q->scratch);
	held_put(q, h);
}

void on_reroute(struct timer *t)
{
	struct queue *q = container_of(t, struct queue, reroute_timer);
	struct list **at = &q->cursor[CURSOR_REROUTE];

	check_obj(q, QUEUE_MAGIC);
	for (int i = 0; i < TURN_SLICE && *at != &q->messages; i++) {
		struct message *m = message_at(*at);

		*at = m->node.next;
		message_reroute(q, m);
	}
	if (*at != &q->messages)
		timer_start(t, 1);
}

void queue_reroute(struct queue *q)
{
	check_obj(q, QUEUE_MAGIC);
	q->generation++;
	q->cursor[CURSOR_REROUTE] = q->messages.next;
	timer_start(&q->reroute_timer, 1);
}
