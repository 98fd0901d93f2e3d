/* Notices: who gets one, what is in them, and what a peer cannot do to them. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mta/base/check.h"
#include "mta/report/report.h"
#include "mta/smtp/command.h"
#include "mta/smtp/convert.h"

#define POSTMASTER "postmaster@relay.example"
#define WALL 1795174967000 /* Fri, 20 Nov 2026 11:42:47 +0000 */

/* Rule (RFC 3461 4.1, RFC 5321 6.1): NOTIFY decides for a sender; the null
 * sender never gets a notice, its failures go to the postmaster, and those of
 * the postmaster to nobody. */
static void test_wanted(void **state)
{
	enum {
		N = NOTIFY_NEVER,
		S = NOTIFY_SUCCESS,
		F = NOTIFY_FAILURE,
		D = NOTIFY_DELAY
	};
	static const struct {
		enum report_kind kind;
		const char *sender, *rcpt;
		unsigned notify, flags;
		int want;
		const char *why;
	} cases[] = {
		{REPORT_FAILED, "a@a", "b@b", 0, 0, 1, ""},
		{REPORT_DELAYED, "a@a", "b@b", 0, 0, 1, ""},
		{REPORT_SENT, "a@a", "b@b", 0, 0, 0,
			"success was not asked for"},
		{REPORT_FAILED, "a@a", "b@b", N, 0, 0, "NOTIFY=NEVER"},
		{REPORT_DELAYED, "a@a", "b@b", N, 0, 0, "NOTIFY=NEVER"},
		{REPORT_SENT, "a@a", "b@b", N, 0, 0, "NOTIFY=NEVER"},
		{REPORT_FAILED, "a@a", "b@b", S, 0, 0,
			"NOTIFY without FAILURE"},
		{REPORT_DELAYED, "a@a", "b@b", S, 0, 0, "NOTIFY without DELAY"},
		{REPORT_SENT, "a@a", "b@b", S, 0, 1, ""},
		{REPORT_FAILED, "a@a", "b@b", F, 0, 1, ""},
		{REPORT_DELAYED, "a@a", "b@b", F, 0, 0, "NOTIFY without DELAY"},
		{REPORT_SENT, "a@a", "b@b", F, 0, 0,
			"success was not asked for"},
		{REPORT_FAILED, "a@a", "b@b", D, 0, 0,
			"NOTIFY without FAILURE"},
		{REPORT_DELAYED, "a@a", "b@b", D, 0, 1, ""},
		{REPORT_FAILED, "a@a", "b@b", S | F | D, 0, 1, ""},
		{REPORT_DELAYED, "a@a", "b@b", S | F | D, 0, 1, ""},
		{REPORT_SENT, "a@a", "b@b", S | F | D, 0, 1, ""},
		{REPORT_FAILED, "a@a", POSTMASTER, 0, 0, 1, ""},
		{REPORT_FAILED, "", "b@b", 0, 0, 2, ""},
		{REPORT_FAILED, "", "b@b", F, 0, 2, ""},
		{REPORT_FAILED, "", "b@b", N, 0, 0, "NOTIFY=NEVER"},
		{REPORT_FAILED, "", "b@b", N, ENV_REPORT, 2, ""},
		{REPORT_DELAYED, "", "b@b", 0, 0, 0, "null sender"},
		{REPORT_DELAYED, "", "b@b", D, 0, 0, "null sender"},
		{REPORT_SENT, "", "b@b", S, 0, 0, "null sender"},
		{REPORT_FAILED, "", POSTMASTER, 0, 0, 0,
			"double bounce to the postmaster"},
		{REPORT_FAILED, "", "PostMaster@RELAY.example", N, ENV_REPORT,
			0, "double bounce to the postmaster"},
	};

	(void)state;
	for (size_t i = 0; i < countof(cases); i++) {
		struct envelope env = {.sender = span_str(cases[i].sender),
			.flags = cases[i].flags};
		struct recipient rcpt = {.address = span_str(cases[i].rcpt),
			.notify = (uint8_t)cases[i].notify};
		const char *why = NULL;
		int got = report_wanted(
			cases[i].kind, &env, &rcpt, SPAN(POSTMASTER), &why);

		if (got != cases[i].want || strcmp(why, cases[i].why) != 0)
			fail_msg("case %zu: %d %s", i, got, why);
	}
}

/* What a case starts from. */
struct fixture {
	struct arena a;
	struct envelope env, out;
	struct recipient rcpt;
	struct report_recipient rr;
	struct report r;
	struct span to;
	struct blob *blob;
	char *text; /* of the blob, with a NUL */
};

#define ORIGINAL                                                               \
	"Received: from x by y; Fri, 20 Nov 2026 10:00:00 +0000\r\n"           \
	"From: a@a.example\r\nSubject: Quarterly\r\n report\r\n"               \
	"Message-ID: <1@a.example>\r\n\r\nThe body.\r\n"

static void fixture_init(struct fixture *f)
{
	*f = (struct fixture){.to = SPAN("alice@a.example")};
	f->rcpt = (struct recipient){.address = SPAN("bob@b.example")};
	f->env = (struct envelope){.id = {77},
		.received = WALL - 3600000,
		.sender = f->to,
		.rcpt = &f->rcpt,
		.nrcpt = 1};
	f->rr = (struct report_recipient){.rcpt = &f->rcpt,
		.tried = WALL - 60000,
		.outcome = {.code = 550,
			.enh = {5, 1, 1},
			.text = SPAN("no such user here"),
			.host = SPAN("mx1.b.example[192.0.2.1]:25")}};
	f->r = (struct report){.kind = REPORT_FAILED,
		.env = &f->env,
		.original = SPAN(ORIGINAL),
		.original_whole = 1,
		.node = SPAN("relay.example"),
		.postmaster = SPAN(POSTMASTER),
		.wall = WALL,
		.expires = WALL + 86400000,
		.id = {78},
		.trace = {.b = {0xab, 0xcd, 0xef}},
		.rcpt = &f->rr,
		.nrcpt = 1};
}

/* What holds for every notice, whatever it was made of. */
static void check_sane(const struct fixture *f)
{
	struct span s = blob_span(f->blob), all = s;
	struct convert *c = convert_create(CONVERT_TO_7BIT);
	const char *why = NULL;

	assert_int_equal(f->out.size, s.n);
	assert_int_equal(f->out.crc, crc32c(0, s));
	assert_int_equal(f->out.sender.n, 0);
	assert_int_equal(f->out.nrcpt, 1);
	assert_int_equal(f->out.rcpt[0].notify, NOTIFY_NEVER);
	assert_true(span_eq(f->out.rcpt[0].address, f->to));
	assert_true(f->out.flags & ENV_REPORT);
	assert_true(span_eq(f->out.connector, SPAN("report")));
	assert_int_equal(f->out.received, f->r.wall);
	assert_null(memchr(s.p, 0, s.n));
	while (s.n) {
		ptrdiff_t lf = span_chr(s, '\n');

		assert_true(lf > 0 && s.p[lf - 1] == '\r');
		assert_true(span_chr(span_head(s, (size_t)lf - 1), '\r') < 0);
		assert_true(lf <= 999 || (f->out.flags & ENV_LONG_LINES));
		s = span_skip(s, (size_t)lf + 1);
	}
	convert_survey(c, all);
	if (!(f->out.flags & ENV_8BIT_HEADER) &&
		convert_survey_end(c, &why) != ERR_OK)
		fail_msg("cannot be converted: %s", why);
	convert_destroy(&c);
}

static void fixture_build(struct fixture *f)
{
	f->blob = report_build(&f->r, f->to, &f->a, &f->out);
	assert_non_null(f->blob);
	f->text = arena_str(&f->a, blob_span(f->blob));
	check_sane(f);
}

static void fixture_fini(struct fixture *f)
{
	blob_unref(f->blob);
	arena_fini(&f->a);
}

static void has(const struct fixture *f, const char *want)
{
	if (!strstr(f->text, want))
		fail_msg("no \"%s\" in:\n%s", want, f->text);
}

static void hasnt(const struct fixture *f, const char *bad)
{
	if (strstr(f->text, bad))
		fail_msg("\"%s\" in:\n%s", bad, f->text);
}

/* Rule: a notice of each kind says the same to people and to programs. */
static void test_kinds(void **state)
{
	static const struct {
		enum report_kind kind;
		int delivered;
		struct outcome o;
		const char *want[10], *not [3];
	} cases[] = {
		{REPORT_FAILED, 0,
			{.code = 550,
				.enh = {5, 1, 1},
				.text = SPAN_INIT("no such user"),
				.host = SPAN_INIT("mx1.b.example[::1]:25")},
			{"\r\nSubject: Undelivered mail: Quarterly report\r\n",
				"Your message could not be delivered to one "
				"recipient. We have",
				"    mx1.b.example[::1]:25 answered:\r\n"
				"        550 5.1.1 no such user\r\n"
				"    There is no such mailbox at that site.",
				"What you can do: Check the address",
				"\r\nFinal-Recipient: rfc822; bob@b.example\r\n"
				"Action: failed\r\nStatus: 5.1.1\r\n"
				"Remote-MTA: dns; mx1.b.example\r\n"
				"Diagnostic-Code: smtp; 550 5.1.1 no such user"
				"\r\nLast-Attempt-Date: Fri, 20 Nov 2026 "
				"11:41:47 +0000\r\n",
				"\r\nContent-Type: message/rfc822\r\n",
				"The body.",
				"\r\nReferences: <1@a.example>\r\n",
				"\r\nArrival-Date: Fri, 20 Nov 2026 10:42:47 "
				"+0000\r\n"},
			{"Will-Retry-Until", "You need not"}},
		{REPORT_DELAYED, 0,
			{.code = 451,
				.enh = {4, 4, 1},
				.text = SPAN_INIT("connection refused")},
			{"\r\nSubject: Delayed mail (still being tried): "
			 "Quarterly report\r\n",
				"You need not send it\r\nagain: we go on",
				"We go on trying until Sat, 21 Nov 2026 "
				"11:42:47 +0000.",
				"\r\nAction: delayed\r\nStatus: 4.4.1\r\n"
				"Diagnostic-Code: X-Umbra; connection refused"
				"\r\n",
				"\r\nWill-Retry-Until: Sat, 21 Nov 2026 "
				"11:42:47 +0000\r\n",
				"    relay.example found:\r\n        "
				"connection "
				"refused\r\n",
				"\r\nContent-Type: text/rfc822-headers\r\n"},
			{"The body.", "What you can do", "Remote-MTA"}},
		{REPORT_SENT, 0,
			{.code = 250,
				.enh = {2, 1, 5},
				.text = SPAN_INIT("ok"),
				.host = SPAN_INIT("[192.0.2.7]:25")},
			{"\r\nSubject: Mail passed on: Quarterly report\r\n",
				"\r\nAction: relayed\r\nStatus: 2.1.5\r\n"
				"Remote-MTA: dns; [192.0.2.7]\r\n",
				"does not report deliveries",
				"\r\nContent-Type: text/rfc822-headers\r\n"},
			{"The body.", "What you can do", "Will-Retry"}},
		{REPORT_SENT, 1, {.code = 0},
			{"\r\nAction: delivered\r\nStatus: 2.0.0\r\nLast-",
				"It is in the mailbox."},
			{"Diagnostic-Code"}},
		{REPORT_FAILED, 0, {.code = 0},
			{"\r\nAction: failed\r\nStatus: 5.0.0\r\n"},
			{"Diagnostic-Code"}},
	};

	(void)state;
	for (size_t i = 0; i < countof(cases); i++) {
		struct fixture f;

		fixture_init(&f);
		f.r.kind = cases[i].kind;
		f.rr.outcome = cases[i].o;
		f.rr.delivered = cases[i].delivered;
		fixture_build(&f);
		assert_int_equal(f.out.flags, ENV_REPORT);
		assert_int_equal(f.out.body_type, BODY_7BIT);
		has(&f, "From: Mail Delivery System <" POSTMASTER ">\r\n");
		has(&f, "\r\nTo: <alice@a.example>\r\n");
		has(&f, "\r\nDate: Fri, 20 Nov 2026 11:42:47 +0000\r\n");
		has(&f, "\r\nAuto-Submitted: auto-replied\r\n");
		has(&f, "\r\nReporting-MTA: dns; relay.example\r\n");
		for (const char *const *w = cases[i].want; *w; w++)
			has(&f, *w);
		for (size_t k = 0; k < 3 && cases[i].not [k]; k++)
			hasnt(&f, cases[i].not [k]);
		fixture_fini(&f);
	}
}

/* Rule: every meaning in the table is found, and an unknown detail falls back
 * to its subject, an unknown subject to the general one. */
static void test_meanings(void **state)
{
	static const struct {
		struct enhanced enh;
		const char *want;
	} cases[] = {
		{{5, 2, 2}, "The recipient's mailbox is full."},
		{{4, 2, 2}, "The recipient's mailbox is full."},
		{{5, 4, 7}, "not be delivered in the time allowed."},
		{{5, 6, 7}, "takes no addresses with letters"},
		{{5, 7, 26}, "none of the sender checks"},
		{{5, 7, 999}, "A rule of that site keeps the message out."},
		{{5, 3, 99}, "The mail system has a fault."},
		{{5, 9, 9}, "There is no further explanation."},
		{{0, 0, 0}, "There is no further explanation."},
	};

	(void)state;
	for (size_t i = 0; i < countof(cases); i++) {
		struct fixture f;

		fixture_init(&f);
		f.rr.outcome.enh = cases[i].enh;
		fixture_build(&f);
		has(&f, cases[i].want);
		fixture_fini(&f);
	}
}

/* Rule (RFC 3461 4.3, RFC 6522, RFC 6532): the original comes back whole only
 * when that was not declined and leaves a message that any next hop can get;
 * else its header does. */
static void test_original(void **state)
{
	enum { NO_BODY = 1, BINARY = 2, UTF8 = 4, BIG = 8 };
	static const struct {
		const char *name, *original;
		unsigned ret, how;
		const char *type, *want;
		unsigned flags;
	} cases[] = {
		{"no RET", ORIGINAL, RET_NONE, 0, "message/rfc822",
			"\r\n\r\nThe body.\r\n\r\n--=_", 0},
		{"RET=FULL", ORIGINAL, RET_FULL, 0, "message/rfc822",
			"The body.", 0},
		{"RET=HDRS", ORIGINAL, RET_HDRS, 0, "text/rfc822-headers",
			"Message-ID: <1@a.example>\r\n\r\n--=_", 0},
		{"only the header is there", ORIGINAL, RET_FULL, NO_BODY,
			"text/rfc822-headers", "Subject: Quarterly\r\n", 0},
		{"binary", ORIGINAL, RET_FULL, BINARY, "text/rfc822-headers",
			"Subject: Quarterly\r\n", 0},
		{"too large", ORIGINAL, RET_FULL, BIG, "text/rfc822-headers",
			"Subject: Quarterly\r\n", 0},
		{"bare LF in the body", "A: b\r\n\r\none\ntwo\r\n", RET_FULL, 0,
			"text/rfc822-headers", "\r\n\r\nA: b\r\n\r\n--", 0},
		{"bare line ends in the header", "A: b\nC: d\re\n\nx\n",
			RET_FULL, 0, "text/rfc822-headers",
			"\r\n\r\nA: b\r\nC: d?e\r\n\r\n--", 0},
		{"no line end at the end", "A: b\r\n\r\nlast", RET_FULL, 0,
			"message/rfc822", "\r\n\r\nlast\r\n--=_", 0},
		{"8-bit body", "A: b\r\n\r\ngr\xc3\xbc\xc3\x9f\r\n", RET_FULL,
			0, "message/rfc822", "gr\xc3\xbc\xc3\x9f\r\n",
			ENV_8BIT},
		{"8-bit body that must not be changed",
			"MIME-Version: 1.0\r\nContent-Type: multipart/signed; "
			"boundary=b\r\nContent-Transfer-Encoding: 8bit\r\n"
			"\r\n--b\r\n\r\n\xc3\xbc\r\n--b--\r\n",
			RET_FULL, 0, "text/rfc822-headers",
			"Content-Type: multipart/signed", 0},
		{"8-bit header, SMTPUTF8", "Subject: \xc3\xbc\r\n\r\nx\r\n",
			RET_FULL, UTF8, "message/global",
			"Subject: \xc3\xbc\r\n\r\nx\r\n", ENV_8BIT},
		{"the same, header only", "Subject: \xc3\xbc\r\n\r\nx\r\n",
			RET_HDRS, UTF8, "message/global-headers",
			"Subject: \xc3\xbc\r\n\r\n--", ENV_8BIT},
		{"8-bit header, no SMTPUTF8", "Subject: \xc3\xbc\r\n\r\nx\r\n",
			RET_FULL, 0, "text/rfc822-headers",
			"Subject: \xc3\xbc\r\n\r\n--", ENV_8BIT},
		{"8-bit header that is no UTF-8", "Subject: \xfc\r\n\r\nx\r\n",
			RET_FULL, UTF8, "text/rfc822-headers",
			"Subject: \xfc\r\n\r\n--", ENV_8BIT},
		{"nothing", "", RET_FULL, 0, "text/rfc822-headers", "", 0},
		{"no header", "\r\nx\r\n", RET_FULL, 0, "message/rfc822",
			"\r\n\r\n\r\nx\r\n\r\n--", 0},
	};

	(void)state;
	for (size_t i = 0; i < countof(cases); i++) {
		struct fixture f;
		char type[80], *big;
		size_t n = strlen(cases[i].original);

		fixture_init(&f);
		f.r.original = span_str(cases[i].original);
		f.r.original_whole = !(cases[i].how & NO_BODY);
		f.env.ret = (uint8_t)cases[i].ret;
		f.env.flags = cases[i].how & UTF8 ? ENV_SMTPUTF8 : 0;
		f.env.body_type =
			cases[i].how & BINARY ? BODY_BINARYMIME : BODY_8BITMIME;
		if (cases[i].how & BIG) {
			big = arena_alloc(&f.a, REPORT_ORIGINAL + 1);
			memset(big, 'x', REPORT_ORIGINAL + 1);
			memcpy(big, cases[i].original, n);
			f.r.original = span(big, REPORT_ORIGINAL + 1);
		}
		fixture_build(&f);
		snprintf(type, sizeof type, "\r\nContent-Type: %s\r\n",
			cases[i].type);
		if (!strstr(f.text, type) || !strstr(f.text, cases[i].want) ||
			(f.out.flags & ~(unsigned)ENV_REPORT) != cases[i].flags)
			fail_msg("%s: flags %u\n%s", cases[i].name, f.out.flags,
				f.text);
		assert_int_equal(f.out.body_type,
			cases[i].flags & ENV_8BIT ? BODY_8BITMIME : BODY_7BIT);
		fixture_fini(&f);
	}
}

/* Rule (RFC 3464 2.3.1, RFC 6533 3): addresses of type rfc822 in ASCII, of
 * type utf-8 otherwise; with the original recipient and envelope id decoded. */
static void test_addresses(void **state)
{
	static const struct {
		const char *to, *rcpt, *orcpt, *envid;
		unsigned flags;
		const char *want[5];
		unsigned want_flags;
	} cases[] = {
		{"a@a", "b@b", "rfc822;B+2Bx@b", "Q+2BZ+3D1", 0,
			{"\r\nOriginal-Envelope-Id: Q+Z=1\r\n",
				"\r\n\r\nOriginal-Recipient: rfc822; B+x@b\r\n"
				"Final-Recipient: rfc822; b@b\r\n"},
			ENV_REPORT},
		{"a@a", "b\xc3\xbc@b", "utf-8;b\xc3\xbc\\x{2B}@b", "",
			ENV_SMTPUTF8,
			{"\r\nOriginal-Recipient: utf-8; b\\x{FC}\\x{2B}@b\r\n"
			 "Final-Recipient: utf-8; b\\x{FC}@b\r\n",
				"\r\nContent-Type: message/delivery-status\r\n"
				"Content-Transfer-Encoding: 7bit\r\n",
				"\r\nb\xc3\xbc@b\r\n"},
			ENV_REPORT | ENV_8BIT},
		{"\xc3\xa4@a", "b\xc3\xbc@b", "utf-8;b\xc3\xbc@b", "",
			ENV_SMTPUTF8,
			{"\r\nOriginal-Recipient: utf-8; b\xc3\xbc@b\r\n"
			 "Final-Recipient: utf-8; b\xc3\xbc@b\r\n",
				"\r\nContent-Type: "
				"message/global-delivery-status\r\n"
				"Content-Transfer-Encoding: 8bit\r\n",
				"\r\nTo: <\xc3\xa4@a>\r\n"},
			ENV_REPORT | ENV_8BIT | ENV_8BIT_HEADER | ENV_SMTPUTF8},
		{"a@a", "a\\+=\xe4\xb8\xad@b", "", "", ENV_SMTPUTF8,
			{"\r\nFinal-Recipient: utf-8; "
			 "a\\x{5C}\\x{2B}\\x{3D}\\x{4E2D}@b\r\n"},
			ENV_REPORT | ENV_8BIT},
		{"a@a", "\"a  b\"@b", "x400;nonsense", "", 0,
			{"\r\nOriginal-Recipient: x400; nonsense\r\n"
			 "Final-Recipient: rfc822; \"a  b\"@b\r\n"},
			ENV_REPORT},
	};

	(void)state;
	for (size_t i = 0; i < countof(cases); i++) {
		struct fixture f;

		fixture_init(&f);
		f.to = f.env.sender = span_str(cases[i].to);
		f.rcpt.address = span_str(cases[i].rcpt);
		f.rcpt.orcpt = span_str(cases[i].orcpt);
		f.env.envid = span_str(cases[i].envid);
		f.env.flags = cases[i].flags;
		fixture_build(&f);
		for (const char *const *w = cases[i].want; *w; w++)
			has(&f, *w);
		assert_int_equal(f.out.flags, cases[i].want_flags);
		fixture_fini(&f);
	}
}

/* Rule: a subject is only repeated as far as it may stand in our header. */
static void test_subject(void **state)
{
	static const struct {
		const char *in, *want;
	} cases[] = {
		{"Subject: plain\r\n", "Undelivered mail: plain\r\n"},
		{"Subject: =?utf-8?q?=C3=BC?=\r\n =?utf-8?q?=C3=BC?=\r\n",
			"Undelivered mail: =?utf-8?q?=C3=BC?= "
			"=?utf-8?q?=C3=BC?=\r\n"},
		{"Subject: \xc3\xbc\r\n", "Undelivered mail\r\n"},
		{"Subject:   \r\n", "Undelivered mail\r\n"},
		{"X: y\r\n", "Undelivered mail\r\n"},
		{"Subject: a\rBcc: evil@x\r\n",
			"Undelivered mail: a Bcc: evil@x\r\n"},
		{"Subject: "
		 "123456789 123456789 123456789 123456789 123456789 "
		 "123456789 123456789 123456789\r\n",
			"Undelivered mail: 123456789 123456789 123456789 "
			"123456789\r\n 123456789 123456789 123456789 "
			"123456789\r\n"},
	};

	(void)state;
	for (size_t i = 0; i < countof(cases); i++) {
		struct fixture f;
		char *at, *line;

		fixture_init(&f);
		f.r.original = span_str(cases[i].in);
		fixture_build(&f);
		line = strstr(f.text, "\r\nSubject: ");
		assert_non_null(line);
		at = line + strlen("\r\nSubject: ");
		if (strncmp(at, cases[i].want, strlen(cases[i].want)) != 0)
			fail_msg("%s: %.200s", cases[i].in, at);
		fixture_fini(&f);
	}
}

/* Rule: the boundary is nowhere in what it bounds, not even in the returned
 * copy of a notice with the same trace id. */
static void test_boundary(void **state)
{
	struct fixture f, g;

	(void)state;
	fixture_init(&f);
	fixture_build(&f);
	has(&f, "boundary=\"=_abcdef00000000000000000000000000_0\"\r\n");
	fixture_init(&g);
	g.r.original = blob_span(f.blob);
	fixture_build(&g);
	has(&g, "boundary=\"=_abcdef00000000000000000000000000_1\"\r\n");
	fixture_fini(&f);
	fixture_fini(&g);
}

static unsigned count(const char *text, const char *what)
{
	unsigned n = 0;

	for (; (text = strstr(text, what)); text += strlen(what))
		n++;
	return n;
}

/* How often the boundary is at work; what only looks like it is text. */
static unsigned delimiters(const struct fixture *f)
{
	const char *at = strstr(f->text, "boundary=\"") + 10;
	char line[80];

	snprintf(line, sizeof line, "\r\n--%.*s", (int)strcspn(at, "\""), at);
	return count(f->text, line);
}

/* Every line of the second part is a field of ours or its continuation. */
static void check_fields(const struct fixture *f, unsigned nrcpt)
{
	static const char *const names[] = {
		"Reporting-MTA: ", "Original-Envelope-Id: ", "Arrival-Date: ",
		"Original-Recipient: ", "Final-Recipient: ", "Action: ",
		"Status: ", "Remote-MTA: ", "Diagnostic-Code: ",
		"Last-Attempt-Date: ", "Will-Retry-Until: "};
	const char *p = strstr(f->text, "delivery-status\r\nContent-Tr");
	unsigned blank = 0;

	assert_non_null(p);
	p = strstr(p, "\r\n\r\n") + 4;
	while (strncmp(p, "--=_", 4) != 0) {
		size_t i = 0;

		while (i < countof(names) &&
			strncmp(p, names[i], strlen(names[i])) != 0)
			i++;
		if (strncmp(p, "\r\n", 2) == 0)
			blank++;
		else if (i == countof(names) &&
			 (*p != ' ' || (unsigned char)p[1] <= ' '))
			fail_msg("a foreign line: %.80s", p);
		p = strstr(p, "\r\n") + 2;
	}
	/* One before each recipient, one before the delimiter. */
	assert_int_equal(blank, nrcpt + 1);
}

/* Rule (T7): whatever a remote host said, or what it is called, or what the
 * sender gave as ORCPT and ENVID, comes out as text in its own field: bounded,
 * on lines of a bounded length, without control characters. */
static void test_hostile(void **state)
{
	enum { LARGE = 1 << 20 };
	static const char evil[] =
		"x\r\n\r\n--=_abcdef00000000000000000000000000_0\r\n"
		"Content-Type: text/html\r\n\r\nBcc: e@e\rX: y\nZ: \0 \x7f "
		"\x1b[31m \xff\xfe \xc2\x85 \xe2\x80\xae \xe2\x80\xa8 end";
	struct span texts[8] = {span(evil, sizeof evil - 1)};
	char *large = malloc(LARGE);
	unsigned n = 1;

	(void)state;
	memset(large, 'w', LARGE);
	texts[n++] = span(large, LARGE);
	texts[n++] = span(strdup("  \r\n \t \r\n  "), 11);
	large = malloc(LARGE);
	for (int i = 0; i < LARGE; i++)
		large[i] = "ab \r\n"[i % 5];
	texts[n++] = span(large, LARGE);
	large = malloc(LARGE);
	for (int i = 0; i < LARGE; i++)
		large[i] = "\xc3\xbc"[i % 2];
	texts[n++] = span(large, LARGE);
	texts[n++] = span(calloc(1, 5000), 5000);
	large = malloc(5000);
	memset(large, 0xff, 5000);
	texts[n++] = span(large, 5000);
	large = malloc(5000);
	memset(large, ' ', 5000);
	large[4999] = 'x';
	texts[n++] = span(large, 5000);
	for (unsigned i = 0; i < n; i++)
		for (unsigned flags = 0; flags <= ENV_SMTPUTF8; flags++) {
			struct fixture f;

			fixture_init(&f);
			f.env.flags = flags;
			if (flags)
				f.to = SPAN("\xc3\xa4@a");
			f.rr.outcome.text = texts[i];
			f.rr.outcome.host = texts[i];
			f.rcpt.address = texts[i];
			f.rcpt.orcpt = texts[i];
			f.env.envid = texts[i];
			f.r.node = span_head(texts[i], 1000);
			f.r.original = span_head(texts[i], 60000);
			fixture_build(&f);
			check_fields(&f, 1);
			assert_int_equal(delimiters(&f), 4);
			assert_true(f.blob->n < 16384 + f.r.original.n);
			hasnt(&f, "\x1b");
			hasnt(&f, "\xe2\x80\xae");
			fixture_fini(&f);
		}
	for (unsigned i = 1; i < n; i++)
		free((void *)(uintptr_t)texts[i].p);
}

/* Rule: programs are told of every recipient, people of the first ones; the
 * size grows with what was said, not more. */
static void test_many(void **state)
{
	enum { MANY = 5000 };
	struct report_recipient *all = calloc(MANY, sizeof *all);
	struct fixture f;

	(void)state;
	fixture_init(&f);
	for (unsigned i = 0; i < MANY; i++)
		all[i] = f.rr;
	f.r.rcpt = all;
	f.r.nrcpt = MANY;
	fixture_build(&f);
	has(&f, "could not be delivered to 5000 recipients.");
	has(&f, "And 4950 more: ");
	check_fields(&f, MANY);
	assert_int_equal(count(f.text, "\r\nFinal-Recipient: "), MANY);
	assert_int_equal(count(f.text, " answered:\r\n"), 50);
	fixture_fini(&f);
	free(all);
}

/* Rule: the postmaster is told why a message without a sender comes to him. */
static void test_postmaster(void **state)
{
	struct fixture f;

	(void)state;
	fixture_init(&f);
	f.env.sender = span(NULL, 0);
	f.to = SPAN(POSTMASTER);
	fixture_build(&f);
	has(&f, "\r\nTo: <" POSTMASTER ">\r\n");
	has(&f, "A message without a return address");
	hasnt(&f, "Your message");
	fixture_fini(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_wanted),
		cmocka_unit_test(test_kinds),
		cmocka_unit_test(test_meanings),
		cmocka_unit_test(test_original),
		cmocka_unit_test(test_addresses),
		cmocka_unit_test(test_subject),
		cmocka_unit_test(test_boundary),
		cmocka_unit_test(test_hostile),
		cmocka_unit_test(test_many),
		cmocka_unit_test(test_postmaster),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
