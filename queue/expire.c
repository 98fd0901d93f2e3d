/* expire - messages that are too old, and those that are late.
 *
 * Messages are in the order in which they were received, near enough: ids
 * ascend. So each of the two ages has a cursor, everything before it has
 * been seen, and one timer waits for the message at the first of them. A leg
 * that is leased when its message's time comes is looked at again when it is
 * settled (leg_ready).
 *
 * A message that was suspended may live longer (overtime). The cursor passes
 * over it; once an hour, while there are such messages, another one goes over
 * those that were passed.
 */
#include "queue/control_private.h"

enum { AGE_MOST = 60000, AGE_SLICE = 1000 };

/* How long until the message at the cursor reaches its age; UINT64_MAX: there
 * is none. A time of receipt that lies in the future (the clock was wrong)
 * must not hold up those behind it: the message was received now. */
static uint64_t wait_for(struct queue *q, enum queue_cursor c, uint64_t age)
{
	struct list *at = q->cursor[c];
	uint64_t wall = loop_wall(q->o.loop), is;
	struct message *m;

	if (at == &q->messages || age == 0)
		return UINT64_MAX;
	m = message_at(at);
	if (m->received > wall)
		m->received = wall;
	is = wall - m->received;
	return is >= age ? 0 : age - is;
}

static uint64_t limit(const struct queue *q, enum queue_cursor c)
{
	if (c == CURSOR_EXPIRE)
		return q->o.expire_after ? q->o.expire_after : 1;
	return q->ev.delayed ? q->o.delay_notice_after : 0;
}

/* When CURSOR_LATE has something to do. */
static uint64_t late_in(const struct queue *q)
{
	uint64_t now = loop_now(q->o.loop);

	if (q->cursor[CURSOR_LATE] != &q->messages)
		return 0;
	if (!q->late)
		return UINT64_MAX;
	return q->late_at > now ? q->late_at - now : 0;
}

/* The time is looked at anew at least every minute: the wall clock may be
 * set, and timers run on the other clock. */
static void arm(struct queue *q)
{
	uint64_t a = wait_for(q, CURSOR_EXPIRE, limit(q, CURSOR_EXPIRE));
	uint64_t b = wait_for(q, CURSOR_NOTICE, limit(q, CURSOR_NOTICE));

	/* Until a report comes back notices wait; report_in starts again. */
	if (q->reports_out >= REPORTS_OUT)
		b = UINT64_MAX;
	if (b < a)
		a = b;
	b = late_in(q);
	if (b < a)
		a = b;
	if (a == UINT64_MAX)
		return;
	timer_start(&q->age_timer, a < 1 ? 1 : a > AGE_MOST ? AGE_MOST : a);
}

/* m is the next to be looked at, unless something before it is. */
static void step_back(struct queue *q, enum queue_cursor c, struct message *m)
{
	struct list **at = &q->cursor[c];

	if (*at == &q->messages || message_at(*at)->id.v > m->id.v)
		*at = &m->node;
}

void expire_notice_again(struct queue *q, struct message *m)
{
	if (m->copy) /* another's meanwhile; looked at when it is ours again */
		return;
	step_back(q, CURSOR_NOTICE, m);
	if (!q->age_timer.armed)
		timer_start(&q->age_timer, AGE_MOST);
}

void expire_inserted(struct queue *q, struct message *m)
{
	/* Going back is harmless: what was seen is passed over quickly. */
	step_back(q, CURSOR_NOTICE, m);
	step_back(q, CURSOR_EXPIRE, m);
	if (!q->age_timer.armed)
		arm(q);
}

void expire_restart(struct queue *q)
{
	q->cursor[CURSOR_NOTICE] = q->cursor[CURSOR_EXPIRE] = q->messages.next;
	arm(q);
}

void expire_late(struct queue *q)
{
	if (!q->late) {
		q->late = 1;
		q->late_at = loop_now(q->o.loop) + OVERTIME_UNIT;
	}
	if (!q->age_timer.armed)
		arm(q);
}

static void expire_message(struct queue *q, struct message *m)
{
	for (struct leg *l = m->legs; l; l = l->next)
		if (l->state == LEG_READY || l->state == LEG_DEFERRED)
			leg_expire(q, l);
}

/* Those behind CURSOR_EXPIRE that have overtime, as long as it lasts. */
static void pass_late(struct queue *q)
{
	struct list **at = &q->cursor[CURSOR_LATE];

	if (late_in(q) != 0)
		return;
	if (*at == &q->messages) {
		q->late = 0;
		*at = q->messages.next;
	}
	for (int i = 0; i < AGE_SLICE && *at != &q->messages; i++) {
		struct message *m = message_at(*at);

		*at = *at == q->cursor[CURSOR_EXPIRE] ? &q->messages
						      : m->node.next;
		if (m->overtime && message_too_old(q, m))
			expire_message(q, m);
		else if (m->overtime && !m->suspended)
			q->late = 1;
	}
	if (*at == &q->messages)
		q->late_at = loop_now(q->o.loop) + OVERTIME_UNIT;
}

static void pass_expire(struct queue *q)
{
	struct list **at = &q->cursor[CURSOR_EXPIRE];
	uint64_t age = limit(q, CURSOR_EXPIRE);

	for (int i = 0; i < AGE_SLICE && wait_for(q, CURSOR_EXPIRE, age) == 0;
		i++) {
		struct message *m = message_at(*at);

		*at = m->node.next;
		if (message_too_old(q, m))
			expire_message(q, m);
		else if (!m->suspended)
			expire_late(q);
	}
}

static void notice(struct queue *q, struct message *m)
{
	struct grant *g;

	if (m->noticed || m->notice || m->suspended || m->removal ||
		message_too_old(q, m))
		return;
	g = grant_notice(q, m);
	if (!g)
		return;
	q->reports_out++;
	q->ev.delayed(q->ev.arg, &g->l);
}

static void pass_notice(struct queue *q)
{
	struct list **at = &q->cursor[CURSOR_NOTICE];
	uint64_t age = limit(q, CURSOR_NOTICE);

	for (int i = 0; i < TURN_SLICE && q->reports_out < REPORTS_OUT &&
			wait_for(q, CURSOR_NOTICE, age) == 0;
		i++) {
		struct message *m = message_at(*at);

		*at = m->node.next;
		notice(q, m);
	}
}

void on_age(struct timer *t)
{
	struct queue *q = container_of(t, struct queue, age_timer);

	check_obj(q, QUEUE_MAGIC);
	pass_expire(q);
	pass_late(q);
	pass_notice(q);
	arm(q);
}

void expire_run(struct queue *q)
{
	struct leg *l;

	for (int i = 0; i < TURN_SLICE && q->reports_out < REPORTS_OUT; i++) {
		struct grant *g;

		l = list_first(&q->expired, struct leg, node);
		if (!l || q->stopped)
			return;
		if (leg_fenced(q, l))
			continue;
		if (l->m->removal == REMOVE_SILENT) {
			message_remove(q, l);
			continue;
		}
		g = grant_leg(q, l);
		if (!g)
			continue;
		g->expired = 1;
		g->l.removed = l->m->removal != REMOVE_NO;
		q->reports_out++;
		q->ev.expired(q->ev.arg, &g->l);
	}
	if (!list_empty(&q->expired) && q->reports_out < REPORTS_OUT)
		queue_want_turn(q);
}
