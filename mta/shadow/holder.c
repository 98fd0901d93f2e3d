/* holder - what we hold for others: asking what became of it, answering their
 * questions, and deciding when to take it over (R7, R8). */
#include "mta/base/check.h"
#include "mta/shadow/move.h"
#include "mta/shadow/serve.h"

/* --- questions of others -------------------------------------------------- */

/* Proof that a number of our database was given out, so that its message, of
 * which there is no record, is finished: the start is known and the number is
 * below the next start's first. A database that was rolled back has no proof.
 */
int holder_was_ours(const struct shadow *s, const struct mid *m)
{
	const struct store_start *v;
	unsigned n;

	v = store_starts(queue_store(s->o.queue), &n);
	for (unsigned i = n; i-- > 0;)
		if (v[i].inc == m->inc)
			return i >= queue_suspect(s->o.queue) &&
			       m->seq >= v[i].first &&
			       m->seq < (i + 1 < n ? v[i + 1].first
						   : queue_first_free_seq(
							     s->o.queue));
	return 0;
}

int holder_finished(struct shadow *s, const struct mid *m)
{
	if (memcmp(m->sid, s->me.sid, sizeof s->me.sid) == 0 &&
		holder_was_ours(s, m))
		return 1;
	return finished_has(s->finished, m);
}

/* Another one holds it for sure, and p is not just getting it: p need not. */
static int elsewhere(const struct copy *c, const struct peer *p)
{
	return c->state == COPY_LIVE && c->holder && c->holder != p &&
	       !(c->storing && c->storing->peer == p);
}

static void answer_copy(struct copy *c, struct peer *p, struct wire_answer *a)
{
	const struct shadow *s = c->s;
	int own = memcmp(c->mid.sid, s->me.sid, sizeof s->me.sid) == 0;

	a->gen = c->gen;
	if (c->state == COPY_LEAVING && !own) {
		a->state = c->aloof ? WIRE_NONE : WIRE_GONE;
		a->gen = 0;
	} else if (c->state == COPY_HELD && c->owner == p && give_again(c, p)) {
		a->state = WIRE_LIVE; /* nothing to be done until then */
	} else if (c->state == COPY_HELD) {
		a->state = WIRE_HELD;
		a->owner = span_str(c->owner->name);
	} else if (c->state == COPY_LOST) {
		a->state = WIRE_UNKNOWABLE;
		a->gen = 0;
	} else if (c->state == COPY_ACCEPT && !own) {
		a->state = WIRE_NONE; /* not durable yet */
		a->gen = 0;
	} else if (elsewhere(c, p)) {
		a->state = WIRE_ELSEWHERE;
		c->elsewhere |= 1u << p->index;
	} else {
		a->state = WIRE_LIVE;
	}
}

int holder_status(struct shadow *s, struct peer *p, const struct mid *m,
	struct wire_answer *a_r)
{
	struct copy *c = copy_find(s, m);
	int done;

	*a_r = (struct wire_answer){0};
	if (c) {
		answer_copy(c, p, a_r);
		return 0;
	}
	done = holder_finished(s, m);
	if (done > 0)
		a_r->state = WIRE_GONE;
	else
		a_r->state = memcmp(m->sid, s->me.sid, sizeof s->me.sid)
				     ? WIRE_NONE
				     : WIRE_UNKNOWABLE;
	return done < 0 ? -1 : 0;
}

static void note_finished(struct copy *c, const struct wire_done *d)
{
	if (!d->whole)
		(void)!copy_finished(c, d->set);
	else if (c->state != COPY_LIVE || queue_bar(c->s->o.queue, c->m) == 0)
		copy_drop(c, 0);
}

void holder_done(struct shadow *s, const struct wire_done *d)
{
	struct copy *c = copy_find(s, &d->mid);

	if (c && c->m && !c->moving && c->state != COPY_LEAVING &&
		c->state != COPY_ACCEPT)
		note_finished(c, d);
}

/* --- takeover ------------------------------------------------------------- */

static void take_some(struct peer *p);

static void on_taken(struct own *w, enum err e)
{
	struct copy *c = container_of(w, struct copy, own);
	struct peer *p = c->owner;

	c->moving = 0;
	p->ntaking--;
	if (e != ERR_OK)
		return; /* the node ends */
	takeover_begun(c, (enum takeover_reason)c->moved_by);
	take_some(p);
}

void holder_take(struct copy *c, enum takeover_reason why)
{
	struct shadow *s = c->s;
	struct ownership o = {.gen = c->gen + 1};
	struct peer *p = c->owner;
	enum err e;

	if (c->moving || s->stopping)
		return;
	memcpy(o.sid, s->me.sid, sizeof o.sid);
	c->moved_by = (uint8_t)why;
	c->heir = NULL;
	takeover_log(c, why);
	e = copy_own(c, &o, on_taken);
	if (e == ERR_OK)
		p->ntaking++;
}

int holder_given(struct copy *c, uint32_t gen, struct span status)
{
	struct ownership o = {.gen = gen};
	struct shadow *s = c->s;
	struct peer *p = c->owner;
	enum err e;

	must(c->state == COPY_HELD && gen > c->gen);
	if (c->moving || s->stopping)
		return -1;
	memcpy(o.sid, s->me.sid, sizeof o.sid);
	c->moved_by = TAKE_GIVEN;
	c->heir = NULL;
	c->own.status = status;
	copy_add_target(c, p); /* it holds a copy, and may take it over */
	e = copy_own(c, &o, on_taken);
	if (e != ERR_OK && !err_temporary(e))
		return -1; /* c is gone */
	c->own.status = span("", 0);
	if (e != ERR_OK) {
		c->ntarget = 0;
		return -1;
	}
	p->ntaking++;
	c->gen = gen - 1; /* one more when it is durable */
	takeover_log(c, TAKE_GIVEN);
	return 0;
}

static int to_be_taken(const struct copy *c, const struct peer *p)
{
	return !c->moving && c->m &&
	       (p->taking != TAKE_NEW_DATABASE + 1 ||
		       c->owner_sid != (unsigned)p->current);
}

/* So many at a time; each that is durable makes room for another. */
static void take_some(struct peer *p)
{
	int any = 0;

	if (!p->taking || p->s->stopping)
		return;
	list_each_safe (it, &p->held) {
		struct copy *c = list_item(it, struct copy, at);

		if (p->ntaking >= 4 * TURN_COPIES)
			return;
		if (!to_be_taken(c, p))
			continue;
		any = 1;
		holder_take(c, (enum takeover_reason)(p->taking - 1));
	}
	if (!any && p->ntaking == 0)
		p->taking = 0;
}

void holder_take_all(struct peer *p, enum takeover_reason why)
{
	if (!p->taking)
		p->taking = (int)why + 1;
	take_some(p);
}

void holder_new_database(struct peer *p)
{
	p->taking = 0;
	holder_take_all(p, TAKE_NEW_DATABASE);
}

/* --- answers of the owner ------------------------------------------------- */

static void on_adopted(struct own *w, enum err e)
{
	struct copy *c = container_of(w, struct copy, own);
	struct peer *heir = c->heir;

	c->moving = 0;
	if (e == ERR_OK)
		copy_hold(c, heir, heir->current, c->next_gen);
}

/* Its owner holds it for somebody else now, who took it over. */
static void adopt(struct copy *c, struct peer *heir, uint32_t gen)
{
	struct ownership o = {.node = span_str(heir->name), .gen = gen};

	if (heir->current < 0)
		return; /* not heard from yet: asked again later */
	memcpy(o.sid, heir->sid[heir->current], sizeof o.sid);
	c->heir = heir;
	c->next_gen = gen;
	(void)!copy_own(c, &o, on_adopted);
}

/* Its owner does not own it, and says who does. Everybody may come to hold it
 * for another one in the end; then whoever is named takes it. */
static void answer_held(struct copy *c, const struct wire_answer *a)
{
	struct shadow *s = c->s;
	struct peer *heir;

	if (span_ieq(a->owner, s->conf->node.name)) {
		if (a->gen < c->gen)
			return; /* it will hear of us, and take it itself */
		c->gen = a->gen;
		holder_take(c, TAKE_UNKNOWN);
	} else if (a->gen < c->gen) {
		/* It was ours to hold for it, and it does not know: it was
		 * rolled back. */
		holder_take(c, TAKE_UNKNOWN);
	} else {
		heir = peer_find(s, a->owner);
		if (heir && heir != c->owner)
			adopt(c, heir, a->gen);
	}
}

void holder_answer(struct copy *c, struct peer *p, const struct wire_answer *a)
{
	if (c->owner != p || c->owner_sid != (unsigned)p->current)
		return;
	switch (a->state) {
	case WIRE_LIVE:
		break;
	case WIRE_ELSEWHERE:
		/* Of one of our own numbers "no record" means finished (R7):
		 * such a message only leaves when it is. */
		if (memcmp(c->mid.sid, c->s->me.sid, sizeof c->mid.sid) != 0)
			copy_drop(c, 1);
		break;
	case WIRE_GONE:
		copy_drop(c, 0);
		break;
	case WIRE_UNKNOWABLE:
	case WIRE_NONE:
		holder_take(c, TAKE_UNKNOWN);
		break;
	case WIRE_HELD:
		answer_held(c, a);
		break;
	}
}

/* --- asking --------------------------------------------------------------- */

static int due(const struct copy *c, const struct peer *p, uint64_t now)
{
	return c->epoch != p->epoch ||
	       (c->state == COPY_HELD && now - c->checked >= STATUS_AFTER);
}

/* The list is in the order in which its copies were asked about. */
static unsigned gather(
	struct peer *p, struct list *from, struct copy **v, unsigned n)
{
	uint64_t now = shadow_now(p->s);

	list_each_safe (it, from) {
		struct copy *c = list_item(it, struct copy, at);

		if (n == STATUS_ITEMS || !due(c, p, now))
			break;
		list_del(&c->at);
		list_append(from, &c->at);
		c->epoch = p->epoch;
		c->checked = now;
		if (c->m && !c->moving)
			v[n++] = c;
	}
	return n;
}

static void ask_some(struct peer *p)
{
	struct copy *v[STATUS_ITEMS];
	unsigned n;

	while (link_up(p) && p->asking < STATUS_CALLS) {
		n = gather(p, &p->waiting, v, 0);
		n = gather(p, &p->held, v, n);
		n = gather(p, &p->kept, v, n); /* it may be rolled back */
		if (n == 0)
			return;
		ask_status(p, v, n);
	}
}

void holder_link_up(struct peer *p)
{
	p->epoch++;
	ask_some(p);
}

void holder_tick(struct peer *p)
{
	struct shadow *s = p->s;

	if (s->stopping)
		return;
	if (!p->taking && p->nheld && fence_may_take_over(s, p))
		holder_take_all(p, TAKE_SILENCE);
	else if (p->taking == TAKE_SILENCE + 1 && !fence_may_take_over(s, p))
		p->taking = 0; /* it is back: what is left stays its own */
	else
		take_some(p);
	ask_some(p);
}
