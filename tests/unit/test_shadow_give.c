/* Mail that is ours is given to a peer: what is said, in which order, and what
 * follows when the peer answers something else, nothing, or goes away. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "queue/control.h"
#include "queue/load.h"
#include "tests/unit/shadow_world.h"
#include "tests/unit/shadow_far.h"
#include "tests/unit/shadow_dial.h"
#include "tests/unit/shadow_mail.h"

#define B SPAN("b.example")

static void begin(void **state, struct node **n_r, struct far **b_r)
{
	node_setup(state);
	*n_r = *state;
	(*n_r)->w.disk->free = (*n_r)->w.disk->total = UINT64_C(1) << 40;
	*b_r = far_new(*n_r, 'b');
	node_configure(*n_r, 1, 0, "");
	node_step(*n_r, 100);
}

static void end(void **state, struct far **b_r)
{
	far_fini(b_r);
	node_teardown(state);
}

/* One message of ours; b has a copy of it, or nobody. */
static struct copy *mail(struct node *n, enum shadow_level level)
{
	struct letter *l = post(n, SHADOW_PREFER, 0);
	struct copy *c;

	letter_wait(l, 61000);
	c = copy_find(n->s, &l->env.mid);
	assert_non_null(c);
	letter_end(&l, ERR_OK, level, 0, 61000);
	return c;
}

static void move(struct node *n, int go_on)
{
	struct buf why;

	buf_init(&why, 1000);
	if (shadow_move_start(n->s, B, go_on, &why) != ERR_OK)
		fail_msg("%s", buf_str(&why));
	buf_fini(&why);
}

static void check_view(
	struct node *n, uint64_t left, uint64_t given, uint64_t unsure)
{
	struct shadow_move_view v;

	assert_int_equal(shadow_move_view(n->s, B, &v), 0);
	if (v.left != left || v.given != given || v.unsure != unsure)
		fail_msg("left %u, given %u, unsure %u; not %u, %u, %u",
			(unsigned)v.left, (unsigned)v.given, (unsigned)v.unsure,
			(unsigned)left, (unsigned)given, (unsigned)unsure);
}

static uint64_t ours(struct node *n)
{
	struct queue_counts c;

	queue_counts(n->w.q, &c);
	assert_int_equal(c.messages, shadow_ours(n->s));
	return c.messages;
}

static int has(struct span s, const char *what)
{
	return memmem(s.p, s.n, what, strlen(what)) != NULL;
}

/* b says that it took it over: what it is told. */
static void claim(
	struct far *b, const struct mid *m, uint32_t gen, const char *want)
{
	struct wire_claim w = {.mid = *m, .gen = gen};
	struct buf line;

	buf_init(&line, WIRE_LINE);
	wire_claim_write(&line, &w);
	buf_clear(&b->heard);
	far_say(b, buf_span(&line));
	far_expect(b, want);
	buf_fini(&line);
}

static void dial(struct far *b, uint64_t link)
{
	far_dial(b);
	far_hello(b, link, 1);
	buf_clear(&b->heard);
}

/* Rule: it is on our disk that b owns it before b hears of it; b hears what
 * happened so far; its claim ends it. */
static void test_given(void **state)
{
	struct node *n;
	struct far *b;
	struct copy *c;
	struct status st;
	struct arena a = {0};
	const char *why = "";

	begin(state, &n, &b);
	dial(b, 1);
	c = mail(n, LEVEL_SHADOWED);
	assert_int_equal(ours(n), 1);
	n->w.disk->latency = 50;
	move(n, 0);
	check_view(n, 1, 0, 0);
	node_step(n, 40);
	assert_int_equal(times(&b->talk, "GIVE"), 0);
	assert_int_equal(c->state, COPY_LIVE);
	assert_null(lease(&n->w, "c0|y.example", 10));
	node_step(n, 100);
	assert_int_equal(times(&b->talk, "XSHADOW GIVE MID="), 1);
	assert_true(mid_eq(&b->g.mid, &c->mid));
	assert_int_equal(b->g.gen, 2);
	assert_int_equal(
		status_decode(buf_span(&b->gift), &a, &st, &why), ERR_OK);
	assert_int_equal(st.nrcpt, 2);
	arena_fini(&a);
	assert_int_equal(c->state, COPY_HELD);
	assert_true(c->gen == 2 && c->owner == node_peer(n, 'b'));
	assert_int_equal(ours(n), 0);
	check_view(n, 1, 0, 0);
	claim(b, &c->mid, 2, "250 2.0.0 ceded\r\n");
	check_view(n, 0, 1, 0);
	assert_int_equal(n->s->counts.given, 1);
	assert_int_equal(logged(&n->w, "shadow.moved_out"), 1);
	assert_int_equal(logged(&n->w, "shadow.moved peer"), 1);
	assert_int_equal(logged(&n->w, "shadow.ceded"), 0);
	/* What is over is not counted again. */
	move(n, 0);
	check_view(n, 0, 0, 0);
	end(state, &b);
}

/* Rule: what is in somebody's hands stays until they are empty; what was
 * finished by then, b hears. */
static void test_in_hands(void **state)
{
	struct node *n;
	struct far *b;
	struct copy *c;
	struct lease *l;
	struct status st;
	struct arena a = {0};
	const char *why = "";

	begin(state, &n, &b);
	c = mail(n, LEVEL_SHADOWED);
	l = lease(&n->w, "c0|z.example", 10);
	assert_non_null(l);
	move(n, 0);
	node_step(n, 5000);
	assert_int_equal(b->g.gen, 0);
	assert_int_equal(ours(n), 1);
	settle_all(&n->w, l, VERDICT_FINAL);
	node_step(n, 1500);
	assert_int_equal(b->g.gen, 2);
	assert_int_equal(
		status_decode(buf_span(&b->gift), &a, &st, &why), ERR_OK);
	assert_true(st.rcpt[0].state == RCPT_PENDING &&
		    st.rcpt[1].state == RCPT_FINAL);
	arena_fini(&a);
	assert_int_equal(c->state, COPY_HELD);
	end(state, &b);
}

/* Rule: one that is delivered meanwhile needs not be given. */
static void test_delivered(void **state)
{
	struct node *n;
	struct far *b;
	struct lease *y, *z;

	begin(state, &n, &b);
	mail(n, LEVEL_SHADOWED);
	y = lease(&n->w, "c0|y.example", 10);
	z = lease(&n->w, "c0|z.example", 10);
	move(n, 0);
	node_step(n, 100);
	settle_all(&n->w, y, VERDICT_FINAL);
	settle_all(&n->w, z, VERDICT_FINAL);
	node_step(n, 2000);
	check_view(n, 0, 0, 0);
	assert_int_equal(b->g.gen, 0);
	assert_int_equal(n->s->copies.n, 0);
	end(state, &b);
}

/* Rule: without a copy at b there is one first, on the list of targets. */
static void test_copy_first(void **state)
{
	struct node *n;
	struct far *b;
	struct copy *c;

	begin(state, &n, &b);
	far_down(b);
	c = mail(n, LEVEL_SOLO);
	move(n, 0);
	node_step(n, 5000);
	check_view(n, 1, 0, 0);
	far_up(b);
	node_step(n, 20000);
	assert_int_equal(b->stores, 1);
	assert_int_equal(b->g.gen, 2);
	assert_int_equal(c->state, COPY_HELD);
	end(state, &b);
}

/* Rule: that a body is damaged is found out when its copy is to be sent to b:
 * the message leaves, and the others go on. Whoever has a copy and takes it
 * over is not kept waiting. */
static void test_damaged(void **state)
{
	struct node *n;
	struct far *b, *c;
	struct copy *bad, *good;
	struct mid mid;

	begin(state, &n, &b);
	c = far_new(n, 'c');
	far_down(b);
	node_configure(n, 2, 0, "");
	node_step(n, 3000);
	bad = mail(n, LEVEL_SHADOWED);
	good = mail(n, LEVEL_SHADOWED);
	far_up(b);
	node_step(n, 20000);
	assert_int_equal(b->stores, 0);
	queue_drop_cached(n->w.q);
	sim_disk_damage(n->w.disk, queue_id(bad->m), 'b');
	mid = bad->mid;
	move(n, 0);
	check_view(n, 2, 0, 0);
	node_step(n, 5000);
	assert_int_equal(n->w.disk->ndamaged, 1);
	assert_int_equal(b->stores, 1);
	assert_int_equal(good->state, COPY_HELD);
	assert_int_equal(ours(n), 0);
	dial(b, 1);
	claim(b, &mid, 2, "250 2.0.0 none\r\n");
	far_fini(&c);
	end(state, &b);
}

enum said { SAY_NOTHING, SAY_BUSY, SAY_STALE, SAY_NONE, SAY_WHAT, SAY_CUT };

static int answer_give(
	struct far *f, enum wire_verb v, struct span rest, struct buf *out)
{
	(void)rest;
	if (v != WIRE_GIVE)
		return 0;
	switch ((enum said)f->say) {
	case SAY_NOTHING:
		f->hushed = 1;
		break;
	case SAY_BUSY:
		wire_busy_write(out);
		break;
	case SAY_STALE:
		wire_stale_write(out, 9);
		break;
	case SAY_NONE:
		wire_ceded_write(
			out, &(struct wire_ceded){.said = WIRE_CEDE_NONE});
		break;
	case SAY_WHAT:
		buf_adds(out, "500 5.5.1 command unknown\r\n");
		break;
	case SAY_CUT:
		stream_abort(f->st);
		break;
	}
	return 1;
}

/* Rule: whatever b answers, the message is b's on our disk, and we hold it; it
 * counts as unsure. When b then says that it has no copy (far's usual answer to
 * STATUS) we take it back; when b says nothing, after a silence that is long
 * enough. */
static void test_not_taken(void **state)
{
	for (unsigned i = SAY_NOTHING; i <= SAY_CUT; i++) {
		struct node *n;
		struct far *b;
		struct copy *c;

		begin(state, &n, &b);
		c = mail(n, LEVEL_SHADOWED);
		b->say = (int)i;
		b->answer = answer_give;
		move(n, 0);
		node_step(n, 60);
		assert_int_equal(b->g.gen, 2);
		b->answer = NULL;
		if (i == SAY_NOTHING) {
			assert_int_equal(c->state, COPY_HELD);
			node_step(n, 11000);
		} else if (i == SAY_CUT) {
			assert_int_equal(c->state, COPY_HELD);
			node_step(n, 5000);
		}
		check_view(n, 0, 0, 1);
		node_step(n, 5000);
		if (c->state != COPY_LIVE || c->gen != 3 || ours(n) != 1)
			fail_msg("%u: state %d, gen %u", i, c->state, c->gen);
		end(state, &b);
	}
}

/* Rule: b heard nothing and asks: it is named as the owner. */
static void test_unheard(void **state)
{
	struct node *n;
	struct far *b;
	struct copy *c;
	struct wire_batch w;
	struct buf line;

	begin(state, &n, &b);
	c = mail(n, LEVEL_SHADOWED);
	b->say = SAY_CUT;
	b->answer = answer_give;
	move(n, 0);
	node_step(n, 30);
	far_down(b);
	assert_int_equal(c->state, COPY_HELD);
	node_restart(n);
	node_configure(n, 1, 0, "");
	dial(b, 1);
	buf_init(&line, WIRE_LINE);
	wire_batch_open(&w, WIRE_STATUS, &line);
	wire_batch_status(&w, &b->g.mid);
	wire_batch_close(&w);
	far_say(b, buf_span(&line));
	far_expect(b, "250 2.0.0 HELD/2/b.example\r\n");
	buf_fini(&line);
	claim(b, &b->g.mid, 3, "451 4.3.2 busy\r\n");
	node_step(n, 100);
	claim(b, &b->g.mid, 3, "250 2.0.0 ceded\r\n");
	assert_int_equal(ours(n), 0);
	end(state, &b);
}

/* Rule: b that is gone for good is replaced by us. */
static void test_gone(void **state)
{
	struct node *n;
	struct far *b;
	struct copy *c;

	begin(state, &n, &b);
	c = mail(n, LEVEL_SHADOWED);
	move(n, 0);
	node_step(n, 60);
	assert_int_equal(c->state, COPY_HELD);
	far_down(b);
	node_step(n, 700000);
	assert_true(c->state == COPY_LIVE && c->gen == 3);
	assert_int_equal(logged(&n->w, "reason=silence"), 1);
	end(state, &b);
}

/* Rule: nothing goes to a peer that does not know how, is drained, full or not
 * there; it is said why, and goes when that is over. */
static void test_waits(void **state)
{
	struct node *n;
	struct far *b;
	struct shadow_move_view v;
	struct buf why;

	begin(state, &n, &b);
	buf_init(&why, 1000);
	mail(n, LEVEL_SHADOWED);
	assert_int_equal(shadow_move_start(n->s, SPAN("x.example"), 0, &why),
		ERR_NOTFOUND);
	assert_string_equal(
		buf_str(&why), "\"x.example\" is not in shadow.peers");
	b->gives = WIRE_GIVES_NOT;
	node_step(n, 6000);
	buf_clear(&why);
	assert_int_equal(shadow_move_start(n->s, B, 0, &why), ERR_VERSION);
	b->gives = WIRE_GIVES_NO;
	node_step(n, 6000);
	move(n, 0);
	node_step(n, 20000);
	shadow_move_view(n->s, B, &v);
	assert_true(has(v.waits, "takes no mail now"));
	far_down(b);
	b->gives = WIRE_GIVES_OK;
	shadow_move_view(n->s, B, &v);
	assert_true(has(v.waits, "link is down"));
	assert_int_equal(b->g.gen, 0);
	far_up(b);
	node_step(n, 8000);
	assert_int_equal(b->g.gen, 2);
	buf_fini(&why);
	end(state, &b);
}

/* Rule: what is stopped stays; what goes on takes what comes later; one by one
 * is possible as well. */
static void test_orders(void **state)
{
	struct node *n;
	struct far *b;
	struct copy *c, *d;
	struct buf why;

	begin(state, &n, &b);
	buf_init(&why, 1000);
	dial(b, 1);
	c = mail(n, LEVEL_SHADOWED);
	b->gives = WIRE_GIVES_NO;
	node_step(n, 6000);
	move(n, 0);
	node_step(n, 100);
	shadow_move_stop(n->s, B);
	b->gives = WIRE_GIVES_OK;
	node_step(n, 6000);
	check_view(n, 0, 0, 0);
	assert_int_equal(c->state, COPY_LIVE);
	d = mail(n, LEVEL_SHADOWED);
	assert_int_equal(shadow_give(n->s, d, B, &why), ERR_OK);
	assert_int_equal(shadow_give(n->s, d, B, &why), ERR_OK);
	assert_int_equal(shadow_give(n->s, NULL, B, &why), ERR_NOTFOUND);
	node_step(n, 100);
	assert_true(d->state == COPY_HELD && c->state == COPY_LIVE);
	assert_int_equal(shadow_give(n->s, d, B, &why), ERR_NOTFOUND);
	claim(b, &d->mid, 2, "250 2.0.0 ceded\r\n");
	move(n, 1);
	node_step(n, 100);
	assert_int_equal(c->state, COPY_HELD);
	d = mail(n, LEVEL_SHADOWED);
	node_step(n, 100);
	assert_int_equal(d->state, COPY_HELD);
	shadow_move_stop(n->s, B);
	d = mail(n, LEVEL_SHADOWED);
	node_step(n, 100);
	assert_int_equal(d->state, COPY_LIVE);
	buf_fini(&why);
	end(state, &b);
}

/* Rule: mail without an identity is counted, and stays. */
static void test_no_identity(void **state)
{
	struct node *n;
	struct far *b;
	struct letter *l;
	struct shadow_move_view v;

	begin(state, &n, &b);
	l = post(n, SHADOW_OFF, 0);
	letter_wait(l, 1000);
	letter_end(&l, ERR_OK, LEVEL_LOCAL, 0, 1000);
	mail(n, LEVEL_SHADOWED);
	assert_int_equal(shadow_ours(n->s), 1);
	move(n, 0);
	node_step(n, 100);
	shadow_move_view(n->s, B, &v);
	assert_int_equal(v.no_identity, 1);
	end(state, &b);
}

/* Rule: b comes back with another disk while it is written down that it owns
 * it: then it does not. */
static void test_other_disk(void **state)
{
	struct node *n;
	struct far *b;
	struct copy *c;

	begin(state, &n, &b);
	c = mail(n, LEVEL_SHADOWED);
	n->w.disk->latency = 20000;
	move(n, 0);
	node_step(n, 10);
	assert_int_equal(c->moving, 1);
	memset(b->sid, 'B', sizeof b->sid);
	stream_abort(b->st);
	node_step(n, 19000);
	n->w.disk->latency = 2;
	assert_int_equal(c->moving, 1);
	node_step(n, 10000);
	assert_true(c->state == COPY_LIVE && c->gen == 3);
	assert_int_equal(b->g.gen, 0);
	assert_int_equal(logged(&n->w, "reason=\"new database\""), 1);
	end(state, &b);
}

/* Rule: what an administrator has ordered to be removed ends here, however long
 * the notice takes: a peer that took it over by its own question would not know
 * of the order. */
static void test_removed_stays(void **state)
{
	struct node *n;
	struct far *b;
	struct copy *c;
	struct world *w;

	begin(state, &n, &b);
	w = &n->w;
	dial(b, 1);
	c = mail(n, LEVEL_SHADOWED);
	assert_int_equal(
		queue_message_remove(w->q, queue_id(c->m), 1, NULL), CHANGED);
	node_step(n, 100);
	assert_int_equal(w->nexpired, 2);
	move(n, 0);
	node_step(n, 1000);
	while (w->nexpired) /* no notice now */
		settle_all(w, w->expired[--w->nexpired], VERDICT_RELEASE);
	node_step(n, 30000);
	assert_int_equal(ours(n), 1);
	check_view(n, 1, 0, 0);
	node_step(n, 2 * MINUTE);
	assert_int_equal(w->nexpired, 2);
	while (w->nexpired)
		settle_all(w, w->expired[--w->nexpired], VERDICT_FINAL);
	node_step(n, 1000);
	assert_int_equal(ours(n), 0);
	check_view(n, 0, 0, 0);
	end(state, &b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_given),
		cmocka_unit_test(test_in_hands),
		cmocka_unit_test(test_delivered),
		cmocka_unit_test(test_copy_first),
		cmocka_unit_test(test_damaged),
		cmocka_unit_test(test_not_taken),
		cmocka_unit_test(test_unheard),
		cmocka_unit_test(test_gone),
		cmocka_unit_test(test_waits),
		cmocka_unit_test(test_orders),
		cmocka_unit_test(test_no_identity),
		cmocka_unit_test(test_other_disk),
		cmocka_unit_test(test_removed_stays),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
