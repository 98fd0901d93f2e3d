/* orders - next hops that an administrator suspended, over restarts.
 *
 * A note of the store for each: key "hop" and a number of four octets,
 * big-endian; value: since when (wall, 8 octets), then the hop's key. A hop
 * that is resumed has its note removed. A write that finds no room is made
 * again from what is ordered then, so that an older one never wins.
 *
 * An order stays in the map, with its number, until the store has what was
 * ordered last: also one to resume. Whoever orders what is ordered already
 * before that has it written once more, and waits for that.
 */
#include <stdlib.h>

#include "mta/base/be.h"
#include "queue/control_private.h"

enum { PREFIX = 3, KEY = PREFIX + 4, SINCE = 8, ORDERS_MOST = 10000 };
enum { HOP_KEY_MOST = NOTE_MOST - SINCE };

struct note {
	struct store_op op;
	struct queue *q;
	struct change *c;
	struct hop_order *order;
	unsigned made; /* what is written: the order's count then */
	char key[KEY];
	struct buf v;
};

static struct hop_order *order_of(struct map_node *n)
{
	return n ? container_of(n, struct hop_order, node) : NULL;
}

int is_suspended_hop(struct queue *q, struct span key)
{
	const struct hop_order *o =
		q->orders.n ? order_of(map_get(&q->orders, key)) : NULL;

	return o && o->on;
}

const struct hop_order *queue_hop_suspended(
	struct queue *q, const struct hop_order *after)
{
	const struct hop_order *o = after;

	check_obj(q, QUEUE_MAGIC);
	do
		o = order_of(map_next(&q->orders, o ? &o->node : NULL));
	while (o && !o->on);
	return o;
}

const struct hop_order *queue_hop_order(struct queue *q, struct span key)
{
	check_obj(q, QUEUE_MAGIC);
	return order_of(map_get(&q->orders, key));
}

static struct hop_order *order_add(
	struct queue *q, struct span key, uint32_t number)
{
	struct hop_order *o = x_calloc(1, sizeof *o + key.n + 1);

	memcpy(o->key, key.p, key.n);
	o->number = number;
	map_put(&q->orders, &o->node, span(o->key, key.n));
	return o;
}

static void order_set(struct queue *q, struct hop_order *o, uint64_t since)
{
	o->on = 1;
	o->since = since;
	q->hops_suspended++;
}

static void order_free(struct queue *q, struct hop_order *o)
{
	map_del(&q->orders, &o->node);
	free(o);
}

/* --- at the start and the end --------------------------------------------- */

static void load(struct queue *q, struct span key, struct span v)
{
	struct span hop;

	/* What is not ours is left alone. */
	if (key.n != KEY || v.n <= SINCE)
		return;
	hop = span_skip(v, SINCE);
	if (!map_get(&q->orders, hop))
		order_set(q,
			order_add(q, hop, (uint32_t)get_be(key.p + PREFIX, 4)),
			get_be(v.p, SINCE));
}

enum err orders_load(struct queue *q, struct buf *why)
{
	struct buf key, v;
	enum err e;

	buf_init(&key, NOTE_KEY_MOST);
	buf_init(&v, NOTE_MOST);
	e = store_next_note(q->store, SPAN("hop"), &key, &v);
	while (e == ERR_OK && span_starts(buf_span(&key), SPAN("hop"))) {
		load(q, buf_span(&key), buf_span(&v));
		e = store_next_note(q->store, buf_span(&key), &key, &v);
	}
	buf_fini(&key);
	buf_fini(&v);
	if (e == ERR_OK || e == ERR_NOTFOUND)
		return ERR_OK;
	buf_addf(why, "%s: which next hops are suspended cannot be read: %s",
		q->o.dir, err_text(e));
	return e;
}

void orders_fini(struct queue *q)
{
	struct map_node *n;

	while ((n = map_next(&q->orders, NULL)))
		order_free(q, order_of(n));
	map_fini(&q->orders);
}

/* --- notes ---------------------------------------------------------------- */

static uint32_t free_number(struct queue *q)
{
	uint32_t most = 0;
	struct map_node *n = NULL;

	while ((n = map_next(&q->orders, n)))
		if (order_of(n)->number >= most)
			most = order_of(n)->number + 1;
	return most;
}

static int is_kept(const struct hop_order *o)
{
	return o->kept == o->made;
}

/* The order goes when its hop is resumed and nothing is to be written. */
static void note_free(struct note *n, enum err e)
{
	struct hop_order *o = n->order;

	if (e == ERR_OK)
		o->kept = n->made;
	o->writes--;
	if (!o->on && !o->writes && is_kept(o))
		order_free(n->q, o);
	change_drop(n->c, e);
	buf_fini(&n->v);
	free(n);
}

static void on_note(struct store_op *op)
{
	struct note *n = container_of(op, struct note, op);

	if (op->result == ERR_NOSPACE && !n->q->stopped)
		queue_submit_again(n->q, op);
	else
		note_free(n, op->result);
}

static void submit(struct note *n)
{
	const struct hop_order *o = n->order;
	uint8_t since[SINCE];

	buf_clear(&n->v);
	if (o->on) {
		put_be(since, o->since, SINCE);
		buf_add(&n->v, span((const char *)since, SINCE));
		buf_add(&n->v, o->node.key);
	}
	n->made = o->made;
	n->op = (struct store_op){
		.verb = STORE_NOTE,
		.urgent = 1,
		.key = span(n->key, KEY),
		.record = buf_span(&n->v),
		.done = on_note,
	};
	store_submit(n->q->store, &n->op);
}

static void write_note(struct queue *q, struct hop_order *o, struct change *c)
{
	struct note *n = x_calloc(1, sizeof *n);
	uint8_t be[4];

	put_be(be, o->number, sizeof be);
	memcpy(n->key, "hop", PREFIX);
	memcpy(n->key + PREFIX, be, sizeof be);
	n->q = q;
	n->c = c;
	n->order = o;
	buf_init(&n->v, NOTE_MOST);
	change_add(c);
	o->writes++;
	submit(n);
}

void orders_again(struct store_op *op)
{
	submit(container_of(op, struct note, op));
}

void orders_drop(struct store_op *op)
{
	note_free(container_of(op, struct note, op), ERR_CANCELED);
}

/* --- the orders ----------------------------------------------------------- */

static void apply(struct queue *q, struct span key, int yes)
{
	struct nexthop *h = queue_hop(q, key);

	if (h)
		hop_set_suspended(q, h, yes);
	log_event(q->o.log, yes ? EV_NEXTHOP_SUSPENDED : EV_NEXTHOP_RESUMED,
		F_SPAN("hop", key), F_U("queued", h ? h->queued : 0));
}

/* It is so already; on the disk perhaps not yet, or it could not be. */
static enum changed same(struct queue *q, struct hop_order *o, struct change *c)
{
	if (o && c && !is_kept(o))
		write_note(q, o, c);
	return CHANGED_NOT;
}

enum changed queue_hop_suspend(
	struct queue *q, struct span key, struct change *c)
{
	struct hop_order *o;

	check_obj(q, QUEUE_MAGIC);
	o = order_of(map_get(&q->orders, key));
	if (o && o->on)
		return same(q, o, c);
	if (!o && (key.n == 0 || key.n > HOP_KEY_MOST ||
			  q->orders.n >= ORDERS_MOST))
		return CHANGED_FAILED;
	if (!o)
		o = order_add(q, key, free_number(q));
	order_set(q, o, loop_wall(q->o.loop));
	o->made++;
	write_note(q, o, c);
	apply(q, o->node.key, 1);
	return CHANGED;
}

enum changed queue_hop_resume(
	struct queue *q, struct span key, struct change *c)
{
	struct hop_order *o;

	check_obj(q, QUEUE_MAGIC);
	o = order_of(map_get(&q->orders, key));
	if (!o || !o->on)
		return same(q, o, c);
	o->on = 0;
	q->hops_suspended--;
	o->made++;
	write_note(q, o, c);
	apply(q, o->node.key, 0);
	return CHANGED;
}
