/* list - what administrators see of the queue.
 *
 * queue_next_message is called once per message of a listing, message by
 * message, while the queue changes: it remembers where it was last, so that a
 * walk costs one step per call; from anywhere else it searches the marks.
 */
#include "queue/control_private.h"

enum { WALK_STEPS = 4 };

struct nexthop *queue_hop(struct queue *q, struct span key)
{
	struct map_node *n;

	check_obj(q, QUEUE_MAGIC);
	n = map_get(&q->hops, key);
	return n ? container_of(n, struct nexthop, node) : NULL;
}

/* The last message with an id of at most after, or the head. */
static struct list *before(struct queue *q, struct msg_id after)
{
	struct list *at = q->walk;

	if (at != &q->messages && message_at(at)->id.v > after.v)
		return message_find(q, after);
	for (int i = 0; i < WALK_STEPS; i++) {
		if (at->next == &q->messages ||
			message_at(at->next)->id.v > after.v)
			return at;
		at = at->next;
	}
	return message_find(q, after);
}

struct list *message_after(struct queue *q, struct msg_id id)
{
	struct list *at = before(q, id)->next;

	if (at != &q->messages)
		q->walk = at;
	return at;
}

struct msg_id queue_next_message(struct queue *q, struct msg_id after)
{
	struct list *at;

	check_obj(q, QUEUE_MAGIC);
	at = message_after(q, after);
	return at == &q->messages ? (struct msg_id){0} : message_at(at)->id;
}

static uint64_t wall_of(struct queue *q, uint64_t at)
{
	uint64_t now = loop_now(q->o.loop);

	return loop_wall(q->o.loop) + (at > now ? at - now : 0);
}

static void view_legs(
	struct queue *q, const struct message *m, struct message_view *v)
{
	v->hop = arena_alloc(&q->view, m->nrcpt * sizeof(struct nexthop *));
	v->state = arena_alloc(&q->view, m->nrcpt * sizeof(char *));
	for (unsigned i = 0; i < m->nrcpt; i++)
		v->state[i] =
			m->barred && v->status->rcpt[i].state == RCPT_PENDING
				? "waiting"
				: "final";
	for (const struct leg *l = m->legs; l; l = l->next) {
		uint64_t due = leg_due(l);

		if (due)
			due = wall_of(q, due);
		if (due && (v->due == 0 || due < v->due))
			v->due = due;
		for (unsigned i = 0; i < l->nrcpt; i++) {
			v->hop[leg_rcpt(l, i)] = l->hop;
			v->state[leg_rcpt(l, i)] = leg_state_name(l);
		}
	}
}

static const struct status *view_status(struct queue *q, const struct held *h)
{
	struct status *s = arena_alloc(&q->view, sizeof *s);

	*s = h->status;
	if (!s->rcpt) {
		s->nrcpt = h->env.nrcpt;
		s->rcpt = arena_alloc(
			&q->view, s->nrcpt * sizeof(struct rcpt_status));
	}
	return s;
}

/* Gives back what the last view held. */
void view_end(struct queue *q)
{
	if (q->viewed)
		held_put(q, q->viewed);
	q->viewed = NULL;
	arena_fini(&q->view);
}

int queue_view(struct queue *q, struct msg_id id, struct message_view *v_r)
{
	struct list *at;
	struct message *m;
	const char *why;

	check_obj(q, QUEUE_MAGIC);
	view_end(q);
	at = message_find(q, id);
	if (at == &q->messages || message_at(at)->id.v != id.v)
		return -1;
	m = message_at(at);
	if (held_get(q, m, 0, &q->viewed, &why) != ERR_OK) {
		q->viewed = NULL;
		return -1;
	}
	*v_r = (struct message_view){
		.id = m->id,
		.env = &q->viewed->env,
		.status = view_status(q, q->viewed),
		.expires = message_expires(q, m),
		.tag = m->tag,
		.suspended = m->suspended,
		.removing = m->removal != REMOVE_NO,
		.priority = m->priority,
	};
	if (m->suspended)
		v_r->reason = suspend_reason(v_r->env, v_r->status);
	v_r->redirect = v_r->status->redirect;
	view_legs(q, m, v_r);
	return 0;
}

enum err queue_view_body(struct queue *q, struct body **b_r)
{
	struct held *h = q->viewed;
	const char *why;
	enum err e;

	check_obj(q, QUEUE_MAGIC);
	if (!h || !h->m)
		return ERR_NOTFOUND;
	e = held_get(q, h->m, 1, &h, &why);
	if (e != ERR_OK)
		return e;
	*b_r = body_ref(h->body);
	held_put(q, h);
	return ERR_OK;
}
