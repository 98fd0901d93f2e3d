/* The header scan, values made readable, the trace field and the date. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <time.h>

#include "mta/base/check.h"
#include "mta/smtp/header.h"

struct scan_case {
	const char *name, *in;
	size_t bytes;
	int ended;
	unsigned fields, received;
	const char *message_id, *subject, *from;
};

static const struct scan_case scans[] = {
	{"plain",
		"From: a@b\r\nSubject: hi\r\nMessage-ID: <1@b>\r\n\r\nbody\r\n",
		45, 1, 3, 0, "<1@b>", "hi", "a@b"},
	{"LF alone", "From: a@b\nSubject: hi\n\nbody\n", 23, 1, 2, 0, "", "hi",
		"a@b"},
	{"no body", "From: a@b\r\n\r\n", 13, 1, 1, 0, "", "", "a@b"},
	{"no empty line", "From: a@b\r\n", 11, 0, 1, 0, "", "", "a@b"},
	{"no line end", "From: a@b", 9, 0, 1, 0, "", "", "a@b"},
	{"empty", "", 0, 0, 0, 0, "", "", ""},
	{"empty header", "\r\nbody", 2, 1, 0, 0, "", "", ""},
	{"no header", "hello world\r\nFrom: a\r\n", 0, 0, 0, 0, "", "", ""},
	{"body without empty line", "From: a\r\nhello\r\nFrom: b\r\n", 9, 0, 1,
		0, "", "", "a"},
	{"blank first", " x: y\r\nFrom: a\r\n\r\n", 0, 0, 0, 0, "", "", ""},
	{"colon first", ": y\r\n\r\n", 0, 0, 0, 0, "", "", ""},
	{"hops",
		"Received: a\r\nRECEIVED: b\r\n\tReceived: no\r\n"
		"X-Received: c\r\nReceived-SPF: d\r\nreceived : e\r\n\r\n",
		89, 1, 5, 3, "", "", ""},
	{"folded", "Subject: a\r\n b\r\n\tc\r\nFrom: x\r\n\r\n", 31, 1, 2, 0,
		"", "a\r\n b\r\n\tc", "x"},
	{"folded at once", "Message-ID:\r\n <1@b>\r\n\r\n", 23, 1, 1, 0,
		"<1@b>", "", ""},
	{"blank line folds", "Subject: a\r\n \r\nFrom: x\r\n\r\n", 26, 1, 2, 0,
		"", "a", "x"},
	{"the first one counts", "From: a\r\nFrom: b\r\n\r\n", 20, 1, 2, 0, "",
		"", "a"},
	{"empty value", "Subject:\r\nSubject: b\r\n\r\n", 24, 1, 2, 0, "", "",
		""},
	{"name with 8 bits", "Fr\303\266m: a\r\n\r\n", 0, 0, 0, 0, "", "", ""},
	{"name with a blank", "Fr om: a\r\n\r\n", 0, 0, 0, 0, "", "", ""},
	{"cut in a name", "From: a\r\nSubj", 9, 0, 1, 0, "", "", "a"},
	{"CR at the end", "From: a\r\n\r", 9, 0, 1, 0, "", "", "a"},
};

/* Rule: the header block ends at the empty line or where no field is; hops
 * are counted by whole name; values come without outer blanks. */
static void test_scan(void **state)
{
	(void)state;
	for (size_t i = 0; i < countof(scans); i++) {
		const struct scan_case *c = &scans[i];
		struct header_facts f;

		header_scan(span_str(c->in), &f);
		if (f.bytes != c->bytes || f.ended != c->ended ||
			f.fields != c->fields || f.received != c->received)
			fail_msg("%s: %zu %d %u %u", c->name, f.bytes, f.ended,
				f.fields, f.received);
		if (!span_eq(f.message_id, span_str(c->message_id)) ||
			!span_eq(f.subject, span_str(c->subject)) ||
			!span_eq(f.from, span_str(c->from)))
			fail_msg("%s: %.*s|%.*s|%.*s", c->name,
				SPAN_ARG(f.message_id), SPAN_ARG(f.subject),
				SPAN_ARG(f.from));
	}
}

/* Rule: each remembered field goes to its own place, in any case. */
static void test_fields(void **state)
{
	struct header_facts f;

	(void)state;
	header_scan(SPAN("date: 1\r\nMIME-version: 2\r\nContent-TYPE: 3\r\n"
			 "content-transfer-encoding: 4\r\nfrom: 5\r\n"
			 "subject: 6\r\nmessage-id: 7\r\n"
			 "Content-Tope: x\r\nDete: x\r\n\r\n"),
		&f);
	assert_true(span_eq(f.date, SPAN("1")));
	assert_true(span_eq(f.mime_version, SPAN("2")));
	assert_true(span_eq(f.content_type, SPAN("3")));
	assert_true(span_eq(f.content_transfer_encoding, SPAN("4")));
	assert_true(span_eq(f.from, SPAN("5")));
	assert_true(span_eq(f.subject, SPAN("6")));
	assert_true(span_eq(f.message_id, SPAN("7")));
}

/* Rule: a value shown to a person has no control characters, no folds, and
 * its limit does not cut a character in two. */
static void test_clean(void **state)
{
	static const struct {
		const char *in;
		size_t max;
		const char *want;
	} cases[] = {
		{"hello", 100, "hello"},
		{" a\r\n b\r\n\tc\n d ", 100, "a b c d"},
		{"a\r\nb", 100, "a??b"},
		{"a\rb\001\033[2J", 100, "a?b??[2J"},
		{"a\302\205b", 100, "a?b"},
		{"a\303\274", 3, "a\303\274"},
		{"a\303\274", 2, "a"},
		{"abc\r\n def", 3, "abc"},
		{"abc\r\n def", 4, "abc "},
		{"abc\r\n def", 5, "abc d"},
		{"abc", 0, ""},
		{"", 10, ""},
		{" \r\n ", 10, ""},
	};
	struct buf b;

	(void)state;
	buf_init(&b, 1024);
	for (size_t i = 0; i < countof(cases); i++) {
		buf_clear(&b);
		header_value_clean(span_str(cases[i].in), cases[i].max, &b);
		assert_string_equal(buf_str(&b), cases[i].want);
	}
	buf_fini(&b);
}

#define DATE "Fri, 20 Nov 2026 11:42:47 +0000\r\n"
#define WALL 1795174967000

/* Rule: the trace field has the clauses of RFC 5321 4.4 in their order, and
 * nothing that a client says can look like another clause. */
static void test_received(void **state)
{
	static const struct {
		struct received r;
		const char *want;
	} cases[] = {
		{{.helo = SPAN_INIT("mail.a.example"),
			 .client = SPAN_INIT("192.0.2.1"),
			 .client_name = SPAN_INIT("a.example"),
			 .by = SPAN_INIT("relay1.example.org"),
			 .with = SPAN_INIT("ESMTPS"),
			 .tls = SPAN_INIT("TLSv1.3:TLS_AES_256_GCM_SHA384"),
			 .id = SPAN_INIT("ABC123"),
			 .rcpt = SPAN_INIT("b@b.example"),
			 .wall = WALL},
			"Received: from mail.a.example (a.example [192.0.2.1])"
			"\r\n\tby relay1.example.org with ESMTPS"
			" (TLSv1.3:TLS_AES_256_GCM_SHA384) id ABC123"
			"\r\n\tfor <b@b.example>;\r\n\t" DATE},
		{{.helo = SPAN_INIT("[IPv6:2001:db8::1]"),
			 .client = SPAN_INIT("IPv6:2001:db8::1"),
			 .by = SPAN_INIT("r"),
			 .with = SPAN_INIT("SMTP"),
			 .id = SPAN_INIT("1"),
			 .wall = WALL},
			"Received: from [IPv6:2001:db8::1] "
			"([IPv6:2001:db8::1])\r\n\tby r with SMTP id 1;\r\n"
			"\t" DATE},
		{{.client = SPAN_INIT("192.0.2.1"),
			 .by = SPAN_INIT("r"),
			 .wall = WALL},
			"Received: from [192.0.2.1] ([192.0.2.1])\r\n\tby r;"
			"\r\n\t" DATE},
		{{.by = SPAN_INIT("r"), .id = SPAN_INIT("1"), .wall = WALL},
			"Received: by r id 1;\r\n\t" DATE},
		{{.client_name = SPAN_INIT("a.example"),
			 .by = SPAN_INIT("r"),
			 .wall = WALL},
			"Received: from a.example\r\n\tby r;\r\n\t" DATE},
		{{.wall = WALL}, "Received: ;\r\n\t" DATE},
		{{.helo = SPAN_INIT("x) by evil (;\r\nX: y\""),
			 .client = SPAN_INIT("192.0.2.1"),
			 .by = SPAN_INIT("r"),
			 .rcpt = SPAN_INIT("\"a\r\nb\"@c"),
			 .wall = WALL},
			"Received: from x??by?evil?????X:?y? ([192.0.2.1])"
			"\r\n\tby r\r\n\tfor <\"a??b\"@c>;\r\n\t" DATE},
	};
	struct buf b;

	(void)state;
	buf_init(&b, 2048);
	for (size_t i = 0; i < countof(cases); i++) {
		struct header_facts f;

		buf_clear(&b);
		received_write(&b, &cases[i].r);
		assert_string_equal(buf_str(&b), cases[i].want);
		header_scan(buf_span(&b), &f);
		assert_int_equal(f.fields, 1);
		assert_int_equal(f.received, 1);
		assert_int_equal(f.bytes, b.n);
	}
	buf_fini(&b);
}

static void check_date(uint64_t secs)
{
	time_t t = (time_t)secs;
	char want[64];
	struct tm tm;
	struct buf b;

	assert_non_null(gmtime_r(&t, &tm));
	strftime(want, sizeof want, "%a, %d %b %Y %H:%M:%S +0000", &tm);
	buf_init(&b, 64);
	date_write(&b, secs * 1000 + 999);
	assert_string_equal(buf_str(&b), want);
	buf_fini(&b);
}

/* Rule: our calendar is the C library's, on every day until 2500 and on days
 * around the turns of centuries until 9999; later times stay there. */
static void test_date(void **state)
{
	struct buf b;

	(void)state;
	for (uint64_t d = 0; d < 194000; d++)
		check_date(d * 86400 + d * 7919 % 86400);
	for (uint64_t y = 0; y < 80; y++)
		for (uint64_t d = 0; d < 800; d++)
			check_date((y * 36524 + d) * 86400 + 86399);
	check_date(253402300799);
	buf_init(&b, 64);
	date_write(&b, UINT64_MAX);
	assert_string_equal(buf_str(&b), "Fri, 31 Dec 9999 23:59:59 +0000");
	buf_fini(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_scan),
		cmocka_unit_test(test_fields),
		cmocka_unit_test(test_clean),
		cmocka_unit_test(test_received),
		cmocka_unit_test(test_date),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
