/* status_write - a message's status on its way to the store.
 *
 * At most one of a message is in flight; what is newer waits in memory, where
 * readers see it, and replaces what waited before. One that finds no room is
 * written again until it succeeds, as deletes and notes are.
 */
#include "queue/control_private.h"

#include <stdlib.h>

enum { STATUS_MOST = 256 << 20 };

/* When the first of the deferred legs is due, as wall time. */
static uint64_t first_due(struct queue *q, const struct message *m)
{
	uint64_t at = UINT64_MAX, now = loop_now(q->o.loop);

	for (const struct leg *l = m->legs; l; l = l->next)
		if (l->state == LEG_DEFERRED && l->due.key < at)
			at = l->due.key;
	if (at == UINT64_MAX)
		return 0;
	return loop_wall(q->o.loop) + (at > now ? at - now : 0);
}

static void on_status(struct store_op *op);

static struct status_write *write_new(struct queue *q, struct message *m)
{
	struct status_write *w = x_calloc(1, sizeof *w);

	w->q = q;
	w->m = m;
	list_init(&w->now_own);
	list_init(&w->newer_own);
	buf_init(&w->now, STATUS_MOST);
	buf_init(&w->newer, STATUS_MOST);
	return w;
}

static void write_submit(struct status_write *w, struct msg_id id)
{
	w->op = (struct store_op){
		.verb = STORE_STATUS,
		.id = id,
		.record = buf_span(&w->now),
		.urgent = !list_empty(&w->now_own),
		.done = on_status,
		.arg = w->q,
	};
	store_submit(w->q->store, &w->op);
}

/* Those who wait for what was written are told. They may ask again, which goes
 * to the newer ones, or discard the message, which forgets the rest. */
static void tell(struct status_write *w, enum err e)
{
	struct own *o;

	while ((o = list_first(&w->now_own, struct own, node))) {
		list_del(&o->node);
		own_done(o, e);
	}
}

static void forget(struct list *own)
{
	struct own *o;

	while ((o = list_first(own, struct own, node))) {
		list_del(&o->node);
		if (o->waits)
			own_done(o, ERR_CANCELED);
	}
}

static void write_free(struct status_write *w)
{
	/* The queue is being closed, if any is left. */
	forget(&w->now_own);
	forget(&w->newer_own);
	if (w->m)
		w->m->write = NULL;
	buf_fini(&w->now);
	buf_fini(&w->newer);
	free(w);
}

static void take_newer(struct status_write *w)
{
	struct buf t = w->now;

	w->now = w->newer;
	w->newer = t;
	buf_clear(&w->newer);
	list_splice(&w->now_own, &w->newer_own);
}

/* w is the message's write until everybody is told. What is newer goes out
 * even when the node ends: at worst the store refuses it. */
static void on_status(struct store_op *op)
{
	struct status_write *w = container_of(op, struct status_write, op);
	struct queue *q = w->q;
	int again = op->result == ERR_NOSPACE && !q->stopped;

	if (!again)
		tell(w, op->result);
	if (w->m && w->newer.n) {
		take_newer(w);
		write_submit(w, w->m->id);
	} else if (w->m && again) {
		queue_submit_again(q, op);
	} else {
		write_free(w);
	}
}

void status_write(
	struct queue *q, struct message *m, struct held *h, struct own *own)
{
	struct status_write *w = m->write;
	struct buf *b;

	if (m->legs) /* barred, or a copy: what was told before holds */
		h->status.due = first_due(q, m);
	if (!w)
		w = m->write = write_new(q, m);
	b = w->now.n ? &w->newer : &w->now;
	buf_clear(b);
	must(status_encode(&h->status, b) == 0);
	if (own)
		list_append(
			b == &w->now ? &w->now_own : &w->newer_own, &own->node);
	if (b == &w->now)
		write_submit(w, m->id);
}

void status_write_join(struct message *m, struct own *own)
{
	struct status_write *w = m->write;

	list_append(w->newer.n ? &w->newer_own : &w->now_own, &own->node);
}

/* Changes wait on, for the delete that follows. */
static struct waiter *keep(struct list *own, struct waiter *others)
{
	struct own *o;

	while ((o = list_first(own, struct own, node))) {
		list_del(&o->node);
		if (o->waits)
			others = change_wait(others, o);
	}
	return others;
}

void status_write_forget(struct message *m)
{
	struct status_write *w = m->write;
	struct waiter *waiting = NULL;

	if (w) {
		waiting = keep(&w->now_own, waiting);
		waiting = keep(&w->newer_own, waiting);
		w->m = NULL;
	}
	m->waiting = waiting; /* takes the place of write */
}

/* Operations that were refused for lack of space, in their order. A status
 * whose message was deleted meanwhile must not come after the delete. */
void queue_submit_again(struct queue *q, struct store_op *op)
{
	op->next = NULL;
	*q->again_tail = op;
	q->again_tail = &op->next;
	if (!q->again_timer.armed)
		timer_start(&q->again_timer, AGAIN_MS);
}

void on_again(struct timer *t)
{
	struct queue *q = container_of(t, struct queue, again_timer);
	struct store_op *op = q->again, *next;

	check_obj(q, QUEUE_MAGIC);
	q->again = NULL;
	q->again_tail = &q->again;
	for (; op; op = next) {
		struct status_write *w =
			container_of(op, struct status_write, op);

		next = op->next;
		if (op->verb == STORE_NOTE) {
			orders_again(op);
		} else if (op->verb == STORE_DELETE && intake_unlinks(op)) {
			op->next = NULL;
			store_submit(q->store, op);
		} else if (op->verb == STORE_DELETE) {
			op->next = message_leaving(
				q, container_of(op, struct message, del));
			store_submit(q->store, op);
		} else if (w->m) {
			if (w->newer.n)
				take_newer(w);
			write_submit(w, w->m->id);
		} else {
			write_free(w);
		}
	}
}

void again_drop(struct queue *q)
{
	struct store_op *op = q->again, *next;

	q->again = NULL;
	q->again_tail = &q->again;
	for (; op; op = next) {
		next = op->next;
		if (op->verb == STORE_NOTE)
			orders_drop(op);
		else if (op->verb == STORE_STATUS)
			write_free(container_of(op, struct status_write, op));
		else if (intake_unlinks(op))
			free(op);
		else
			message_deleted(q,
				container_of(op, struct message, del),
				ERR_CANCELED);
	}
}
