/* peek - what is in memory of messages and next hops, for listings that go
 * over a million of them: no disk, no allocation. */
#include "queue/control_private.h"

enum { OLDEST_STEPS = 256 };

/* --- legs ----------------------------------------------------------------- */

const char *leg_state_name(const struct leg *l)
{
	if (l->m->removal)
		return "pending remove";
	if (l->state == LEG_LEASED && l->m->suspended)
		return "pending suspend";
	if (l->state == LEG_LEASED || l->state == LEG_EXPIRED)
		return "active";
	if (l->state == LEG_PARKED)
		return "suspended";
	if (l->hop->suspended)
		return "hop suspended";
	if (l->hop->state == HOP_UNREACHABLE)
		return "unreachable";
	if (l->state == LEG_DEFERRED || l->hop->state == HOP_RETRY)
		return "retry";
	return "ready";
}

uint64_t leg_due(const struct leg *l)
{
	if (l->state == LEG_DEFERRED)
		return l->due.key;
	if (l->state == LEG_READY && l->hop->state == HOP_RETRY)
		return l->hop->retry_at;
	return 0;
}

int queue_peek_leg(struct queue *q, const struct leg **at, struct leg_peek *l_r)
{
	const struct leg *l = *at;

	check_obj(q, QUEUE_MAGIC);
	if (!l)
		return 0;
	*l_r = (struct leg_peek){
		.hop = l->hop,
		.state = leg_state_name(l),
		.due = leg_due(l),
		.nrcpt = l->nrcpt,
		.attempts = l->attempts,
	};
	*at = l->next;
	return 1;
}

/* --- messages ------------------------------------------------------------- */

static void peek(
	struct queue *q, const struct message *m, struct message_peek *p_r)
{
	*p_r = (struct message_peek){
		.id = m->id,
		.received = m->received,
		.expires = message_expires(q, m),
		.size = m->size,
		.nrcpt = m->nrcpt,
		.pending = m->pending,
		.priority = m->priority,
		.suspended = m->suspended,
		.removing = m->removal != REMOVE_NO,
		.waiting = m->barred,
		.tag = m->tag,
		.legs = m->legs,
	};
	for (const struct leg *l = m->legs; l; l = l->next) {
		if (l->attempts > p_r->attempts)
			p_r->attempts = l->attempts;
		p_r->active |= l->state == LEG_LEASED;
	}
}

int queue_peek(struct queue *q, struct msg_id id, struct message_peek *p_r)
{
	struct list *at;

	check_obj(q, QUEUE_MAGIC);
	at = message_find(q, id);
	if (at == &q->messages || message_at(at)->id.v != id.v)
		return -1;
	peek(q, message_at(at), p_r);
	return 0;
}

int queue_peek_next(
	struct queue *q, struct msg_id after, struct message_peek *p_r)
{
	struct list *at;

	check_obj(q, QUEUE_MAGIC);
	at = message_after(q, after);
	if (at == &q->messages)
		return -1;
	peek(q, message_at(at), p_r);
	return 0;
}

/* --- next hops ------------------------------------------------------------ */

const char *queue_hop_state(const struct nexthop *h)
{
	if (h->suspended)
		return "suspended";
	if (h->state == HOP_UNREACHABLE)
		return "unreachable";
	if (h->state == HOP_RETRY)
		return "retry";
	if (h->leased)
		return "active";
	/* Whoever was told that it is ready is making a connection. */
	return h->ready ? "connecting" : "ready";
}

static uint64_t oldest(const struct list *head, uint64_t than, int steps)
{
	list_each (it, head) {
		const struct leg *l = list_item(it, struct leg, node);

		if (steps-- == 0)
			break;
		if (!than || l->m->received < than)
			than = l->m->received;
	}
	return than;
}

/* Those that are ready are in order; those that wait are in the order in which
 * they began to. */
uint64_t queue_hop_oldest(const struct nexthop *h)
{
	uint64_t at = oldest(&h->legs_waiting, 0, OLDEST_STEPS);

	at = oldest(&h->legs_hurried, at, OLDEST_STEPS);
	for (int i = 0; i < PRIORITIES; i++)
		at = oldest(&h->legs_ready[i], at, 1);
	return at;
}

void queue_hop_rates(
	struct queue *q, const struct nexthop *h, struct queue_rates *r_r)
{
	uint64_t now = loop_now(q->o.loop);
	struct rate in = h->in, out = h->out;

	check_obj(q, QUEUE_MAGIC);
	r_r->in = rate_minute(&in, now);
	r_r->out = rate_minute(&out, now);
}

void queue_rates(struct queue *q, struct queue_rates *r_r)
{
	uint64_t now = loop_now(q->o.loop);

	check_obj(q, QUEUE_MAGIC);
	r_r->in = rate_minute(&q->in, now);
	r_r->out = rate_minute(&q->out, now);
}
