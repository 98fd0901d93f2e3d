/* admin - orders at random, and what must not happen after them. */
#include "tests/sim/admin.h"

#include <stdlib.h>

#include "mta/base/check.h"
#include "queue/control.h"

enum { ORDERS = 512 };

/* The last order about a message. */
struct order {
	struct admin *a;
	const struct relay *r;
	struct msg_id id;
	int stops;  /* it is not to be delivered */
	int sure;   /* durable, and nobody had it */
	int leased; /* somebody had it */
	struct order *before;
};

struct admin {
	struct world *w;
	struct job *job;
	unsigned njob;
	int checks;
	struct order *order[ORDERS]; /* the latest of each message */
	unsigned norder;
	unsigned waiting; /* changes whose done is to come */
};

struct admin *admin_create(
	struct world *w, struct job *job, unsigned njob, int checks)
{
	struct admin *a = x_calloc(1, sizeof *a);

	a->w = w;
	a->job = job;
	a->njob = njob;
	a->checks = checks;
	return a;
}

void admin_destroy(struct admin **ap)
{
	struct admin *a = *ap;

	if (a->waiting)
		world_fault(a->w, "%u orders of whose end nobody was told",
			a->waiting);
	for (unsigned i = 0; i < a->norder; i++)
		while (a->order[i]) {
			struct order *o = a->order[i];

			a->order[i] = o->before;
			free(o);
		}
	free(a);
	*ap = NULL;
}

/* --- what was ordered ----------------------------------------------------- */

static struct order **slot_of(
	struct admin *a, const struct relay *r, struct msg_id id)
{
	for (unsigned i = 0; i < a->norder; i++)
		if (a->order[i]->r == r && a->order[i]->id.v == id.v)
			return &a->order[i];
	must(a->norder < ORDERS);
	return &a->order[a->norder++];
}

static struct order *note(
	struct admin *a, const struct relay *r, struct msg_id id, int stops)
{
	struct order **at = slot_of(a, r, id);
	struct order *o = x_calloc(1, sizeof *o);

	*o = (struct order){
		.a = a, .r = r, .id = id, .stops = stops, .before = *at};
	*at = o;
	a->waiting++;
	return o;
}

static void on_done(void *arg, enum err e)
{
	struct order *o = arg;

	o->a->waiting--;
	o->sure = e == ERR_OK && !o->leased;
}

void admin_line(struct admin *a, struct relay *r, struct span line)
{
	struct msg_id id;

	if (!a->checks || !line_is(line, "delivery.sent") ||
		msg_id_parse(line_field(line, "msg"), &id) != 0)
		return;
	for (unsigned i = 0; i < a->norder; i++) {
		const struct order *o = a->order[i];

		if (o->r == r && o->id.v == id.v && o->stops && o->sure)
			world_fault(a->w,
				"%s: delivered in spite of orders: "
				"%.*s",
				r->name, SPAN_ARG(span_trim(line)));
	}
}

/* --- ordering ------------------------------------------------------------- */

static struct job *job_of(struct admin *a, const struct envelope *e)
{
	for (unsigned i = 0; i < a->njob; i++)
		if (span_eq(span_str(a->job[i].from), e->sender))
			return &a->job[i];
	return NULL;
}

static int any_message(struct admin *a, struct queue *q, struct message_peek *p)
{
	struct queue_counts c;
	struct msg_id id = {0};

	queue_counts(q, &c);
	if (c.messages == 0)
		return -1;
	for (unsigned n = world_below(a->w, (unsigned)c.messages) + 1; n; n--) {
		if (queue_peek_next(q, id, p) != 0)
			return -1;
		id = p->id;
	}
	return 0;
}

static void suspend(struct admin *a, struct relay *r, struct queue *q,
	const struct message_peek *p)
{
	struct order *o = note(a, r, p->id, 1);
	struct change *c = queue_change(q, on_done, o);
	enum changed got =
		queue_message_suspend(q, p->id, SPAN("administrator"), c);

	o->leased = got != CHANGED;
	queue_change_end(&c);
}

/* It cannot be taken back. */
static void remove_it(struct admin *a, struct relay *r, struct queue *q,
	const struct message_peek *p)
{
	int notify = world_chance(a->w, 2);
	struct message_view v;
	struct order *o;
	struct change *c;
	struct job *j;
	enum changed got;

	if (queue_view(q, p->id, &v) != 0 || v.env->flags & ENV_REPORT ||
		!(j = job_of(a, v.env)))
		return;
	j->removed |= notify ? REMOVED_NOTIFY : REMOVED_SILENT;
	o = note(a, r, p->id, 1);
	c = queue_change(q, on_done, o);
	got = queue_message_remove(q, p->id, notify, c);
	o->leased = got != CHANGED;
	queue_change_end(&c);
}

static void resume(struct admin *a, struct relay *r, struct queue *q,
	const struct message_peek *p)
{
	struct order *o;
	struct change *c;

	if (p->removing || !p->suspended)
		return;
	o = note(a, r, p->id, 0);
	c = queue_change(q, on_done, o);
	(void)queue_message_resume(q, p->id, c);
	queue_change_end(&c);
}

static void about_hop(struct admin *a, struct queue *q)
{
	struct nexthop *h = queue_hop_next(q, NULL);
	const struct hop_order *o = queue_hop_suspended(q, NULL);

	if (o && world_chance(a->w, 2)) {
		(void)queue_hop_resume(q, o->node.key, NULL);
		return;
	}
	for (unsigned n = world_below(a->w, 4); h && n; n--)
		h = queue_hop_next(q, h);
	if (h)
		(void)queue_hop_suspend(q, h->node.key, NULL);
}

/* Everything that waits where it does. */
static void retry_hops(struct queue *q, const struct message_peek *p)
{
	const struct leg *at = p->legs;
	struct leg_peek l;

	while (queue_peek_leg(q, &at, &l))
		queue_retry_now(q, queue_hop(q, l.hop->node.key));
}

static void about_message(struct admin *a, struct relay *r, struct queue *q)
{
	struct message_peek p;

	if (any_message(a, q, &p) != 0)
		return;
	switch (world_below(a->w, 8)) {
	case 0:
	case 1:
		suspend(a, r, q, &p);
		break;
	case 2:
		resume(a, r, q, &p);
		break;
	case 3:
		if (world_chance(a->w, 3))
			remove_it(a, r, q, &p);
		break;
	case 4:
		(void)queue_message_priority(
			q, p.id, world_below(a->w, PRIORITIES), NULL);
		break;
	case 5:
		(void)queue_message_redirect(q, p.id,
			world_chance(a->w, 2) ? SPAN("out") : SPAN("nowhere"),
			NULL);
		break;
	case 6:
		(void)queue_message_resubmit(q, p.id, NULL);
		break;
	default:
		if (p.id.v & 1)
			(void)queue_message_retry(q, p.id);
		else
			retry_hops(q, &p);
	}
}

void admin_order(struct admin *a, struct relay *r)
{
	struct node *n = world_node(r);

	if (!n || !n->queue)
		return;
	if (world_chance(a->w, 5))
		about_hop(a, n->queue);
	else
		about_message(a, r, n->queue);
}

void admin_calm(struct admin *a, struct relay *r)
{
	struct node *n = world_node(r);
	struct message_peek p;
	struct message_view v;
	struct msg_id id = {0};
	const struct hop_order *o;

	if (!n || !n->queue)
		return;
	while ((o = queue_hop_suspended(n->queue, NULL)))
		(void)queue_hop_resume(n->queue, o->node.key, NULL);
	for (; queue_peek_next(n->queue, id, &p) == 0; id = p.id) {
		resume(a, r, n->queue, &p);
		if (queue_view(n->queue, p.id, &v) == 0 && v.redirect.n)
			(void)queue_message_resubmit(n->queue, p.id, NULL);
	}
}
