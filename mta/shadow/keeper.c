/* keeper - what is ours: the start barrier (R9), giving a message up to a peer
 * that took it over (R10), and copies made anew (R12). */
#include "mta/base/check.h"
#include "mta/shadow/move.h"
#include "mta/shadow/serve.h"

/* --- ceding --------------------------------------------------------------- */

static void on_ceded(struct own *w, enum err e)
{
	struct copy *c = container_of(w, struct copy, own);
	struct shadow *s = c->s;
	struct peer *p = c->heir;
	char mid[MID_TEXT];

	c->moving = 0;
	if (e != ERR_OK)
		return; /* the node ends */
	copy_hold(c, p, p->current, c->next_gen);
	s->counts.ceded++;
	log_event(s->o.log, EV_SHADOW_CEDED, F_ID("msg", queue_id(c->m)),
		F_SPAN("mid", copy_mid(c, mid)), F_STR("owner", p->name),
		F_U("gen", c->gen));
}

int keeper_cede(struct copy *c, struct peer *p, uint32_t gen)
{
	struct queue *q = c->s->o.queue;
	struct ownership o = {.node = span_str(p->name), .gen = gen};
	enum err e;

	if (c->moving || !c->m || p->current < 0 || c->state == COPY_ACCEPT ||
		c->state == COPY_LEAVING || c->state == COPY_HELD)
		return -1;
	if (c->state == COPY_LIVE && queue_bar(q, c->m) != 0)
		return -1;
	memcpy(o.sid, p->sid[p->current], sizeof o.sid);
	c->heir = p;
	c->next_gen = gen;
	e = copy_own(c, &o, on_ceded);
	if (e == ERR_OK)
		return 0;
	if (!err_temporary(e))
		return 0; /* it was damaged and is gone */
	if (c->state == COPY_LIVE)
		copy_unbar(c);
	return -1;
}

static int smaller(const uint8_t a[16], const uint8_t b[16])
{
	return memcmp(a, b, 16) < 0;
}

/* p owns it at gen; is that better than ours? Of two owners of one generation
 * the one with the smaller database identity wins. */
static int outranks(const struct copy *c, const struct peer *p, uint32_t gen)
{
	return gen > c->gen ||
	       (gen == c->gen && p->current >= 0 &&
		       smaller(p->sid[p->current], c->s->me.sid));
}

static void say_ceded(struct copy *c, struct buf *reply)
{
	struct shadow *s = c->s;
	struct wire_ceded w = {.said = WIRE_CEDED};
	struct wire_set set;
	struct buf text;

	buf_init(&text, WIRE_SET);
	takeover_finished(c, &s->scratch, &set);
	if (set.n)
		wire_set_write(&text, &set, 0, WIRE_SET);
	w.done = buf_span(&text);
	wire_ceded_write(reply, &w);
	buf_fini(&text);
	arena_fini(&s->scratch);
}

static void on_reowned(struct own *w, enum err e)
{
	struct copy *c = container_of(w, struct copy, own);

	c->moving = 0;
	if (e == ERR_OK)
		copy_hold(c, c->heir, c->heir->current, c->next_gen);
}

/* A copy that we hold: for p from now on, if p's claim is the better one. */
static void claim_held(
	struct copy *c, struct peer *p, uint32_t gen, struct buf *reply)
{
	struct ownership o = {.node = span_str(p->name), .gen = gen};
	const uint8_t *mine = c->owner->sid[c->owner_sid];

	if (c->owner == p && c->gen == gen) {
		move_claimed(c);
		say_ceded(c, reply); /* c may be gone */
		return;
	}
	if (gen < c->gen || p->current < 0 ||
		(gen == c->gen && !smaller(p->sid[p->current], mine))) {
		wire_stale_write(reply, c->gen);
		return;
	}
	memcpy(o.sid, p->sid[p->current], sizeof o.sid);
	c->heir = p;
	c->next_gen = gen;
	(void)!copy_own(c, &o, on_reowned);
	wire_busy_write(reply); /* ceded when it is durable: ask again */
}

void keeper_claim(struct shadow *s, struct peer *p, const struct wire_claim *w,
	struct buf *reply)
{
	struct copy *c = copy_find(s, &w->mid);
	struct wire_ceded none = {.said = WIRE_CEDE_NONE};
	int done;

	if (!c) {
		done = holder_finished(s, &w->mid);
		if (done > 0)
			none.said = WIRE_CEDE_GONE;
		if (done < 0)
			wire_busy_write(reply);
		else
			wire_ceded_write(reply, &none);
	} else if (c->state == COPY_LOST) {
		wire_ceded_write(reply, &none); /* all that we know of it */
	} else if (!c->m || c->moving || c->state == COPY_LEAVING) {
		wire_busy_write(reply);
	} else if (c->state == COPY_HELD) {
		claim_held(c, p, w->gen, reply);
	} else if (!outranks(c, p, w->gen)) {
		wire_stale_write(reply, c->gen);
	} else {
		(void)!keeper_cede(c, p, w->gen);
		wire_busy_write(reply);
	}
}

/* --- the start barrier ---------------------------------------------------- */

void keeper_go(struct copy *c)
{
	struct peer *holder = c->heir;

	must(c->state == COPY_WAIT || c->state == COPY_CLAIM);
	copy_set(c, COPY_LIVE);
	c->heir = NULL;
	if (holder)
		copy_holder(c, holder);
	copy_unbar(c);
}

/* Nothing can be learned from it: not ours any more, or it lost its disk. */
static int mute(const struct copy *c, unsigned i)
{
	const struct peer *p = c->s->peer[c->target[i].peer];

	return c->asked >> i & 1 || !p->configured || p->witness ||
	       (p->current >= 0 && p->current != c->target[i].sid);
}

void keeper_wait(struct copy *c)
{
	struct shadow *s = c->s;

	must(c->state == COPY_WAIT);
	if (c->owner)
		c->owner->nwaiting--;
	c->owner = NULL;
	list_del(&c->at);
	if (shadow_now(s) < s->barrier_until)
		for (unsigned i = 0; i < c->ntarget; i++) {
			struct peer *p = s->peer[c->target[i].peer];

			if (mute(c, i))
				continue;
			c->owner = p;
			c->epoch = p->epoch - 1;
			p->nwaiting++;
			list_prepend(&p->waiting, &c->at);
			return;
		}
	keeper_go(c);
}

static void answered(struct copy *c, const struct peer *p)
{
	for (unsigned i = 0; i < c->ntarget; i++)
		if (c->target[i].peer == p->index)
			c->asked |= (uint8_t)(1u << i);
}

/* It is in somebody else's hands: 1 when c is no longer ours. */
static int lost_to(struct copy *c, struct peer *p, const struct wire_answer *a)
{
	struct peer *owner = p;

	if (a->state == WIRE_GONE) {
		if (c->state == COPY_LIVE &&
			queue_bar(c->s->o.queue, c->m) != 0)
			return 0;
		copy_drop(c, 0);
		return 1;
	}
	if (a->state == WIRE_HELD)
		owner = peer_find(c->s, a->owner);
	else if (a->state != WIRE_LIVE && a->state != WIRE_ELSEWHERE)
		return 0;
	if (!owner || !outranks(c, owner, a->gen) ||
		(a->state == WIRE_HELD && a->gen == c->gen))
		return 0;
	return keeper_cede(c, owner, a->gen) == 0;
}

void keeper_answer(struct copy *c, struct peer *p, const struct wire_answer *a)
{
	int ours = a->state == WIRE_HELD &&
		   span_ieq(a->owner, c->s->conf->node.name);

	if (c->state == COPY_ACCEPT || c->state == COPY_LEAVING ||
		c->state == COPY_WATCH)
		return;
	if (ours && a->gen > c->gen)
		c->gen = a->gen; /* our database was rolled back */
	if (!ours && lost_to(c, p, a))
		return;
	if (ours || a->state == WIRE_NONE || a->state == WIRE_UNKNOWABLE)
		copy_sure(c, p);
	if (c->state == COPY_LIVE) {
		if (ours && copy_has_target(c, p))
			copy_holder(c, p);
		else if (c->holder == p && !ours)
			copy_holder(c, NULL); /* it lost what it had */
	} else if (c->state == COPY_WAIT) {
		if (ours)
			c->heir = p;
		answered(c, p);
		keeper_wait(c);
	}
}

static void barrier_over(struct shadow *s, struct peer *p)
{
	if (shadow_now(s) < s->barrier_until)
		return;
	for (int i = 0; i < 4 * TURN_COPIES && !list_empty(&p->waiting); i++) {
		struct copy *c = list_item(p->waiting.next, struct copy, at);

		if (c->moving) { /* being ceded */
			list_del(&c->at);
			list_append(&p->waiting, &c->at);
		} else {
			keeper_wait(c);
		}
	}
}

/* --- copies made anew ----------------------------------------------------- */

static struct peer *taker(const struct copy *c)
{
	struct shadow *s = c->s;
	unsigned background = s->conf->shadow.window / 4 + 1;

	for (unsigned i = 0; i < s->norder; i++)
		if (peer_takes(s->order[i]) &&
			link_stores(s->order[i]) < background)
			return s->order[i];
	return NULL;
}

void keeper_send(struct copy *c, struct peer *p,
	void (*done)(struct store_call *sc, struct copy *c, int held))
{
	struct shadow *s = c->s;
	struct copy_view v;
	struct wire_set set;

	if (queue_read(s->o.queue, c->m, 1, &v) != ERR_OK)
		return;
	takeover_finished(c, &s->scratch, &set);
	store_start(c, p, v.record, v.body, &set, done);
	queue_read_end(s->o.queue, &v);
	arena_fini(&s->scratch);
}

static void on_target(struct own *w, enum err e)
{
	struct copy *c = container_of(w, struct copy, own);
	struct peer *p = c->heir;

	c->moving = 0;
	c->heir = NULL;
	if (e == ERR_OK && c->state == COPY_LIVE && !c->holder && p &&
		peer_takes(p) && copy_has_target(c, p) && !c->storing)
		keeper_send(c, p, keeper_stored);
}

static void copy_again(struct copy *c, struct peer *p)
{
	if (copy_has_target(c, p)) {
		keeper_send(c, p, keeper_stored);
		return;
	}
	c->heir = p;
	(void)!copy_own_target(c, p, on_target);
}

static void some_again(struct shadow *s)
{
	uint64_t now = shadow_now(s), after = s->conf->shadow.reshadow_after;
	struct list *end = s->bare.prev;

	for (int i = 0; i < TURN_COPIES && !list_empty(&s->bare); i++) {
		struct list *at = s->bare.next;
		struct copy *c = list_item(at, struct copy, at);
		struct peer *p;

		list_del(at);
		list_append(&s->bare, at);
		if (c->m && !c->moving && !c->storing && !c->unsendable &&
			now - c->since >= (c->ntarget ? after : TICK) &&
			(p = taker(c)))
			copy_again(c, p);
		if (at == end)
			return;
	}
}

void keeper_stored(struct store_call *sc, struct copy *c, int held)
{
	struct peer *p = sc->peer;
	struct copy *v[1] = {c};

	if (!c || c->moving || c->state != COPY_LIVE)
		return;
	if (held && copy_has_target(c, p)) {
		copy_sure(c, p);
		copy_holder(c, p);
		some_again(c->s);
		return;
	}
	c->since = shadow_now(c->s); /* not at once again */
	c->unsendable |= sc->err != ERR_OK;
	if ((sc->stale || sc->gone) && link_up(p))
		ask_status(p, v, 1); /* somebody else owns it, or it is done */
}

/* A holder that is not heard from for a while, when there is another one. */
static void holder_silent(struct shadow *s, struct peer *p)
{
	if (link_up(p) ||
		shadow_now(s) - p->heard < s->conf->shadow.reshadow_after ||
		s->alone)
		return;
	for (int i = 0; i < TURN_COPIES && !list_empty(&p->kept); i++)
		copy_holder(list_item(p->kept.next, struct copy, at), NULL);
}

/* What was at a database that is gone is bare again. */
void keeper_peer(struct peer *p)
{
	list_each_safe (it, &p->kept) {
		struct copy *c = list_item(it, struct copy, at);

		if (!copy_has_target(c, p))
			copy_holder(c, NULL);
	}
	list_each_safe (it, &p->waiting) {
		struct copy *c = list_item(it, struct copy, at);

		if (!c->moving && !copy_has_target(c, p))
			keeper_wait(c);
	}
}

void keeper_tick(struct shadow *s)
{
	for (unsigned i = 0; i < s->npeer; i++) {
		barrier_over(s, s->peer[i]);
		holder_silent(s, s->peer[i]);
	}
	takeover_tick(s);
	some_again(s);
}
