/* The head of a replay file. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "mta/base/check.h"
#include "mta/smtp/command.h"
#include "mta/smtp/replay.h"

#define EQ(span_, text)                                                        \
	do {                                                                   \
		if (!span_eq((span_), span_str(text)))                         \
			fail_msg("\"%.*s\" is not \"%s\"", SPAN_ARG(span_),    \
				(text));                                       \
	} while (0)

static struct envelope full(struct recipient *rcpt)
{
	struct envelope e = {
		.id = {.v = 4711},
		.received = 1795434167123,
		.sender = SPAN("a@x.example"),
		.flags = ENV_SMTPUTF8 | ENV_8BIT | ENV_REPORT,
		.body_type = BODY_8BITMIME,
		.ret = RET_HDRS,
		.envid = SPAN("QQ+3D77"),
		.connector = SPAN("inbound"),
		.client = SPAN("192.0.2.1"),
		.helo = SPAN("client.x.example"),
		.rcpt = rcpt,
		.nrcpt = 3,
	};

	rcpt[0] = (struct recipient){SPAN("b@y.example"),
		SPAN("rfc822;c@y.example"), NOTIFY_FAILURE | NOTIFY_DELAY};
	rcpt[1] = (struct recipient){
		SPAN("\"d e\"@y.example"), {NULL, 0}, NOTIFY_NEVER};
	rcpt[2] = (struct recipient){
		SPAN("gr\xc3\xbc\xc3\x9f@y.example"), {NULL, 0}, 0};
	for (unsigned i = 0; i < sizeof e.trace.b; i++)
		e.trace.b[i] = (uint8_t)(i * 17);
	return e;
}

/* What is written is read back as it was, recipients in their order. */
static void test_round_trip(void **state)
{
	struct recipient rcpt[3];
	struct envelope e = full(rcpt);
	struct replay_fault f;
	struct arena mem = {0};
	struct replay r;
	struct buf b;

	(void)state;
	buf_init(&b, 4096);
	replay_write(&b, &e, NULL, 0, 14);
	buf_adds(&b, "Subject: x\r\n\r\n");
	assert_int_equal(replay_read(buf_span(&b), &mem, &r, &f), 0);
	EQ(span_skip(buf_span(&b), r.head), "Subject: x\r\n\r\n");
	assert_int_equal(r.size, 14);
	assert_int_equal(r.env.id.v, 4711);
	assert_int_equal(r.env.received, 1795434167123);
	assert_memory_equal(r.env.trace.b, e.trace.b, 16);
	EQ(r.env.sender, "a@x.example");
	assert_int_equal(r.env.flags, ENV_SMTPUTF8 | ENV_REPORT);
	assert_int_equal(r.env.body_type, BODY_8BITMIME);
	assert_int_equal(r.env.ret, RET_HDRS);
	EQ(r.env.envid, "QQ+3D77");
	EQ(r.env.connector, "inbound");
	EQ(r.env.client, "192.0.2.1");
	EQ(r.env.helo, "client.x.example");
	assert_int_equal(r.env.nrcpt, 3);
	for (unsigned i = 0; i < 3; i++) {
		assert_true(span_eq(r.env.rcpt[i].address, rcpt[i].address));
		assert_true(span_eq(r.env.rcpt[i].orcpt, rcpt[i].orcpt));
		assert_int_equal(r.env.rcpt[i].notify, rcpt[i].notify);
	}
	arena_fini(&mem);
	buf_fini(&b);
}

/* A part of the recipients, the null sender, and nothing that is not known. */
static void test_part(void **state)
{
	struct recipient rcpt[3];
	struct envelope e = full(rcpt);
	const unsigned some[] = {2, 0};
	struct replay_fault f;
	struct arena mem = {0};
	struct replay r;
	struct buf b;

	(void)state;
	e.sender = span(NULL, 0);
	e.helo = SPAN("a\r\nX-Receiver: <evil@z.example>");
	e.client = e.connector = e.envid = span(NULL, 0);
	e.received = e.id.v = 0;
	buf_init(&b, 4096);
	replay_write(&b, &e, some, 2, 0);
	assert_int_equal(replay_read(buf_span(&b), &mem, &r, &f), 0);
	assert_int_equal(r.env.sender.n, 0);
	assert_int_equal(r.env.nrcpt, 2);
	assert_true(span_eq(r.env.rcpt[0].address, rcpt[2].address));
	assert_true(span_eq(r.env.rcpt[1].address, rcpt[0].address));
	assert_int_equal(r.env.received, 0);
	assert_int_equal(r.env.id.v, 0);
	assert_int_equal(r.env.client.n + r.env.connector.n, 0);
	assert_int_equal(r.head, b.n);
	arena_fini(&mem);
	buf_fini(&b);
}

/* Files that others write. at: where the message begins. */
static void test_foreign(void **state)
{
	static const struct {
		const char *head;
		const char *sender, *rcpt, *orcpt;
	} cases[] = {
		{"X-Sender: <bob@a.example> BODY=7BIT RET=HDRS "
		 "ENVID=12345ABCD auth=<someAuth>\r\n"
		 "X-Receiver: <mary@b.example> NOTIFY=NEVER "
		 "ORcpt=mary@b.example\r\n"
		 "X-CreatedBy: MSExchange15\r\n"
		 "X-HeloDomain: a.example\r\n"
		 "X-ExtendedMessageProps: AAAA\r\n\tBBBB\r\n"
		 "X-Source: SMTP: Default\r\n"
		 "X-SourceIPAddress: 10.1.1.1\r\n"
		 "X-EndOfInjectedXHeaders: 14400\r\n",
			"bob@a.example", "mary@b.example",
			"rfc822;mary@b.example"},
		{"x-sender: bob@a.example\nx-receiver: mary@b.example\n",
			"bob@a.example", "mary@b.example", ""},
		{"X-Receiver:\"m m\"@b.example NOTIFY=DELAY\n"
		 "X-Sender: <>\n",
			"", "\"m m\"@b.example", ""},
		{"X-Sender: <>\r\nX-Receiver: <a@b.example>\r\n"
		 "X-CreatedBy: someone\r\nX-EndOfInjectedXHeaders:\r\n",
			"", "a@b.example", ""},
	};

	(void)state;
	for (size_t i = 0; i < countof(cases); i++) {
		struct replay_fault f = {0};
		struct arena mem = {0};
		struct replay r;
		struct buf b;

		buf_init(&b, 4096);
		buf_adds(&b, cases[i].head);
		buf_adds(&b, "Subject: s\n");
		if (replay_read(buf_span(&b), &mem, &r, &f) != 0)
			fail_msg("case %zu: line %u: %s", i, f.line, f.why);
		assert_int_equal(r.head, strlen(cases[i].head));
		EQ(r.env.sender, cases[i].sender);
		EQ(r.env.rcpt[0].address, cases[i].rcpt);
		EQ(r.env.rcpt[0].orcpt, cases[i].orcpt);
		assert_true(r.size == UINT64_MAX);
		arena_fini(&mem);
		buf_fini(&b);
	}
}

#define S "X-Sender: <a@b.example>\n"
#define R "X-Receiver: <c@d.example>\n"

static void test_faults(void **state)
{
	static const struct {
		const char *file;
		unsigned line;
		const char *why;
	} cases[] = {
		{"", 1, "the file ends before the message"},
		{S R, 3, "the file ends before the message"},
		{S "X-Receiver: <c@d.example>", 2,
			"the file ends before the message"},
		{"Subject: x\n", 1, "no X-Sender before the message"},
		{R "Subject: x\n", 2, "no X-Sender before the message"},
		{S "\n", 2, "no X-Receiver before the message"},
		{S S R "\n", 2, "this field is there already"},
		{S "X-Receiver: c\n\n", 2, NULL},
		{S "X-Receiver: <>\n\n", 2, "recipient is empty"},
		{S "X-Receiver: <c@d.example> NOTIFY=ALWAYS\n\n", 2,
			"bad NOTIFY value"},
		{"X-Sender: <a@b.example> SIZE=x\n" R "\n", 1, NULL},
		{"X-Sender: a b@c\n" R "\n", 1, NULL},
		{"X-Sender: <gr\xc3\xbc@b.example>\n" R "\n", 1,
			"non-ASCII address needs SMTPUTF8"},
		{S "X-Receiver: <gr\xc3\xbc@b.example>\n\n", 3,
			"a non-ASCII X-Receiver needs SMTPUTF8 behind "
			"X-Sender"},
		{S "X-Receiver: <c@d.example>\n NOTIFY=NEVER\n\n", 3,
			"a field of the head must be one line"},
		{S R "X-Umbra-Trace: 12\n\n", 3,
			"a trace id is 32 hexadecimal digits"},
		{S R "X-Umbra-Id: !\n\n", 3, "not a queue id"},
		{S R "X-Umbra-Received: -1\n\n", 3,
			"not a number of milliseconds"},
		{S R "X-Umbra-Report: no\n\n", 3, "not \"yes\""},
		{S R "X-HeloDomain: a\x01\n\n", 3, "control character"},
		{S R "X-CreatedBy: Umbra\nX-EndOfInjectedXHeaders: x\n", 4,
			"no size behind X-EndOfInjectedXHeaders"},
	};

	(void)state;
	for (size_t i = 0; i < countof(cases); i++) {
		struct replay_fault f = {0};
		struct arena mem = {0};
		struct replay r;

		if (replay_read(span_str(cases[i].file), &mem, &r, &f) == 0)
			fail_msg("case %zu was taken", i);
		if (f.line != cases[i].line ||
			(cases[i].why && strcmp(f.why, cases[i].why) != 0))
			fail_msg("case %zu: line %u: %s", i, f.line, f.why);
		arena_fini(&mem);
	}
}

/* A head without an end is refused at the limit, whatever comes behind. */
static void test_too_large(void **state)
{
	struct replay_fault f = {0};
	struct arena mem = {0};
	struct replay r;
	struct buf b;

	(void)state;
	buf_init(&b, REPLAY_HEAD_MAX + 4096);
	buf_adds(&b, S);
	while (b.n <= REPLAY_HEAD_MAX)
		buf_adds(&b, R);
	buf_adds(&b, "\n");
	assert_int_equal(replay_read(buf_span(&b), &mem, &r, &f), -1);
	assert_string_equal(f.why, "the head is too large");
	arena_fini(&mem);
	buf_fini(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_part),
		cmocka_unit_test(test_foreign),
		cmocka_unit_test(test_faults),
		cmocka_unit_test(test_too_large),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
