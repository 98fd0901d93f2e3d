/* change - who waits until what administrators changed is durable.
 *
 * A change counts the writes that are under way for it. Each has a waiter: in
 * the list of those that wait for a status (struct own, as those of the shadow
 * room are), and when the message leaves, until its delete is durable.
 */
#include <stdlib.h>

#include "queue/control_private.h"

enum { CHANGE_MAGIC = 0xc4a46e };

struct change {
	unsigned magic;
	struct queue *q;
	struct list node; /* queue->changes */
	unsigned behind;
	int ended; /* by its owner */
	enum err e;
	void (*done)(void *arg, enum err e); /* NULL: nobody waits */
	void *arg;
};

struct waiter {
	struct own own;
	struct change *c;
	struct waiter *next; /* of those that wait for a delete */
};

struct change *queue_change(
	struct queue *q, void (*done)(void *arg, enum err e), void *arg)
{
	struct change *c = x_calloc(1, sizeof *c);

	check_obj(q, QUEUE_MAGIC);
	c->magic = CHANGE_MAGIC;
	c->q = q;
	c->done = done;
	c->arg = arg;
	list_append(&q->changes, &c->node);
	return c;
}

unsigned queue_change_behind(const struct change *c)
{
	check_obj(c, CHANGE_MAGIC);
	return c->behind;
}

/* Those that are over are at the front. */
static void maybe_over(struct change *c)
{
	if (!c->ended || c->behind)
		return;
	list_del(&c->node);
	list_prepend(&c->q->changes, &c->node);
	queue_want_turn(c->q);
}

void queue_change_end(struct change **take_c)
{
	struct change *c = *take_c;

	check_obj(c, CHANGE_MAGIC);
	*take_c = NULL;
	c->ended = 1;
	maybe_over(c);
}

void queue_change_forget(struct change **take_c)
{
	(*take_c)->done = NULL;
	queue_change_end(take_c);
}

static void change_free(struct change *c)
{
	list_del(&c->node);
	c->magic = 0;
	free(c);
}

static void over(struct change *c, enum err e)
{
	void (*done)(void *arg, enum err e) = c->done;
	void *arg = c->arg;

	change_free(c);
	if (done)
		done(arg, e);
}

void changes_run(struct queue *q)
{
	struct change *c;

	while ((c = list_first(&q->changes, struct change, node)) && c->ended &&
		!c->behind)
		over(c, c->e);
}

void changes_fini(struct queue *q)
{
	struct change *c;

	while ((c = list_first(&q->changes, struct change, node))) {
		must(!c->behind);
		over(c, c->e == ERR_OK && !c->ended ? ERR_CANCELED : c->e);
	}
}

void change_add(struct change *c)
{
	if (c)
		c->behind++;
}

void change_drop(struct change *c, enum err e)
{
	if (!c)
		return;
	check_obj(c, CHANGE_MAGIC);
	must(c->behind > 0);
	c->behind--;
	if (c->e == ERR_OK)
		c->e = e;
	maybe_over(c);
}

static void on_written(struct own *own, enum err e)
{
	struct waiter *w = container_of(own, struct waiter, own);

	change_drop(w->c, e);
	free(w);
}

struct own *change_own(struct queue *q, struct message *m, struct change *c)
{
	struct waiter *w;

	if (!c)
		return NULL;
	w = x_calloc(1, sizeof *w);
	w->own.q = q;
	w->own.m = m;
	w->own.done = on_written;
	w->own.waits = 1;
	w->c = c;
	list_init(&w->own.node);
	change_add(c);
	return &w->own;
}

struct waiter *change_wait(struct waiter *others, struct own *own)
{
	struct waiter *w = container_of(own, struct waiter, own);

	must(own->waits);
	w->next = others;
	return w;
}

void change_tell(struct waiter *w, enum err e)
{
	struct waiter *next;

	for (; w; w = next) {
		next = w->next;
		on_written(&w->own, e);
	}
}
