/* message - the list of messages, their legs, and what is read of them.
 *
 * Nothing here is linear in the depth of the queue: the list is kept in id
 * order with the help of the marks (see message.h); a mark whose message
 * leaves moves on to the next one, so that gaps between marks only shrink.
 */
#include "queue/control_private.h"

#include <stdlib.h>

_Static_assert(sizeof(void *) != 8 || sizeof(struct message) <= 184,
	"the memory of a queued message is promised");
_Static_assert(sizeof(struct store_op) <= sizeof(struct leg),
	"the delete takes the place of the first leg");

static int is_mark(const struct list *head, struct list *n)
{
	return n != head && message_at(n)->mark;
}

/* The number of marks with an id of at most id. */
static size_t marks_upto(const struct queue *q, struct msg_id id)
{
	size_t lo = 0, hi = q->nmark;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (q->mark[q->mark_first + mid]->id.v <= id.v)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static void mark_room(struct queue *q)
{
	if (q->mark_first + q->nmark < q->mark_cap)
		return;
	if (q->mark_first > q->mark_cap / 2) {
		memmove(q->mark, q->mark + q->mark_first,
			q->nmark * sizeof(struct message *));
		q->mark_first = 0;
		return;
	}
	q->mark_cap = q->mark_cap ? q->mark_cap * 2 : 64;
	q->mark = x_realloc(q->mark, q->mark_cap * sizeof(struct message *));
}

static void mark_add(struct queue *q, struct message *m)
{
	struct message **v;
	size_t at;

	mark_room(q);
	at = marks_upto(q, m->id);
	v = q->mark + q->mark_first;
	memmove(v + at + 1, v + at, (q->nmark - at) * sizeof(struct message *));
	v[at] = m;
	q->nmark++;
	m->mark = 1;
}

/* The mark of a leaving message goes to the one after it, or goes away. */
static void mark_leave(struct queue *q, struct message *m)
{
	struct message **v = q->mark + q->mark_first;
	size_t at = marks_upto(q, m->id) - 1;

	must(at < q->nmark && v[at] == m);
	if (m->node.next != &q->messages &&
		!is_mark(&q->messages, m->node.next)) {
		v[at] = message_at(m->node.next);
		v[at]->mark = 1;
		return;
	}
	/* The shorter side moves: a queue that is emptied from its front
	 * pays nothing. */
	if (at < q->nmark / 2) {
		memmove(v + 1, v, at * sizeof(struct message *));
		q->mark_first++;
	} else {
		memmove(v + at, v + at + 1,
			(q->nmark - at - 1) * sizeof(struct message *));
	}
	q->nmark--;
}

static struct list *find(struct queue *q, struct msg_id id, unsigned *steps_r)
{
	size_t n = marks_upto(q, id);
	struct list *at =
		n ? &q->mark[q->mark_first + n - 1]->node : &q->messages;
	unsigned steps = 0;

	while (at->next != &q->messages && message_at(at->next)->id.v <= id.v) {
		at = at->next;
		steps++;
	}
	*steps_r = steps;
	return at;
}

struct list *message_find(struct queue *q, struct msg_id id)
{
	unsigned steps;

	if (!list_empty(&q->messages) &&
		message_at(q->messages.prev)->id.v <= id.v)
		return q->messages.prev;
	return find(q, id, &steps);
}

static void insert(struct queue *q, struct message *m)
{
	struct list *tail = q->messages.prev;
	unsigned steps;

	if (tail == &q->messages || message_at(tail)->id.v < m->id.v) {
		list_append(&q->messages, &m->node);
		if (q->nmark == 0 || ++q->unmarked >= MARK_EVERY) {
			q->unmarked = 0;
			mark_add(q, m);
		}
		return;
	}
	/* It took longer than one that began after it. */
	tail = find(q, m->id, &steps);
	list_insert_before(tail->next, &m->node);
	if (steps >= 2 * MARK_EVERY)
		mark_add(q, m);
}

/* In one of the two lists; only ours count. */
static void enter(struct queue *q, struct message *m)
{
	if (m->copy) {
		list_append(&q->copies, &m->node);
		return;
	}
	q->nmessages++;
	q->nsuspended += m->suspended;
	q->nbarred += m->barred;
	q->bytes += m->size;
	insert(q, m);
	expire_inserted(q, m);
}

struct message *message_new(struct queue *q, const struct envelope *e, int copy)
{
	struct message *m = x_calloc(1, sizeof *m);

	m->magic = MESSAGE_MAGIC;
	m->id = e->id;
	m->received = e->received;
	m->size = e->size;
	m->in_file = e->in_file != 0;
	m->nrcpt = m->pending = e->nrcpt;
	m->copy = copy != 0;
	q->index_bytes += sizeof *m;
	enter(q, m);
	return m;
}

static void unlink_message(struct queue *q, struct message *m)
{
	if (m->copy) {
		list_del(&m->node);
		return;
	}
	for (int i = 0; i < CURSORS; i++)
		if (q->cursor[i] == &m->node)
			q->cursor[i] = m->node.next;
	if (q->walk == &m->node)
		q->walk = m->node.prev;
	if (m->mark)
		mark_leave(q, m);
	m->mark = 0;
	list_del(&m->node);
	q->nmessages--;
	q->nsuspended -= m->suspended;
	q->nbarred -= m->barred;
	q->bytes -= m->size;
}

void message_set_barred(struct queue *q, struct message *m, int barred)
{
	must(!m->copy);
	q->nbarred -= m->barred;
	m->barred = barred != 0;
	q->nbarred += m->barred;
}

void message_set_copy(struct queue *q, struct message *m, int copy)
{
	if (m->copy == copy)
		return;
	must(!m->legs); /* unbarred while it was given away */
	unlink_message(q, m);
	m->copy = copy != 0;
	m->barred = !copy;
	enter(q, m);
}

void message_leave(struct queue *q, struct message *m)
{
	unlink_message(q, m);
	while (m->legs) {
		struct leg *l = m->legs;

		leg_detach(q, l);
		leg_free(q, l);
	}
	if (m->notice)
		m->notice->m = NULL;
	m->notice = NULL;
	status_write_forget(m);
	if (m->held) {
		struct held *h = m->held;

		h->m = NULL;
		m->held = NULL;
		if (h->refs == 0)
			held_rest(q, h);
	}
}

void message_free(struct queue *q, struct message *m)
{
	check_obj(m, MESSAGE_MAGIC);
	q->index_bytes -= sizeof *m;
	m->magic = 0;
	free(m);
}

void message_deleted(struct queue *q, struct message *m, enum err e)
{
	change_tell(m->waiting, e);
	m->waiting = NULL;
	if (m->tag)
		q->ev.gone(q->ev.arg, m->tag, e);
	message_free(q, m);
}

/* A delete that was refused for lack of space is given to the store again: a
 * message that stays on disk would be delivered again after a restart. */
static void on_deleted(struct store_op *op)
{
	struct message *m = container_of(op, struct message, del);
	struct queue *q = op->arg;

	if (op->result == ERR_NOSPACE && !q->stopped) {
		queue_submit_again(q, op);
		return;
	}
	message_deleted(q, m, op->result == ERR_OK ? ERR_OK : ERR_CANCELED);
}

void message_done(struct queue *q, struct message *m)
{
	check_obj(m, MESSAGE_MAGIC);
	must(m->pending == 0);
	if (m->held)
		log_event(q->o.log, EV_MESSAGE_DONE, F_ID("msg", m->id),
			F_TRACE("trace", m->held->env.trace),
			F_MS("age", message_age(q, m)));
	q->done += !m->copy;
	if (!m->copy)
		rate_count(&q->out, loop_now(q->o.loop));
	message_delete(q, m);
}

struct store_op *message_leaving(struct queue *q, struct message *m)
{
	return m->tag ? q->ev.leaving(q->ev.arg, m->tag) : NULL;
}

void message_delete(struct queue *q, struct message *m)
{
	struct store_op *with = message_leaving(q, m);

	message_leave(q, m);
	m->del = (struct store_op){
		.verb = STORE_DELETE,
		.id = m->id,
		.size = m->in_file ? 0 : m->size,
		.in_file = m->in_file,
		.done = on_deleted,
		.arg = q,
		.next = with,
	};
	store_submit(q->store, &m->del);
}

void message_damaged(struct queue *q, struct message *m, const char *why)
{
	struct msg_id id = m->id;
	enum err e;

	message_leave(q, m);
	message_deleted(q, m, ERR_CORRUPT);
	log_event(q->o.log, EV_QUEUE_DAMAGED, F_ID("msg", id),
		F_STR("reason", why));
	e = store_set_aside(q->store, id);
	if (e == ERR_IO)
		queue_fatal_later(
			q, e, "a damaged message cannot be set aside");
}

uint64_t message_age(const struct queue *q, const struct message *m)
{
	uint64_t wall = loop_wall(q->o.loop);

	return wall > m->received ? wall - m->received : 0;
}

static uint64_t life(const struct queue *q, const struct message *m)
{
	return q->o.expire_after + (uint64_t)m->overtime * OVERTIME_UNIT;
}

int message_too_old(const struct queue *q, const struct message *m)
{
	return !m->suspended && message_age(q, m) >= life(q, m);
}

uint64_t message_expires(const struct queue *q, const struct message *m)
{
	return m->suspended ? 0 : m->received + life(q, m);
}

struct leg *leg_new(struct queue *q, struct message *m)
{
	struct leg *l = &m->leg;

	if (l->m) {
		l = x_calloc(1, sizeof *l);
		q->index_bytes += sizeof *l;
	}
	list_init(&l->node);
	l->m = m;
	l->next = m->legs;
	m->legs = l;
	return l;
}

static void leg_free_rcpt(struct queue *q, struct leg *l)
{
	if (l->nrcpt > 1 && l->rcpt.v) {
		q->index_bytes -= l->nrcpt * sizeof(unsigned);
		free(l->rcpt.v);
	}
	l->rcpt.v = NULL;
	l->nrcpt = 0;
}

void leg_free(struct queue *q, struct leg *l)
{
	struct leg **p = &l->m->legs;

	must(l->hop == NULL);
	while (*p != l)
		p = &(*p)->next;
	*p = l->next;
	leg_free_rcpt(q, l);
	if (l == &l->m->leg) {
		*l = (struct leg){0};
		return;
	}
	q->index_bytes -= sizeof *l;
	free(l);
}

void leg_set_rcpt(struct queue *q, struct leg *l, const unsigned *v, unsigned n)
{
	unsigned *copy = NULL;

	must(n > 0);
	if (n > 1 && n < l->m->nrcpt) {
		copy = x_calloc(n, sizeof *copy);
		memcpy(copy, v, n * sizeof *copy);
		q->index_bytes += n * sizeof *copy;
	}
	leg_free_rcpt(q, l);
	l->nrcpt = n;
	if (n == 1)
		l->rcpt.one = v[0];
	else
		l->rcpt.v = copy;
}
