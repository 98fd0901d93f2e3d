/* spool - where the octets of one incoming message go. */
#include "queue/spool.h"

#include "mta/base/check.h"

static void start_write(struct spool *sp);

void spool_init(struct spool *sp, struct loop *l, struct queue *q,
	struct msg_id id, uint64_t hint)
{
	size_t cap = SPOOL_FIRST;

	*sp = (struct spool){.loop = l, .queue = q, .file = id.v};
	sp->large = queue_large_body(q);
	/* Room for the Received field on top of what was announced; what is
	 * only announced does not take much of everybody's budget. */
	if (hint)
		cap = (size_t)(hint < SPOOL_HINT ? hint : SPOOL_HINT) + 1024;
	sp->mem = blob_create(cap);
	if (sp->mem)
		budget_take(queue_budget(q), cap);
	else
		sp->err = ERR_NOMEM;
}

static void drop(struct spool *sp, struct blob **b)
{
	if (*b)
		budget_give(queue_budget(sp->queue), (*b)->cap);
	blob_unref(*b);
	*b = NULL;
}

static void run_write(struct work *w)
{
	struct spool *sp = container_of(w, struct spool, work);
	struct store *st = queue_store(sp->queue);
	enum err e = ERR_OK;

	if (!sp->handle)
		e = store_file_create(st, sp->file, &sp->handle);
	if (e == ERR_OK && sp->writing)
		e = store_file_write(
			sp->handle, sp->written, blob_span(sp->writing));
	if (e == ERR_OK && sp->finishing)
		e = store_file_finish(&sp->handle);
	sp->result = e;
}

static void discard_file(struct spool *sp)
{
	if (sp->in_file)
		store_file_abandon(
			queue_store(sp->queue), sp->file, &sp->handle);
}

static void after_write(struct work *w)
{
	struct spool *sp = container_of(w, struct spool, work);

	sp->busy = 0;
	if (sp->err == ERR_OK)
		sp->err = sp->result;
	if (sp->writing)
		sp->written += sp->writing->n;
	drop(sp, &sp->writing);
	if (sp->abandoned) {
		discard_file(sp);
		sp->wake(sp);
	} else if (sp->finishing || (sp->ended && sp->err != ERR_OK)) {
		sp->done(sp, sp->err);
	} else if (sp->ended) {
		start_write(sp);
	} else if (sp->err == ERR_OK && sp->mem->n >= SPOOL_PIECE) {
		start_write(sp);
		sp->wake(sp);
	} else {
		sp->wake(sp);
	}
}

/* What has gathered goes to the pool thread; the last time with the sync. */
static void start_write(struct spool *sp)
{
	struct budget *b = queue_budget(sp->queue);

	sp->writing = sp->mem;
	sp->mem = NULL;
	sp->finishing = sp->ended;
	if (!sp->ended) {
		sp->mem = blob_create(SPOOL_PIECE);
		if (sp->mem)
			budget_take(b, SPOOL_PIECE);
		else
			sp->err = ERR_NOMEM;
	}
	sp->work.run = run_write;
	sp->work.done = after_write;
	sp->busy = 1;
	loop_work(sp->loop, &sp->work);
}

static int make_room(struct spool *sp, size_t more)
{
	struct budget *b = queue_budget(sp->queue);
	size_t old = sp->mem->cap, cap = old;
	struct blob *m;

	if (old - sp->mem->n >= more)
		return 0;
	while (cap - sp->mem->n < more)
		cap *= 2;
	m = blob_grow(sp->mem, cap);
	if (!m) {
		sp->err = ERR_NOMEM;
		return -1;
	}
	sp->mem = m;
	budget_take(b, cap - old);
	return 0;
}

void spool_add(struct spool *sp, struct span data)
{
	if (sp->err != ERR_OK)
		return;
	sp->crc = crc32c(sp->crc, data);
	sp->size += data.n;
	if (make_room(sp, data.n) != 0)
		return;
	memcpy(sp->mem->p + sp->mem->n, data.p, data.n);
	sp->mem->n += data.n;
	if (!sp->in_file && sp->size > sp->large)
		sp->in_file = 1;
	if (sp->in_file && !sp->writing && sp->mem->n >= SPOOL_PIECE)
		start_write(sp);
}

int spool_busy(const struct spool *sp)
{
	return sp->writing && sp->mem && sp->mem->n >= SPOOL_PIECE;
}

static void done_later(struct work *w)
{
	struct spool *sp = container_of(w, struct spool, work);

	sp->busy = 0;
	if (sp->abandoned) {
		discard_file(sp);
		sp->wake(sp);
	} else {
		sp->done(sp, sp->err);
	}
}

static void run_nothing(struct work *w)
{
	(void)w;
}

int spool_end(struct spool *sp)
{
	sp->ended = 1;
	if (!sp->in_file && sp->err == ERR_OK)
		return 1;
	if (sp->busy)
		return 0;
	if (sp->err == ERR_OK) {
		start_write(sp);
		return 0;
	}
	sp->work.run = run_nothing;
	sp->work.done = done_later;
	sp->busy = 1;
	loop_work(sp->loop, &sp->work);
	return 0;
}

struct body *spool_take(struct spool *sp)
{
	struct budget *b = queue_budget(sp->queue);
	struct body *body;

	must(sp->ended && sp->err == ERR_OK);
	if (sp->in_file)
		return body_from_file(sp->file, sp->size, sp->crc);
	body = body_from_blob(sp->mem, b);
	budget_give(b, sp->mem->cap); /* the body accounts for it now */
	sp->mem = NULL;
	return body;
}

int spool_abandon(struct spool *sp, void (*gone)(struct spool *sp))
{
	sp->abandoned = 1;
	sp->wake = gone;
	drop(sp, &sp->mem);
	if (sp->busy)
		return 0;
	discard_file(sp);
	return 1;
}
