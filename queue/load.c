/* load - how much the queue has to do. */
#include "queue/load.h"

#include "queue/message.h"

enum { HOPS_LOOKED_AT = 1024 };

/* Hops are in q->load.active in the order in which they last had nothing ready,
 * so those that have waited longest come first. */
static uint64_t oldest_of(struct queue *q, struct nexthop *h)
{
	uint64_t wall = loop_wall(q->o.loop), oldest = 0;

	for (int i = 0; i < PRIORITIES; i++) {
		const struct leg *l =
			list_first(&h->legs_ready[i], struct leg, node);

		if (l && wall > l->m->received &&
			wall - l->m->received > oldest)
			oldest = wall - l->m->received;
	}
	return oldest;
}

static uint64_t oldest_ready(struct queue *q)
{
	uint64_t now = loop_now(q->o.loop), oldest = 0, age, own;
	unsigned n = 0;

	list_each (it, &q->load.active) {
		struct nexthop *h = list_item(it, struct nexthop, active);

		if (++n > HOPS_LOOKED_AT)
			break;
		age = now - h->active_since;
		own = oldest_of(q, h);
		if (own < age)
			age = own;
		if (age > oldest)
			oldest = age;
	}
	return oldest;
}

void queue_load(struct queue *q, struct queue_load *l_r)
{
	uint64_t cached = q->load.cached_bytes;

	check_obj(q, QUEUE_MAGIC);
	if (cached > q->budget.used)
		cached = q->budget.used;
	*l_r = (struct queue_load){
		.bodies_used = q->budget.used - cached,
		.bodies_cached = cached,
		.bodies_limit = q->o.memory,
		.ready = q->load.ready,
		.oldest = oldest_ready(q),
	};
	l_r->store_known = store_load(q->store, &l_r->store) == ERR_OK;
}

void queue_drop_cached(struct queue *q)
{
	check_obj(q, QUEUE_MAGIC);
	held_drop_all(q);
}

/* A limit of nothing is what every reader of the budget understands. */
void queue_squeeze(struct queue *q, int on)
{
	check_obj(q, QUEUE_MAGIC);
	q->load.squeezed = on;
	q->budget.limit = on ? 0 : q->o.memory;
	budget_give(&q->budget, 0); /* who waits may go on */
}
