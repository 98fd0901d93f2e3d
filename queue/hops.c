/* hops - all next hops, where there may be very many: walks that take several
 * turns, what they have together, and mail that is hurried on.
 */
#include "queue/control_private.h"

/* --- walks ---------------------------------------------------------------- */

static struct nexthop *after(struct queue *q, struct list *n)
{
	return n->next == &q->set.all ? NULL
				      : list_item(n->next, struct nexthop, all);
}

struct nexthop *queue_hop_next(struct queue *q, struct nexthop *h)
{
	check_obj(q, QUEUE_MAGIC);
	return after(q, h ? &h->all : &q->set.all);
}

void queue_hop_walk(struct queue *q, struct hop_walk *w)
{
	check_obj(q, QUEUE_MAGIC);
	list_append(&q->set.walks, &w->node);
	w->at = after(q, &q->set.all);
	w->last = q->set.last_number;
}

struct nexthop *queue_hop_walked(struct queue *q, struct hop_walk *w)
{
	struct nexthop *h = w->at;

	check_obj(q, QUEUE_MAGIC);
	if (!h || h->number > w->last) {
		queue_hop_walk_end(w);
		return NULL;
	}
	w->at = after(q, &h->all);
	return h;
}

void queue_hop_walk_end(struct hop_walk *w)
{
	if (w->node.next)
		list_del(&w->node);
	w->at = NULL;
}

void walks_pass(struct queue *q, struct nexthop *h)
{
	list_each (it, &q->set.walks) {
		struct hop_walk *w = list_item(it, struct hop_walk, node);

		if (w->at == h)
			w->at = after(q, &h->all);
	}
}

/* --- together ------------------------------------------------------------- */

const struct hop_sums *queue_hop_sums(struct queue *q, enum hop_kind k)
{
	check_obj(q, QUEUE_MAGIC);
	return &q->set.sums[k];
}

void queue_hop_retries(struct queue *q, uint64_t *first_r, uint64_t *last_r)
{
	const struct heap_node *f = heap_min(&q->set.first_retry);
	const struct heap_node *l = heap_min(&q->set.last_retry);

	check_obj(q, QUEUE_MAGIC);
	*first_r = f ? f->key : 0;
	*last_r = l ? UINT64_MAX - l->key : 0;
}

/* --- tried now ------------------------------------------------------------ */

unsigned queue_retry_now(struct queue *q, struct nexthop *h)
{
	check_obj(q, QUEUE_MAGIC);
	hop_set_ready(q, h);
	if (h->suspended)
		return 0;
	list_splice(&h->legs_hurried, &h->legs_waiting);
	if (!list_empty(&h->legs_hurried) && list_empty(&h->hurried))
		list_append(&q->set.hurried, &h->hurried);
	queue_want_turn(q);
	return h->ready + h->deferred;
}

/* A hop with very many does not keep the others waiting. */
void hop_run_hurried(struct queue *q)
{
	for (int i = 1; i <= TURN_LEGS; i++) {
		struct nexthop *h =
			list_first(&q->set.hurried, struct nexthop, hurried);

		if (!h)
			return;
		if (!list_empty(&h->legs_hurried))
			leg_ready(q, list_item(h->legs_hurried.next, struct leg,
					     node));
		if (list_empty(&h->legs_hurried)) {
			list_del(&h->hurried);
		} else if (i % TURN_SLICE == 0) {
			list_del(&h->hurried);
			list_append(&q->set.hurried, &h->hurried);
		}
	}
}
