/* give - one message that is ours becomes a peer's, step by step (R17).
 *
 * 1. The peer holds a copy for sure: else it gets one, as any holder does.
 * 2. Nobody has it in hands: it is barred.
 * 3. That the peer owns it, with a GEN one higher, and that we hold a copy for
 *    it, is written down. From here on it is not ours, whatever happens.
 * 4. The peer is told: GIVE, with what happened to the recipients so far. It
 *    writes down that it is the owner, and claims it from everybody; its claim
 *    here shows that it knows.
 *
 * Before 3 nothing is different from any other message of ours, after 3 nothing
 * is different from any other copy that we hold: a crash or a cut at any point
 * needs no rule of its own. Nobody delivers between 3 and 4.
 */
#include <stdlib.h>

#include "mta/base/check.h"
#include "mta/shadow/move.h"

/* --- 4: telling ----------------------------------------------------------- */

struct give_call {
	struct call call; /* first */
	struct mid mid;
};

/* What was refused is as if it had not been heard: who has it is asked. */
static void on_heard(struct call *call, struct peer *p, const struct reply *r,
	struct span text)
{
	struct give_call *g = container_of(call, struct give_call, call);
	struct copy *c = copy_find(p->s, &g->mid);
	const char *why = "";
	unsigned n;

	free(g);
	if (r && r->code == 250 && wire_noted_read(text, &n, &why) == 0)
		return;
	if (c && r && r->code == 550)
		c->stale = 1;
	if (!c || c->to != p || c->giving != GIVING_SENT)
		return;
	move_unsure(c);
	if (r && link_up(p) && !c->moving)
		ask_status(p, &c, 1);
}

/* Too long a status does not go: who is finished, the answer to the claim
 * says. Send connectors are this node's, so a redirection stays here. */
static void add_status(struct copy *c, struct buf *out, struct wire_give *w)
{
	struct queue *q = c->s->o.queue;
	struct copy_view v;
	struct status there;

	if (queue_read(q, c->m, 0, &v) != ERR_OK)
		return;
	there = *v.status;
	there.redirect = span("", 0);
	if (status_encode(&there, out) == 0 && !out->full)
		w->status = out->n;
	queue_read_end(q, &v);
}

static void say(struct copy *c, struct peer *p)
{
	struct shadow *s = c->s;
	const struct mid mid = c->mid;
	struct wire_give w = {.mid = mid, .gen = c->gen};
	struct give_call *g;
	struct buf status;

	buf_init(&status, GIVE_STATUS);
	add_status(c, &status, &w);
	c = copy_find(s, &mid); /* it may have been damaged, and is gone */
	if (c && (!link_up(p) || p->current != c->owner_sid)) {
		move_unsure(c);
	} else if (c) {
		g = x_calloc(1, sizeof *g);
		g->call.heard = on_heard;
		g->mid = mid;
		buf_init(&g->call.line, WIRE_LINE + GIVE_STATUS);
		wire_give_write(&g->call.line, &w);
		if (w.status)
			buf_add(&g->call.line, buf_span(&status));
		link_call(p, &g->call);
	}
	buf_fini(&status);
}

/* Whether it goes by itself at its new owner, who was not told: it would be
 * delivered whatever an administrator ordered here. Also when it cannot be
 * read just now. */
static int needs_status(struct copy *c)
{
	struct copy_view v;
	int needs;

	if (queue_read(c->s->o.queue, c->m, 0, &v) != ERR_OK)
		return 1;
	needs = v.status->suspension != SUSPEND_AS_CAME;
	queue_read_end(c->s->o.queue, &v);
	return needs;
}

int give_again(struct copy *c, struct peer *p)
{
	const struct mid mid = c->mid;
	struct shadow *s = c->s;

	if (!c->m || c->moving || c->stale || p->current != c->owner_sid ||
		!needs_status(c))
		return 0;
	c = copy_find(s, &mid);
	if (c && c->to != p && link_up(p) && p->gives == WIRE_GIVES_OK)
		say(c, p);
	return 1;
}

/* --- 2 and 3: no longer ours ---------------------------------------------- */

static void on_ceded(struct own *w, enum err e)
{
	struct copy *c = container_of(w, struct copy, own);
	struct shadow *s = c->s;
	struct peer *p = c->heir;
	int sid = c->owner_sid;
	char mid[MID_TEXT];

	c->moving = 0;
	if (e != ERR_OK)
		return; /* the node ends */
	move_under_way(c, GIVING_SENT);
	copy_hold(c, p, sid, c->next_gen);
	s->counts.given++;
	log_event(s->o.log, EV_SHADOW_MOVED_OUT, F_ID("msg", queue_id(c->m)),
		F_SPAN("mid", copy_mid(c, mid)), F_STR("owner", p->name),
		F_U("gen", c->gen));
	if (p->current == sid) {
		say(c, p);
	} else {
		/* Its disk was lost since. */
		move_unsure(c);
		holder_take(c, TAKE_NEW_DATABASE);
	}
}

static void cede(struct copy *c, struct peer *p)
{
	struct ownership o = {.node = span_str(p->name), .gen = c->gen + 1};
	enum err e;

	/* A notice that is durable and not noted yet would be made there again
	 * (D3). */
	if (queue_noticing(c->m) || queue_bar(c->s->o.queue, c->m) != 0) {
		move_again(c, 0);
		return;
	}
	memcpy(o.sid, p->sid[p->current], sizeof o.sid);
	c->heir = p;
	c->owner_sid = (uint8_t)p->current;
	c->next_gen = o.gen;
	move_under_way(c, GIVING_CEDING);
	e = copy_own(c, &o, on_ceded);
	if (e == ERR_OK || !err_temporary(e))
		return; /* else it was damaged and is gone */
	c->heir = NULL;
	move_again(c, 0);
	copy_unbar(c);
}

/* --- 1: a copy there ------------------------------------------------------ */

static void on_stored(struct store_call *sc, struct copy *c, int held)
{
	struct peer *p = sc->peer;

	if (!c)
		return;
	keeper_stored(sc, c, held);
	if (c->to == p && c->giving == GIVING_COPYING)
		move_again(c, c->holder == p);
}

static void send(struct copy *c, struct peer *p)
{
	keeper_send(c, p, on_stored);
	/* Its body cannot be read now. When that was damaged it is lost, and
	 * out of the move already. */
	if (c->to && !c->storing)
		move_again(c, 0);
}

static void on_target(struct own *w, enum err e)
{
	struct copy *c = container_of(w, struct copy, own);
	struct peer *p = c->heir;

	c->moving = 0;
	c->heir = NULL;
	if (e != ERR_OK)
		return; /* the node ends */
	if (c->state == COPY_LIVE && peer_takes(p) && copy_has_target(c, p) &&
		!c->storing)
		send(c, p);
	else
		move_again(c, 0);
}

/* Not to be read: a message whose body is gone stays with us. */
static void copy_there(struct copy *c, struct peer *p)
{
	enum err e;

	move_under_way(c, GIVING_COPYING);
	if (copy_has_target(c, p)) {
		send(c, p);
		return;
	}
	c->heir = p;
	e = copy_own_target(c, p, on_target);
	if (e != ERR_OK && err_temporary(e)) {
		c->heir = NULL;
		move_again(c, 0);
	}
}

/* What is to be removed ends here: a holder that does not hear what is said in
 * 4 would deliver it. */
int give_step(struct copy *c)
{
	struct peer *p = c->to;

	if (c->state != COPY_LIVE || !c->m || c->moving || c->storing ||
		c->accept || !list_empty(&c->own.node) ||
		queue_removing(c->m)) {
		move_again(c, 0);
	} else if (c->holder == p) {
		cede(c, p);
	} else if (c->unsendable || !peer_takes(p)) {
		move_again(c, 0);
	} else if (p->move->copying * 2 >= p->window + 1) {
		return 0; /* new mail goes first */
	} else {
		copy_there(c, p);
	}
	return 1;
}
