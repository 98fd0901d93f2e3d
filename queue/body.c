/* body - shared message bodies, and the budget for those in memory. */
#include "queue/body.h"

#include <stdlib.h>

#include "mta/base/check.h"

void budget_init(struct budget *b, uint64_t limit)
{
	*b = (struct budget){.limit = limit};
	list_init(&b->waiters);
}

void budget_take(struct budget *b, uint64_t n)
{
	must(!__builtin_add_overflow(b->used, n, &b->used));
}

/* Waiters are called when an eighth of the limit is free again, so that they
 * do not stop and go with every body. Each is called once; what a waiter adds
 * while they are called waits for the next time, and when one of them uses up
 * the room, the rest waits on in front. */
void budget_give(struct budget *b, uint64_t n)
{
	struct list now;

	must(n <= b->used);
	b->used -= n;
	if (list_empty(&b->waiters) ||
		b->used > budget_room(b) - budget_room(b) / 8)
		return;
	list_init(&now);
	list_splice(&now, &b->waiters);
	while (!list_empty(&now) && b->used <= budget_room(b)) {
		struct budget_waiter *w =
			list_first(&now, struct budget_waiter, node);

		list_del(&w->node);
		w->fn(w);
	}
	list_splice(&now, &b->waiters);
	list_splice(&b->waiters, &now);
}

void budget_set(struct budget *b, uint64_t limit, int squeezed)
{
	b->limit = limit;
	b->squeezed = squeezed;
	budget_give(b, 0);
}

static int above(struct budget *b, uint64_t limit)
{
	if (b->used > limit && b->over)
		b->over(b->arg);
	return b->used > limit;
}

int budget_over(struct budget *b)
{
	return above(b, budget_room(b));
}

int budget_full(struct budget *b)
{
	return above(b, b->limit);
}

void budget_wait(struct budget *b, struct budget_waiter *w)
{
	if (w == b->ahead)
		list_prepend(&b->waiters, &w->node);
	else
		list_append(&b->waiters, &w->node);
	if (b->waits)
		b->waits(b->arg);
}

void budget_pass(struct budget *b)
{
	struct budget_waiter *w =
		list_first(&b->waiters, struct budget_waiter, node);

	if (!w)
		return;
	list_del(&w->node);
	b->ahead = w; /* only compared: it may be gone then */
	w->fn(w);
}

void budget_unwait(struct budget_waiter *w)
{
	if (w->node.next)
		list_del(&w->node);
}

struct body *body_from_blob(struct blob *take_mem, struct budget *b)
{
	struct body *body = x_calloc(1, sizeof *body);

	must(take_mem != NULL && b != NULL);
	body->refs = 1;
	body->size = take_mem->n;
	body->mem = take_mem;
	body->budget = b;
	budget_take(b, take_mem->cap);
	return body;
}

struct body *body_from_file(uint64_t file, uint64_t size, uint32_t crc)
{
	struct body *body = x_calloc(1, sizeof *body);

	body->refs = 1;
	body->size = size;
	body->file = file;
	body->crc = crc;
	return body;
}

/* What dropping it from the cache would give back. */
static uint64_t droppable(const struct body *b)
{
	return b->mem && b->cached && b->refs == 1 ? b->mem->cap : 0;
}

/* Counts b again, of which was could be dropped before a change. */
static void recount(struct body *b, uint64_t was)
{
	if (b->budget)
		b->budget->cached += droppable(b) - was;
}

void body_cache(struct body *b, int on)
{
	uint64_t was = droppable(b);

	b->cached = on;
	recount(b, was);
}

struct body *body_ref(struct body *b)
{
	uint64_t was = droppable(b);

	must(b->refs > 0);
	b->refs++;
	recount(b, was);
	return b;
}

void body_unref(struct body **bp)
{
	struct body *b = *bp;
	struct budget *budget;
	uint64_t n, was;

	*bp = NULL;
	if (!b)
		return;
	must(b->refs > 0);
	was = droppable(b);
	b->refs--;
	recount(b, was);
	if (b->refs)
		return;
	budget = b->budget;
	n = b->mem ? b->mem->cap : 0;
	blob_unref(b->mem);
	free(b);
	if (budget)
		budget_give(budget, n);
}
