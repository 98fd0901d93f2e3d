/* load - how much the queue has to do. */
#include "queue/load.h"

#include "queue/message.h"

enum { HOPS_LOOKED_AT = 1024 };

/* Between two that go on although there is no memory: each may read once, what
 * its stream has for it. Far above the limit those that went on did not end:
 * they are slow, and shall not all come in. */
enum { PASS_MS = 5, FAR_PASS_MS = 1000 };

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
	uint64_t cached = q->budget.cached;

	check_obj(q, QUEUE_MAGIC);
	must(cached <= q->budget.used);
	*l_r = (struct queue_load){
		.bodies_used = q->budget.used - cached,
		.bodies_cached = cached,
		.bodies_limit = q->budget.limit,
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

static void on_waits(void *queue)
{
	struct queue *q = queue;

	const struct budget *b = &q->budget;
	uint64_t most = b->limit + b->limit / 8 + 4 * q->o.large_body;
	int far = b->squeezed || b->used > most;

	if (!q->load.pass.armed)
		timer_start(&q->load.pass, far ? FAR_PASS_MS : PASS_MS);
}

static void on_pass(struct timer *t)
{
	struct queue *q = container_of(t, struct queue, load.pass);

	budget_pass(&q->budget);
	if (!list_empty(&q->budget.waiters))
		on_waits(q);
}

void load_init(struct queue *q)
{
	list_init(&q->load.active);
	timer_init(&q->load.pass, q->o.loop, on_pass);
	q->budget.waits = on_waits;
}

void load_fini(struct queue *q)
{
	timer_stop(&q->load.pass);
}

void load_set_budget(struct queue *q)
{
	uint64_t half = q->load.memory / 2;
	uint64_t limit = half && half < q->o.memory ? half : q->o.memory;

	if (limit != q->budget.limit || q->load.squeezed != q->budget.squeezed)
		budget_set(&q->budget, limit, q->load.squeezed);
}

void queue_squeeze(struct queue *q, int on)
{
	check_obj(q, QUEUE_MAGIC);
	q->load.squeezed = on;
	load_set_budget(q);
}

void queue_set_memory(struct queue *q, uint64_t octets)
{
	check_obj(q, QUEUE_MAGIC);
	q->load.memory = octets;
	load_set_budget(q);
}
