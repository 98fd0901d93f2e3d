/* test_record - envelope and status records: what is stored comes back, and
 * nothing that is damaged passes. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>

#include "mta/base/check.h"
#include "mta/base/rand.h"
#include "queue/envelope.h"
#include "queue/record.h"

/* Arbitrary bytes: NUL, line ends, quotes, what records are made of. */
static const char odd[] = "\0\r\n\xff\x80 E\1\0\0\"'\\\x11\1\0\0\0";

static struct recipient rcpt[] = {
	{SPAN_INIT("a@x.example"), SPAN_INIT("rfc822;a@y.example"), 7},
	{{odd, sizeof odd - 1}, {odd, 3}, 255},
	{{0}, {0}, 0},
};

static const struct {
	const char *name;
	struct envelope e;
} envelopes[] = {
	{"least", {.id = {1}, .rcpt = rcpt, .nrcpt = 1}},
	{"plain",
		{
			.id = {0x812345678},
			.trace = {{1, 2, 3}},
			.received = 1795000000123,
			.sender = SPAN_INIT("s@x.example"),
			.flags = ENV_8BIT | ENV_REPORT,
			.body_type = 1,
			.ret = 2,
			.envid = SPAN_INIT("QQ314159"),
			.connector = SPAN_INIT("inbound"),
			.client = SPAN_INIT("192.0.2.1"),
			.helo = SPAN_INIT("client.example"),
			.message_id = SPAN_INIT("<1@x.example>"),
			.size = 4096,
			.header = 300,
			.crc = 0xdeadbeef,
			.rcpt = rcpt,
			.nrcpt = 2,
		}},
	{"extremes",
		{
			.id = {UINT64_MAX},
			.trace = {{255, 255, 255, 255, 0, 0, 0, 255}},
			.received = UINT64_MAX,
			.sender = {odd, sizeof odd - 1},
			.flags = UINT32_MAX,
			.body_type = UINT8_MAX,
			.ret = UINT8_MAX,
			.envid = {odd, 1},
			.connector = {odd, 2},
			.client = {odd, 3},
			.helo = {odd, 4},
			.message_id = {odd, 5},
			.size = UINT64_MAX,
			.header = UINT32_MAX,
			.crc = UINT32_MAX,
			.in_file = 1,
			.rcpt = rcpt,
			.nrcpt = 3,
		}},
	{"with a copy elsewhere",
		{
			.id = {7},
			.mid = {{9, 0, 255}, UINT64_MAX, 1},
			.target = {SPAN_INIT("mx2.example"), {1, 2}},
			.owner = {.gen = 1},
			.rcpt = rcpt,
			.nrcpt = 1,
		}},
	{"a copy of another's",
		{
			.id = {8},
			.mid = {{0}, 1, UINT64_MAX},
			.owner = {SPAN_INIT("mx1.example"), {255, 1},
				UINT32_MAX},
			.digest = {1, 2, 3, [31] = 255},
			.rcpt = rcpt,
			.nrcpt = 2,
		}},
	{"held",
		{
			.id = {9},
			.held = {odd, sizeof odd - 1},
			.rcpt = rcpt,
			.nrcpt = 1,
		}},
};

static struct target targets[] = {
	{SPAN_INIT("mx2.example"), {0}},
	{SPAN_INIT("mx3.example"), {255, [15] = 1}},
};

static struct rcpt_status rstat[] = {
	{0},
	{RCPT_FINAL, 3, 1795000000123, 550, {5, 1, 1},
		SPAN_INIT("no such user"), SPAN_INIT("mx.example")},
	{RCPT_PENDING, UINT16_MAX, UINT64_MAX, UINT16_MAX, {UINT16_MAX, 0, 256},
		{odd, sizeof odd - 1}, {odd, 7}},
};

static const struct {
	const char *name;
	struct status s;
} statuses[] = {
	{"empty", {0}},
	{"untouched", {.rcpt = rstat, .nrcpt = 1}},
	{"all", {.due = UINT64_MAX,
			.delay_noticed = UINT8_MAX,
			.rcpt = rstat,
			.nrcpt = 3,
			.moved = 1,
			.owner = {SPAN_INIT("mx2.example"), {3}, 2},
			.target = targets,
			.ntarget = 2}},
	{"ordered", {.priority = PRIORITY_LOW,
			    .suspension = SUSPEND_YES,
			    .removal = REMOVE_NOTIFY,
			    .overtime = UINT16_MAX,
			    .suspended = UINT64_MAX,
			    .reason = {odd, sizeof odd - 1},
			    .redirect = SPAN_INIT("out"),
			    .rcpt = rstat,
			    .nrcpt = 3}},
	{"resumed", {.priority = PRIORITY_HIGH,
			    .suspension = SUSPEND_NO,
			    .removal = REMOVE_SILENT,
			    .rcpt = rstat,
			    .nrcpt = 1}},
	{"taken over", {.rcpt = rstat,
			       .nrcpt = 1,
			       .moved = 1,
			       .owner = {.sid = {1}, .gen = 2}}},
};

static void same(struct span a, struct span b)
{
	assert_int_equal(a.n, b.n);
	if (a.n)
		assert_memory_equal(a.p, b.p, a.n);
}

static struct buf encoded(const struct envelope *e)
{
	struct buf b;

	buf_init(&b, 65536);
	assert_int_equal(envelope_encode(e, &b), 0);
	return b;
}

static struct buf encoded_status(const struct status *s)
{
	struct buf b;

	buf_init(&b, 65536);
	assert_int_equal(status_encode(s, &b), 0);
	return b;
}

static void same_owner(const struct ownership *a, const struct ownership *b)
{
	same(a->node, b->node);
	assert_memory_equal(a->sid, b->sid, 16);
	assert_int_equal(a->gen, b->gen);
}

/* Every field of an envelope survives, whatever bytes it holds (T7). */
static void envelope_round_trip(void **state)
{
	(void)state;
	for (size_t i = 0; i < countof(envelopes); i++) {
		const struct envelope *e = &envelopes[i].e;
		struct buf b = encoded(e);
		struct arena a = {0};
		struct envelope r;
		const char *why = "";

		print_message("  %s\n", envelopes[i].name);
		assert_int_equal(
			envelope_decode(buf_span(&b), &a, &r, &why), ERR_OK);
		assert_true(e->id.v == r.id.v);
		assert_memory_equal(e->trace.b, r.trace.b, 16);
		assert_true(e->received == r.received);
		assert_int_equal(e->flags, r.flags);
		assert_int_equal(e->body_type, r.body_type);
		assert_int_equal(e->ret, r.ret);
		assert_true(e->size == r.size);
		assert_int_equal(e->header, r.header);
		assert_int_equal(e->crc, r.crc);
		assert_int_equal(e->in_file, r.in_file);
		same(e->sender, r.sender);
		same(e->envid, r.envid);
		same(e->connector, r.connector);
		same(e->client, r.client);
		same(e->helo, r.helo);
		same(e->message_id, r.message_id);
		assert_memory_equal(&e->mid, &r.mid, sizeof r.mid);
		same(e->target.node, r.target.node);
		assert_memory_equal(e->target.sid, r.target.sid, 16);
		same_owner(&e->owner, &r.owner);
		assert_memory_equal(e->digest, r.digest, 32);
		same(e->held, r.held);
		assert_int_equal(e->nrcpt, r.nrcpt);
		for (unsigned k = 0; k < r.nrcpt; k++) {
			same(e->rcpt[k].address, r.rcpt[k].address);
			same(e->rcpt[k].orcpt, r.rcpt[k].orcpt);
			assert_int_equal(e->rcpt[k].notify, r.rcpt[k].notify);
		}
		arena_fini(&a);
		buf_fini(&b);
	}
}

static void same_orders(const struct status *a, const struct status *b)
{
	assert_int_equal(a->priority, b->priority);
	assert_int_equal(a->suspension, b->suspension);
	assert_int_equal(a->removal, b->removal);
	assert_int_equal(a->overtime, b->overtime);
	assert_true(a->suspended == b->suspended);
	same(a->reason, b->reason);
	same(a->redirect, b->redirect);
}

static void status_round_trip(void **state)
{
	(void)state;
	for (size_t i = 0; i < countof(statuses); i++) {
		const struct status *s = &statuses[i].s;
		struct buf b = encoded_status(s);
		struct arena a = {0};
		struct status r;
		const char *why = "";

		print_message("  %s\n", statuses[i].name);
		assert_int_equal(
			status_decode(buf_span(&b), &a, &r, &why), ERR_OK);
		assert_true(s->due == r.due);
		assert_int_equal(s->delay_noticed, r.delay_noticed);
		same_orders(s, &r);
		assert_int_equal(s->nrcpt, r.nrcpt);
		assert_int_equal(s->moved, r.moved);
		same_owner(&s->owner, &r.owner);
		assert_int_equal(s->ntarget, r.ntarget);
		for (unsigned k = 0; k < r.ntarget; k++) {
			same(s->target[k].node, r.target[k].node);
			assert_memory_equal(
				s->target[k].sid, r.target[k].sid, 16);
		}
		for (unsigned k = 0; k < r.nrcpt; k++) {
			const struct rcpt_status *x = &s->rcpt[k];
			const struct rcpt_status *y = &r.rcpt[k];

			assert_int_equal(x->state, y->state);
			assert_int_equal(x->attempts, y->attempts);
			assert_true(x->tried == y->tried);
			assert_int_equal(x->code, y->code);
			assert_memory_equal(x->enh, y->enh, sizeof x->enh);
			same(x->text, y->text);
			same(x->host, y->host);
		}
		arena_fini(&a);
		buf_fini(&b);
	}
}

/* What a peer said is stored up to 1 KiB. */
static void status_text_limit(void **state)
{
	static char text[3000];
	struct rcpt_status r = {.text = {text, sizeof text}};
	struct status s = {.rcpt = &r, .nrcpt = 1}, got;
	struct buf b = encoded_status(&s);
	struct arena a = {0};
	const char *why;

	(void)state;
	assert_int_equal(status_decode(buf_span(&b), &a, &got, &why), ERR_OK);
	assert_int_equal(got.rcpt[0].text.n, 1024);
	arena_fini(&a);
	buf_fini(&b);
}

/* 500 recipients to whom nothing has happened cost little. */
static void status_is_small(void **state)
{
	static struct rcpt_status r[500];
	struct status s = {.due = 1795000000123, .rcpt = r, .nrcpt = 500};
	struct buf b = encoded_status(&s);

	(void)state;
	assert_true(b.n < 500 * 6);
	buf_fini(&b);
}

static void refused(struct span rec, int is_status)
{
	struct arena a = {0};
	struct envelope e;
	struct status s;
	const char *why = NULL;
	/* A block of its own, so that reading past it is seen. */
	char *p = malloc(rec.n ? rec.n : 1);
	enum err err;

	if (rec.n)
		memcpy(p, rec.p, rec.n);
	rec.p = p;
	if (is_status)
		err = status_decode(rec, &a, &s, &why);
	else
		err = envelope_decode(rec, &a, &e, &why);
	assert_true(err == ERR_CORRUPT || err == ERR_VERSION);
	assert_non_null(why);
	arena_fini(&a);
	free(p);
}

static void damage(struct buf *b, int is_status)
{
	for (size_t bit = 0; bit < b->n * 8; bit++) {
		b->p[bit / 8] ^= (char)(1 << bit % 8);
		refused(buf_span(b), is_status);
		b->p[bit / 8] ^= (char)(1 << bit % 8);
	}
	for (size_t n = 0; n < b->n; n++)
		refused(span(b->p, n), is_status);
	buf_addc(b, 0);
	refused(buf_span(b), is_status);
	buf_fini(b);
}

/* Every flipped bit, every truncation and a byte too many are seen. */
static void damage_is_refused(void **state)
{
	(void)state;
	for (size_t i = 0; i < countof(envelopes); i++) {
		struct buf b = encoded(&envelopes[i].e);

		damage(&b, 0);
	}
	for (size_t i = 0; i < countof(statuses); i++) {
		struct buf b = encoded_status(&statuses[i].s);

		damage(&b, 1);
	}
}

/* Records with a right checksum and wrong fields. */
static const struct {
	const char *name;
	struct span fields;
	enum err want;
} made[] = {
	{"good", SPAN_INIT("\1\1\0\0\0\5\x11\0\0\0\0"), ERR_OK},
	{"unknown tag below 128 is skipped",
		SPAN_INIT("\1\1\0\0\0\5\x11\0\0\0\0\x7f\1\0\0\0x"), ERR_OK},
	{"unknown tag from 128 on is refused",
		SPAN_INIT("\1\1\0\0\0\5\x11\0\0\0\0\xc8\1\0\0\0x"),
		ERR_VERSION},
	{"unknown tag in a recipient is skipped",
		SPAN_INIT("\1\1\0\0\0\5\x11\5\0\0\0\x7f\0\0\0\0"), ERR_OK},
	{"critical tag in a recipient",
		SPAN_INIT("\1\1\0\0\0\5\x11\5\0\0\0\x80\0\0\0\0"), ERR_VERSION},
	{"no fields", SPAN_INIT(""), ERR_CORRUPT},
	{"no recipient", SPAN_INIT("\1\1\0\0\0\5"), ERR_CORRUPT},
	{"no id", SPAN_INIT("\x11\0\0\0\0"), ERR_CORRUPT},
	{"id twice", SPAN_INIT("\1\1\0\0\0\5\1\1\0\0\0\6\x11\0\0\0\0"),
		ERR_CORRUPT},
	{"number of 9 octets",
		SPAN_INIT("\1\x9\0\0\0\5\0\0\0\0\0\0\0\0\x11\0\0\0\0"),
		ERR_CORRUPT},
	{"body type above its range",
		SPAN_INIT("\1\1\0\0\0\5\6\2\0\0\0\0\1\x11\0\0\0\0"),
		ERR_CORRUPT},
	{"trace of 15 octets",
		SPAN_INIT("\1\1\0\0\0\5\2\xf\0\0\0"
			  "123456789012345\x11\0\0\0\0"),
		ERR_CORRUPT},
	{"length past the end", SPAN_INIT("\1\1\0\0\0\5\x11\1\0\0\0"),
		ERR_CORRUPT},
	{"length of 4 GiB", SPAN_INIT("\1\1\0\0\0\5\x11\xff\xff\xff\xff"),
		ERR_CORRUPT},
	{"head of a field cut", SPAN_INIT("\1\1\0\0\0\5\x11\0\0\0"),
		ERR_CORRUPT},
	{"field of a recipient cut",
		SPAN_INIT("\1\1\0\0\0\5\x11\6\0\0\0\1\2\0\0\0x"), ERR_CORRUPT},
};

static void made_records(void **state)
{
	(void)state;
	for (size_t i = 0; i < countof(made); i++) {
		struct record_writer w;
		struct arena a = {0};
		struct envelope e;
		const char *why = NULL;
		struct buf b;

		print_message("  %s\n", made[i].name);
		buf_init(&b, 4096);
		record_start(&w, &b, 'E');
		buf_add(&b, made[i].fields);
		assert_int_equal(record_end(&w), 0);
		assert_int_equal(envelope_decode(buf_span(&b), &a, &e, &why),
			made[i].want);
		assert_int_equal(made[i].want != ERR_OK, why != NULL);
		arena_fini(&a);
		buf_fini(&b);
	}
}

/* A record of the other kind, and one of a later version, are refused. */
static void kind_and_version(void **state)
{
	struct buf b = encoded(&envelopes[1].e);
	struct arena a = {0};
	struct envelope e;
	struct status s;
	const char *why;

	(void)state;
	assert_int_equal(
		status_decode(buf_span(&b), &a, &s, &why), ERR_CORRUPT);
	b.p[1] = 2;
	assert_int_equal(
		envelope_decode(buf_span(&b), &a, &e, &why), ERR_VERSION);
	b.p[1] = 1;
	b.p[3] = 1;
	assert_int_equal(
		envelope_decode(buf_span(&b), &a, &e, &why), ERR_VERSION);
	buf_fini(&b);
	arena_fini(&a);
}

/* A buf that is too small is reported and keeps what it held. */
static void full_buf(void **state)
{
	struct buf whole = encoded(&envelopes[1].e);

	(void)state;
	for (size_t max = 3; max < whole.n + 3; max++) {
		struct buf b;

		buf_init(&b, max);
		buf_adds(&b, "abc");
		assert_int_equal(envelope_encode(&envelopes[1].e, &b), -1);
		assert_int_equal(b.n, 3);
		buf_fini(&b);
	}
	buf_fini(&whole);
}

/* RFC 3720 appendix B.4 and others; in any number of pieces. */
static void crc_known(void **state)
{
	static char zero[32], ff[32], data[1000];
	struct rand r;

	(void)state;
	memset(ff, 255, sizeof ff);
	assert_int_equal(crc32c(0, SPAN("")), 0);
	assert_int_equal(crc32c(0, SPAN("123456789")), 0xe3069283u);
	assert_int_equal(crc32c(0, span(zero, 32)), 0x8a9136aau);
	assert_int_equal(crc32c(0, span(ff, 32)), 0x62a8ab43u);
	rand_seed(&r, 1);
	rand_bytes(&r, data, sizeof data);
	for (size_t cut = 0; cut <= sizeof data; cut++) {
		struct span head = span(data, cut);
		uint32_t crc = crc32c(0, head);

		assert_int_equal(crc, crc32c_by_table(0, head));
		assert_int_equal(crc32c(0, span(data, sizeof data)),
			crc32c(crc, span(data + cut, sizeof data - cut)));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(envelope_round_trip),
		cmocka_unit_test(status_round_trip),
		cmocka_unit_test(status_text_limit),
		cmocka_unit_test(status_is_small),
		cmocka_unit_test(damage_is_refused),
		cmocka_unit_test(made_records),
		cmocka_unit_test(kind_and_version),
		cmocka_unit_test(full_buf),
		cmocka_unit_test(crc_known),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
