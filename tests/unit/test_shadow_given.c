/* What a peer gives to us: when it is taken, what comes with it, and what a
 * peer that is broken or hostile can do with it. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "queue/control.h"
#include "tests/unit/shadow_world.h"
#include "tests/unit/shadow_far.h"
#include "tests/unit/shadow_dial.h"
#include "tests/unit/shadow_mail.h"

static void begin(void **state, struct node **n_r, struct far **b_r)
{
	node_setup(state);
	*n_r = *state;
	(*n_r)->w.disk->free = (*n_r)->w.disk->total = UINT64_C(1) << 40;
	*b_r = far_new(*n_r, 'b');
	node_configure(*n_r, 1, 0, "");
	node_step(*n_r, 100);
	far_dial(*b_r);
	far_hello(*b_r, 1, 1);
	buf_clear(&(*b_r)->heard);
}

static void end(void **state, struct far **b_r)
{
	far_fini(b_r);
	assert_true(list_empty(&((struct node *)*state)->s->serves));
	node_teardown(state);
}

/* A copy that is held for b, of one recipient. */
static struct copy *held(struct node *n, const struct far *b, uint64_t seq)
{
	struct mid m = {.inc = b->inc, .seq = seq};

	memcpy(m.sid, b->sid, sizeof m.sid);
	return hold_one(n, m);
}

/* f's usual answers, but for what it must say to live with us. */
static int live(
	struct far *f, enum wire_verb v, struct span rest, struct buf *out)
{
	struct buf text;

	(void)f;
	if (v == WIRE_CLAIM) {
		wire_ceded_write(out, &(struct wire_ceded){.said = WIRE_CEDED});
		return 1;
	}
	if (v != WIRE_STATUS)
		return 0;
	buf_init(&text, 4096);
	far_items(rest, "LIVE/1", &text);
	wire_reply_write(out, 250, (struct enhanced){2, 0, 0}, buf_span(&text));
	buf_fini(&text);
	return 1;
}

static void give(struct far *b, const struct mid *m, uint32_t gen,
	struct span status, const char *want)
{
	struct wire_give g = {.mid = *m, .gen = gen, .status = status.n};
	struct buf line;

	buf_init(&line, 1 << 20);
	wire_give_write(&line, &g);
	buf_add(&line, status);
	buf_clear(&b->heard);
	far_say(b, buf_span(&line));
	far_expect(b, want);
	buf_fini(&line);
}

/* Of what its giver tried in vain, and an administrator suspended. */
static struct buf status_of(unsigned nrcpt, enum rcpt_state last, int noticed)
{
	struct rcpt_status r[3] = {{.attempts = 3,
		.code = 451,
		.enh = {4, 7, 1},
		.text = SPAN("not now"),
		.host = SPAN("mx.example")}};
	struct status s = {.suspension = SUSPEND_YES,
		.priority = PRIORITY_HIGH,
		.delay_noticed = (uint8_t)noticed,
		.rcpt = r,
		.nrcpt = nrcpt};
	struct buf b;

	buf_init(&b, 1 << 16);
	r[nrcpt - 1].state = (uint8_t)last;
	assert_int_equal(status_encode(&s, &b), 0);
	return b;
}

/* Rule: it is ours when that is on our disk, and everybody was told; the giver
 * holds a copy then. Said again, it is stale. */
static void test_taken(void **state)
{
	struct node *n;
	struct far *b;
	struct copy *c;
	struct buf st = status_of(1, RCPT_PENDING, 1);
	struct message_view v;
	struct message_peek k;

	begin(state, &n, &b);
	b->answer = live;
	c = held(n, b, 7);
	n->w.disk->latency = 40;
	give(b, &c->mid, 2, buf_span(&st), "250 2.0.0 noted 1\r\n");
	assert_true(c->state == COPY_HELD && c->moving);
	assert_int_equal(times(&b->talk, "CLAIM"), 0);
	give(b, &c->mid, 2, buf_span(&st), "451 4.3.2 busy\r\n");
	node_step(n, 100);
	assert_int_equal(times(&b->talk, "CLAIM"), 1);
	assert_true(c->state == COPY_LIVE && c->gen == 2);
	assert_true(c->holder == node_peer(n, 'b'));
	assert_int_equal(n->s->counts.takeovers[TAKE_GIVEN], 1);
	assert_int_equal(logged(&n->w, "shadow.moved_in"), 1);
	assert_int_equal(logged(&n->w, "shadow.takeover"), 0);
	assert_int_equal(queue_view(n->w.q, queue_id(c->m), &v), 0);
	assert_true(v.status->delay_noticed && v.status->rcpt[0].attempts == 3);
	assert_true(span_eq(v.status->rcpt[0].text, SPAN("not now")));
	assert_int_equal(queue_peek(n->w.q, queue_id(c->m), &k), 0);
	assert_true(k.suspended && k.priority == PRIORITY_HIGH);
	assert_null(lease(&n->w, "c0|y", 1));
	give(b, &c->mid, 2, buf_span(&st), "550 5.7.1 stale GEN=2\r\n");
	give(b, &c->mid, 3, buf_span(&st), "550 5.7.1 stale GEN=2\r\n");
	node_restart(n);
	assert_int_equal(n->s->ours, 1);
	buf_fini(&st);
	end(state, &b);
}

static int contest(
	struct far *f, enum wire_verb v, struct span rest, struct buf *out)
{
	if (v == WIRE_CLAIM && f->say) {
		wire_stale_write(out, 9);
		return 1;
	}
	return live(f, v, rest, out);
}

/* Rule: a claim that met a better one is forgotten with the ownership that it
 * was for: taken over again, the message goes on. */
static void test_again(void **state)
{
	struct node *n;
	struct far *b;
	struct copy *c;
	struct wire_claim w = {.gen = 3};
	struct buf line;

	begin(state, &n, &b);
	b->answer = contest;
	b->say = 1;
	c = held(n, b, 7);
	give(b, &c->mid, 2, SPAN(""), "250 2.0.0 noted 1\r\n");
	node_step(n, 100);
	assert_int_equal(c->state, COPY_CLAIM);
	w.mid = c->mid;
	buf_init(&line, WIRE_LINE);
	wire_claim_write(&line, &w);
	far_say(b, buf_span(&line));
	far_expect(b, "451 4.3.2 busy\r\n");
	node_step(n, 100);
	assert_int_equal(c->state, COPY_HELD);
	b->say = 0;
	give(b, &c->mid, 4, SPAN(""), "250 2.0.0 noted 1\r\n");
	node_step(n, 100);
	assert_int_equal(c->state, COPY_LIVE);
	buf_fini(&line);
	end(state, &b);
}

/* Rule: with the lease the giver, who holds a copy, is one that may take it
 * over; also when its answer to our claim cannot be heard. */
static void test_lease(void **state)
{
	struct node *n;
	struct far *b;
	struct copy *c;

	node_setup(state);
	n = *state;
	n->w.disk->free = n->w.disk->total = UINT64_C(1) << 40;
	b = far_new(n, 'b');
	node_configure(n, 1, 0, "  fence: lease\n  start_barrier: 1s\n");
	node_step(n, 2000);
	far_down(b);
	far_dial(b);
	far_hello(b, 1, 1);
	c = held(n, b, 7);
	give(b, &c->mid, 2, SPAN(""), "250 2.0.0 noted 1\r\n");
	node_step(n, 2000);
	assert_int_equal(c->state, COPY_LIVE);
	stream_abort(b->out);
	node_step(n, 700000);
	assert_int_equal(shadow_may_deliver(n->s, c), 0);
	node_restart(n);
	assert_int_equal(
		list_item(n->s->taken.next, struct copy, taken)->ntarget, 1);
	end(state, &b);
}

struct row {
	const char *what;
	uint32_t gen;
	int status; /* how many recipients; 0: none; -1: octets that are none */
	enum rcpt_state last;
	const char *want;
	int state; /* of the copy in the end; -1: gone */
};

static const struct row rows[] = {
	{"nothing happened yet", 2, 0, 0, "250 2.0.0 noted 1\r\n", COPY_LIVE},
	{"far ahead", 4000000000, 1, 0, "250 2.0.0 noted 1\r\n", COPY_LIVE},
	{"not above its own", 1, 1, 0, "550 5.7.1 stale GEN=1\r\n", COPY_HELD},
	{"no status", 2, -1, 0, "250 2.0.0 noted 1\r\n", COPY_LIVE},
	{"another's status", 2, 3, 0, "250 2.0.0 noted 1\r\n", COPY_LIVE},
	{"all is done", 2, 1, RCPT_FINAL, "250 2.0.0 noted 1\r\n", -1},
};

static void test_rows(void **state)
{
	for (size_t i = 0; i < countof(rows); i++) {
		const struct row *r = &rows[i];
		struct node *n;
		struct far *b;
		struct copy *c;
		struct mid m;
		struct buf st = {0};

		begin(state, &n, &b);
		b->answer = live;
		c = held(n, b, 7);
		m = c->mid;
		if (r->status > 0)
			st = status_of((unsigned)r->status, r->last, 0);
		give(b, &m, r->gen,
			r->status < 0 ? SPAN("what is this?") : buf_span(&st),
			r->want);
		node_step(n, 100);
		c = copy_find(n->s, &m);
		if ((c ? c->state : -1) != r->state ||
			(r->state == COPY_LIVE && c->gen != r->gen))
			fail_msg("%s: state %d", r->what, c ? c->state : -1);
		buf_fini(&st);
		end(state, &b);
	}
}

/* Rule: only the owner gives, of the database that it has now, and only what
 * is held. */
static void test_not_its(void **state)
{
	struct node *n;
	struct far *b;
	struct copy *c;
	struct mid m = mid_at('b', 1, 1);

	begin(state, &n, &b);
	give(b, &m, 2, SPAN(""), "250 2.0.0 none\r\n");
	memset(m.sid, 0x55, sizeof m.sid); /* of a disk that it had once */
	c = hold_one(n, m);
	give(b, &m, 2, SPAN(""), "550 5.7.1 stale GEN=1\r\n");
	assert_int_equal(c->state, COPY_HELD);
	memcpy(m.sid, n->s->me.sid, sizeof m.sid);
	give(b, &m, 2, SPAN(""), "250 2.0.0 none\r\n");
	end(state, &b);
}

/* Rule: what is too long, or cannot be read, ends the link, for nobody knows
 * what follows; half a record is nothing. */
static void test_bad(void **state)
{
	static const char *const line[] = {
		"XSHADOW GIVE MID=x GEN=2 STATUS=0\r\n",
		"XSHADOW GIVE GEN=2 STATUS=0\r\n",
		"XSHADOW GIVE MID=000000000000000000000000000000b0:"
		"0000000000000001:1 GEN=2 STATUS=16777217\r\n",
	};
	static const char *const want[] = {
		"501 5.5.4 bad MID\r\n",
		"501 5.5.4 MID is missing\r\n",
		"552 5.3.4 status record too large\r\n",
	};

	for (size_t i = 0; i < countof(line); i++) {
		struct node *n;
		struct far *b;

		begin(state, &n, &b);
		far_say(b, span_str(line[i]));
		far_expect(b, want[i]);
		assert_null(b->out);
		far_dial(b);
		far_hello(b, 2, 1);
		far_say(b, SPAN("XSHADOW GIVE MID="
				"000000000000000000000000000000b0:"
				"0000000000000001:1 GEN=2 STATUS=100\r\nhalf"));
		stream_abort(b->out);
		node_step(n, 100);
		end(state, &b);
	}
}

/* Rule: who is drained, or has no room, says so before. */
static void test_says(void **state)
{
	struct node *n;
	struct far *b;

	begin(state, &n, &b);
	far_say(b, SPAN("XSHADOW PING NEXT=1\r\n"));
	assert_int_equal(times(&b->heard, " GIVE=ok"), 1);
	buf_clear(&b->heard);
	shadow_drain(n->s, 1);
	far_say(b, SPAN("XSHADOW PING NEXT=1\r\n"));
	assert_int_equal(times(&b->heard, " GIVE=no"), 1);
	buf_clear(&b->heard);
	shadow_drain(n->s, 0);
	n->w.disk->free = 0;
	node_step(n, 2000);
	far_say(b, SPAN("XSHADOW PING NEXT=1\r\n"));
	assert_int_equal(times(&b->heard, " GIVE=no"), 1);
	end(state, &b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_taken),
		cmocka_unit_test(test_again),
		cmocka_unit_test(test_lease),
		cmocka_unit_test(test_rows),
		cmocka_unit_test(test_not_its),
		cmocka_unit_test(test_bad),
		cmocka_unit_test(test_says),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
