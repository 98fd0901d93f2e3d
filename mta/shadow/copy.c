/* copy - the table of copies, their moves between lists, and what the queue
 * says about them. */
#include "mta/shadow/move.h"

#include <stdlib.h>

#include "mta/base/check.h"

struct span copy_mid(const struct copy *c, char text[static MID_TEXT])
{
	return c->mid.seq ? mid_text(&c->mid, text) : span("", 0);
}

struct copy *copy_find(struct shadow *s, const struct mid *m)
{
	struct map_node *n = map_get(&s->copies, mid_key(m));

	return n ? container_of(n, struct copy, node) : NULL;
}

/* What comes in for another one is not, though nothing says so yet. */
int copy_is_ours(const struct copy *c)
{
	switch (c->state) {
	case COPY_LIVE:
	case COPY_WAIT:
	case COPY_CLAIM:
		return c->mid.seq != 0;
	case COPY_ACCEPT:
		return memcmp(c->mid.sid, c->s->me.sid, sizeof c->mid.sid) == 0;
	default:
		return 0;
	}
}

struct copy *copy_new(struct shadow *s, const struct mid *m, enum copy_state st)
{
	struct copy *c = x_calloc(1, sizeof *c);

	c->s = s;
	c->state = (uint8_t)st;
	c->gen = 1;
	c->since = shadow_now(s);
	list_init(&c->at);
	list_init(&c->taken);
	list_init(&c->own.node);
	list_init(&c->give);
	list_init(&c->every);
	if (!m)
		return c;
	c->mid = *m;
	list_append(&s->every, &c->every);
	s->ours += copy_is_ours(c) != 0;
	map_put(&s->copies, &c->node, mid_key(&c->mid));
	return c;
}

struct copy *copy_coming(struct shadow *s, const struct mid *m)
{
	struct copy *old = copy_find(s, m), *c;
	int lost = old != NULL;

	must(!old || old->state == COPY_LOST);
	if (old)
		copy_free(old);
	c = copy_new(s, m, COPY_ACCEPT);
	c->lost = lost != 0;
	return c;
}

/* Out of whatever list it is in, with the counts. */
static void leave(struct copy *c)
{
	struct shadow *s = c->s;

	s->ours -= copy_is_ours(c) != 0;
	if (c->state == COPY_HELD) {
		c->owner->nheld--;
		c->owner->held_bytes -= c->size;
		s->counts.held--;
		s->counts.held_bytes -= c->size;
	} else if (c->state == COPY_WAIT && c->owner) {
		c->owner->nwaiting--;
	} else if (c->state == COPY_LIVE && !c->holder && c->mid.seq) {
		s->counts.bare--;
	}
	c->owner = NULL;
	c->holder = NULL;
	list_del(&c->at);
}

void copy_set(struct copy *c, enum copy_state st)
{
	struct shadow *s = c->s;

	leave(c);
	c->state = (uint8_t)st;
	s->ours += copy_is_ours(c) != 0;
	c->since = shadow_now(s);
	if (st == COPY_LIVE && c->mid.seq) {
		s->counts.bare++;
		list_append(&s->bare, &c->at);
	}
	if (st == COPY_HELD || st == COPY_LEAVING)
		list_del(&c->taken);
	move_changed(c, st);
}

void copy_hold(struct copy *c, struct peer *owner, int sid, uint32_t gen)
{
	copy_set(c, COPY_HELD);
	c->owner = owner;
	c->owner_sid = (uint8_t)sid;
	c->gen = gen;
	c->checked = c->since;
	c->epoch = owner->epoch;
	c->ntarget = 0;
	c->stale = 0;
	c->elsewhere = 0;
	c->heir = NULL;
	owner->nheld++;
	owner->held_bytes += c->size;
	c->s->counts.held++;
	c->s->counts.held_bytes += c->size;
	list_append(&owner->held, &c->at);
}

void copy_holder(struct copy *c, struct peer *p)
{
	struct shadow *s = c->s;

	must(c->state == COPY_LIVE);
	if (c->holder == p || (p && c->elsewhere >> p->index & 1))
		return; /* p was told that it need not: it may have left */
	s->counts.bare += !p;
	s->counts.bare -= !c->holder;
	c->holder = p;
	if (p)
		c->epoch = p->epoch;
	list_del(&c->at);
	list_append(p ? &p->kept : &s->bare, &c->at);
}

int copy_has_target(const struct copy *c, const struct peer *p)
{
	for (unsigned i = 0; i < c->ntarget; i++)
		if (c->target[i].peer == p->index &&
			c->target[i].sid == (unsigned)p->current)
			return 1;
	return 0;
}

void copy_sure(struct copy *c, const struct peer *p)
{
	for (unsigned i = 0; i < c->ntarget; i++)
		if (c->target[i].peer == p->index)
			c->target[i].term = p->term;
}

/* When there are too many, one whose database is gone makes room, else the
 * oldest: its copy is resolved by its own question. */
void copy_add_target(struct copy *c, struct peer *p)
{
	unsigned at = 0;

	must(p->current >= 0);
	if (copy_has_target(c, p))
		return;
	if (c->ntarget == TARGETS_MAX) {
		while (at < TARGETS_MAX - 1 &&
			c->s->peer[c->target[at].peer]->current ==
				c->target[at].sid)
			at++;
		memmove(c->target + at, c->target + at + 1,
			(TARGETS_MAX - 1u - at) * sizeof c->target[0]);
		c->ntarget--;
	}
	c->target[c->ntarget++] =
		(struct copy_target){.peer = (uint8_t)p->index,
			.sid = (uint8_t)p->current,
			.term = p->term};
}

void copy_tell_done(const struct copy *c, const unsigned *rcpt, unsigned n)
{
	for (unsigned i = 0; i < c->ntarget; i++)
		ask_done(c->s->peer[c->target[i].peer], &c->mid, rcpt, n);
}

void copy_free(struct copy *c)
{
	leave(c);
	move_changed(c, COPY_LEAVING);
	move_gone(c);
	list_del(&c->taken);
	list_del(&c->own.node);
	store_forget(c);
	if (c->mid.seq)
		map_del(&c->s->copies, &c->node);
	free(c);
}

void copy_drop(struct copy *c, int aloof)
{
	must(c->m && !c->moving);
	copy_set(c, COPY_LEAVING);
	c->aloof = aloof != 0;
	queue_discard(c->s->o.queue, c->m);
}

void copy_unbar(struct copy *c)
{
	enum err e;

	must(!c->moving);
	list_del(&c->own.node); /* it may wait for this already */
	e = queue_unbar(c->s->o.queue, c->m);
	if (e != ERR_OK && err_temporary(e))
		list_append(&c->s->retry, &c->own.node);
}

enum err copy_own(struct copy *c, const struct ownership *o,
	void (*done)(struct own *w, enum err e))
{
	struct shadow *s = c->s;
	struct target t[TARGETS_MAX];
	enum err e;

	must(!c->moving);
	if (!list_empty(&c->own.node))
		return ERR_NOMEM; /* it was, and its unbarring is still owed */
	for (unsigned i = 0; i < c->ntarget; i++) {
		struct peer *p = s->peer[c->target[i].peer];

		t[i].node = span_str(p->name);
		memcpy(t[i].sid, p->sid[c->target[i].sid], 16);
	}
	c->own.done = done;
	c->moving = 1;
	e = queue_own(s->o.queue, c->m, &c->own, o, t, c->ntarget);
	if (e != ERR_OK && err_temporary(e))
		c->moving = 0; /* else gone() has freed it */
	return e;
}

enum err copy_own_target(
	struct copy *c, struct peer *p, void (*done)(struct own *w, enum err e))
{
	struct copy_target was[TARGETS_MAX];
	uint8_t n = c->ntarget;
	enum err e;

	memcpy(was, c->target, sizeof was);
	copy_add_target(c, p);
	e = copy_own(c, NULL, done);
	if (e == ERR_OK || !err_temporary(e))
		return e;
	memcpy(c->target, was, sizeof was);
	c->ntarget = n;
	return e;
}

int copy_finished(struct copy *c, struct span done)
{
	struct shadow *s = c->s;
	struct queue *q = s->o.queue;
	struct wire_set set;
	struct copy_view v;
	const char *why = "";
	unsigned n, pending = 1;
	int live = c->state == COPY_LIVE;
	enum err e;

	if (!done.n)
		return 1;
	if (live && queue_bar(q, c->m) != 0)
		return -1;
	e = queue_read(q, c->m, 0, &v);
	if (e == ERR_OK) {
		n = v.env->nrcpt;
		queue_read_end(q, &v);
		if (wire_set_read(done, n, &s->scratch, &set, &why) == 0)
			e = queue_finished(q, c->m, set.v, set.n, &pending);
		arena_fini(&s->scratch);
	}
	if (e != ERR_OK && !err_temporary(e))
		return 0; /* damaged: c is gone */
	if (pending == 0)
		copy_drop(c, 0);
	else if (live)
		copy_unbar(c);
	return pending && !live;
}

/* --- what the queue says -------------------------------------------------- */

static void add_target(struct copy *c, const struct target *t)
{
	struct peer *p = peer_get(c->s, t->node);
	int sid = p ? peer_sid(p, t->sid) : -1;

	if (sid < 0 || c->ntarget == TARGETS_MAX)
		return;
	for (unsigned i = 0; i < c->ntarget; i++)
		if (c->target[i].peer == p->index && c->target[i].sid == sid)
			return;
	c->target[c->ntarget++] = (struct copy_target){
		.peer = (uint8_t)p->index, .sid = (uint8_t)sid};
}

void *shadow_found(void *shadow, struct message *m, const struct envelope *e,
	const struct status *st)
{
	struct shadow *s = shadow;
	const struct ownership *o = owner_of(e, st);
	struct peer *p = o->node.n ? peer_get(s, o->node) : NULL;
	int sid = p ? peer_sid(p, o->sid) : -1;
	struct copy *c;

	check_obj(s, SHADOW_MAGIC);
	if (copy_find(s, &e->mid)) /* two of one: the later is only kept */
		return NULL;
	c = copy_new(s, &e->mid, COPY_LEAVING);
	c->m = m;
	c->size = e->size;
	if (o->node.n && sid < 0) {
		log_event(s->o.log, EV_SHADOW_STRANGER,
			F_SPAN("owner", o->node), F_ID("msg", e->id));
		return c; /* nobody can be asked: kept */
	}
	if (p) {
		copy_hold(c, p, sid, o->gen);
		return c;
	}
	c->gen = o->gen ? o->gen : 1;
	if (e->target.node.n && !st->moved)
		add_target(c, &e->target);
	for (unsigned i = 0; i < st->ntarget; i++)
		add_target(c, &st->target[i]);
	copy_set(c, c->gen > 1 ? COPY_CLAIM : COPY_WAIT);
	if (c->gen > 1)
		list_append(&s->taken, &c->taken);
	list_append(&s->retry, &c->own.node); /* until the first snapshot */
	return c;
}

void shadow_progress(void *shadow, void *tag, const unsigned *rcpt, unsigned n)
{
	struct shadow *s = shadow;
	struct copy *c = tag;

	check_obj(s, SHADOW_MAGIC);
	if (c->accept)
		accept_progress(c->accept);
	if (!c->mid.seq)
		return;
	copy_tell_done(c, rcpt, n);
}

/* Whoever asks about it shall not hear that it is finished. */
static void lost(struct copy *c)
{
	store_forget(c);
	list_del(&c->own.node);
	c->moving = 0;
	c->m = NULL;
	copy_set(c, COPY_LOST);
	list_append(&c->s->lost, &c->at);
}

void copy_not_come(struct copy *c)
{
	must(c->state == COPY_ACCEPT && !c->m);
	if (c->lost)
		lost(c);
	else
		copy_free(c);
}

/* What is set aside here is still whole elsewhere: nobody is told that it is
 * done. */
void shadow_gone(void *shadow, void *tag, enum err e)
{
	struct shadow *s = shadow;
	struct copy *c = tag;

	check_obj(s, SHADOW_MAGIC);
	if (e == ERR_OK && c->mid.seq)
		copy_tell_done(c, NULL, 0);
	if (c->accept)
		accept_gone(c->accept, e);
	if (e == ERR_CORRUPT && c->mid.seq && c->state != COPY_HELD &&
		c->state != COPY_LEAVING)
		lost(c);
	else
		copy_free(c);
}

void copies_end(struct shadow *s)
{
	while (!list_empty(&s->lost))
		copy_free(list_item(s->lost.next, struct copy, at));
}

/* An identity is remembered, unless it is one of ours that its number tells;
 * of a database that was rolled back it does not. */
struct store_op *shadow_leaving(void *shadow, void *tag)
{
	struct shadow *s = shadow;
	struct copy *c = tag;

	check_obj(s, SHADOW_MAGIC);
	if (c->state != COPY_LEAVING)
		copy_set(c, COPY_LEAVING);
	if (!c->mid.seq || c->aloof ||
		(memcmp(c->mid.sid, s->me.sid, sizeof s->me.sid) == 0 &&
			holder_was_ours(s, &c->mid)))
		return NULL;
	return finished_add(s->finished, &c->mid);
}

int shadow_may_deliver(void *shadow, void *tag)
{
	return fence_may_deliver(shadow, tag);
}
