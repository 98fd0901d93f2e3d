/* copy - messages that have copies on other nodes, and copies of others'.
 *
 * Who owns a message, and which peers may hold a copy, are in its status (or
 * still in its envelope, as it came); a change is a status like any other,
 * only that somebody waits for it.
 */
#include "queue/control_private.h"

void *queue_tag(const struct message *m)
{
	check_obj(m, MESSAGE_MAGIC);
	return m->tag;
}

struct msg_id queue_id(const struct message *m)
{
	check_obj(m, MESSAGE_MAGIC);
	return m->id;
}

int queue_noticing(const struct message *m)
{
	check_obj(m, MESSAGE_MAGIC);
	return m->notice != NULL;
}

int queue_removing(const struct message *m)
{
	check_obj(m, MESSAGE_MAGIC);
	return m->removal != REMOVE_NO;
}

/* m cannot be read: said, and perhaps out of the queue. */
static void trouble(
	struct queue *q, struct message *m, enum err e, const char *why)
{
	if (e == ERR_IO)
		queue_fatal_later(q, e, why);
	else if (!err_temporary(e))
		message_damaged(q, m, why);
}

static enum err get(
	struct queue *q, struct message *m, int with_body, struct held **h_r)
{
	const char *why = "";
	enum err e;

	check_obj(q, QUEUE_MAGIC);
	check_obj(m, MESSAGE_MAGIC);
	e = held_get(q, m, with_body, h_r, &why);
	if (e != ERR_OK)
		trouble(q, m, e, why);
	return e;
}

enum err queue_unbar(struct queue *q, struct message *m)
{
	struct held *h;
	enum err e;

	must(m->barred && !m->copy);
	e = get(q, m, 0, &h);
	if (e != ERR_OK)
		return e;
	message_set_barred(q, m, 0);
	message_schedule(q, m, &h->env, &h->status);
	arena_fini(&q->scratch);
	held_put(q, h);
	expire_inserted(q, m);
	return ERR_OK;
}

int queue_bar(struct queue *q, struct message *m)
{
	check_obj(q, QUEUE_MAGIC);
	check_obj(m, MESSAGE_MAGIC);
	must(!m->copy);
	if (message_leased(m))
		return -1;
	while (m->legs) {
		struct leg *l = m->legs;

		leg_detach(q, l);
		leg_free(q, l);
	}
	message_set_barred(q, m, 1);
	return 0;
}

void queue_discard(struct queue *q, struct message *m)
{
	check_obj(q, QUEUE_MAGIC);
	check_obj(m, MESSAGE_MAGIC);
	must(m->copy || m->barred);
	message_delete(q, m);
}

void own_done(struct own *w, enum err e)
{
	struct queue *q = w->q;

	if (e == ERR_OK && w->set)
		message_set_copy(q, w->m, w->copy);
	w->done(w, e);
}

static void set_targets(struct held *h, const struct target *target, unsigned n)
{
	struct status *s = &h->status;

	must(n <= TARGETS_MAX);
	s->target = n ? arena_alloc(&h->arena, n * sizeof *target) : NULL;
	s->ntarget = n;
	for (unsigned i = 0; i < n; i++) {
		s->target[i] = target[i];
		s->target[i].node = arena_span(&h->arena, target[i].node);
	}
}

/* Another owner's status becomes h's: record was found to fit. */
static enum err take_status(
	struct held *h, struct span record, const char **why_r)
{
	struct status s;
	enum err e = status_decode(
		arena_span(&h->arena, record), &h->arena, &s, why_r);

	if (e != ERR_OK)
		return ERR_SYNTAX;
	if (s.nrcpt != h->env.nrcpt) {
		*why_r = "status of another number of recipients";
		return ERR_SYNTAX;
	}
	for (unsigned i = 0; h->status.rcpt && i < s.nrcpt; i++)
		if (h->status.rcpt[i].state != RCPT_PENDING)
			s.rcpt[i] = h->status.rcpt[i];
	s.delay_noticed |= h->status.delay_noticed;
	s.moved = h->status.moved;
	s.owner = h->status.owner;
	s.target = h->status.target;
	s.ntarget = h->status.ntarget;
	h->status = s;
	return ERR_OK;
}

enum err queue_own_fits(struct queue *q, struct message *m, struct span record,
	unsigned *pending_r, const char **why_r)
{
	struct status was;
	struct held *h;
	enum err e = get(q, m, 0, &h);

	if (e != ERR_OK)
		return e;
	was = h->status;
	e = take_status(h, record, why_r);
	*pending_r = message_pending(&h->status, m->nrcpt);
	h->status = was;
	held_put(q, h);
	return e;
}

enum err queue_own(struct queue *q, struct message *m, struct own *w,
	const struct ownership *o, const struct target *target,
	unsigned ntarget)
{
	struct held *h;
	enum err e = get(q, m, 0, &h);

	if (e != ERR_OK)
		return e;
	must(!o || m->copy || m->barred);
	w->q = q;
	w->m = m;
	w->waits = 0;
	w->set = o != NULL;
	w->copy = o && o->node.n;
	if (o && w->status.n) {
		const char *why;

		must(take_status(h, w->status, &why) == ERR_OK);
		m->noticed = h->status.delay_noticed != 0;
		message_orders(q, m, &h->env, &h->status);
		m->pending = message_pending(&h->status, m->nrcpt);
	}
	status_ensure(h);
	if (o) {
		h->status.moved = 1;
		h->status.owner = *o;
		h->status.owner.node = arena_span(&h->arena, o->node);
	}
	set_targets(h, target, ntarget);
	status_write(q, m, h, w);
	held_put(q, h);
	return ERR_OK;
}

enum err queue_finished(struct queue *q, struct message *m,
	const unsigned *rcpt, unsigned n, unsigned *pending_r)
{
	unsigned was = m->pending;
	struct held *h;
	enum err e;

	must(m->copy || m->barred);
	e = get(q, m, 0, &h);
	if (e != ERR_OK)
		return e;
	status_ensure(h);
	for (unsigned i = 0; i < n; i++)
		if (rcpt[i] < m->nrcpt)
			h->status.rcpt[rcpt[i]].state = RCPT_FINAL;
	m->pending = message_pending(&h->status, m->nrcpt);
	if (m->pending && m->pending != was)
		status_write(q, m, h, NULL);
	held_put(q, h);
	*pending_r = m->pending;
	return ERR_OK;
}

enum err queue_read(struct queue *q, struct message *m, int with_body,
	struct copy_view *v_r)
{
	struct held *h;
	enum err e = get(q, m, with_body, &h);

	if (e != ERR_OK)
		return e;
	*v_r = (struct copy_view){
		.env = &h->env,
		.status = &h->status,
		.record = h->record,
		.body = with_body ? body_ref(h->body) : NULL,
		.held = h,
	};
	return ERR_OK;
}

void queue_bad_copy(struct queue *q, struct message *m)
{
	check_obj(q, QUEUE_MAGIC);
	check_obj(m, MESSAGE_MAGIC);
	m->bad_body = 1;
}

void queue_read_end(struct queue *q, struct copy_view *v)
{
	body_unref(&v->body);
	held_put(q, v->held);
	*v = (struct copy_view){0};
}
