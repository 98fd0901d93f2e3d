/* copy_world - what the tests of messages with copies share: a shadow room
 * that keeps a card for each message and checks what it is told.
 *
 * Each test program includes this once, after cmocka's headers.
 */
#pragma once

#include "tests/unit/queue_world.h"

enum { CARDS = 64, TARGETS = 3 };
enum kind { OURS, BARRED, COPY };

/* A message's tag. Counts are of this process: a start sets them back. */
struct card {
	struct world *w;
	struct message *m; /* NULL: none yet, or gone */
	struct msg_id id;
	struct mid mid;
	unsigned ntaken, nfound, ngone, nleaving, nasked;
	enum err taken, gone;
	unsigned progress[RCPTS];
	int fenced;  /* may not be delivered */
	int ignored; /* found() does not want it */
	int copy;    /* what found() saw: */
	uint32_t gen;
	unsigned ntarget;
	int with_note; /* a note for leaving(), under key */
	int note_out;
	unsigned nnoted;
	char key[16];
	struct store_op note;
	void (*on_progress)(struct card *c);
};

/* A queue_own. */
struct ask {
	struct own own;
	struct card *c;
	unsigned ndone;
	enum err e;
	uint32_t gen;                /* 0: the owner stays */
	void (*then)(struct ask *a); /* in done */
};

static struct card card[CARDS];
static unsigned ncards, nkeys;
static struct span card_held; /* of what is given: it is held */

static unused int note_on_disk(struct card *c)
{
	struct buf b;
	enum err e;

	buf_init(&b, 1000);
	e = store_read_note(queue_store(c->w->q), span_str(c->key), &b);
	assert_true(e == ERR_OK || e == ERR_NOTFOUND);
	buf_fini(&b);
	return e == ERR_OK;
}

static unused void on_progress(
	void *arg, void *tag, const unsigned *rcpt, unsigned n)
{
	struct card *c = tag;

	assert_ptr_equal(arg, c->w);
	assert_non_null(c->m);
	assert_true(n > 0);
	if (c->on_progress)
		c->on_progress(c);
	for (unsigned i = 0; i < n; i++)
		c->progress[rcpt[i]]++;
}

static unused void on_gone(void *arg, void *tag, enum err e)
{
	struct card *c = tag;

	assert_ptr_equal(arg, c->w);
	assert_non_null(c->m);
	assert_int_equal(c->ngone++, 0);
	assert_true(e == ERR_OK || e == ERR_CORRUPT || e == ERR_CANCELED);
	c->gone = e;
	if (e == ERR_OK) {
		assert_int_equal(c->nleaving > 0, 1);
		assert_false(sim_disk_has(c->w->disk, c->id));
		assert_int_equal(sim_disk_env(c->w->disk, c->id).n, 0);
		assert_int_equal(sim_disk_status(c->w->disk, c->id).n, 0);
		assert_int_equal(note_on_disk(c), c->with_note);
	}
	c->m = NULL;
}

static unused int on_may_deliver(void *arg, void *tag)
{
	struct card *c = tag;

	assert_ptr_equal(arg, c->w);
	assert_non_null(c->m);
	c->nasked++;
	return !c->fenced;
}

static unused void on_noted(struct store_op *op)
{
	struct card *c = op->arg;

	assert_true(c->note_out);
	c->note_out = 0;
	c->nnoted += op->result == ERR_OK;
}

static unused struct store_op *on_leaving(void *arg, void *tag)
{
	struct card *c = tag;

	assert_ptr_equal(arg, c->w);
	assert_non_null(c->m);
	assert_false(c->note_out);
	c->nleaving++;
	if (!c->with_note)
		return NULL;
	c->note_out = 1;
	c->note = (struct store_op){.verb = STORE_NOTE,
		.key = span_str(c->key),
		.record = SPAN("done"),
		.done = on_noted,
		.arg = c};
	return &c->note;
}

/* The newest: the simulated disk gives the id of a lost message again. */
static unused struct card *card_of(struct msg_id id)
{
	for (struct card *c = card + ncards; c-- > card;)
		if (c->id.v == id.v)
			return c;
	fail_msg("no card");
	return NULL;
}

static unused void *on_found(void *arg, struct message *m,
	const struct envelope *e, const struct status *s)
{
	struct card *c = card_of(e->id);

	assert_ptr_equal(arg, c->w);
	assert_null(c->m);
	assert_int_equal(queue_id(m).v, e->id.v);
	assert_true(mid_eq(&e->mid, &c->mid));
	c->nfound++;
	c->ngone = c->nleaving = c->nasked = c->ntaken = 0;
	memset(c->progress, 0, sizeof c->progress);
	c->copy = owner_of(e, s)->node.n != 0;
	c->gen = owner_of(e, s)->gen;
	c->ntarget = s->ntarget;
	if (c->ignored)
		return NULL;
	c->m = m;
	return c;
}

static unused void add_events(struct queue_events *ev)
{
	ev->progress = on_progress;
	ev->gone = on_gone;
	ev->may_deliver = on_may_deliver;
	ev->leaving = on_leaving;
	ev->found = on_found;
}

static unused int copy_setup(void **state)
{
	struct world *w;

	setup(state);
	w = *state;
	queue_close(&w->q);
	w->more = add_events;
	memset(card, 0, sizeof card);
	ncards = 0;
	start(w);
	return 0;
}

static unused void on_card_taken(struct intake *i, enum err e)
{
	struct card *c = i->arg;

	c->ntaken++;
	c->taken = e;
	assert_true(e != ERR_OK || sim_disk_has(c->w->disk, c->id));
	if (e == ERR_OK) {
		c->m = i->message;
		assert_ptr_equal(queue_tag(c->m), c);
		assert_int_equal(queue_id(c->m).v, c->id.v);
	}
	free(i);
}

/* Handed in, not waited for. */
static unused struct card *give(
	struct world *w, enum kind kind, const struct mail *mail)
{
	struct card *c = &card[ncards++];
	struct intake *i = x_calloc(1, sizeof *i);
	struct envelope e = {.id = queue_next_id(w->q)};

	must(ncards <= CARDS);
	*c = (struct card){.w = w, .id = e.id};
	c->mid = (struct mid){.sid = {7}, .inc = 3, .seq = 1000 + ncards};
	if (kind == COPY) {
		e.owner = (struct ownership){
			.node = SPAN("other"), .sid = {7}, .gen = 1};
	} else {
		c->mid.seq = queue_next_seq(w->q);
		e.owner.gen = 1;
		e.target = (struct target){.node = SPAN("peer"), .sid = {9}};
	}
	e.mid = c->mid;
	e.held = card_held;
	snprintf(c->key, sizeof c->key, "note%u", ++nkeys);
	i->tag = c;
	i->barred = kind == BARRED;
	i->done = on_card_taken;
	i->arg = c;
	take_in(w, i, &e, mail);
	return c;
}

/* One recipient; durable. */
static unused struct card *give_one(
	struct world *w, enum kind kind, const char *to)
{
	struct card *c = give(w, kind, &(struct mail){.nrcpt = 1, .to = {to}});

	sim_loop_step(w->loop, 10);
	assert_int_equal(c->ntaken, 1);
	assert_int_equal(c->taken, ERR_OK);
	return c;
}

/* The status on the disk; 0 when there is none. */
static unused int disk_status(
	struct card *c, struct arena *a, struct status *s_r)
{
	struct span rec = sim_disk_status(c->w->disk, c->id);
	const char *why;

	*s_r = (struct status){0};
	if (rec.n)
		assert_int_equal(status_decode(rec, a, s_r, &why), ERR_OK);
	return rec.n != 0;
}

static unused void on_owned(struct own *own, enum err e)
{
	struct ask *a = container_of(own, struct ask, own);
	struct arena mem = {0};
	struct status s;

	assert_int_equal(a->ndone++, 0);
	assert_int_equal(a->c->ngone, 0);
	a->e = e;
	if (e == ERR_OK) {
		assert_true(disk_status(a->c, &mem, &s));
		assert_true(!a->gen || (s.moved && s.owner.gen >= a->gen));
		arena_fini(&mem);
	}
	if (a->then)
		a->then(a);
}

/* gen 0: the owner stays. node "": ours. */
static unused enum err ask_own(struct card *c, struct ask *a, const char *node,
	uint32_t gen, unsigned ntarget)
{
	struct ownership o = {.node = span_str(node), .sid = {5}, .gen = gen};
	struct target t[TARGETS] = {{.node = SPAN("third"), .sid = {1}},
		{.node = SPAN("fourth"), .sid = {2}},
		{.node = SPAN("fifth"), .sid = {3}}};

	a->own.done = on_owned;
	a->c = c;
	a->ndone = 0;
	a->gen = gen;
	return queue_own(c->w->q, c->m, &a->own, gen ? &o : NULL, t, ntarget);
}

/* Done as well. */
static unused void own_now(struct card *c, const char *node, uint32_t gen)
{
	struct ask a = {0};

	assert_int_equal(ask_own(c, &a, node, gen, 0), ERR_OK);
	assert_int_equal(a.ndone, 0);
	sim_loop_step(c->w->loop, 50);
	assert_int_equal(a.ndone, 1);
	assert_int_equal(a.e, ERR_OK);
}

static unused unsigned listed(struct world *w)
{
	struct msg_id id = {0};
	unsigned n = 0;

	while ((id = queue_next_message(w->q, id)).v)
		n++;
	return n;
}

static unused void assert_counts(
	struct world *w, unsigned messages, unsigned legs)
{
	struct queue_counts c;

	queue_counts(w->q, &c);
	assert_int_equal(c.messages, messages);
	assert_int_equal(c.legs, legs);
	assert_int_equal(listed(w), messages);
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, copy_setup, teardown)
