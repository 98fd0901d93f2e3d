/* From the end of the data to the reply: policy, state of the peers, notice or
 * not; what is said, and when. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/unit/shadow_world.h"
#include "tests/unit/shadow_far.h"
#include "tests/unit/shadow_mail.h"

/* Of the one peer b. */
enum peer_is {
	UP,
	NO_PEER,     /* none is configured */
	WITNESS,     /* only one that keeps no copies */
	DOWN_LESS,   /* for 10 s; solo_after is 30 s */
	DOWN_MORE,   /* for 40 s */
	BACK,        /* for 10 s, and comes back after 5 s */
	FULL,        /* it says so, for 10 s now */
	FULL_MORE,   /* for 40 s */
	NO_ROOM,     /* it finds out when it gets the copy */
	REFUSES,     /* every copy, for no reason that lasts */
	SILENT,      /* takes copies and never answers */
	QUEUED,      /* one copy at a time; the one before is answered after
			3 s */
	OTHER_TAKES, /* refuses, but there is c */
};

struct row {
	enum peer_is state;
	enum shadow_policy policy;
	int report;
	enum err e;
	enum shadow_level level;
	uint64_t from, to; /* ms */
	unsigned stores;   /* whole ones that b got, at least */
};

enum { AT_ONCE = 60, BACKOFF = 8000, LONG = 61000 };

static const struct row rows[] = {
	{UP, SHADOW_OFF, 0, 0, LEVEL_LOCAL, 1, AT_ONCE, 0},
	{UP, SHADOW_OFF, 1, 0, LEVEL_LOCAL, 1, AT_ONCE, 0},
	{UP, SHADOW_PREFER, 0, 0, LEVEL_SHADOWED, 1, AT_ONCE, 1},
	{UP, SHADOW_PREFER, 1, 0, LEVEL_SHADOWED, 1, AT_ONCE, 1},
	{UP, SHADOW_REQUIRE, 0, 0, LEVEL_SHADOWED, 1, AT_ONCE, 1},
	{UP, SHADOW_REQUIRE, 1, 0, LEVEL_SHADOWED, 1, AT_ONCE, 1},
	{NO_PEER, SHADOW_PREFER, 0, 0, LEVEL_LOCAL, 1, AT_ONCE, 0},
	{WITNESS, SHADOW_PREFER, 0, 0, LEVEL_LOCAL, 1, AT_ONCE, 0},
	{DOWN_LESS, SHADOW_OFF, 0, 0, LEVEL_LOCAL, 1, AT_ONCE, 0},
	{DOWN_LESS, SHADOW_PREFER, 0, 0, LEVEL_SOLO, 20000, 20100, 0},
	{DOWN_LESS, SHADOW_REQUIRE, 0, ERR_UNREACH, 0, 20000, 20100, 0},
	{DOWN_LESS, SHADOW_PREFER, 1, 0, LEVEL_SOLO, 1, AT_ONCE, 0},
	{DOWN_LESS, SHADOW_REQUIRE, 1, 0, LEVEL_SOLO, 1, AT_ONCE, 0},
	{DOWN_MORE, SHADOW_PREFER, 0, 0, LEVEL_SOLO, 1, AT_ONCE, 0},
	{DOWN_MORE, SHADOW_REQUIRE, 0, ERR_UNREACH, 0, 0, AT_ONCE, 0},
	{DOWN_MORE, SHADOW_REQUIRE, 1, 0, LEVEL_SOLO, 1, AT_ONCE, 0},
	{BACK, SHADOW_PREFER, 0, 0, LEVEL_SHADOWED, 5000, 5000 + BACKOFF, 1},
	{BACK, SHADOW_REQUIRE, 0, 0, LEVEL_SHADOWED, 5000, 5000 + BACKOFF, 1},
	{FULL, SHADOW_PREFER, 0, 0, LEVEL_SOLO, 20000, 20100, 0},
	{FULL, SHADOW_REQUIRE, 0, ERR_UNREACH, 0, 20000, 20100, 0},
	{FULL, SHADOW_REQUIRE, 1, 0, LEVEL_SOLO, 1, AT_ONCE, 0},
	{FULL_MORE, SHADOW_PREFER, 0, 0, LEVEL_SOLO, 1, AT_ONCE, 0},
	{FULL_MORE, SHADOW_REQUIRE, 0, ERR_UNREACH, 0, 0, AT_ONCE, 0},
	{NO_ROOM, SHADOW_PREFER, 0, 0, LEVEL_SOLO, 30000, 30100, 1},
	{NO_ROOM, SHADOW_REQUIRE, 0, ERR_UNREACH, 0, 30000, 30100, 1},
	{NO_ROOM, SHADOW_REQUIRE, 1, 0, LEVEL_SOLO, 1, AT_ONCE, 1},
	{REFUSES, SHADOW_PREFER, 0, 0, LEVEL_SOLO, 60000, LONG, 50},
	{REFUSES, SHADOW_REQUIRE, 0, ERR_UNREACH, 0, 60000, LONG, 50},
	{REFUSES, SHADOW_REQUIRE, 1, 0, LEVEL_SOLO, 1, AT_ONCE, 1},
	{SILENT, SHADOW_PREFER, 0, 0, LEVEL_SOLO, 60000, LONG, 5},
	{SILENT, SHADOW_REQUIRE, 0, ERR_UNREACH, 0, 60000, LONG, 5},
	{SILENT, SHADOW_REQUIRE, 1, 0, LEVEL_SOLO, 10000, 10100, 1},
	{QUEUED, SHADOW_PREFER, 0, 0, LEVEL_SHADOWED, 3000, 3100, 2},
	{QUEUED, SHADOW_REQUIRE, 1, 0, LEVEL_SHADOWED, 3000, 3100, 2},
	{OTHER_TAKES, SHADOW_PREFER, 0, 0, LEVEL_SHADOWED, 1, AT_ONCE, 1},
	{OTHER_TAKES, SHADOW_REQUIRE, 0, 0, LEVEL_SHADOWED, 1, AT_ONCE, 1},
	{OTHER_TAKES, SHADOW_REQUIRE, 1, 0, LEVEL_SHADOWED, 1, AT_ONCE, 1},
};

static int say_no_room(
	struct far *f, enum wire_verb v, struct span rest, struct buf *out)
{
	(void)rest;
	if (v != WIRE_STORE)
		return 0;
	f->free = WIRE_FREE_FULL;
	buf_adds(out, "452 4.3.1 no room\r\n");
	return 1;
}

static int say_busy(
	struct far *f, enum wire_verb v, struct span rest, struct buf *out)
{
	(void)f;
	(void)rest;
	if (v == WIRE_STORE)
		buf_adds(out, "451 4.3.2 busy\r\n");
	return v == WIRE_STORE;
}

/* To nothing behind a STORE: a server answers in order. */
static int say_nothing(
	struct far *f, enum wire_verb v, struct span rest, struct buf *out)
{
	(void)rest;
	(void)out;
	f->hushed = v == WIRE_STORE;
	return f->hushed;
}

static void prepare(struct node *n, struct far *b, enum peer_is st)
{
	int down = st == DOWN_LESS || st == DOWN_MORE || st == BACK;
	int full = st == FULL || st == FULL_MORE;

	if (st == QUEUED)
		b->window = 1;
	node_configure(n,
		st == NO_PEER       ? 0
		: st == OTHER_TAKES ? 2
				    : 1,
		st == WITNESS, "");
	node_step(n, 6000); /* a PING has just been; the next in 4 s */
	if (down)
		far_down(b);
	if (full) {
		b->free = WIRE_FREE_FULL;
		node_step(n, 8000); /* it says so in the next PING */
		/* Alone since then; without a reply no time passes. */
		n->s->alone = shadow_now(n->s);
	}
	if (down || full)
		node_step(
			n, st == DOWN_MORE || st == FULL_MORE ? 40000 : 10000);
	if (st == NO_ROOM)
		b->answer = say_no_room;
	if (st == REFUSES || st == OTHER_TAKES)
		b->answer = say_busy;
	if (st == SILENT || st == QUEUED)
		b->answer = say_nothing;
}

/* The row's own part in the course of time. */
static void during(struct node *n, struct far *b, enum peer_is st)
{
	struct buf out;

	if (st == BACK) {
		node_step(n, 5000);
		far_up(b);
	} else if (st == QUEUED) {
		node_step(n, 3000);
		assert_int_equal(b->stores, 1);
		buf_init(&out, 1000);
		b->hushed = 0;
		b->answer = NULL;
		far_held(b, &out);
		stream_write(b->st, buf_span(&out));
		buf_fini(&out);
	}
}

static void run_row(const struct row *r, void **state)
{
	struct letter *l, *before = NULL;
	struct far *b, *c;
	struct node *n;
	char peer[64];

	node_setup(state);
	n = *state;
	b = far_new(n, 'b');
	c = far_new(n, 'c');
	prepare(n, b, r->state);
	if (r->state == QUEUED)
		before = post(n, SHADOW_PREFER, 0);
	l = post(n, r->policy, r->report);
	during(n, b, r->state);
	letter_wait(l, 100000);
	assert_true(r->stores ? b->stores >= r->stores : !b->stores);
	assert_int_equal(c->stores, r->state == OTHER_TAKES);
	snprintf(peer, sizeof peer, "%s", l->peer);
	letter_end(&l, r->e, r->level, r->from, r->to);
	if (r->level == LEVEL_SHADOWED && r->e == ERR_OK)
		assert_string_equal(peer,
			r->state == OTHER_TAKES ? "c.example" : "b.example");
	/* What was refused left nothing behind. */
	assert_int_equal(sim_disk_messages(n->w.disk),
		(r->e == ERR_OK) + (before != NULL));
	assert_int_equal(n->s->copies.n,
		(r->e == ERR_OK && r->level != LEVEL_LOCAL) + (before != NULL));
	if (before)
		letter_end(&before, ERR_OK, LEVEL_SHADOWED, 3000, 3100);
	far_fini(&b);
	far_fini(&c);
	node_teardown(state);
}

static void test_table(void **state)
{
	for (size_t i = 0; i < countof(rows); i++) {
		print_message("row %zu\n", i);
		run_row(&rows[i], state);
	}
}

/* --- beside the table ----------------------------------------------------- */

/* What is cached of messages goes: they must be read, and cannot be. */
static void no_memory(struct node *n)
{
	struct budget *b = queue_budget(n->w.q);

	b->limit = 0;
	budget_over(b);
	b->limit = 256 << 20;
	n->w.disk->fail_read = ERR_NOMEM;
}

/* Is name a target of the only message, on the disk? */
static void find_target(
	void *arg, struct msg_id id, struct span env, struct span status)
{
	struct arena a = {0};
	struct envelope e;
	struct status st = {0};
	const char *why;

	(void)id;
	assert_int_equal(envelope_decode(env, &a, &e, &why), ERR_OK);
	if (status.n)
		assert_int_equal(status_decode(status, &a, &st, &why), ERR_OK);
	*(int *)arg = span_eq(e.target.node, SPAN("c.example"));
	for (unsigned i = 0; i < st.ntarget; i++)
		*(int *)arg |= span_eq(st.target[i].node, SPAN("c.example"));
	arena_fini(&a);
}

static int look_at_target(
	struct far *f, enum wire_verb v, struct span rest, struct buf *out)
{
	int there = 0;

	(void)rest;
	(void)out;
	if (v == WIRE_STORE) {
		sim_disk_walk(f->n->w.disk, find_target, &there);
		assert_true(there);
	}
	return 0;
}

/* Rule (R2): a peer is durably a target before it gets a copy, also when it
 * could not be made one at first. */
static void test_target_first(void **state)
{
	struct node *n = *state;
	struct letter *l;
	struct far *b, *c;

	b = far_new(n, 'b');
	c = far_new(n, 'c');
	b->answer = say_nothing;
	c->answer = look_at_target;
	node_configure(n, 2, 0, "");
	node_step(n, 100);
	l = post(n, SHADOW_REQUIRE, 0);
	node_step(n, 50);
	no_memory(n);
	b->hushed = 0;
	b->answer = say_busy;
	stream_write(b->st, SPAN("451 4.3.2 busy\r\n"));
	node_step(n, 100);
	n->w.disk->fail_read = ERR_OK;
	letter_wait(l, 100000);
	assert_int_equal(b->stores, 2);
	assert_int_equal(c->stores, 1);
	letter_end(&l, ERR_OK, LEVEL_SHADOWED, 1, 5000);
	far_fini(&b);
	far_fini(&c);
}

/* The same for a copy that is made anew. */
static void test_target_first_again(void **state)
{
	struct node *n = *state;
	struct letter *l;
	struct far *c;

	c = far_new(n, 'c');
	node_configure(n, 2, 0, "  solo_after: 0s\n  reshadow_after: 1s\n");
	far_down(c);
	node_step(n, 1000);
	l = post(n, SHADOW_PREFER, 0);
	letter_wait(l, 1000);
	letter_end(&l, ERR_OK, LEVEL_SOLO, 1, AT_ONCE);
	c->answer = look_at_target;
	node_step(n, 1000);
	far_up(c);
	while (!c->st && sim_loop_turn(n->w.loop))
		;
	no_memory(n);
	node_step(n, 3000);
	n->w.disk->fail_read = ERR_OK;
	node_step(n, 3000);
	assert_int_equal(c->stores, 1);
	far_fini(&c);
}

/* --- next_hop ------------------------------------------------------------- */

/* Rule: done when every recipient's next hop has it; at the end of the time
 * accepted or refused, as is wanted, but never refused when somebody has it. */
static void test_next_hop(void **state)
{
	static const struct {
		unsigned settled, leased; /* of two, before the time is over */
		enum delay_action act;
		enum err e;
		enum shadow_level level;
		uint64_t from, to;
		size_t left; /* messages */
	} cases[] = {
		{2, 0, DELAY_REFUSE, ERR_OK, LEVEL_NEXT_HOP, 1000, 1100, 0},
		{0, 0, DELAY_ACCEPT, ERR_OK, LEVEL_DELAYED, 9000, 9001, 1},
		{1, 0, DELAY_ACCEPT, ERR_OK, LEVEL_DELAYED, 9000, 9001, 1},
		{1, 0, DELAY_REFUSE, ERR_OK, LEVEL_DELAYED, 9000, 9001, 1},
		{0, 0, DELAY_REFUSE, ERR_TIMEOUT, 0, 9000, 9100, 0},
		{0, 1, DELAY_REFUSE, ERR_TIMEOUT, 0, 13000, 13300, 0},
	};
	static const char *const hops[] = {"c0|y.example", "c0|z.example"};

	for (size_t i = 0; i < countof(cases); i++) {
		struct lease *l = NULL;
		struct letter *t;
		struct node *n;

		node_setup(state);
		n = *state;
		node_configure(n, 0, 0, "");
		t = post_letter(n, SHADOW_NEXT_HOP, 0, 0, 9000, cases[i].act);
		node_step(n, 1000);
		assert_false(t->done);
		for (unsigned k = 0; k < cases[i].settled; k++)
			settle_all(
				&n->w, lease(&n->w, hops[k], 9), VERDICT_FINAL);
		if (cases[i].leased)
			l = lease(&n->w, hops[0], 9);
		node_step(n, 12000);
		assert_int_equal(t->done, !l);
		if (l)
			settle_all(&n->w, l, VERDICT_RELEASE);
		node_step(n, 1000);
		letter_end(&t, cases[i].e, cases[i].level, cases[i].from,
			cases[i].to);
		assert_int_equal(sim_disk_messages(n->w.disk), cases[i].left);
		node_teardown(state);
	}
}

/* Rule: at a stop what waits for a peer ends at once: alone, or refused. */
static void test_stop(void **state)
{
	for (int storing = 0; storing < 2; storing++)
		for (int require = 0; require < 2; require++) {
			struct letter *l;
			struct node *n;
			struct far *b;

			node_setup(state);
			n = *state;
			b = far_new(n, 'b');
			b->answer = say_nothing;
			if (!storing)
				far_down(b);
			node_configure(n, 1, 0, "");
			node_step(n, 100);
			l = post(
				n, require ? SHADOW_REQUIRE : SHADOW_PREFER, 0);
			node_step(n, 500);
			assert_int_equal(b->stores, storing);
			assert_false(l->done);
			shadow_stop(n->s, on_node_stopped, n);
			far_fini(&b);
			letter_wait(l, 1000);
			letter_end(&l, require ? ERR_UNREACH : ERR_OK,
				LEVEL_SOLO, 500, 600);
			assert_int_equal(
				sim_disk_messages(n->w.disk), !require);
			conf_unref(&n->s->conf); /* it was stopped */
			node_step(n, 20000);
			node_teardown(state);
		}
}

/* Rule: a body in a file that is not what was stored has no copy and no 250, is
 * not sent again and again, and keeps nobody else waiting. */
static void test_bad_file(void **state)
{
	struct node *n = *state;
	struct letter *l = x_calloc(1, sizeof *l), *other;
	struct body *body;
	struct far *b;

	b = far_new(n, 'b');
	node_configure(n, 1, 0, "");
	node_step(n, 100);
	l->n = n;
	l->at = loop_now(n->w.loop);
	l->rcpt[0].address = SPAN("r@y.example");
	l->env = (struct envelope){.id = queue_next_id(n->w.q),
		.received = loop_wall(n->w.loop),
		.sender = SPAN("a@a.example"),
		.client = SPAN("192.0.2.1"),
		.size = 300000,
		.in_file = 1,
		.rcpt = l->rcpt,
		.nrcpt = 1};
	l->a = (struct accept){.policy = SHADOW_PREFER,
		.on_delay = DELAY_ACCEPT,
		.done = on_letter,
		.arg = l};
	body = letter_body(n, l);
	body->crc ^= 1;
	l->env.crc ^= 1;
	shadow_accept(n->s, &l->a, &l->env, body);
	body_unref(&body);
	node_step(n, 2000);
	assert_int_equal(l->done, 1);
	assert_int_not_equal(l->a.err, ERR_OK);
	other = post(n, SHADOW_PREFER, 0);
	letter_wait(other, 100000);
	assert_int_equal(other->a.err, ERR_OK);
	assert_int_equal(other->a.level, LEVEL_SHADOWED);
	assert_true(other->ms < 1000);
	assert_true(b->opened <= 3);
	free(l);
	free(other);
	far_fini(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_table),
		TN(test_target_first),
		TN(test_target_first_again),
		TN(test_bad_file),
		cmocka_unit_test(test_next_hop),
		cmocka_unit_test(test_stop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
