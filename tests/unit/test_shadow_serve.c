/* A peer's connection to us, when the peer is broken or hostile: what it is
 * told, what is left behind. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "mta/shadow/serve.h"
#include "tests/unit/shadow_world.h"
#include "tests/unit/shadow_far.h"
#include "tests/unit/shadow_dial.h"
#include "tests/unit/shadow_mail.h"

#define GREETING "220 a.example ESMTP shadow\r\n"

static void begin(void **state, struct node **n_r, struct far **b_r)
{
	node_setup(state);
	*n_r = *state;
	*b_r = far_new(*n_r, 'b');
	(*n_r)->w.disk->free = (*n_r)->w.disk->total = UINT64_C(1) << 40;
	node_configure(*n_r, 1, 0, "");
	node_step(*n_r, 100);
}

static void end(void **state, struct far **b_r)
{
	far_fini(b_r);
	assert_true(list_empty(&((struct node *)*state)->s->serves));
	assert_true(list_empty(&((struct node *)*state)->s->storing));
	node_teardown(state);
}

static void hello(struct far *b, uint64_t link)
{
	far_dial(b);
	far_expect(b, GREETING);
	far_hello(b, link, 1);
	far_expect(b, "250 2.0.0 V=1 SID=");
}

/* --- who is there --------------------------------------------------------- */

/* Rule: a stranger is told so and nothing else; nothing is read of it. */
static void test_stranger(void **state)
{
	struct node *n;
	struct far *b, *e;

	begin(state, &n, &b);
	e = far_new(n, 'e');
	far_dial(e);
	far_expect(e, "550 5.7.1 you are not a configured peer\r\n");
	assert_null(e->out);
	assert_int_equal(n->s->counts.strangers, 1);
	far_fini(&e);
	end(state, &b);
}

/* Rule: before HELLO there is nothing to do; a newer link ends the older one,
 * an older or the same is refused; a new start begins anew. */
static void test_links(void **state)
{
	struct node *n;
	struct far *b;

	begin(state, &n, &b);
	far_dial(b);
	far_expect(b, GREETING);
	far_say(b, SPAN("NOOP\r\nXSHADOW PING NEXT=1\r\n"));
	far_expect(b, "250 2.0.0 ok\r\n503 5.5.1 HELLO first\r\n");
	far_hello(b, 5, 1);
	far_expect(b, "250 2.0.0 V=1 SID=");
	far_hello(b, 5, 1);
	far_expect(b, "550 5.7.1 stale LINK\r\n");
	assert_null(b->out);
	far_dial(b);
	far_expect(b, GREETING);
	far_hello(b, 4, 1);
	far_expect(b, "550 5.7.1 stale LINK\r\n");
	assert_null(b->out);
	assert_int_equal(n->s->counts.stale_links, 2);
	hello(b, 6);
	far_hello(b, 7, 9); /* another version: we speak ours */
	far_expect(b, "250 2.0.0 V=1 SID=");
	far_hello(b, 8, 0);
	far_expect(b, "501 ");
	b->inc++;
	node_step(n, 1); /* its own link said the old start */
	stream_abort(b->out);
	node_step(n, 1);
	hello(b, 1);
	end(state, &b);
}

static const char *const lines[] = {
	"\r\n",
	"EHLO x\r\n",
	"XSHADOW\r\n",
	"XSHADOW \r\n",
	"XSHADOW WHAT\r\n",
	"XSHADOW HELLO\r\n",
	"XSHADOW DONE x\r\n",
	"XSHADOW STATUS x\r\n",
	"XSHADOW CLAIM MID=x\r\n",
	"XSHADOW PING\r\n",
	"XSHADOW PING NEXT=0\r\n",
	"XSHADOW PING NEXT=1 SEEN=x\r\n",
	"\x01\x02\r\n",
};

/* Rule: a line that is none is refused and nothing happens; many of them end
 * the connection. */
static void test_lines(void **state)
{
	for (size_t i = 0; i < countof(lines); i++) {
		struct node *n;
		struct far *b;

		begin(state, &n, &b);
		hello(b, 1);
		far_say(b, span_str(lines[i]));
		if (b->heard.n < 4 || b->heard.p[0] != '5')
			fail_msg("%s: %s", lines[i], buf_str(&b->heard));
		buf_clear(&b->heard);
		far_say(b, SPAN("NOOP\r\n"));
		far_expect(b, "250 2.0.0 ok\r\n");
		end(state, &b);
	}
}

static void test_many_faults(void **state)
{
	struct node *n;
	struct far *b;
	unsigned k = 0;

	begin(state, &n, &b);
	hello(b, 1);
	for (; b->out && k < 100; k++)
		far_say(b, SPAN("XSHADOW WHAT\r\n"));
	assert_int_equal(k, 11);
	end(state, &b);
}

/* Rule: a line without end, or with a bare LF, ends the connection. */
static void test_no_end(void **state)
{
	static const char *const ends[] = {"NOOP\n", "\n", NULL};

	for (size_t i = 0; i < countof(ends); i++) {
		struct node *n;
		struct far *b;
		char x[5000];

		begin(state, &n, &b);
		hello(b, 1);
		memset(x, 'x', sizeof x);
		far_say(b, ends[i] ? span_str(ends[i]) : span(x, WIRE_LINE));
		far_expect(b, "500 5.5.2 ");
		assert_null(b->out);
		end(state, &b);
	}
}

/* Rule: a caller that says nothing is ended: soon before HELLO, after some
 * time behind it. */
static void test_silent(void **state)
{
	struct node *n;
	struct far *b;

	begin(state, &n, &b);
	far_dial(b);
	node_step(n, 9990);
	assert_non_null(b->out);
	node_step(n, 10);
	assert_null(b->out);
	hello(b, 1);
	node_step(n, 19990);
	assert_non_null(b->out);
	far_say(b, SPAN("NOOP\r\n"));
	node_step(n, 19990);
	assert_non_null(b->out);
	node_step(n, 10);
	assert_null(b->out);
	end(state, &b);
}

/* --- STORE ---------------------------------------------------------------- */

struct parcel {
	struct buf b; /* the line and its payload */
	size_t line;
	struct mid mid;
};

enum wrong { RIGHT, DIGEST, CRC, OTHER_MID, OTHER_SIZE, NO_ENVELOPE };

static void envelope_of(struct far *b, struct envelope *e, struct recipient *r,
	struct span body, struct mid mid)
{
	r->address = SPAN("x@y.example");
	*e = (struct envelope){.id = {77},
		.received = 1,
		.sender = SPAN("a@b.example"),
		.client = SPAN("192.0.2.1"),
		.size = body.n,
		.rcpt = r,
		.nrcpt = 1,
		.mid = mid,
		.owner = {.gen = 1},
		.target = {.node = SPAN("a.example")}};
	memcpy(e->owner.sid, b->sid, 16);
	e->crc = crc32c(0, body);
}

static struct parcel parcel(
	struct far *b, uint64_t seq, uint32_t gen, size_t size, enum wrong w)
{
	struct parcel p = {.mid = {.inc = b->inc, .seq = seq}};
	struct wire_store st = {.gen = gen, .size = size};
	struct recipient r = {0};
	struct envelope e;
	struct buf record, body;
	struct tls_hash *h = tls_hash_create();
	uint8_t sum[WIRE_DIGEST];

	memcpy(p.mid.sid, b->sid, 16);
	buf_init(&record, 4096);
	buf_init(&body, size + 1);
	while (body.n < size)
		buf_addc(&body, 'x');
	envelope_of(b, &e, &r, buf_span(&body), p.mid);
	e.crc ^= w == CRC;
	e.mid.seq += w == OTHER_MID;
	e.size += w == OTHER_SIZE;
	envelope_encode(&e, &record);
	if (w == NO_ENVELOPE)
		memset(record.p, 'x', record.n);
	tls_hash_start(h);
	tls_hash_add(h, buf_span(&record));
	tls_hash_add(h, buf_span(&body));
	tls_hash_end(h, sum);
	sum[0] ^= w == DIGEST;
	st.mid = p.mid;
	st.env = record.n;
	buf_init(&p.b, size + 10000);
	wire_store_write(&p.b, &st);
	p.line = p.b.n;
	buf_add(&p.b, buf_span(&record));
	buf_add(&p.b, buf_span(&body));
	buf_add(&p.b, span((const char *)sum, sizeof sum));
	buf_fini(&record);
	buf_fini(&body);
	tls_hash_destroy(&h);
	return p;
}

static void send_all(struct node *n, struct far *b, struct parcel *p)
{
	far_say(b, buf_span(&p->b));
	node_step(n, 100);
	buf_fini(&p->b);
}

/* Rule: what is whole and itself is held; what is not leaves nothing, and the
 * connection goes on. */
static void test_store(void **state)
{
	static const struct {
		enum wrong w;
		const char *want;
	} cases[] = {
		{RIGHT, "250 2.0.0 held MID="},
		{DIGEST, "554 5.6.0 "},
		{CRC, "554 5.6.0 "},
		{OTHER_MID, "554 5.6.0 "},
		{OTHER_SIZE, "554 5.6.0 "},
		{NO_ENVELOPE, "554 5.6.0 "},
	};
	static const size_t sizes[] = {0, 1, 1000, 600000};

	for (size_t i = 0; i < countof(cases); i++)
		for (size_t k = 0; k < countof(sizes); k++) {
			struct parcel p;
			struct node *n;
			struct far *b;

			begin(state, &n, &b);
			hello(b, 1);
			p = parcel(b, 5, 1, sizes[k], cases[i].w);
			send_all(n, b, &p);
			far_expect(b, cases[i].want);
			assert_int_equal(sim_disk_messages(n->w.disk),
				cases[i].w == RIGHT);
			assert_int_equal(n->s->copies.n, cases[i].w == RIGHT);
			assert_int_equal(sim_disk_files(n->w.disk),
				cases[i].w == RIGHT && sizes[k] > 500000);
			/* The same again is the same copy. */
			p = parcel(b, 5, 1, sizes[k], RIGHT);
			send_all(n, b, &p);
			far_expect(b, "250 2.0.0 held MID=");
			assert_int_equal(sim_disk_messages(n->w.disk), 1);
			end(state, &b);
		}
}

/* Rule: another message under a MID that is held is refused; an older GEN is
 * stale; what was finished is gone, and stays so. */
static void test_store_known(void **state)
{
	struct parcel p;
	struct node *n;
	struct far *b;
	struct buf done;
	char text[MID_TEXT];

	begin(state, &n, &b);
	hello(b, 1);
	p = parcel(b, 5, 2, 10, RIGHT);
	send_all(n, b, &p);
	far_expect(b, "250 2.0.0 held");
	p = parcel(b, 5, 2, 11, RIGHT);
	send_all(n, b, &p);
	far_expect(b, "554 5.6.0 another copy");
	p = parcel(b, 5, 1, 10, RIGHT);
	send_all(n, b, &p);
	far_expect(b, "550 5.7.1 stale GEN=2\r\n");
	buf_init(&done, 4096);
	buf_adds(&done, "XSHADOW DONE ");
	buf_add(&done, mid_text(&p.mid, text));
	buf_adds(&done, "\r\n");
	far_say(b, buf_span(&done));
	far_expect(b, "250 2.0.0 noted 1\r\n");
	p = parcel(b, 5, 2, 10, RIGHT);
	send_all(n, b, &p);
	if (times(&b->heard, "451 4.3.2 busy") == 0)
		far_expect(b, "250 2.0.0 gone");
	buf_clear(&b->heard);
	node_step(n, 100);
	p = parcel(b, 5, 3, 10, RIGHT);
	send_all(n, b, &p);
	far_expect(b, "250 2.0.0 gone");
	assert_int_equal(sim_disk_messages(n->w.disk), 0);
	buf_fini(&done);
	end(state, &b);
}

/* Rule: a connection that ends anywhere in a payload leaves nothing; once all
 * of it was there the copy may be held. */
static void test_store_cut(void **state)
{
	static const size_t sizes[] = {100, 600000};

	for (size_t k = 0; k < countof(sizes); k++)
		for (unsigned part = 0; part <= 8; part++) {
			struct parcel p;
			struct node *n;
			struct far *b;
			size_t all, at;

			begin(state, &n, &b);
			hello(b, 1);
			p = parcel(b, 5, 1, sizes[k], RIGHT);
			all = p.b.n - p.line;
			at = p.line + all / 8 * part - (part == 8);
			stream_write(b->out, span_head(buf_span(&p.b), at));
			node_step(n, part);
			stream_abort(b->out);
			node_step(n, 200);
			assert_null(b->out);
			assert_int_equal(sim_disk_messages(n->w.disk), 0);
			assert_int_equal(sim_disk_files(n->w.disk), 0);
			assert_int_equal(n->s->copies.n, 0);
			hello(b, 2);
			send_all(n, b, &p);
			far_expect(b, "250 2.0.0 held");
			end(state, &b);
		}
}

/* Rule: the end of the connection while the commit is under way hurts nobody;
 * nor does a newer link that ends it. */
static void test_store_orphan(void **state)
{
	for (int newer = 0; newer < 2; newer++) {
		struct parcel p;
		struct node *n;
		struct far *b;

		begin(state, &n, &b);
		hello(b, 1);
		p = parcel(b, 5, 1, 100, RIGHT);
		n->w.disk->latency = 500;
		stream_write(b->out, buf_span(&p.b));
		buf_fini(&p.b);
		node_step(n, 50);
		assert_int_equal(sim_disk_messages(n->w.disk), 0);
		if (newer)
			hello(b, 2);
		else
			stream_abort(b->out);
		node_step(n, 2000);
		assert_int_equal(sim_disk_messages(n->w.disk), 1);
		assert_int_equal(node_peer(n, 'b')->nheld, 1);
		n->w.disk->latency = 2;
		end(state, &b);
	}
}

/* Rule: sizes that cannot be are refused before anything is kept. */
static void test_store_sizes(void **state)
{
	static const struct {
		const char *rest, *want;
		int ends;
	} cases[] = {
		{"GEN=1 ENV=0 SIZE=1", "552 5.3.4 ", 1},
		{"GEN=1 ENV=67108865 SIZE=1", "552 5.3.4 ", 1},
		{"GEN=1 ENV=4611686018427387905 SIZE=1", "501 ", 1},
		{"GEN=1 ENV=1 SIZE=99999999999999999999", "501 ", 1},
		{"GEN=0 ENV=1 SIZE=1", "501 ", 1},
		{"ENV=1 SIZE=1", "501 ", 1},
		{"GEN=1 ENV=1 SIZE=1 DONE=0", "501 ", 1},
		/* Read to its end all the same, and refused. */
		{"GEN=1 ENV=1 SIZE=4611686018427387904", "", 0},
	};

	for (size_t i = 0; i < countof(cases); i++) {
		struct node *n;
		struct far *b;
		struct buf line;
		struct mid m;
		char text[MID_TEXT];

		begin(state, &n, &b);
		hello(b, 1);
		m = mid_at('b', 1, 5);
		buf_init(&line, 1000);
		buf_adds(&line, "XSHADOW STORE MID=");
		buf_add(&line, mid_text(&m, text));
		buf_addf(&line, " %s\r\n", cases[i].rest);
		far_say(b, buf_span(&line));
		if (strncmp(buf_str(&b->heard), cases[i].want,
			    strlen(cases[i].want)) != 0)
			fail_msg("%s: %s", cases[i].rest, buf_str(&b->heard));
		assert_int_equal(b->out == NULL, cases[i].ends);
		if (b->out)
			for (unsigned k = 0; k < 100; k++)
				far_say(b, buf_span(&line));
		assert_int_equal(sim_disk_files(n->w.disk), 0);
		buf_fini(&line);
		end(state, &b);
	}
}

/* Rule: a disk that is full refuses with 452 and keeps the connection. */
static void test_no_room(void **state)
{
	struct parcel p;
	struct node *n;
	struct far *b;

	begin(state, &n, &b);
	hello(b, 1);
	n->w.disk->fail = ERR_NOSPACE;
	p = parcel(b, 5, 1, 100, RIGHT);
	send_all(n, b, &p);
	far_expect(b, "452 4.3.1 ");
	n->w.disk->fail = ERR_OK;
	n->w.disk->free = 1 << 20;
	node_step(n, 3000);
	p = parcel(b, 5, 1, 100, RIGHT);
	send_all(n, b, &p);
	far_expect(b, "452 4.3.1 no room for copies\r\n");
	n->w.disk->free = UINT64_C(1) << 40;
	node_step(n, 3000);
	p = parcel(b, 5, 1, 100, RIGHT);
	send_all(n, b, &p);
	far_expect(b, "250 2.0.0 held");
	end(state, &b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_stranger),
		cmocka_unit_test(test_links),
		cmocka_unit_test(test_lines),
		cmocka_unit_test(test_many_faults),
		cmocka_unit_test(test_no_end),
		cmocka_unit_test(test_silent),
		cmocka_unit_test(test_store),
		cmocka_unit_test(test_store_known),
		cmocka_unit_test(test_store_cut),
		cmocka_unit_test(test_store_orphan),
		cmocka_unit_test(test_store_sizes),
		cmocka_unit_test(test_no_room),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
