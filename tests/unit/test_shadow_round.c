/* Replies of the shadow link as a whole, and that what was written is what is
 * read. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "mta/base/check.h"
#include "mta/base/rand.h"
#include "mta/shadow/wire_give.h"

#define X10 "xxxxxxxxxx"
#define X50 X10 X10 X10 X10 X10
#define LABEL X50 X10 "xxx."

/* --- replies as a whole --------------------------------------------------- */

/* The one reply that is in out, joined into text. */
static unsigned reply_join(const struct buf *out, struct buf *text)
{
	struct reply r;
	size_t used;
	const char *why;

	assert_int_equal(reply_take(buf_span(out), &r, &used, &why), REPLY_OK);
	assert_int_equal(used, out->n);
	wire_reply_text(&r, text);
	return r.lines;
}

/* Rule: the lines of a reply are joined again as they were; of each only an
 * enhanced code of the reply's class is taken off. */
static void test_reply_text(void **state)
{
	static const struct {
		const char *in, *want;
	} cases[] = {
		{"250 2.0.0 ceded\r\n", "ceded"},
		{"250 ceded\r\n", "ceded"},
		{"250\r\n", ""},
		{"250 2.0.0\r\n", ""},
		{"250-2.0.0 a b\r\n250-\r\n250-2.0.0\r\n250 2.0.0 c\r\n",
			"a b c"},
		{"250-a\r\n250 4.0.0 c\r\n", "a 4.0.0 c"},
	};
	struct buf out, text;

	(void)state;
	buf_init(&out, 4096);
	buf_init(&text, 4096);
	for (size_t i = 0; i < countof(cases); i++) {
		buf_clear(&out);
		buf_clear(&text);
		buf_adds(&out, cases[i].in);
		reply_join(&out, &text);
		assert_string_equal(buf_str(&text), cases[i].want);
	}
	buf_clear(&out);
	wire_reply_write(&out, 452, (struct enhanced){4, 3, 1}, SPAN("a\r\nb"));
	wire_reply_write(&out, 250, (struct enhanced){2, 0, 0}, SPAN(""));
	wire_reply_write(&out, 250, (struct enhanced){0, 0, 0}, SPAN(""));
	assert_string_equal(
		buf_str(&out), "452 4.3.1 a??b\r\n250 2.0.0\r\n250 \r\n");
	buf_fini(&out);
	buf_fini(&text);
}

/* Rule: a text of any length within a reply comes back as it was; lines are
 * full but not longer than the peer takes. */
static void test_reply_long(void **state)
{
	const size_t room = REPLY_LINE - 2 - 10;
	struct buf out, text, back;

	(void)state;
	buf_init(&out, 1 << 17);
	buf_init(&text, 1 << 16);
	buf_init(&back, 1 << 17);
	for (size_t n = room - 20; n < room + 20; n++) {
		for (size_t word = 1; word < 40; word += 7) {
			buf_clear(&out);
			buf_clear(&text);
			buf_clear(&back);
			while (text.n < n)
				buf_addc(&text, text.n % (word + 1) == word
							? ' '
							: 'x');
			if (text.p[n - 1] == ' ')
				continue;
			wire_reply_write(&out, 250, (struct enhanced){2, 0, 0},
				buf_span(&text));
			assert_int_equal(
				reply_join(&out, &back), n <= room ? 1 : 2);
			assert_true(span_eq(buf_span(&text), buf_span(&back)));
		}
	}
	buf_fini(&out);
	buf_fini(&text);
	buf_fini(&back);
}

static const char longest[] = LABEL LABEL LABEL X50 X10 "x";

/* Rule: as many answers as one STATUS line can ask for fit in one reply. */
static void test_answers_most(void **state)
{
	struct wire_answer a = {
		WIRE_HELD, UINT32_MAX, span(longest, WIRE_NODE)};
	struct wire_answer got;
	struct mid m = {.seq = 1};
	struct buf out, text, back;
	struct wire_batch b;
	struct span rest;
	const char *why;
	unsigned n, k;

	(void)state;
	buf_init(&out, 1 << 17);
	buf_init(&text, 1 << 17);
	buf_init(&back, 1 << 17);
	wire_batch_open(&b, WIRE_STATUS, &out);
	while (wire_batch_status(&b, &m) == 0)
		wire_answer_add(&text, &a);
	n = wire_batch_close(&b);
	assert_int_equal(n, 78);
	buf_clear(&out);
	wire_reply_write(
		&out, 250, (struct enhanced){2, 0, 0}, buf_span(&text));
	reply_join(&out, &back);
	rest = buf_span(&back);
	for (k = 0; wire_answer_next(&rest, &got, &why) > 0; k++)
		assert_true(got.state == a.state && got.gen == a.gen &&
			    span_eq(got.owner, a.owner));
	assert_int_equal(rest.n, 0);
	assert_int_equal(k, n);
	buf_fini(&out);
	buf_fini(&text);
	buf_fini(&back);
}

/* --- what was written is what is read ------------------------------------- */

static uint64_t any(struct rand *r)
{
	return rand_u64(r) >> rand_below(r, 64);
}

static struct mid any_mid(struct rand *r)
{
	struct mid m;

	rand_bytes(r, &m, sizeof m);
	m.seq = any(r) | 1;
	return m;
}

static void any_seen(struct rand *r, struct wire_seen *s)
{
	static const char *const names[] = {"a", "mx1.example", "b-2.c.d"};

	s->n = (unsigned)rand_below(r, WIRE_SEEN + 1);
	for (unsigned i = 0; i < s->n; i++)
		s->v[i] = (struct wire_seen_node){
			span_str(names[rand_below(r, 3)]), any(r)};
}

static int seen_same(const struct wire_seen *a, const struct wire_seen *b)
{
	for (unsigned i = 0; i < a->n && a->n == b->n; i++)
		if (!span_eq(a->v[i].node, b->v[i].node) ||
			a->v[i].ago != b->v[i].ago)
			return 0;
	return a->n == b->n;
}

/* A random set, written into text. */
static struct span any_set(struct rand *r, struct buf *text)
{
	unsigned v[200];
	struct wire_set set = {v, 0};
	unsigned step = 1 + (unsigned)rand_below(r, 300), last = 0;

	buf_clear(text);
	while (set.n < rand_below(r, 200)) {
		last += (unsigned)rand_below(r, step);
		v[set.n++] = last++;
	}
	wire_set_write(text, &set, 0, WIRE_SET);
	return buf_span(text);
}

/* What follows the verb of the command in out. */
static struct span rest_of(const struct buf *out, enum wire_verb verb)
{
	struct span rest;

	assert_true(out->n <= WIRE_LINE && !out->full);
	assert_memory_equal(out->p + out->n - 2, "\r\n", 2);
	assert_int_equal(wire_verb_of(span(out->p, out->n - 2), &rest), verb);
	return rest;
}

static void round_commands(struct rand *r, struct buf *out, struct buf *set)
{
	struct wire_hello h = {.v = (uint32_t)any(r) | 1,
				  .inc = any(r),
				  .next = any(r) | 1,
				  .link = any(r) | 1,
				  .takeover = any(r)},
			  h2;
	struct wire_store s = {any_mid(r), (uint32_t)any(r) | 1, any(r) >> 2,
				  any(r) >> 2, any_set(r, set)},
			  s2;
	struct wire_claim c = {s.mid, s.gen, s.done}, c2;
	struct wire_give g = {s.mid, s.gen, s.size}, g2;
	struct wire_ping p = {.next = any(r) | 1}, p2;
	const char *why;

	rand_bytes(r, h.sid, sizeof h.sid);
	h.prev.n = (unsigned)rand_below(r, WIRE_PREV + 1);
	rand_bytes(r, h.prev.v, h.prev.n * sizeof *h.prev.v);
	any_seen(r, &p.seen);
	wire_hello_write(out, &h);
	assert_int_equal(
		wire_hello_read(rest_of(out, WIRE_HELLO), &h2, &why), 0);
	assert_true(h.v == h2.v && h.inc == h2.inc && h.next == h2.next &&
		    h.link == h2.link && h.takeover == h2.takeover &&
		    h.prev.n == h2.prev.n);
	assert_memory_equal(h.sid, h2.sid, sizeof h.sid);
	assert_memory_equal(h.prev.v, h2.prev.v, h.prev.n * sizeof *h.prev.v);
	buf_clear(out);
	wire_store_write(out, &s);
	assert_int_equal(
		wire_store_read(rest_of(out, WIRE_STORE), &s2, &why), 0);
	assert_true(mid_eq(&s.mid, &s2.mid) && s.gen == s2.gen &&
		    s.env == s2.env && s.size == s2.size &&
		    span_eq(s.done, s2.done));
	assert_true(wire_payload(&s2) == s.env + s.size + 32);
	buf_clear(out);
	wire_claim_write(out, &c);
	assert_int_equal(
		wire_claim_read(rest_of(out, WIRE_CLAIM), &c2, &why), 0);
	assert_true(mid_eq(&c.mid, &c2.mid) && c.gen == c2.gen &&
		    span_eq(c.done, c2.done));
	buf_clear(out);
	wire_give_write(out, &g);
	assert_int_equal(wire_give_read(rest_of(out, WIRE_GIVE), &g2, &why), 0);
	assert_true(mid_eq(&g.mid, &g2.mid) && g.gen == g2.gen &&
		    g.status == g2.status);
	buf_clear(out);
	wire_ping_write(out, &p);
	assert_int_equal(wire_ping_read(rest_of(out, WIRE_PING), &p2, &why), 0);
	assert_true(p.next == p2.next && seen_same(&p.seen, &p2.seen));
	buf_clear(out);
}

static void round_replies(
	struct rand *r, struct buf *out, struct buf *set, struct buf *text)
{
	struct wire_welcome w = {.v = (uint32_t)any(r) | 1,
				    .inc = any(r),
				    .held = any(r),
				    .window = (uint32_t)any(r),
				    .bytes = any(r) >> 2,
				    .free = rand_below(r, 3),
				    .gives = rand_below(r, 3)},
			    w2;
	struct wire_pong p = {.inc = any(r),
				 .held = any(r),
				 .free = rand_below(r, 3),
				 .gives = rand_below(r, 3)},
			 p2;
	struct wire_held h = {.gone = (int)rand_below(r, 2), .mid = any_mid(r)},
			 h2;
	struct wire_ceded c = {.said = rand_below(r, 3)}, c2;
	const char *why;

	rand_bytes(r, w.sid, sizeof w.sid);
	rand_bytes(r, p.sid, sizeof p.sid);
	any_seen(r, &p.seen);
	if (!h.gone)
		rand_bytes(r, h.dig, sizeof h.dig);
	if (c.said == WIRE_CEDED)
		c.done = any_set(r, set);
	wire_welcome_write(out, &w);
	reply_join(out, text);
	assert_int_equal(wire_welcome_read(buf_span(text), &w2, &why), 0);
	assert_true(w.v == w2.v && w.inc == w2.inc && w.held == w2.held &&
		    w.window == w2.window && w.bytes == w2.bytes &&
		    w.free == w2.free && w.gives == w2.gives);
	assert_memory_equal(w.sid, w2.sid, sizeof w.sid);
	buf_clear(out);
	buf_clear(text);
	wire_pong_write(out, &p);
	reply_join(out, text);
	assert_int_equal(wire_pong_read(buf_span(text), &p2, &why), 0);
	assert_true(p.inc == p2.inc && p.held == p2.held && p.free == p2.free &&
		    p.gives == p2.gives && seen_same(&p.seen, &p2.seen));
	assert_memory_equal(p.sid, p2.sid, sizeof p.sid);
	buf_clear(out);
	buf_clear(text);
	wire_held_write(out, &h);
	reply_join(out, text);
	assert_int_equal(wire_held_read(buf_span(text), &h2, &why), 0);
	assert_true(h.gone == h2.gone && mid_eq(&h.mid, &h2.mid));
	assert_memory_equal(h.dig, h2.dig, sizeof h.dig);
	buf_clear(out);
	buf_clear(text);
	wire_ceded_write(out, &c);
	reply_join(out, text);
	assert_int_equal(wire_ceded_read(buf_span(text), &c2, &why), 0);
	assert_true(c.said == c2.said && span_eq(c.done, c2.done));
	buf_clear(out);
	buf_clear(text);
}

static void test_round(void **state)
{
	struct buf out, set, text;
	struct rand r;

	(void)state;
	buf_init(&out, 1 << 16);
	buf_init(&set, WIRE_SET);
	buf_init(&text, 1 << 16);
	rand_seed(&r, 11);
	for (unsigned i = 0; i < 2000; i++) {
		round_commands(&r, &out, &set);
		round_replies(&r, &out, &set, &text);
	}
	buf_fini(&out);
	buf_fini(&set);
	buf_fini(&text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_reply_text),
		cmocka_unit_test(test_reply_long),
		cmocka_unit_test(test_answers_most),
		cmocka_unit_test(test_round),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
