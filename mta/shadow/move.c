/* move - what is to be given to a peer, in which order, and how far that is.
 *
 * What must wait is looked at again at each tick; each message that is through
 * makes room for the next one.
 */
#include "mta/shadow/move.h"

#include <stdlib.h>

#include "mta/base/check.h"

/* Why nothing can be given to p now; NULL: it can. */
static const char *waits_for(const struct peer *p)
{
	if (!p->configured)
		return "it is not in shadow.peers any more";
	if (!link_up(p) || p->current < 0)
		return "its link is down";
	if (p->gives == WIRE_GIVES_NOT)
		return "it is of an older version, which cannot be given mail";
	if (p->gives != WIRE_GIVES_OK)
		return "it takes no mail now: it is drained, or short of room";
	return NULL;
}

/* --- the end of one ------------------------------------------------------- */

static void look(struct move *m)
{
	if (!m->p->s->stopping && !m->turn.armed)
		timer_start(&m->turn, 0);
}

static void maybe_over(struct move *m)
{
	if (m->left || !m->all || m->go_on || m->looking)
		return;
	m->all = 0;
	log_event(m->p->s->o.log, EV_SHADOW_MOVED, F_STR("peer", m->p->name),
		F_U("given", m->given), F_U("unsure", m->unsure));
}

/* c is out of it. */
static void leave(struct copy *c)
{
	struct move *m = c->to->move;

	m->out -= c->giving != GIVING_QUEUED;
	m->copying -= c->giving == GIVING_COPYING;
	m->left--;
	list_del(&c->give);
	c->to = NULL;
	c->giving = GIVING_QUEUED;
	maybe_over(m);
	look(m);
}

static void sure(struct copy *c)
{
	c->to->move->given++;
	leave(c);
}

void move_unsure(struct copy *c)
{
	must(c->to && c->giving == GIVING_SENT);
	c->to->move->unsure++;
	leave(c);
}

void move_claimed(struct copy *c)
{
	if (c->to && c->giving == GIVING_SENT)
		sure(c);
}

/* --- states --------------------------------------------------------------- */

/* Whoever asks for c->to while c is QUEUED comes here first. */
static void undrop(struct copy *c)
{
	if (!c->to || c->giving != GIVING_QUEUED ||
		c->order == c->to->move->order)
		return;
	list_del(&c->give);
	c->to = NULL;
}

static void add(struct move *m, struct copy *c)
{
	must(!c->to);
	c->to = m->p;
	c->order = m->order;
	c->giving = GIVING_QUEUED;
	list_append(&m->todo, &c->give);
	m->left++;
}

void move_changed(struct copy *c, enum copy_state st)
{
	struct shadow *s = c->s;

	undrop(c);
	if (!c->to) {
		if (st == COPY_LIVE && c->mid.seq && s->all && !s->stopping) {
			add(s->all, c);
			look(s->all);
		}
		return;
	}
	if (c->giving == GIVING_SENT) {
		if (st == COPY_LEAVING) /* delivered there already */
			sure(c);
		else if (st != COPY_HELD)
			move_unsure(c);
	} else if (st == COPY_HELD || st == COPY_LEAVING || st == COPY_LOST) {
		leave(c);
	}
}

void move_under_way(struct copy *c, enum giving g)
{
	struct move *m = c->to->move;

	m->out += c->giving == GIVING_QUEUED;
	m->copying += g == GIVING_COPYING;
	m->copying -= c->giving == GIVING_COPYING;
	c->giving = (uint8_t)g;
	list_del(&c->give);
	if (g == GIVING_SENT)
		list_append(&m->sent, &c->give);
}

void move_again(struct copy *c, int now)
{
	struct move *m = c->to->move;

	m->out -= c->giving != GIVING_QUEUED;
	m->copying -= c->giving == GIVING_COPYING;
	c->giving = GIVING_QUEUED;
	c->order = m->order; /* what has begun goes on */
	list_del(&c->give);
	list_append(now ? &m->todo : &m->later, &c->give);
	look(m);
}

/* --- all of ours ---------------------------------------------------------- */

static struct copy *next(const struct copy *c)
{
	return list_item(c->every.next, struct copy, every);
}

static void stop_looking(struct move *m)
{
	m->p->s->looking -= m->looking != 0;
	m->looking = 0;
	m->at = m->last = NULL;
}

static void begin_looking(struct move *m)
{
	struct shadow *s = m->p->s;

	stop_looking(m);
	s->looking++;
	m->looking = 1;
	m->found = m->left;
	if (list_empty(&s->every))
		return;
	m->at = list_item(s->every.next, struct copy, every);
	m->last = list_item(s->every.prev, struct copy, every);
}

void move_gone(struct copy *c)
{
	struct shadow *s = c->s;

	for (unsigned i = 0; s->looking && i < s->npeer; i++) {
		struct move *m = s->peer[i]->move;

		if (!m || !m->at)
			continue;
		if (m->at == c)
			m->at = c == m->last ? NULL : next(c);
		else if (m->last == c)
			m->last = list_item(c->every.prev, struct copy, every);
	}
	list_del(&c->every);
}

/* --- time ----------------------------------------------------------------- */

/* What is to be given: some of it. What becomes ours meanwhile may be in it. */
static void look_for(struct move *m)
{
	for (int i = 0; i < LOOK_TURN && m->at; i++) {
		struct copy *c = m->at;

		m->at = c == m->last ? NULL : next(c);
		undrop(c);
		if (c->to || !copy_is_ours(c))
			continue;
		add(m, c);
		m->found++;
	}
	if (m->at)
		return;
	stop_looking(m);
	log_event(m->p->s->o.log, EV_SHADOW_MOVING, F_STR("peer", m->p->name),
		F_U("messages", m->found));
	maybe_over(m);
}

/* 1: the peer can have more. */
static int give_some(struct move *m)
{
	for (int i = 0; i < GIVE_TURN && m->out < GIVES_MOST &&
			!list_empty(&m->todo) && !waits_for(m->p);
		i++) {
		struct copy *c = list_item(m->todo.next, struct copy, give);

		list_del(&c->give);
		if (give_step(c))
			continue;
		list_prepend(&m->todo, &c->give);
		return 0;
	}
	return !list_empty(&m->todo) && m->out < GIVES_MOST && !waits_for(m->p);
}

static void on_turn(struct timer *t)
{
	struct move *m = container_of(t, struct move, turn);

	if (m->looking)
		look_for(m);
	if (give_some(m))
		look(m);
	if (m->looking)
		timer_start(t, 1); /* the others' turn */
}

/* The link is there and the peer has not claimed what it was given: its own
 * link may be down, or it was busy. */
static void too_long(struct move *m)
{
	uint64_t now = shadow_now(m->p->s);

	while (!list_empty(&m->sent)) {
		struct copy *c = list_item(m->sent.next, struct copy, give);

		if (now - c->since < GIVE_SURE)
			return;
		move_unsure(c);
	}
}

void move_tick(struct peer *p)
{
	struct move *m = p->move;

	if (!m)
		return;
	too_long(m);
	list_splice(&m->todo, &m->later);
	look(m);
}

void move_stop(struct peer *p)
{
	if (p->move)
		timer_stop(&p->move->turn);
}

void move_free(struct peer *p)
{
	if (!p->move)
		return;
	stop_looking(p->move);
	must(list_empty(&p->move->todo) && list_empty(&p->move->later) &&
		list_empty(&p->move->sent) && list_empty(&p->move->dropped));
	timer_stop(&p->move->turn);
	free(p->move);
	p->move = NULL;
}

/* --- the door ------------------------------------------------------------- */

static struct move *move_of(struct peer *p)
{
	struct move *m = p->move;

	if (m)
		return m;
	m = p->move = x_calloc(1, sizeof *m);
	m->p = p;
	list_init(&m->todo);
	list_init(&m->later);
	list_init(&m->sent);
	list_init(&m->dropped);
	timer_init(&m->turn, p->s->o.loop, on_turn);
	return m;
}

/* Whether mail could be given to it, if not now then later. */
static enum err find(
	struct shadow *s, struct span name, struct peer **p_r, struct buf *why)
{
	struct peer *p = peer_find(s, name);

	if (!p || !p->configured) {
		buf_addf(
			why, "\"%.*s\" is not in shadow.peers", SPAN_ARG(name));
		return ERR_NOTFOUND;
	}
	if (p->witness) {
		buf_addf(why, "%s is a witness, which takes no mail", p->name);
		return ERR_NOTFOUND;
	}
	if (link_up(p) && p->gives == WIRE_GIVES_NOT) {
		buf_addf(why,
			"%s is of an older version, which cannot be given "
			"mail",
			p->name);
		return ERR_VERSION;
	}
	*p_r = p;
	return ERR_OK;
}

/* What is counted begins with the first order after all was done. */
static void begin(struct move *m)
{
	if (m->left == 0 && !m->all)
		m->given = m->unsure = 0;
}

static enum err may_move(
	struct shadow *s, struct span name, struct peer **p_r, struct buf *why)
{
	enum err e = find(s, name, p_r, why);

	if (e == ERR_OK && s->all && s->all->p != *p_r) {
		buf_addf(why, "everything is being moved to %s already",
			s->all->p->name);
		return ERR_EXISTS;
	}
	return e;
}

enum err shadow_may_move(struct shadow *s, struct span peer, struct buf *why)
{
	struct peer *p;

	check_obj(s, SHADOW_MAGIC);
	return may_move(s, peer, &p, why);
}

enum err shadow_move_start(
	struct shadow *s, struct span peer, int go_on, struct buf *why)
{
	struct move *m;
	struct peer *p;
	enum err e;

	check_obj(s, SHADOW_MAGIC);
	e = may_move(s, peer, &p, why);
	if (e != ERR_OK)
		return e;
	m = move_of(p);
	begin(m);
	m->all = 1;
	if (go_on) { /* what goes on already does not end by this order */
		m->go_on = 1;
		s->all = m;
	}
	begin_looking(m);
	look_for(m);
	look(m);
	return ERR_OK;
}

void shadow_move_stop(struct shadow *s, struct span peer)
{
	struct peer *p = peer_find(s, peer);
	struct move *m = p ? p->move : NULL;

	check_obj(s, SHADOW_MAGIC);
	if (!m)
		return;
	if (s->all == m)
		s->all = NULL;
	m->all = m->go_on = 0;
	stop_looking(m);
	list_splice(&m->dropped, &m->todo);
	list_splice(&m->dropped, &m->later);
	m->order++;
	m->left = m->out;
}

enum err shadow_give(
	struct shadow *s, void *tag, struct span peer, struct buf *why)
{
	struct copy *c = tag;
	struct peer *p;
	enum err e;

	check_obj(s, SHADOW_MAGIC);
	if (!c || !c->mid.seq) {
		buf_adds(why, "it has no identity that peers know");
		return ERR_NOTFOUND;
	}
	if (!copy_is_ours(c)) {
		buf_adds(why, "it is not ours to give");
		return ERR_NOTFOUND;
	}
	undrop(c);
	e = find(s, peer, &p, why);
	if (e != ERR_OK || c->to == p)
		return e;
	if (c->to) {
		buf_addf(why, "it is being moved to %s", c->to->name);
		return ERR_EXISTS;
	}
	begin(move_of(p));
	add(p->move, c);
	look(p->move);
	return ERR_OK;
}

int shadow_move_view(
	struct shadow *s, struct span peer, struct shadow_move_view *v_r)
{
	struct peer *p = peer_find(s, peer);
	struct queue_counts c;
	const char *waits;

	check_obj(s, SHADOW_MAGIC);
	*v_r = (struct shadow_move_view){0};
	if (!p)
		return -1;
	queue_counts(s->o.queue, &c);
	v_r->no_identity = c.messages > s->ours ? c.messages - s->ours : 0;
	if (!p->move)
		return 0;
	v_r->all = p->move->all;
	v_r->go_on = p->move->go_on;
	v_r->looking = p->move->looking;
	v_r->left = p->move->left;
	v_r->given = p->move->given;
	v_r->unsure = p->move->unsure;
	waits = v_r->left ? waits_for(p) : NULL;
	v_r->waits = span_str(waits ? waits : "");
	return 0;
}

uint64_t shadow_ours(const struct shadow *s)
{
	check_obj(s, SHADOW_MAGIC);
	return s->ours;
}
