/* takeover - what we took over: everybody who can be reached hears of it
 * before it is delivered, the others when they can (R8, R10). */
#include "mta/base/check.h"
#include "mta/shadow/private.h"

enum { CLAIMS_MOST = 256 };

static const char *const reasons[TAKE_REASONS] = {
	[TAKE_NEW_DATABASE] = "new database",
	[TAKE_UNKNOWN] = "rolled back",
	[TAKE_SILENCE] = "silence",
	[TAKE_OPERATOR] = "operator",
	[TAKE_GIVEN] = "given",
};

void takeover_finished(struct copy *c, struct arena *a, struct wire_set *set_r)
{
	struct queue *q = c->s->o.queue;
	struct copy_view v;

	*set_r = (struct wire_set){0};
	if (queue_read(q, c->m, 0, &v) != ERR_OK)
		return;
	set_r->v = arena_alloc(a, v.env->nrcpt * sizeof(unsigned));
	for (unsigned i = 0; v.status->rcpt && i < v.env->nrcpt; i++)
		if (v.status->rcpt[i].state != RCPT_PENDING)
			set_r->v[set_r->n++] = i;
	queue_read_end(q, &v);
}

static void claim_from(struct copy *c, struct peer *p)
{
	struct shadow *s = c->s;
	struct wire_set set;

	takeover_finished(c, &s->scratch, &set);
	c->claims++;
	c->checked = shadow_now(s);
	ask_claim(c, p, &set);
	arena_fini(&s->scratch);
}

/* All that can be asked now. */
static void claim_from_all(struct copy *c)
{
	struct shadow *s = c->s;

	for (unsigned i = 0; i < s->npeer; i++)
		if (c->unclaimed >> i & 1 && link_up(s->peer[i]) &&
			s->peer[i]->claiming < CLAIMS_MOST)
			claim_from(c, s->peer[i]);
}

/* Everybody who can be asked has answered; in the first minute of a run those
 * who cannot yet are waited for, as at the start barrier. */
static int may_go(const struct copy *c)
{
	struct shadow *s = c->s;

	if (c->state != COPY_CLAIM || c->claims || c->busy)
		return 0;
	for (unsigned i = 0; i < s->npeer; i++)
		if (c->unclaimed >> i & 1 &&
			(link_up(s->peer[i]) ||
				shadow_now(s) < s->barrier_until))
			return 0;
	return 1;
}

void takeover_tell(struct copy *c)
{
	struct shadow *s = c->s;

	must(c->state == COPY_CLAIM);
	c->unclaimed = 0;
	for (unsigned i = 0; i < s->npeer; i++)
		if (s->peer[i]->configured && !s->peer[i]->witness)
			c->unclaimed |= 1u << i;
	claim_from_all(c);
	if (may_go(c))
		keeper_go(c);
}

/* All that was taken over is claimed from p as if it had never been asked. */
void takeover_tell_again(struct peer *p)
{
	if (!p->configured || p->witness)
		return;
	list_each (it, &p->s->taken) {
		struct copy *c = list_item(it, struct copy, taken);

		c->unclaimed |= 1u << p->index;
	}
}

/* Said when it is decided: when the program dies before it has heard that the
 * decision is durable, the reason for a second copy is in the log all the
 * same. */
void takeover_log(const struct copy *c, enum takeover_reason why)
{
	char mid[MID_TEXT];

	if (why == TAKE_GIVEN)
		log_event(c->s->o.log, EV_SHADOW_MOVED_IN,
			F_ID("msg", queue_id(c->m)),
			F_SPAN("mid", copy_mid(c, mid)),
			F_STR("owner", c->owner->name), F_U("gen", c->gen + 1));
	else
		log_event(c->s->o.log, EV_SHADOW_TAKEOVER,
			F_ID("msg", queue_id(c->m)),
			F_SPAN("mid", copy_mid(c, mid)),
			F_STR("owner", c->owner->name),
			F_STR("reason", reasons[why]), F_U("gen", c->gen + 1));
}

void takeover_begun(struct copy *c, enum takeover_reason why)
{
	c->gen++;
	copy_set(c, COPY_CLAIM);
	if (why != TAKE_GIVEN)
		c->ntarget = 0;
	c->busy = 0; /* of an ownership before */
	list_append(&c->s->taken, &c->taken);
	c->s->counts.takeovers[why]++;
	takeover_tell(c);
}

/* --- answers -------------------------------------------------------------- */

static void on_noted(struct own *w, enum err e)
{
	struct copy *c = container_of(w, struct copy, own);

	c->moving = 0;
	if (e == ERR_OK && may_go(c))
		keeper_go(c);
}

/* With the lease a new start must know too who may take it over from us. 1: it
 * is being written. */
static int note_target(struct shadow *s, const struct mid *mid)
{
	struct copy *c = copy_find(s, mid);

	if (s->conf->shadow.fence != FENCE_LEASE || !c || !c->m || c->moving ||
		(c->state != COPY_CLAIM && c->state != COPY_LIVE))
		return 0;
	(void)!copy_own(c, NULL, on_noted);
	return 1;
}

/* p keeps a copy for us; what it delivered before is not delivered again: of
 * what is in somebody's hands p is asked later. 0: c may be gone. */
static int ceded(struct copy *c, struct peer *p, struct span done)
{
	struct shadow *s = c->s;
	const struct mid mid = c->mid;
	int left;

	c->unclaimed &= ~(1u << p->index);
	if (p->current >= 0)
		copy_add_target(c, p);
	copy_sure(c, p);
	if (c->state == COPY_LIVE)
		copy_holder(c, p);
	else
		c->heir = p;
	left = copy_finished(c, done);
	if (left >= 0)
		return note_target(s, &mid) ? 0 : left;
	c->unclaimed |= 1u << p->index;
	c->busy = 1;
	return 1;
}

/* It is finished, or somebody else's: out of the schedule, if it is not in
 * somebody's hands. */
static int take_back(struct copy *c)
{
	return c->state == COPY_LIVE ? queue_bar(c->s->o.queue, c->m) : 0;
}

/* 0: c is no longer what it was. */
static int understand(
	struct copy *c, struct peer *p, const struct reply *r, struct span text)
{
	struct copy *v[1] = {c};
	struct wire_ceded w;
	const char *why = "";
	uint32_t gen;

	if (!r)
		return 1; /* it is asked on the next link */
	if (r->code == 451) {
		c->busy = 1;
		return 1;
	}
	if (r->code == 550 && wire_stale_read(text, &gen, &why) == 0) {
		/* Somebody owns it with better right, p or whom p holds it
		 * for: p will say. */
		c->busy = 1;
		if (link_up(p))
			ask_status(p, v, 1);
		return 1;
	}
	if (r->code != 250 || wire_ceded_read(text, &w, &why) != 0 ||
		w.said == WIRE_CEDE_NONE) {
		c->unclaimed &= ~(1u << p->index);
		return 1;
	}
	if (w.said == WIRE_CEDED)
		return ceded(c, p, w.done);
	c->unclaimed &= ~(1u << p->index);
	if (take_back(c) != 0)
		return 1;
	copy_drop(c, 0);
	return 0;
}

void takeover_claimed(
	struct copy *c, struct peer *p, const struct reply *r, struct span text)
{
	if (c->claims)
		c->claims--;
	if (!c->m || c->moving ||
		(c->state != COPY_CLAIM && c->state != COPY_LIVE))
		return;
	if (understand(c, p, r, text) && may_go(c))
		keeper_go(c);
}

/* Round and round: peers that came back, and those that were busy. */
void takeover_tick(struct shadow *s)
{
	uint64_t now = shadow_now(s);
	struct list *end = s->taken.prev;

	for (int i = 0; i < 4 * TURN_COPIES && !list_empty(&s->taken); i++) {
		struct list *at = s->taken.next;
		struct copy *c = list_item(at, struct copy, taken);

		list_del(at);
		list_append(&s->taken, at);
		if (c->m && !c->moving && c->claims == 0 && c->unclaimed &&
			now - c->checked >= (c->busy ? CLAIM_AGAIN : TICK) &&
			(c->state == COPY_CLAIM || c->state == COPY_LIVE)) {
			c->busy = 0;
			claim_from_all(c);
			if (may_go(c))
				keeper_go(c);
		}
		if (at == end)
			break;
	}
}
