/* accept - from the end of the data to the reply: what a policy asks for.
 *
 * prefer, require: the commit here and the STORE to a peer run side by side;
 * both must be there (R1). A STORE that fails goes to the next peer, which is
 * durably noted as a target before (R2). When no peer is left the accept is
 * parked, until one is there or nobody was for solo_after: then prefer goes
 * on alone, and require refuses, after what is durable here was deleted.
 *
 * next_hop: delivery begins at once and the reply waits for it.
 */
#include "mta/shadow/private.h"

#include "mta/base/check.h"

enum accept_state {
	AT_PARKED,   /* nothing is under way, or only the commit here */
	AT_STORING,  /* a STORE is under way, and perhaps the commit */
	AT_TARGET,   /* a further target is being written */
	AT_SOLO,     /* goes alone when the commit is done */
	AT_DROPPING, /* refused: the delete is under way */
	AT_WATCH,    /* next_hop */
	AT_DONE,
};
enum { LOCAL_NONE, LOCAL_COMMITTING, LOCAL_DURABLE };
enum { WATCH_AGAIN = 200, BEHIND_AFTER = 10000 /* ms */ };

const char *shadow_level_name(enum shadow_level l)
{
	static const char *const name[] = {
		[LEVEL_LOCAL] = "off",
		[LEVEL_SHADOWED] = "shadowed",
		[LEVEL_SOLO] = "solo",
		[LEVEL_NEXT_HOP] = "next_hop",
		[LEVEL_DELAYED] = "delayed",
	};

	return name[l];
}

/* --- the end of an accept ------------------------------------------------- */

static void finish(struct accept *a, enum err e, enum shadow_level level)
{
	struct shadow *s = a->s;

	timer_stop(&a->timer);
	list_del(&a->node);
	if (a->copy)
		a->copy->accept = NULL;
	a->copy = NULL;
	a->state = AT_DONE;
	a->err = e;
	a->level = level;
	blob_unref(a->record);
	a->record = NULL;
	body_unref(&a->body);
	if (e == ERR_OK)
		s->counts.level[level]++;
	else if (e == ERR_UNREACH)
		s->counts.refused++;
	a->done(a);
}

static void on_later(struct timer *t)
{
	struct shadow *s = container_of(t, struct shadow, later);
	struct list now;

	list_init(&now);
	list_splice(&now, &s->refused);
	while (!list_empty(&now)) {
		struct accept *a = list_item(now.next, struct accept, node);

		finish(a, a->err, LEVEL_LOCAL);
	}
}

/* Never inside somebody's call. */
static void finish_later(struct accept *a, enum err e)
{
	a->err = e;
	list_del(&a->node);
	list_append(&a->s->refused, &a->node);
	timer_start(&a->s->later, 0);
}

/* Acknowledged: from now on it may be delivered. */
static void acknowledged(
	struct accept *a, enum shadow_level level, struct peer *holder)
{
	struct copy *c = a->copy;

	if (holder)
		a->peer = span_str(holder->name);
	copy_set(c, COPY_LIVE);
	if (holder) {
		copy_sure(c, holder);
		copy_holder(c, holder);
	}
	finish(a, ERR_OK, level);
	copy_unbar(c);
}

/* What is durable here goes before the answer. */
static void refuse(struct accept *a, enum err e)
{
	a->err = e;
	a->state = AT_DROPPING;
	timer_stop(&a->timer);
	copy_drop(a->copy, 0);
}

static void move(struct accept *a, struct list *to)
{
	list_del(&a->node);
	list_append(to, &a->node);
}

/* --- parked: no peer is there --------------------------------------------- */

/* How long it may still wait for one. */
static uint64_t patience(const struct accept *a)
{
	const struct shadow *s = a->s;
	uint64_t now = shadow_now(s), end = a->timer.due;
	uint64_t solo = s->conf->shadow.solo_after;

	if (a->report || s->hurry)
		return 0;
	if (s->alone && s->alone + solo < end)
		end = s->alone + solo;
	return end > now ? end - now : 0;
}

static void commit(struct accept *a, struct peer *p);

/* Nobody is there: alone, or not at all. */
static void give_up(struct accept *a)
{
	struct shadow *s = a->s;
	int may = a->policy != SHADOW_REQUIRE || a->report;

	move(a, &s->active);
	if (a->local == LOCAL_NONE && may) {
		a->state = AT_SOLO;
		commit(a, NULL);
	} else if (a->local == LOCAL_NONE) {
		queue_abandon_body(s->o.queue, a->body);
		finish_later(a, ERR_UNREACH);
	} else if (may) {
		acknowledged(a, LEVEL_SOLO, NULL);
	} else {
		refuse(a, ERR_UNREACH);
	}
}

static void park_until(struct shadow *s, uint64_t ms)
{
	uint64_t at = shadow_now(s) + ms;

	if (!s->parking.armed || s->parking.due > at)
		timer_start(&s->parking, ms);
}

static void park(struct accept *a)
{
	a->state = AT_PARKED;
	a->tried = 0;
	move(a, &a->s->parked);
	park_until(a->s, patience(a));
}

static void on_parking(struct timer *t)
{
	struct shadow *s = container_of(t, struct shadow, parking);
	struct list now;

	list_init(&now);
	list_splice(&now, &s->parked);
	while (!list_empty(&now)) {
		struct accept *a = list_item(now.next, struct accept, node);
		uint64_t ms = patience(a);

		move(a, &s->parked);
		if (ms)
			park_until(s, ms);
		else
			give_up(a);
	}
}

/* --- STORE ---------------------------------------------------------------- */

static struct peer *pick(const struct accept *a)
{
	struct shadow *s = a->s;

	for (unsigned i = 0; i < s->norder; i++)
		if (peer_takes(s->order[i]) &&
			!(a->tried >> s->order[i]->index & 1))
			return s->order[i];
	return NULL;
}

static void next_peer(struct accept *a);

static void on_stored(struct store_call *sc, struct copy *c, int held)
{
	struct accept *a = c ? c->accept : NULL;

	if (!a) { /* it went on without, or away */
		if (c)
			keeper_stored(sc, c, held);
	} else if (a->state != AT_STORING) {
		; /* refused meanwhile */
	} else if (held) {
		a->held_by = sc->peer;
		if (a->local == LOCAL_DURABLE)
			acknowledged(a, LEVEL_SHADOWED, a->held_by);
	} else if (a->local == LOCAL_DURABLE && sc->bad) {
		refuse(a, ERR_IO);
	} else if (a->local == LOCAL_DURABLE) {
		next_peer(a);
	} else {
		a->bad = sc->bad;
		a->state = AT_PARKED; /* until the commit is done */
	}
}

static void store_to(struct accept *a, struct peer *p)
{
	a->tried |= 1u << p->index;
	a->state = AT_STORING;
	store_start(a->copy, p, a->record, a->body, NULL, on_stored);
}

static void on_target(struct own *w, enum err e)
{
	struct copy *c = container_of(w, struct copy, own);
	struct accept *a = c->accept;
	struct peer *p;

	c->moving = 0;
	if (!a)
		return;
	p = a->next;
	if (e != ERR_OK)
		finish(a, e, LEVEL_LOCAL);
	else if (peer_takes(p) && copy_has_target(c, p))
		store_to(a, p);
	else
		next_peer(a);
}

/* p is durably a target before anything leaves for it (R2). */
static void further_target(struct accept *a, struct peer *p)
{
	struct copy *c = a->copy;
	enum err e;

	if (copy_has_target(c, p)) {
		store_to(a, p);
		return;
	}
	a->tried |= 1u << p->index;
	a->state = AT_TARGET;
	a->next = p;
	e = copy_own_target(c, p, on_target);
	if (e != ERR_OK && err_temporary(e))
		park(a);
}

/* On to the next peer; when none is left it waits for one. */
static void next_peer(struct accept *a)
{
	struct peer *p = pick(a);

	move(a, &a->s->active);
	if (!p && a->s->hurry)
		give_up(a);
	else if (!p)
		park(a);
	else if (a->local == LOCAL_NONE)
		commit(a, p);
	else
		further_target(a, p);
}

void accept_parked(struct shadow *s)
{
	struct list now;
	int any = 0;

	for (unsigned i = 0; i < s->npeer; i++)
		any |= peer_takes(s->peer[i]);
	list_init(&now);
	if (any)
		list_splice(&now, &s->parked);
	while (!list_empty(&now))
		next_peer(list_item(now.next, struct accept, node));
	if (!list_empty(&s->parked))
		park_until(s, s->hurry ? 0 : TICK);
}

/* --- the commit here ------------------------------------------------------ */

static void on_local(struct intake *i, enum err e)
{
	struct accept *a = container_of(i, struct accept, intake);
	struct copy *c = a->copy;

	if (e != ERR_OK) {
		/* A peer that has it is told that it is nothing. */
		if (c)
			copy_tell_done(c, NULL, 0);
		finish(a, e, LEVEL_LOCAL);
		if (c)
			copy_free(c);
		return;
	}
	a->local = LOCAL_DURABLE;
	if (!c) {
		finish(a, ERR_OK, LEVEL_LOCAL);
		return;
	}
	c->m = i->message;
	c->size = a->env->size;
	if (a->bad)
		refuse(a, ERR_IO);
	else if (a->state == AT_SOLO)
		acknowledged(a, LEVEL_SOLO, NULL);
	else if (a->state == AT_PARKED)
		next_peer(a);
	else if (a->held_by)
		acknowledged(a, LEVEL_SHADOWED, a->held_by);
}

static void intake(struct accept *a, struct copy *c, int barred)
{
	a->copy = c;
	if (c)
		c->accept = a;
	a->local = LOCAL_COMMITTING;
	a->intake.tag = c;
	a->intake.barred = barred;
	a->intake.done = on_local;
	queue_intake(a->s->o.queue, &a->intake, a->env, a->body);
}

static void commit(struct accept *a, struct peer *p)
{
	struct shadow *s = a->s;
	struct envelope *e = a->env;
	struct copy *c;

	e->mid = (struct mid){
		.inc = s->me.inc, .seq = queue_next_seq(s->o.queue)};
	memcpy(e->mid.sid, s->me.sid, sizeof e->mid.sid);
	e->owner = (struct ownership){.gen = 1};
	memcpy(e->owner.sid, s->me.sid, sizeof e->owner.sid);
	e->target = (struct target){0};
	c = copy_new(s, &e->mid, COPY_ACCEPT);
	if (p) {
		copy_add_target(c, p);
		e->target.node = span_str(p->name);
		memcpy(e->target.sid, p->sid[p->current], 16);
	}
	intake(a, c, 1);
	a->record = queue_intake_record(&a->intake);
	if (p && a->record)
		store_to(a, p);
}

/* --- next_hop ------------------------------------------------------------- */

/* The time is over. A refusal must not leave a copy that is delivered as well:
 * what somebody has in hands may still be, so its end is awaited. */
static void watch_over(struct accept *a)
{
	if (a->local != LOCAL_DURABLE)
		timer_start(&a->timer, WATCH_AGAIN);
	else if (a->on_delay == DELAY_ACCEPT || a->progressed)
		finish(a, ERR_OK, LEVEL_DELAYED);
	else if (queue_bar(a->s->o.queue, a->copy->m) == 0)
		refuse(a, ERR_TIMEOUT);
	else
		timer_start(&a->timer, WATCH_AGAIN);
}

void accept_progress(struct accept *a)
{
	a->progressed = 1;
}

void accept_gone(struct accept *a, enum err e)
{
	if (a->state == AT_DROPPING)
		finish(a, a->err, LEVEL_LOCAL);
	else
		finish(a, e, LEVEL_NEXT_HOP);
}

/* --- the door ------------------------------------------------------------- */

/* The time to answer is over. A STORE under way goes on by itself. */
static void on_timer(struct timer *t)
{
	struct accept *a = container_of(t, struct accept, timer);

	if (a->state == AT_WATCH)
		watch_over(a);
	else if (a->local == LOCAL_COMMITTING || a->state == AT_TARGET)
		timer_start(t, TICK); /* our own disk: it will answer */
	else if (a->state != AT_DROPPING)
		give_up(a);
}

static int has_takers(const struct shadow *s)
{
	for (unsigned i = 0; i < s->npeer; i++)
		if (s->peer[i]->configured && !s->peer[i]->witness)
			return 1;
	return 0;
}

void shadow_accept(struct shadow *s, struct accept *a, struct envelope *env,
	struct body *body)
{
	check_obj(s, SHADOW_MAGIC);
	a->s = s;
	a->env = env;
	a->body = body_ref(body);
	a->copy = NULL;
	a->record = NULL;
	a->held_by = a->next = NULL;
	a->tried = 0;
	a->local = LOCAL_NONE;
	a->progressed = 0;
	a->peer = span("", 0);
	list_init(&a->node);
	list_append(&s->active, &a->node);
	timer_init(&a->timer, s->o.loop, on_timer);
	if (a->policy == SHADOW_NEXT_HOP) {
		a->state = AT_WATCH;
		timer_start(&a->timer, s->hurry ? 0 : a->delay);
		intake(a, copy_new(s, NULL, COPY_WATCH), 0);
	} else if (a->policy == SHADOW_OFF || !has_takers(s)) {
		a->state = AT_SOLO;
		intake(a, NULL, 0);
	} else {
		timer_start(&a->timer, ACCEPT_MOST);
		next_peer(a);
	}
}

int shadow_behind(const struct shadow *s)
{
	check_obj(s, SHADOW_MAGIC);
	return s->behind;
}

static uint64_t oldest_of(const struct shadow *s, struct list *head)
{
	uint64_t now = shadow_now(s), oldest = 0, age;

	list_each (it, head) {
		const struct accept *a = list_item(it, struct accept, node);

		if (a->state == AT_WATCH || !a->timer.armed)
			continue; /* waits for a next hop, or for our disk */
		age = now + ACCEPT_MOST - a->timer.due;
		if (age <= ACCEPT_MOST && age > oldest)
			oldest = age;
	}
	return oldest;
}

uint64_t accept_oldest(struct shadow *s)
{
	uint64_t a = oldest_of(s, &s->active), b = oldest_of(s, &s->parked);

	return a > b ? a : b;
}

/* One turn's look is enough: accepts are as many as sessions. */
void accept_tick(struct shadow *s)
{
	uint64_t since = shadow_now(s) + ACCEPT_MOST - BEHIND_AFTER;

	s->behind = 0;
	list_each (it, &s->active) {
		const struct accept *a = list_item(it, struct accept, node);

		s->behind |= a->policy == SHADOW_REQUIRE && !a->report &&
			     a->state == AT_STORING && a->timer.due < since;
	}
}

void shadow_hurry(struct shadow *s)
{
	check_obj(s, SHADOW_MAGIC);
	s->hurry = 1;
	list_each (it, &s->active) {
		struct accept *a = list_item(it, struct accept, node);

		if (a->state == AT_WATCH)
			timer_start(&a->timer, 0);
	}
	timer_start(&s->parking, 0);
}

/* No link is left: what waits for a peer goes on alone. */
void accept_stop(struct shadow *s)
{
	struct list now;

	s->hurry = 1;
	list_init(&now);
	list_splice(&now, &s->active);
	list_splice(&now, &s->parked);
	while (!list_empty(&now)) {
		struct accept *a = list_item(now.next, struct accept, node);

		move(a, &s->active);
		if (a->state == AT_STORING && a->local == LOCAL_DURABLE)
			a->state = AT_PARKED;
		if (a->state == AT_PARKED && a->local != LOCAL_COMMITTING)
			give_up(a);
	}
}

void accept_init(struct shadow *s)
{
	list_init(&s->active);
	list_init(&s->parked);
	list_init(&s->refused);
	timer_init(&s->parking, s->o.loop, on_parking);
	timer_init(&s->later, s->o.loop, on_later);
}

void accept_fini(struct shadow *s)
{
	timer_stop(&s->parking);
	timer_stop(&s->later);
	must(list_empty(&s->active) && list_empty(&s->parked));
}
