/* Mail without an envelope: line ends, address lists, headers made fit. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "mta/base/check.h"
#include "mta/smtp/lines.h"
#include "mta/smtp/mailbox.h"
#include "mta/smtp/prepare.h"

static void gather(void *arg, struct span piece)
{
	buf_add(arg, piece);
}

/* However the octets are cut, the same comes out. */
static void test_lines(void **state)
{
	static const struct {
		const char *in, *out;
	} cases[] = {
		{"", ""},
		{"a\n", "a\r\n"},
		{"a", "a\r\n"},
		{"a\r\nb\n\n", "a\r\nb\r\n\r\n"},
		{"a\r\r\r\nb\r", "a\r\nb\r\r\n"},
		{"a\rb\r\n", "a\rb\r\n"},
		{"\n\r\n\r", "\r\n\r\n\r\r\n"},
		{"\r\rx", "\r\rx\r\n"},
	};

	(void)state;
	for (size_t i = 0; i < countof(cases); i++)
		for (size_t cut = 0; cut <= strlen(cases[i].in); cut++) {
			struct span in = span_str(cases[i].in);
			struct lines l = {0};
			struct buf b;

			buf_init(&b, 100);
			lines_take(&l, span_head(in, cut), gather, &b);
			lines_take(&l, span_skip(in, cut), gather, &b);
			lines_end(&l, gather, &b);
			if (!span_eq(buf_span(&b), span_str(cases[i].out)))
				fail_msg("case %zu cut at %zu", i, cut);
			buf_fini(&b);
		}
}

static void join(void *arg, struct span address)
{
	struct buf *b = arg;

	if (b->n)
		buf_addc(b, '|');
	buf_add(b, address);
}

/* out: the addresses with | between them; NULL: a fault. */
static void test_mailboxes(void **state)
{
	static const struct {
		const char *in, *out;
	} cases[] = {
		{"", ""},
		{"a@b.example", "a@b.example"},
		{"root", "root"},
		{"root, bin ,", "root|bin"},
		{"A B <a@b.example>", "a@b.example"},
		{"a@b.example <c@d.example>", "c@d.example"},
		{"\"B, A\" <a@b.example>, c@d.example (C (deep) \\) x)",
			"a@b.example|c@d.example"},
		{"a @ b . example", "a@b.example"},
		{"a(x)@(y)b.example", "a@b.example"},
		{"\"a b\"@c.example", "\"a b\"@c.example"},
		{"\"a\\\"b,\"@c.example", "\"a\\\"b,\"@c.example"},
		{"<@x.example,@y.example:a@b.example>", "a@b.example"},
		{"a@[192.0.2.1]", "a@[192.0.2.1]"},
		{"friends: a@b.example, C <c@d.example>;, e@f.example",
			"a@b.example|c@d.example|e@f.example"},
		{"undisclosed-recipients:;", ""},
		{"A\r\n\t<a@b.example>,\r\n b@c.example",
			"a@b.example|b@c.example"},
		{"gr\xc3\xbc\xc3\x9f <gr\xc3\xbc@b.example>",
			"gr\xc3\xbc@b.example"},
		{"<>", ""},
		{"a b@c.example", NULL},
		{"a@b.example c@d.example", NULL},
		{"<a@b.example> c@d.example", NULL},
		{"<a@b.example> <c@d.example>", NULL},
		{"<a@b.example,c@d.example>", NULL},
		{"<a@b.example", NULL},
		{"a@b.example>", NULL},
		{"a (b", NULL},
		{"\"a", NULL},
		{"a@[192.0.2.1", NULL},
		{"a@b.example;", "a@b.example"},
		{"a@b.example; C <c@d.example>;d", "a@b.example|c@d.example|d"},
		{"g: h: a@b.example;;", NULL},
	};

	(void)state;
	for (size_t i = 0; i < countof(cases); i++) {
		const char *why = NULL;
		struct arena mem = {0};
		struct buf b;
		int rc;

		buf_init(&b, 1000);
		rc = mailbox_list(span_str(cases[i].in), &mem, join, &b, &why);
		if (cases[i].out &&
			(rc != 0 ||
				!span_eq(buf_span(&b), span_str(cases[i].out))))
			fail_msg("%s: \"%.*s\" %s", cases[i].in,
				SPAN_ARG(buf_span(&b)), why ? why : "");
		if (!cases[i].out && (rc == 0 || !why))
			fail_msg("%s was taken", cases[i].in);
		buf_fini(&b);
		arena_fini(&mem);
	}
}

static void test_qualified(void **state)
{
	static const struct {
		const char *in, *out;
	} cases[] = {
		{"", ""},
		{"root", "root@d.example"},
		{"root (Cron Daemon)", "root@d.example (Cron Daemon)"},
		{"(x) root(y), a@b.example,\r\n\tB <b>",
			"(x) root@d.example(y), a@b.example,\r\n\tB "
			"<b@d.example>"},
		{"< root >", "< root@d.example >"},
		{"root <root>", "root <root@d.example>"},
		{"\"a b\"", "\"a b\"@d.example"},
		{"ops: a, b; c", "ops: a@d.example, b@d.example; c@d.example"},
		{"a;b", "a@d.example;b@d.example"},
		{"<>", "<>"},
		{"x y, root", "x y, root"},
		{"root, <x", "root, <x"},
		{"a..b, root", "a..b, root@d.example"},
		{"gr\xc3\xbc\xc3\x9f", "gr\xc3\xbc\xc3\x9f"},
		{"undisclosed-recipients:;", "undisclosed-recipients:;"},
	};

	(void)state;
	for (size_t i = 0; i < countof(cases); i++) {
		struct buf b;

		buf_init(&b, 1000);
		buf_adds(&b, "To: ");
		mailbox_qualify(span_str(cases[i].in), SPAN("d.example"), &b);
		buf_drop(&b, 4);
		if (!span_eq(buf_span(&b), span_str(cases[i].out)))
			fail_msg("%s: \"%s\"", cases[i].in, buf_str(&b));
		buf_fini(&b);
	}
}

/* A comment as deep as one likes costs no stack. */
static void test_deep(void **state)
{
	const char *why = NULL;
	struct arena mem = {0};
	struct buf in, b;

	(void)state;
	buf_init(&in, 1 << 20);
	buf_init(&b, 1000);
	for (int i = 0; i < 200000; i++)
		buf_addc(&in, '(');
	assert_int_equal(mailbox_list(buf_span(&in), &mem, join, &b, &why), -1);
	assert_string_equal(why, "comments too deep");
	buf_fini(&in);
	buf_fini(&b);
	arena_fini(&mem);
}

#define ADDED                                                                  \
	"Date: Fri, 20 Nov 2026 11:42:47 +0000\r\n"                            \
	"Message-ID: <id@node.example>\r\n"

static const struct prepare sendmail = {
	.domain = SPAN_INIT("dom.example"),
	.from = SPAN_INIT("U <u@dom.example>"),
	.message_id = SPAN_INIT("id@node.example"),
	.wall = 1795174967000,
	.recipients = 3,
};

struct row {
	unsigned flags;
	const char *in, *out, *rcpt;
	size_t used;
};

static void test_sendmail(void **state)
{
	static const struct row rows[] = {
		{0, "Subject: x\r\n\r\nbody\r\n",
			"Subject: x\r\nFrom: U <u@dom.example>\r\n" ADDED
			"\r\n",
			"", 14},
		{0, "hello\r\n", "From: U <u@dom.example>\r\n" ADDED "\r\n", "",
			0},
		{0,
			"From: nobody at all\r\nDate: d\r\nMessage-Id: "
			"m\r\nBcc: a"
			"\r\n\r\n",
			"From: nobody at all\r\nDate: d\r\nMessage-Id: m\r\n"
			"\r\n",
			"", 0},
		{PREPARE_RECIPIENTS,
			"To: a, b@x.example\r\nCc: b@x.example\r\nBCC: c\r\n"
			" <c@y.example>\r\nX: y\r\nbody: no\r\n\r\n",
			"To: a@dom.example, b@x.example\r\n"
			"Cc: b@x.example\r\nX: y\r\n"
			"body: no\r\nFrom: U <u@dom.example>\r\n" ADDED "\r\n",
			"a@dom.example|b@x.example|c@y.example", 0},
		{0,
			"Reply-To:\r\n ops \r\nsender: S <s>\r\n"
			"Resent-From: r\r\nResent-Date: today\r\nX-To: x\r\n"
			"From: root (Cron)\r\nTo:\r\nDate: d\r\n"
			"Message-ID: m\r\n\r\n",
			"Reply-To:\r\n ops@dom.example \r\n"
			"sender: S <s@dom.example>\r\n"
			"Resent-From: r@dom.example\r\nResent-Date: today\r\n"
			"X-To: x\r\nFrom: root@dom.example (Cron)\r\n"
			"To:\r\nDate: d\r\nMessage-ID: m\r\n\r\n",
			"", 0},
		{PREPARE_RECIPIENTS,
			"To: a@x.example\r\nResent-To: r\r\nResent-Bcc: s\r\n"
			"\r\n",
			"To: a@x.example\r\nResent-To: r@dom.example\r\n"
			"From: U <u@dom.example>\r\n" ADDED "\r\n",
			"r@dom.example|s@dom.example", 0},
	};

	(void)state;
	for (size_t i = 0; i < countof(rows); i++) {
		struct prepare p = sendmail;
		struct arena mem = {0};
		struct prepared r;
		struct buf out, all;

		buf_init(&out, 4096);
		buf_init(&all, 4096);
		p.flags = rows[i].flags;
		assert_int_equal(prepare_header(&p, span_str(rows[i].in), &mem,
					 &out, &r),
			PREPARE_OK);
		for (unsigned j = 0; j < r.nrcpt; j++)
			join(&all, r.rcpt[j]);
		if (!span_eq(buf_span(&out), span_str(rows[i].out)))
			fail_msg("row %zu: %s", i, buf_str(&out));
		if (!span_eq(buf_span(&all), span_str(rows[i].rcpt)))
			fail_msg("row %zu: %s", i, buf_str(&all));
		if (rows[i].used)
			assert_int_equal(r.used, rows[i].used);
		buf_fini(&all);
		buf_fini(&out);
		arena_fini(&mem);
	}
}

/* As the pickup directory asks for it. */
static void test_pickup(void **state)
{
	static const struct {
		const char *in;
		enum prepare_fault fault;
		const char *sender;
	} rows[] = {
		{"From: A <a@x.example>\r\nTo: b@y.example\r\n\r\n", PREPARE_OK,
			"a@x.example"},
		{"Sender: s@x.example\r\nFrom: a@x.example, c@x.example\r\n"
		 "To: b@y.example\r\n\r\n",
			PREPARE_OK, "s@x.example"},
		{"To: b@y.example\r\n\r\n", PREPARE_HEADER, ""},
		{"From: a@x.example\r\nTo: b@y.example\r\n", PREPARE_HEADER,
			""},
		{"From: a@x.example\r\nnonsense\r\n\r\n", PREPARE_HEADER, ""},
		{"From: a\r\nTo: b@y.example\r\n\r\n", PREPARE_SENDER, ""},
		{"From: undisclosed:;\r\nTo: b@y.example\r\n\r\n",
			PREPARE_SENDER, ""},
		{"From: a@x.example\r\nTo: b\r\n\r\n", PREPARE_RCPT,
			"a@x.example"},
		{"From: a@x.example\r\nTo: b..c@x.example\r\n\r\n",
			PREPARE_RCPT, "a@x.example"},
		{"From: a@x.example\r\nTo: <b@x.example\r\n\r\n", PREPARE_RCPT,
			"a@x.example"},
		{"To: a@x.example,b@x.example,c@x.example,d@x.example\r\n"
		 "From: a@x.example\r\n\r\n",
			PREPARE_RCPT, "a@x.example"},
		{"From: a@x.example\r\nSubject: x\r\n\r\n", PREPARE_NO_RCPT,
			"a@x.example"},
		{"From: a@x.example\r\nResent-To: b@y.example\r\n\r\n",
			PREPARE_NO_RCPT, "a@x.example"},
	};

	(void)state;
	for (size_t i = 0; i < countof(rows); i++) {
		struct prepare p = {
			.flags = PREPARE_RECIPIENTS | PREPARE_STRIP |
				 PREPARE_STRICT,
			.message_id = SPAN_INIT("id@node.example"),
			.recipients = 3,
		};
		struct arena mem = {0};
		struct prepared r;
		struct buf out;
		enum prepare_fault f;

		buf_init(&out, 4096);
		f = prepare_header(&p, span_str(rows[i].in), &mem, &out, &r);
		if (f != rows[i].fault)
			fail_msg("row %zu: %d %s", i, f, r.why ? r.why : "");
		if (!span_eq(r.sender, span_str(rows[i].sender)))
			fail_msg("row %zu: sender \"%.*s\"", i,
				SPAN_ARG(r.sender));
		if (f != PREPARE_OK)
			assert_true(r.why && *r.why);
		buf_fini(&out);
		arena_fini(&mem);
	}
}

static void test_strip(void **state)
{
	struct prepare p = {
		.flags = PREPARE_RECIPIENTS | PREPARE_STRIP | PREPARE_STRICT,
		.message_id = SPAN_INIT("id@node.example"),
		.recipients = 3,
	};
	struct arena mem = {0};
	struct prepared r;
	struct buf out;

	(void)state;
	buf_init(&out, 4096);
	assert_int_equal(
		prepare_header(&p,
			SPAN("Received: a\r\n\tb\r\nReturn-Path: <x>\r\n"
			     "Resent-From: z\r\nResent-Bcc: q@x.example\r\n"
			     "From: a@x.example\r\nbcc: b@y.example\r\n"
			     "Date: d\r\nMessage-ID: m\r\n\r\nBody\r\n"),
			&mem, &out, &r),
		PREPARE_OK);
	assert_string_equal(buf_str(&out), "From: a@x.example\r\nDate: d\r\n"
					   "Message-ID: m\r\n\r\n");
	assert_int_equal(r.nrcpt, 1);
	assert_true(span_eq(r.rcpt[0], SPAN("b@y.example")));
	buf_fini(&out);
	arena_fini(&mem);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lines),
		cmocka_unit_test(test_mailboxes),
		cmocka_unit_test(test_qualified),
		cmocka_unit_test(test_deep),
		cmocka_unit_test(test_sendmail),
		cmocka_unit_test(test_pickup),
		cmocka_unit_test(test_strip),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
