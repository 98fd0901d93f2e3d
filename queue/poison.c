/* poison - messages at which the program crashed, often enough: set aside at
 * the start, before anything is done with them.
 *
 * One whose records are all that was read (the crash came while they were, or
 * while it was routed, which a start does with all of them) is moved away like
 * a damaged one. The others are suspended, with what happened
 * as the reason; who looks at one and resumes it begins to count anew.
 */
#include "queue/control_private.h"

static const struct culprit *poison(struct queue *q, const struct culprit *c)
{
	if (!c || !c->id || !q->o.poison_after ||
		c->crashes < q->o.poison_after)
		return NULL;
	return c;
}

void poison_begin(struct queue *q)
{
	const struct culprit *c;

	(void)store_doing(q->store, &c);
	if (!c)
		return;
	log_event(q->o.log, EV_QUEUE_CRASHED,
		F_ID("msg", (struct msg_id){c->id}),
		F_STR("signal", signal_text(c->signal)),
		F_STR("doing", work_text(c->what)), F_U("crashes", c->crashes),
		F_U("poison_after", q->o.poison_after));
	log_flush(q->o.log); /* should this start crash as well */
}

static int unreadable(const struct culprit *c)
{
	return c && (c->what == WORK_RECOVERY || c->what == WORK_READING ||
			    c->what == WORK_ROUTING);
}

int poison_unreadable(struct queue *q, struct msg_id id)
{
	const struct culprit *last;
	struct doing *d = store_doing(q->store, &last);

	return unreadable(poison(q, doing_culprit(d, id)));
}

static void suspend(struct queue *q, const struct culprit *c)
{
	struct msg_id id = {c->id};
	struct buf reason;
	enum changed got;

	buf_init(&reason, 256);
	buf_addf(&reason,
		"poison: %u crashes of the program, the last by %s %s",
		c->crashes, signal_text(c->signal), work_text(c->what));
	got = message_poison(q, id, buf_span(&reason));
	if (got != CHANGED_GONE)
		log_event(q->o.log, EV_QUEUE_POISON, F_ID("msg", id),
			F_SPAN("reason", buf_span(&reason)));
	buf_fini(&reason);
}

void poison_suspend(struct queue *q)
{
	const struct culprit *last;
	struct doing *d = store_doing(q->store, &last);

	for (unsigned i = 0; i < CULPRITS; i++)
		if (poison(q, &d->culprit[i]) && !unreadable(&d->culprit[i]))
			suspend(q, &d->culprit[i]);
}

void poison_forget(struct queue *q, struct msg_id id)
{
	const struct culprit *last;

	if (doing_forget(store_doing(q->store, &last), id))
		store_doing_save(q->store);
}
