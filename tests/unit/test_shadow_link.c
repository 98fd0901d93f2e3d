/* Our link to a peer that is broken, lost or hostile: no copy counts that is
 * none, nothing is lost, and the node goes on. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/unit/shadow_world.h"
#include "tests/unit/shadow_far.h"
#include "tests/unit/shadow_mail.h"

#define LOTS UINT64_C(100000)
enum { BIG = 1 << 20 };
#define X63 "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
#define NAME X63 "." X63 "." X63 "." X63

/* --- until it is up ------------------------------------------------------- */

/* Rule: with a bad greeting or answer to HELLO the link is not up; it is tried
 * again, and works when the peer does. */
static void test_not_up(void **state)
{
	static const struct {
		const char *greeting, *welcome;
		int mute;
	} cases[] = {
		{"554 5.7.1 no\r\n", NULL, 0},
		{"220", NULL, 0},
		{"220 x\n", NULL, 0},
		{"250 x\r\n", NULL, 0},
		{"\r\n", NULL, 0},
		{NULL, NULL, 1},
		{NULL, "550 5.7.1 no\r\n", 0},
		{NULL, "421 4.3.2 no\r\n", 0},
		{NULL, "550 5.7.1 " NAME " " NAME " " NAME "\r\n", 0},
		{NULL,
			"250 2.0.0 V=2 SID=62626262626262626262626262626262 "
			"INC=0000000000000001 HELD=0 WINDOW=1 BYTES=1 "
			"FREE=ok\r\n",
			0},
		{NULL,
			"250 2.0.0 V=0 SID=62626262626262626262626262626262 "
			"INC=0000000000000001 HELD=0 WINDOW=1 BYTES=1 "
			"FREE=ok\r\n",
			0},
		{NULL,
			"250 2.0.0 V=1 INC=0000000000000001 HELD=0 WINDOW=1 "
			"BYTES=1 FREE=ok\r\n",
			0},
		{NULL, "250 2.0.0 hello\r\n", 0},
		{NULL, "250 2.0.0\r\n", 0},
		{NULL, "250-2.0.0 never ends\r\n", 0},
		{NULL, "251-x\r\n250 y\r\n", 0},
	};
	static const char *const what[] = {"greeting", "welcome"};

	for (size_t i = 0; i < countof(cases); i++) {
		struct node *n;
		struct far *b;

		node_setup(state);
		n = *state;
		b = far_new(n, 'b');
		b->greeting = cases[i].greeting;
		b->welcome = cases[i].welcome;
		b->mute = cases[i].mute;
		node_configure(n, 1, 0, "");
		for (unsigned k = 0; k < 300; k++) {
			node_step(n, 100);
			assert_false(link_up(node_peer(n, 'b')));
		}
		if (b->opened < 2)
			fail_msg("%s %zu: not tried again",
				what[cases[i].welcome != NULL], i);
		if (!node_peer(n, 'b')->trouble.n)
			fail_msg("%s %zu: no trouble: %s",
				what[cases[i].welcome != NULL], i,
				buf_str(&n->w.lines));
		/* The same reason is said once. */
		assert_int_equal(logged(&n->w, "shadow.link_failed"), 1);
		b->greeting = b->welcome = NULL;
		b->mute = 0;
		node_step(n, 20000);
		assert_true(link_up(node_peer(n, 'b')));
		assert_int_equal(node_peer(n, 'b')->trouble.n, 0);
		far_fini(&b);
		node_teardown(state);
	}
}

/* Rule: a peer that has our own database, or another peer's, is refused. */
static void test_clone(void **state)
{
	struct node *n = *state;
	struct far *b = far_new(n, 'b'), *c = far_new(n, 'c');

	memcpy(b->sid, n->w.disk->sid, sizeof b->sid);
	node_configure(n, 2, 0, "");
	node_step(n, 5000);
	assert_false(link_up(node_peer(n, 'b')));
	assert_true(link_up(node_peer(n, 'c')));
	memcpy(b->sid, c->sid, sizeof b->sid);
	node_step(n, 10000);
	assert_false(link_up(node_peer(n, 'b')));
	assert_true(n->s->counts.clones >= 2);
	assert_int_equal(logged(&n->w, "shadow.clone"), 1); /* one start */
	b->sid[0] = 1;
	node_step(n, 10000);
	assert_true(link_up(node_peer(n, 'b')));
	far_fini(&b);
	far_fini(&c);
}

static int keep_for_9_s(
	struct far *f, enum wire_verb v, struct span rest, struct buf *out)
{
	(void)f;
	(void)rest;
	(void)out;
	return v == WIRE_HELLO;
}

/* Rule (R11): an answer proves what its question proves, not more: also that
 * to HELLO, however late it comes. */
static void test_lease_from_hello(void **state)
{
	struct node *n = *state;
	struct far *b = far_new(n, 'b');
	uint64_t sent;
	struct buf out;

	b->answer = keep_for_9_s;
	node_configure(n, 1, 0, "");
	while (!times(&b->talk, "HELLO") && sim_loop_turn(n->w.loop))
		;
	sent = loop_now(n->w.loop);
	node_step(n, 9000);
	buf_init(&out, 1000);
	far_welcome(b, &out);
	stream_write(b->st, buf_span(&out));
	buf_fini(&out);
	node_step(n, 1);
	assert_true(link_up(node_peer(n, 'b')));
	assert_int_equal(node_peer(n, 'b')->leased, sent);
	b->answer = NULL;
	node_step(n, 6000);
	assert_true(node_peer(n, 'b')->leased > sent + 9000);
	far_fini(&b);
}

/* --- replies to nothing, no replies --------------------------------------- */

/* Rule: what nobody asked for ends the link, and the next one works. */
static void test_unasked(void **state)
{
	static const char *const said[] = {
		"250 2.0.0 ok\r\n",
		"421 4.3.2 going away\r\n",
		"220 hello again\r\n",
		"550 5.7.1 stale GEN=7\r\n",
		"250 2.0.0 answer\r\n250 2.0.0 answer\r\n",
		"nonsense\r\n",
		"250 bare\n",
		"\r\n",
		"999 x\r\n",
	};
	struct node *n = *state;
	struct far *b = far_new(n, 'b');

	node_configure(n, 1, 0, "");
	node_step(n, 10);
	for (size_t i = 0; i < countof(said); i++) {
		assert_true(link_up(node_peer(n, 'b')));
		assert_int_equal(b->opened, i + 1);
		stream_write(b->st, span_str(said[i]));
		node_step(n, 1);
		if (link_up(node_peer(n, 'b')))
			fail_msg("still up after %s", said[i]);
		node_step(n, 1000);
	}
	far_fini(&b);
}

static void say_much(struct far *f, const char *line, size_t total)
{
	struct buf b;

	buf_init(&b, total + 1000);
	while (b.n < total)
		buf_adds(&b, line);
	stream_write(f->st, buf_span(&b));
	buf_fini(&b);
}

static int say_nothing(
	struct far *f, enum wire_verb v, struct span rest, struct buf *out)
{
	(void)f;
	(void)rest;
	(void)out;
	return v != WIRE_HELLO;
}

/* Rule: a reply too long ends the link; one that is only long is read, and its
 * end is what counts. */
static void test_huge(void **state)
{
	static const struct {
		const char *line;
		size_t total;
	} cases[] = {
		{"x", 100000},
		{"250-", 100000},
		{"250-2.0.0 held\r\n", 100000},
		{"250-\r\n", 200 * 6},
	};

	for (size_t i = 0; i < countof(cases); i++) {
		struct node *n;
		struct letter *l;
		struct far *b;

		node_setup(state);
		n = *state;
		b = far_new(n, 'b');
		b->answer = say_nothing;
		node_configure(n, 1, 0, "");
		node_step(n, 10);
		l = post(n, SHADOW_PREFER, 0);
		node_step(n, 10);
		assert_int_equal(b->stores, 1);
		say_much(b, cases[i].line, cases[i].total);
		node_step(n, 10);
		assert_false(link_up(node_peer(n, 'b')));
		assert_false(l->done);
		b->answer = NULL;
		letter_wait(l, LOTS);
		letter_end(&l, ERR_OK, LEVEL_SHADOWED, 20, 1000);
		far_fini(&b);
		node_teardown(state);
	}
}

/* Rule: an idle peer that does not answer a PING is lost after two heartbeats;
 * its link is made anew. */
static void test_no_pong(void **state)
{
	struct node *n = *state;
	struct far *b = far_new(n, 'b');

	node_configure(n, 1, 0, "");
	node_step(n, 100);
	b->answer = say_nothing;
	node_step(n, 4800);
	assert_int_equal(times(&b->talk, "PING"), 0);
	while (!times(&b->talk, "PING") && sim_loop_turn(n->w.loop))
		;
	node_step(n, 9999);
	assert_true(link_up(node_peer(n, 'b')));
	assert_int_equal(b->opened, 1);
	node_step(n, 1);
	assert_false(link_up(node_peer(n, 'b')));
	node_step(n, 500);
	assert_int_equal(b->opened, 2);
	far_fini(&b);
}

/* --- STORE ---------------------------------------------------------------- */

enum { SAY_MID, SAY_DIG, SAY_GONE, SAY_STALE, SAY_OK, SAY_PONG, SAY_421, SAYS };

static void say_to_store(struct far *f, int what, struct buf *out)
{
	struct wire_held h = {.mid = f->w.mid, .gone = what == SAY_GONE};

	memcpy(h.dig, f->came, sizeof h.dig);
	h.mid.seq += what == SAY_MID;
	h.dig[31] ^= what == SAY_DIG;
	if (what == SAY_STALE)
		wire_stale_write(out, 7);
	else if (what == SAY_OK)
		buf_adds(out, "250 2.0.0 ok\r\n");
	else if (what == SAY_PONG)
		far_pong(f, out);
	else if (what == SAY_421)
		buf_adds(out, "421 4.3.2 too much\r\n");
	else
		wire_held_write(out, &h);
}

static int say_wrong(
	struct far *f, enum wire_verb v, struct span rest, struct buf *out)
{
	(void)rest;
	if (v == WIRE_STORE)
		say_to_store(f, (int)f->window - 100, out);
	return v == WIRE_STORE;
}

/* Rule: only "held" of this MID and this digest is a copy; after any other
 * answer the next peer gets it. */
static void test_store_answers(void **state)
{
	for (int what = 0; what < SAYS; what++) {
		struct node *n;
		struct letter *l;
		struct far *b, *c;

		node_setup(state);
		n = *state;
		b = far_new(n, 'b');
		c = far_new(n, 'c');
		b->window = 100 + (unsigned)what;
		b->answer = say_wrong;
		node_configure(n, 2, 0, "");
		node_step(n, 100);
		l = post(n, SHADOW_REQUIRE, 0);
		letter_wait(l, LOTS);
		assert_string_equal(l->peer, "c.example");
		letter_end(&l, ERR_OK, LEVEL_SHADOWED, 1, 60);
		assert_int_equal(b->stores, 1);
		assert_int_equal(link_up(node_peer(n, 'b')), what != SAY_421);
		far_fini(&b);
		far_fini(&c);
		node_teardown(state);
	}
}

/* The first STORE gets no answer, and what is asked next gets its. */
static int answer_next(
	struct far *f, enum wire_verb v, struct span rest, struct buf *out)
{
	(void)rest;
	(void)out;
	return v == WIRE_STORE && f->stores == 1;
}

/* Rule: answers that come out of order hold for what they name or for
 * nothing: of two messages, the one whose copy was not confirmed is not
 * shadowed. */
static void test_out_of_order(void **state)
{
	struct node *n = *state;
	struct far *b = far_new(n, 'b');
	struct letter *l[2];

	b->answer = answer_next;
	node_configure(n, 1, 0, "");
	node_step(n, 10);
	l[0] = post(n, SHADOW_PREFER, 1);
	l[1] = post(n, SHADOW_PREFER, 1);
	node_step(n, 30);
	assert_int_equal(b->stores, 2);
	assert_true(l[0]->done);
	letter_end(&l[0], ERR_OK, LEVEL_SOLO, 1, 30);
	letter_wait(l[1], LOTS);
	letter_end(&l[1], ERR_OK, LEVEL_SOLO, 100, LOTS);
	far_fini(&b);
}

/* Rule: a peer that is gone in the middle of a payload has nothing; the next
 * one gets all of it. */
static void test_cut(void **state)
{
	static const struct {
		uint64_t size, at;
	} cases[] = {{0, 1}, {0, 200}, {BIG, 1}, {BIG, 1000}, {BIG, 256 * 1024},
		{BIG, BIG - 1}, {BIG, BIG + 200}};

	for (size_t i = 0; i < countof(cases); i++) {
		struct node *n;
		struct letter *l;
		struct far *b, *c;

		node_setup(state);
		n = *state;
		b = far_new(n, 'b');
		c = far_new(n, 'c');
		b->cut_at = cases[i].at;
		node_configure(n, 2, 0, "");
		node_step(n, 100);
		l = post_letter(n, SHADOW_REQUIRE, 0, cases[i].size, 0, 0);
		letter_wait(l, LOTS);
		assert_string_equal(l->peer, "c.example");
		letter_end(&l, ERR_OK, LEVEL_SHADOWED, 1, 100);
		assert_int_equal(b->stores, 0);
		assert_true(c->payload > cases[i].size);
		far_fini(&b);
		far_fini(&c);
		node_teardown(state);
	}
}

/* Rule: a peer that answers before it has got everything is out of step: its
 * link ends, its answer is none. */
static void test_early(void **state)
{
	static const char *const said[] = {"452 4.3.1 no room\r\n",
		"554 5.6.0 no\r\n", "250 2.0.0 ok\r\n",
		"451 4.3.2 busy\r\n250 2.0.0 noted 1\r\n"};

	for (size_t i = 0; i < countof(said); i++)
		for (uint64_t size = 300000; size <= 4 * BIG; size *= 4) {
			struct node *n;
			struct letter *l;
			struct far *b, *c;

			node_setup(state);
			n = *state;
			b = far_new(n, 'b');
			c = far_new(n, 'c');
			b->early = said[i];
			/* What it has not read yet is still with us. */
			sim_net_link(n->net, SPAN("10.0.0.2"))->window = 20000;
			sim_net_link(n->net, SPAN("10.0.0.2"))->latency = 1;
			node_configure(n, 2, 0, "");
			node_step(n, 100);
			l = post_letter(n, SHADOW_REQUIRE, 0, size, 0, 0);
			letter_wait(l, LOTS);
			assert_string_equal(l->peer, "c.example");
			letter_end(&l, ERR_OK, LEVEL_SHADOWED, 1, 100);
			assert_int_equal(b->stores, 0);
			assert_int_equal(c->stores, 1);
			node_step(n, 1000);
			far_fini(&b);
			far_fini(&c);
			node_teardown(state);
		}
}

/* Rule: a peer that never answers is given up after store_timeout, and the
 * next one is asked at once. */
static void test_never(void **state)
{
	struct node *n = *state;
	struct letter *l;
	struct far *b = far_new(n, 'b'), *c = far_new(n, 'c');

	node_configure(n, 2, 0, "  store_timeout: 7s\n");
	node_step(n, 100);
	b->answer = say_nothing;
	l = post(n, SHADOW_REQUIRE, 0);
	letter_wait(l, LOTS);
	assert_string_equal(l->peer, "c.example");
	letter_end(&l, ERR_OK, LEVEL_SHADOWED, 7000, 7100);
	assert_int_equal(b->closed, 1);
	far_fini(&b);
	far_fini(&c);
}

/* Rule (R11): a lease that had lapsed while an answer was owed begins a new
 * term when it comes: the peer may have taken over meanwhile. */
static void test_new_term(void **state)
{
	struct node *n = *state;
	struct far *b = far_new(n, 'b');
	struct letter *l;
	struct peer *p;
	struct buf out;
	unsigned term;

	node_configure(n, 1, 0,
		"  store_timeout: 5m\n  takeover_after: 20s\n  fence: lease\n");
	node_step(n, 1000);
	p = node_peer(n, 'b');
	b->answer = say_nothing;
	l = post(n, SHADOW_REQUIRE, 0);
	node_step(n, 10);
	term = p->term;
	assert_false(fence_lapsed(p));
	node_step(n, 30000);
	assert_true(link_up(p) && fence_lapsed(p));
	assert_int_equal(p->term, term);
	buf_init(&out, 1 << 16);
	far_held(b, &out);
	for (unsigned i = times(&b->talk, "PING"); i > 0; i--)
		far_pong(b, &out);
	stream_write(b->st, buf_span(&out));
	buf_fini(&out);
	node_step(n, 1);
	assert_true(link_up(p) && !fence_lapsed(p));
	assert_int_not_equal(p->term, term);
	letter_wait(l, LOTS);
	letter_end(&l, ERR_OK, LEVEL_SHADOWED, 30000, 31000);
	far_fini(&b);
}

/* --- STATUS --------------------------------------------------------------- */

enum { HELD_N = STATUS_ITEMS };
static int say_states(
	struct far *f, enum wire_verb v, struct span rest, struct buf *out)
{
	(void)rest;
	if (v != WIRE_STATUS)
		return 0;
	buf_adds(out, f->early);
	return 1;
}

/* What is held for b when it is asked about k copies: which remain. */
static void ask_about(void **state, unsigned k, const char *said,
	const char *left, int nonsense)
{
	struct node *n;
	struct far *b;
	struct mid m;

	node_setup(state);
	n = *state;
	b = far_new(n, 'b');
	b->answer = say_states;
	b->early = said;
	for (unsigned i = 0; i < k; i++) {
		m = mid_at('b', 1, i + 1);
		memcpy(m.sid, b->sid, 16);
		hold_one(n, m);
	}
	node_configure(n, 1, 0, "");
	node_step(n, 1000);
	assert_true(times(&b->talk, "STATUS") >= 1);
	for (unsigned i = 0; i < k; i++) {
		m.seq = i + 1;
		if ((copy_find(n->s, &m) != NULL) !=
			(left[i < strlen(left) ? i : strlen(left) - 1] == '+'))
			fail_msg("%s: %u", said, i);
	}
	assert_int_equal(logged(&n->w, "shadow.nonsense") != 0, nonsense);
	assert_int_equal(logged(&n->w, "shadow.takeover"), 0);
	far_fini(&b);
	node_teardown(state);
}

/* Rule: answers are for the copies in their order; too few, too many and what
 * is no answer change nothing for the others. */
static void test_status(void **state)
{
	static const struct {
		const char *said, *left;
		int nonsense;
	} cases[] = {
		{"250 2.0.0 LIVE/1 LIVE/1 LIVE/1\r\n", "+++", 0},
		{"250 2.0.0 LIVE/1 GONE LIVE/1\r\n", "+-+", 0},
		{"250-2.0.0 GONE\r\n250-2.0.0 GONE\r\n250 2.0.0 LIVE/1\r\n",
			"--+", 0},
		{"250 2.0.0 GONE LIVE/1\r\n", "-++", 1},
		{"250 2.0.0 GONE\r\n", "-++", 1},
		{"250 2.0.0\r\n", "+++", 1},
		{"250 2.0.0 LIVE/1 LIVE/1 LIVE/1 GONE GONE\r\n", "+++", 0},
		{"250 2.0.0 GONE WRONG GONE\r\n", "-++", 1},
		{"250 2.0.0 LIVE GONE GONE\r\n", "+++", 1},
		{"250 2.0.0 HELD/1 GONE GONE\r\n", "+++", 1},
		{"250 2.0.0 LIVE/0 GONE GONE\r\n", "+++", 1},
		{"250 2.0.0 HELD/1/nobody.example GONE LIVE/9\r\n", "+-+", 0},
		{"550 5.7.1 GONE GONE GONE\r\n", "+++", 1},
		{"451 4.3.0 GONE GONE GONE\r\n", "+++", 1},
	};

	for (size_t i = 0; i < countof(cases); i++)
		ask_about(state, 3, cases[i].said, cases[i].left,
			cases[i].nonsense);
}

/* Rule: as many answers as are asked for at a time are read, with the longest
 * names. */
static void test_status_longest(void **state)
{
	struct buf text, out, left;

	buf_init(&text, 1 << 16);
	buf_init(&out, 1 << 16);
	buf_init(&left, 100);
	for (unsigned i = 0; i < HELD_N - 1; i++)
		buf_addf(&text, "HELD/4294967295/%.253s ", NAME);
	buf_adds(&text, "GONE");
	wire_reply_write(
		&out, 250, (struct enhanced){2, 0, 0}, buf_span(&text));
	for (unsigned i = 0; i < HELD_N - 1; i++)
		buf_adds(&left, "+");
	buf_adds(&left, "-");
	ask_about(state, HELD_N, buf_str(&out), buf_str(&left), 0);
	buf_fini(&text);
	buf_fini(&out);
	buf_fini(&left);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_not_up),
		TN(test_clone),
		TN(test_lease_from_hello),
		TN(test_unasked),
		cmocka_unit_test(test_huge),
		TN(test_no_pong),
		cmocka_unit_test(test_store_answers),
		TN(test_out_of_order),
		cmocka_unit_test(test_cut),
		cmocka_unit_test(test_early),
		TN(test_never),
		TN(test_new_term),
		cmocka_unit_test(test_status),
		cmocka_unit_test(test_status_longest),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
