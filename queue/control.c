/* control - messages: suspended and resumed, removed, redirected, hurried on.
 *
 * Every order is written into the message's status as a whole, and is in force
 * in memory at once: where its legs stand is only decided in leg_ready and
 * leg_defer. A leg in somebody's hands comes there when it is settled.
 */
#include "queue/control_private.h"

static struct message *find(struct queue *q, struct msg_id id)
{
	struct list *at;

	check_obj(q, QUEUE_MAGIC);
	at = message_find(q, id);
	if (at == &q->messages || message_at(at)->id.v != id.v)
		return NULL;
	return message_at(at);
}

/* What is in somebody's hands is in memory, and so can be read. */
static struct held *get(struct queue *q, struct message *m)
{
	struct held *h;
	const char *why = "";
	enum err e = held_get(q, m, 0, &h, &why);

	if (e == ERR_OK) {
		status_ensure(h);
		return h;
	}
	if (e == ERR_IO)
		queue_fatal_later(q, e, why);
	else if (!err_temporary(e))
		message_damaged(q, m, why);
	return NULL;
}

static void put(
	struct queue *q, struct message *m, struct held *h, struct change *c)
{
	status_write(q, m, h, change_own(q, m, c));
	held_put(q, h);
}

static void say(struct queue *q, const struct message *m, const struct held *h,
	const char *what, struct span value)
{
	log_event(q->o.log, EV_MESSAGE_CHANGED, F_ID("msg", m->id),
		F_TRACE("trace", h->env.trace), F_STR("what", what),
		F_SPAN("value", value));
}

int message_leased(const struct message *m)
{
	for (const struct leg *l = m->legs; l; l = l->next)
		if (l->state == LEG_LEASED)
			return 1;
	return 0;
}

static enum changed changed(const struct message *m)
{
	return message_leased(m) ? CHANGED_LATER : CHANGED;
}

/* It is so already, which may not be durable yet. */
static enum changed same(struct queue *q, struct message *m, struct change *c)
{
	if (c && m->write)
		status_write_join(m, change_own(q, m, c));
	return CHANGED_NOT;
}

/* --- suspended ------------------------------------------------------------ */

static void set_suspended(struct queue *q, struct message *m, int yes)
{
	if (!m->copy) {
		q->nsuspended -= m->suspended;
		q->nsuspended += yes != 0;
	}
	m->suspended = yes != 0;
}

void message_orders(struct queue *q, struct message *m,
	const struct envelope *e, const struct status *s)
{
	set_suspended(q, m, is_suspended(e, s));
	m->priority = s->priority & 3;
	m->removal = s->removal & 3;
	m->overtime = s->overtime;
	if (m->overtime)
		expire_late(q);
}

static enum changed suspend(struct queue *q, struct message *m,
	struct span reason, struct change *c)
{
	struct held *h = get(q, m);
	struct status *s;

	if (!h)
		return CHANGED_FAILED;
	s = &h->status;
	if (!m->suspended)
		s->suspended = loop_wall(q->o.loop);
	else if (s->suspension != SUSPEND_YES) /* since it came in */
		s->suspended = h->env.received;
	s->suspension = SUSPEND_YES;
	s->removal = REMOVE_NO;
	m->removal = REMOVE_NO;
	s->reason = arena_span(&h->arena, span_head(reason, REASON_MAX));
	set_suspended(q, m, 1);
	h->keep = 0; /* its body would be in memory for nobody */
	for (struct leg *l = m->legs; l; l = l->next)
		if (l->state != LEG_LEASED)
			leg_park(q, l);
	say(q, m, h, "suspended", s->reason);
	put(q, m, h, c);
	return changed(m);
}

enum changed queue_message_suspend(
	struct queue *q, struct msg_id id, struct span reason, struct change *c)
{
	struct message *m = find(q, id);

	if (!m)
		return CHANGED_GONE;
	if (m->suspended || m->removal)
		return same(q, m, c);
	return suspend(q, m, reason, c);
}

enum changed message_poison(
	struct queue *q, struct msg_id id, struct span reason)
{
	struct message *m = find(q, id);

	if (!m)
		return CHANGED_GONE;
	if (m->removal == REMOVE_SILENT ||
		(m->suspended && m->removal == REMOVE_NO))
		return CHANGED_NOT;
	return suspend(q, m, reason, NULL);
}

/* Begun hours of suspension are added to its life. */
static void add_overtime(struct queue *q, struct message *m, struct held *h)
{
	struct status *s = &h->status;
	uint64_t wall = loop_wall(q->o.loop);
	uint64_t since =
		s->suspension == SUSPEND_YES ? s->suspended : h->env.received;
	uint64_t hours = s->overtime;

	if (wall > since)
		hours += (wall - since + OVERTIME_UNIT - 1) / OVERTIME_UNIT;
	if (hours > UINT16_MAX)
		hours = UINT16_MAX;
	m->overtime = s->overtime = (uint16_t)hours;
	expire_late(q);
}

enum changed queue_message_resume(
	struct queue *q, struct msg_id id, struct change *c)
{
	struct message *m = find(q, id);
	struct held *h;
	struct status *s;

	if (!m)
		return CHANGED_GONE;
	if (!m->suspended)
		return same(q, m, c);
	if (!(h = get(q, m)))
		return CHANGED_FAILED;
	add_overtime(q, m, h);
	s = &h->status;
	s->suspension = SUSPEND_NO;
	s->suspended = 0;
	s->reason = span(NULL, 0);
	set_suspended(q, m, 0);
	for (struct leg *l = m->legs; l; l = l->next)
		if (l->state == LEG_PARKED)
			leg_ready(q, l);
	if (!m->noticed)
		expire_notice_again(q, m);
	poison_forget(q, id);
	say(q, m, h, "resumed", span(NULL, 0));
	put(q, m, h, c);
	return CHANGED;
}

/* --- removed -------------------------------------------------------------- */

static void say_removed(struct queue *q, struct message *m)
{
	struct held *h;
	const char *why;

	if (held_get(q, m, 0, &h, &why) != ERR_OK) {
		log_event(q->o.log, EV_MESSAGE_REMOVED, F_ID("msg", m->id),
			F_U("pending", m->pending));
		return;
	}
	log_event(q->o.log, EV_MESSAGE_REMOVED, F_ID("msg", m->id),
		F_TRACE("trace", h->env.trace), F_ADDR("from", h->env.sender),
		F_U("pending", m->pending), F_MS("age", message_age(q, m)));
	held_put(q, h);
}

static void remove_now(struct queue *q, struct message *m, struct change *c)
{
	say_removed(q, m);
	for (struct leg *l = m->legs; l; l = l->next)
		leg_count_out(q, l);
	q->removed++;
	rate_count(&q->out, loop_now(q->o.loop));
	message_delete(q, m);
	if (c)
		m->waiting = change_wait(m->waiting, change_own(q, m, c));
}

void message_remove(struct queue *q, struct leg *l)
{
	if (message_leased(l->m))
		leg_park(q, l);
	else
		remove_now(q, l->m, NULL);
}

void message_removing(struct queue *q, struct message *m)
{
	for (struct leg *l = m->legs; l; l = l->next)
		if (l->state == LEG_PARKED)
			leg_ready(q, l);
}

/* Silently, and nobody has it or could be delivering it meanwhile. */
static int at_once(struct queue *q, const struct message *m)
{
	return !m->barred && !message_leased(m) &&
	       (!m->tag || !q->ev.may_deliver ||
		       q->ev.may_deliver(q->ev.arg, m->tag));
}

enum changed queue_message_remove(
	struct queue *q, struct msg_id id, int notify, struct change *c)
{
	struct message *m = find(q, id);
	enum removal how = notify ? REMOVE_NOTIFY : REMOVE_SILENT;
	struct held *h;

	if (!m)
		return CHANGED_GONE;
	if (m->removal == how)
		return same(q, m, c);
	if (!notify && at_once(q, m)) {
		remove_now(q, m, c);
		return CHANGED;
	}
	if (!(h = get(q, m)))
		return CHANGED_FAILED;
	h->status.removal = (uint8_t)how;
	m->removal = (unsigned)how & 3;
	for (struct leg *l = m->legs; l; l = l->next)
		if (l->state != LEG_LEASED)
			leg_expire(q, l);
	say(q, m, h, "removal", notify ? SPAN("notify") : SPAN("silent"));
	put(q, m, h, c);
	return m->barred ? CHANGED_LATER : changed(m);
}

/* --- priority ------------------------------------------------------------- */

enum changed queue_message_priority(struct queue *q, struct msg_id id,
	enum priority priority, struct change *c)
{
	static const char *const name[PRIORITIES] = {"normal", "high", "low"};
	struct message *m = find(q, id);
	struct held *h;

	if (!m)
		return CHANGED_GONE;
	must(priority < PRIORITIES);
	if (m->priority == priority)
		return same(q, m, c);
	if (!(h = get(q, m)))
		return CHANGED_FAILED;
	h->status.priority = (uint8_t)priority;
	message_set_priority(m, priority);
	say(q, m, h, "priority", span_str(name[priority]));
	put(q, m, h, c);
	return CHANGED;
}

/* --- other ways ----------------------------------------------------------- */

/* Its legs go where they belong now; what is leased, when it is settled. */
static void route_again(struct queue *q, struct message *m)
{
	for (struct leg *l = m->legs; l; l = l->next)
		if (l->state == LEG_LEASED)
			l->grant->generation = q->generation - 1;
	message_reroute(q, m);
}

enum changed queue_message_redirect(struct queue *q, struct msg_id id,
	struct span connector, struct change *c)
{
	struct message *m = find(q, id);
	struct held *h;

	if (!m)
		return CHANGED_GONE;
	if (connector.n > CONNECTOR_MAX || !(h = get(q, m)))
		return CHANGED_FAILED;
	if (span_eq(h->status.redirect, connector)) {
		held_put(q, h);
		return same(q, m, c);
	}
	h->status.redirect = arena_span(&h->arena, connector);
	route_again(q, m);
	say(q, m, h, "redirect", connector);
	put(q, m, h, c);
	return changed(m);
}

static int hurry(struct queue *q, struct message *m)
{
	int n = 0;

	for (struct leg *l = m->legs; l; l = l->next) {
		int waits = l->hop->state == HOP_RETRY;

		if (l->state == LEG_DEFERRED)
			leg_ready(q, l);
		else if (l->state != LEG_READY || !waits)
			continue;
		if (waits)
			hop_set_ready(q, l->hop);
		n++;
	}
	return n;
}

enum changed queue_message_retry(struct queue *q, struct msg_id id)
{
	struct message *m = find(q, id);

	if (!m)
		return CHANGED_GONE;
	return hurry(q, m) ? CHANGED : CHANGED_NOT;
}

enum changed queue_message_resubmit(
	struct queue *q, struct msg_id id, struct change *c)
{
	struct message *m = find(q, id);
	struct held *h;

	if (!m)
		return CHANGED_GONE;
	if (!(h = get(q, m)))
		return CHANGED_FAILED;
	say(q, m, h, "resubmitted", h->status.redirect);
	if (h->status.redirect.n) {
		h->status.redirect = span(NULL, 0);
		route_again(q, m);
		hurry(q, m);
		put(q, m, h, c);
	} else {
		route_again(q, m);
		hurry(q, m);
		held_put(q, h);
	}
	return changed(m);
}
