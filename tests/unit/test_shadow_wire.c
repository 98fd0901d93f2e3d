/* The lines of the shadow link: what is taken and what is refused. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>

#include "mta/base/check.h"
#include "tests/lib/wire_echo.h"

#define SID "0123456789abcdeffedcba9876543210"
#define INC "00000000000000ff"
#define MID SID ":" INC ":1c"
#define DIG SID SID
#define X10 "xxxxxxxxxx"
#define X50 X10 X10 X10 X10 X10
#define LABEL X50 X10 "xxx."

struct line_case {
	echo_fn *echo;
	const char *head; /* of what is written back */
	const char *in;
	const char *want; /* NULL: as in; without the head and CRLF */
	const char *why;  /* not NULL: refused for this reason */
};

static void run(const struct line_case *c, size_t n)
{
	for (size_t i = 0; i < n; i++, c++) {
		struct buf out, want;
		const char *why = NULL;
		int rc;

		buf_init(&out, 8192);
		buf_init(&want, 8192);
		rc = c->echo(span_str(c->in), &out, &why);
		buf_addf(&want, "%s%s\r\n", c->head, c->want ? c->want : c->in);
		if (rc != (c->why ? -1 : 0) ||
			(c->why && strcmp(why, c->why) != 0))
			fail_msg("%s: %d %s", c->in, rc, why);
		if (!c->why && !span_eq(buf_span(&out), buf_span(&want)))
			fail_msg("%s: %s", c->in, buf_str(&out));
		buf_fini(&out);
		buf_fini(&want);
	}
}

#define HELLO(in, want, why)                                                   \
	{                                                                      \
		echo_hello, "XSHADOW HELLO ", in, want, why                    \
	}
#define H "V=1 SID=" SID " INC=" INC
#define T " NEXT=1c LINK=3 TAKEOVER=600000"

/* Rule: every parameter once, PREV may be absent; a key nobody knows is
 * skipped; order and case of keys do not matter. */
static void test_hello(void **state)
{
	static const struct line_case cases[] = {
		HELLO(H T, NULL, NULL),
		HELLO(H " PREV=" INC "," INC T, NULL, NULL),
		HELLO("v=1" T " sid=" SID " Inc=00000000000000FF", H T, NULL),
		HELLO(H " X-9=" X50 "=," T " NEW=", H T, NULL),
		HELLO("V=4294967295 SID=" SID
		      " INC=ffffffffffffffff NEXT=ffffffffffffffff"
		      " LINK=18446744073709551615 TAKEOVER=0",
			NULL, NULL),
		HELLO("", NULL, "V is missing"),
		HELLO("V=1", NULL, "SID is missing"),
		HELLO("V=1 SID=" SID, NULL, "INC is missing"),
		HELLO(H, NULL, "NEXT is missing"),
		HELLO(H " NEXT=1 LINK=1", NULL, "TAKEOVER is missing"),
		HELLO(H T " V=1", NULL, "V is given twice"),
		HELLO(H T " link=3", NULL, "LINK is given twice"),
		HELLO(H " PREV=" INC " PREV=" INC T, NULL,
			"PREV is given twice"),
		HELLO("V=0", NULL, "bad V"),
		HELLO("V=01", NULL, "bad V"),
		HELLO("V=4294967296", NULL, "bad V"),
		HELLO("V=", NULL, "bad V"),
		HELLO("SID=" SID "0", NULL, "bad SID"),
		HELLO("SID=0", NULL, "bad SID"),
		HELLO("INC=ff", NULL, "bad INC"),
		HELLO("INC=" INC "0", NULL, "bad INC"),
		HELLO("PREV=", NULL, "bad PREV"),
		HELLO("PREV=" INC ",", NULL, "bad PREV"),
		HELLO("PREV=," INC, NULL, "bad PREV"),
		HELLO("PREV=ff", NULL, "bad PREV"),
		HELLO("NEXT=0", NULL, "bad NEXT"),
		HELLO("NEXT=01", NULL, "bad NEXT"),
		HELLO("NEXT=", NULL, "bad NEXT"),
		HELLO("NEXT=10000000000000000", NULL, "bad NEXT"),
		HELLO("NEXT=-1", NULL, "bad NEXT"),
		HELLO("LINK=0", NULL, "bad LINK"),
		HELLO("LINK=+1", NULL, "bad LINK"),
		HELLO("LINK=18446744073709551616", NULL, "bad LINK"),
		HELLO("TAKEOVER=1s", NULL, "bad TAKEOVER"),
		HELLO("V", NULL, "KEY=VALUE expected"),
		HELLO("=1", NULL, "KEY=VALUE expected"),
		HELLO("-X=1", NULL, "KEY=VALUE expected"),
		HELLO("X_Y=1", NULL, "KEY=VALUE expected"),
		HELLO(H T " more", NULL, "KEY=VALUE expected"),
		HELLO(" " H T, NULL, "a word is empty"),
		HELLO(H T " ", NULL, "a word is empty"),
		HELLO(H " " T, NULL, "a word is empty"),
		HELLO(H T " X=\t", NULL, "bad character"),
		HELLO(H T " X=\r", NULL, "bad character"),
		HELLO(H T " X=\xc3\xbc", NULL, "bad character"),
		HELLO(H T " X=\x7f", NULL, "bad character"),
	};

	(void)state;
	run(cases, countof(cases));
}

#define STORE(in, want, why)                                                   \
	{                                                                      \
		echo_store, "XSHADOW STORE ", in, want, why                    \
	}
#define CLAIM(in, want, why)                                                   \
	{                                                                      \
		echo_claim, "XSHADOW CLAIM ", in, want, why                    \
	}
#define GIVE(in, want, why)                                                    \
	{                                                                      \
		echo_give, "XSHADOW GIVE ", in, want, why                      \
	}
#define PING(in, want, why)                                                    \
	{                                                                      \
		echo_ping, "XSHADOW PING ", in, want, why                      \
	}
#define DONE(in, want, why)                                                    \
	{                                                                      \
		echo_done, "XSHADOW DONE ", in, want, why                      \
	}
#define STATUS(in, want, why)                                                  \
	{                                                                      \
		echo_status, "XSHADOW STATUS ", in, want, why                  \
	}

static void test_commands(void **state)
{
	static const struct line_case cases[] = {
		STORE("MID=" MID " GEN=1 ENV=300 SIZE=0", NULL, NULL),
		STORE("MID=" MID " GEN=1 ENV=300 SIZE=9 DONE=1,3-5,9", NULL,
			NULL),
		STORE("SIZE=4611686018427387904 EXPIRES=9 ENV=0 GEN=4294967295 "
		      "MID=" MID,
			"MID=" MID " GEN=4294967295 ENV=0 "
			"SIZE=4611686018427387904",
			NULL),
		STORE("MID=" MID " GEN=1 ENV=3", NULL, "SIZE is missing"),
		STORE("MID=" MID " GEN=1 SIZE=3", NULL, "ENV is missing"),
		STORE("GEN=1 ENV=3 SIZE=3", NULL, "MID is missing"),
		STORE("MID=" MID " ENV=3 SIZE=3", NULL, "GEN is missing"),
		STORE("MID=" MID "0000000000000000", NULL, "bad MID"),
		STORE("GEN=0", NULL, "bad GEN"),
		STORE("GEN=4294967296", NULL, "bad GEN"),
		STORE("SIZE=4611686018427387905", NULL, "bad SIZE"),
		STORE("ENV=0x1", NULL, "bad ENV"),
		STORE("DONE=", NULL, "bad DONE"),
		STORE("DONE=0", NULL, "bad DONE"),
		STORE("DONE=100001", NULL, "bad DONE"),
		STORE("DONE=1 DONE=2", NULL, "DONE is given twice"),
		CLAIM("MID=" MID " GEN=2", NULL, NULL),
		CLAIM("MID=" MID " GEN=2 DONE=2-100000", NULL, NULL),
		CLAIM("MID=" MID " DONE=2", NULL, "GEN is missing"),
		CLAIM("GEN=2", NULL, "MID is missing"),
		GIVE("MID=" MID " GEN=2 STATUS=0", NULL, NULL),
		GIVE("STATUS=4611686018427387904 X=1 GEN=4294967295 MID=" MID,
			"MID=" MID " GEN=4294967295 STATUS=4611686018427387904",
			NULL),
		GIVE("MID=" MID " GEN=2", NULL, "STATUS is missing"),
		GIVE("MID=" MID " STATUS=1", NULL, "GEN is missing"),
		GIVE("GEN=2 STATUS=1", NULL, "MID is missing"),
		GIVE("GEN=0", NULL, "bad GEN"),
		GIVE("STATUS=4611686018427387905", NULL, "bad STATUS"),
		GIVE("STATUS=-1", NULL, "bad STATUS"),
		PING("NEXT=1c", NULL, NULL),
		PING("NEXT=1c SEEN=a.example:0,b:77", NULL, NULL),
		PING("LIVE=1 SEEN=A.Example:18446744073709551615 NEXT=1",
			"NEXT=1 SEEN=A.Example:18446744073709551615", NULL),
		PING("SEEN=a:1", NULL, "NEXT is missing"),
		PING("SEEN=", NULL, "bad SEEN"),
		PING("SEEN=a", NULL, "bad SEEN"),
		PING("SEEN=a:", NULL, "bad SEEN"),
		PING("SEEN=:1", NULL, "bad SEEN"),
		PING("SEEN=a:1,", NULL, "bad SEEN"),
		PING("SEEN=a:-1", NULL, "bad SEEN"),
		PING("SEEN=a:1:2", NULL, "bad SEEN"),
		PING("SEEN=a..b:1", NULL, "bad SEEN"),
		PING("SEEN=[192.0.2.1]:1", NULL, "bad SEEN"),
		DONE(MID, NULL, NULL),
		DONE(MID " " MID "/1,3-5 " MID, NULL, NULL),
		DONE(MID "/1,2,3,5", MID "/1-3,5", NULL),
		DONE(MID "/", NULL, "malformed set"),
		DONE(MID "/1/2", NULL, "malformed set"),
		DONE(MID "0000000000000000 ", NULL, "a word is empty"),
		DONE("MID=" MID, NULL, "bad MID"),
		DONE("/1", NULL, "bad MID"),
		STATUS(MID, NULL, NULL),
		STATUS(MID " " MID, NULL, NULL),
		STATUS(MID "  " MID, NULL, "a word is empty"),
		STATUS(MID "," MID, NULL, "bad MID"),
		STATUS(MID "/1", NULL, "bad MID"),
	};

	(void)state;
	run(cases, countof(cases));
}

#define OK "250 2.0.0 "
#define W "V=1 SID=" SID " INC=" INC " HELD=17 WINDOW=64 BYTES=67108864 "
#define P "SID=" SID " INC=" INC " HELD=17 "

static void test_replies(void **state)
{
	static const struct line_case cases[] = {
		{echo_welcome, OK, W "FREE=ok", NULL, NULL},
		{echo_welcome, OK, W "FREE=low", NULL, NULL},
		{echo_welcome, OK, "NEW=1 " W "FREE=FULL", W "FREE=full", NULL},
		{echo_welcome, OK, W, NULL, "a word is empty"},
		{echo_welcome, OK, W "X=1", NULL, "FREE is missing"},
		{echo_welcome, OK, W "FREE=none", NULL, "bad FREE"},
		{echo_welcome, OK, "WINDOW=4294967296", NULL, "bad WINDOW"},
		{echo_welcome, OK, "BYTES=4611686018427387905", NULL,
			"bad BYTES"},
		{echo_pong, OK, P "FREE=ok", NULL, NULL},
		{echo_pong, OK, P "FREE=ok SEEN=a.example:5", NULL, NULL},
		{echo_pong, OK, P "SEEN=a.example:5", NULL, "FREE is missing"},
		{echo_held, OK, "held MID=" MID " DIG=" DIG, NULL, NULL},
		{echo_held, OK, "HELD DIG=" DIG " MID=" MID,
			"held MID=" MID " DIG=" DIG, NULL},
		{echo_held, OK, "gone MID=" MID, NULL, NULL},
		{echo_held, OK, "gone MID=" MID " DIG=x", "gone MID=" MID,
			NULL},
		{echo_held, OK, "held MID=" MID, NULL, "DIG is missing"},
		{echo_held, OK, "held MID=" MID " DIG=" DIG "0", NULL,
			"bad DIG"},
		{echo_held, OK, "gone", NULL, "MID is missing"},
		{echo_held, OK, "MID=" MID, NULL, "another reply was expected"},
		{echo_held, OK, "", NULL, "another reply was expected"},
		{echo_noted, OK, "noted 0", NULL, NULL},
		{echo_noted, OK, "noted 4294967295", NULL, NULL},
		{echo_noted, OK, "noted 7 X=1", "noted 7", NULL},
		{echo_noted, OK, "noted", NULL, "bad number of items"},
		{echo_noted, OK, "noted -1", NULL, "bad number of items"},
		{echo_noted, OK, "noted 4294967296", NULL,
			"bad number of items"},
		{echo_ceded, OK, "ceded", NULL, NULL},
		{echo_ceded, OK, "ceded DONE=1,3", NULL, NULL},
		{echo_ceded, OK, "gone", NULL, NULL},
		{echo_ceded, OK, "none X=1", "none", NULL},
		{echo_ceded, OK, "ceded DONE=", NULL, "bad DONE"},
		{echo_ceded, OK, "busy", NULL, "another reply was expected"},
		{echo_stale, "550 5.7.1 ", "stale GEN=3", NULL, NULL},
		{echo_stale, "550 5.7.1 ", "stale", NULL, "GEN is missing"},
		{echo_stale, "550 5.7.1 ", "not a peer", NULL,
			"another reply was expected"},
		{echo_answers, OK,
			"LIVE/1 ELSEWHERE/4294967295 GONE UNKNOWN NONE "
			"HELD/3/a.example",
			NULL, NULL},
		{echo_answers, OK, "live/1 Gone", "LIVE/1 GONE", NULL},
		{echo_answers, OK, "LIVE", NULL, "bad answer"},
		{echo_answers, OK, "LIVE/", NULL, "bad answer"},
		{echo_answers, OK, "LIVE/0", NULL, "bad answer"},
		{echo_answers, OK, "LIVE/4294967296", NULL, "bad answer"},
		{echo_answers, OK, "LIVE/1/", NULL, "bad answer"},
		{echo_answers, OK, "LIVE/1/a", NULL, "bad answer"},
		{echo_answers, OK, "GONE/", NULL, "bad answer"},
		{echo_answers, OK, "HELD/1", NULL, "bad answer"},
		{echo_answers, OK, "HELD/1/", NULL, "bad answer"},
		{echo_answers, OK, "HELD/1/a/b", NULL, "bad answer"},
		{echo_answers, OK, "HELD//a", NULL, "bad answer"},
		{echo_answers, OK, "HOLDS", NULL, "bad answer"},
		{echo_answers, OK, "/", NULL, "bad answer"},
	};
	struct buf out;

	(void)state;
	run(cases, countof(cases));
	buf_init(&out, 100);
	wire_busy_write(&out);
	wire_quit_write(&out);
	wire_noop_write(&out);
	assert_string_equal(
		buf_str(&out), "451 4.3.2 busy\r\nQUIT\r\nNOOP\r\n");
	buf_fini(&out);
}

/* Rule: XSHADOW and a verb in any case, or NOOP and QUIT; a line is printable
 * ASCII and not too long. */
static void test_verbs(void **state)
{
	static const struct {
		struct span in;
		enum wire_verb verb;
		const char *rest;
	} cases[] = {
		{SPAN_INIT("XSHADOW HELLO V=1 X=2"), WIRE_HELLO, "V=1 X=2"},
		{SPAN_INIT("xShadow Store"), WIRE_STORE, ""},
		{SPAN_INIT("XSHADOW DONE a b"), WIRE_DONE, "a b"},
		{SPAN_INIT("XSHADOW STATUS  a"), WIRE_STATUS, " a"},
		{SPAN_INIT("XSHADOW CLAIM MID="), WIRE_CLAIM, "MID="},
		{SPAN_INIT("xshadow give MID="), WIRE_GIVE, "MID="},
		{SPAN_INIT("XSHADOW PING"), WIRE_PING, ""},
		{SPAN_INIT("quit"), WIRE_QUIT, ""},
		{SPAN_INIT("NOOP x"), WIRE_NOOP, "x"},
		{SPAN_INIT(""), WIRE_UNKNOWN, NULL},
		{SPAN_INIT("XSHADOW"), WIRE_UNKNOWN, NULL},
		{SPAN_INIT("XSHADOW QUIT"), WIRE_UNKNOWN, NULL},
		{SPAN_INIT("XSHADOW UNKNOWN"), WIRE_UNKNOWN, NULL},
		{SPAN_INIT("XSHADOW  PING"), WIRE_UNKNOWN, NULL},
		{SPAN_INIT(" XSHADOW PING"), WIRE_UNKNOWN, NULL},
		{SPAN_INIT("XSHADOW\tPING"), WIRE_UNKNOWN, NULL},
		{SPAN_INIT("HELLO"), WIRE_UNKNOWN, NULL},
		{SPAN_INIT("PING"), WIRE_UNKNOWN, NULL},
		{SPAN_INIT("UNKNOWN"), WIRE_UNKNOWN, NULL},
		{SPAN_INIT("NOOP \0"), WIRE_UNKNOWN, NULL},
		{SPAN_INIT("NOOP \r"), WIRE_UNKNOWN, NULL},
		{SPAN_INIT("NOOP \xff"), WIRE_UNKNOWN, NULL},
	};
	char line[WIRE_LINE];
	struct span rest;

	(void)state;
	for (size_t i = 0; i < countof(cases); i++)
		if (wire_verb_of(cases[i].in, &rest) != cases[i].verb ||
			(cases[i].rest &&
				!span_eq(rest, span_str(cases[i].rest))))
			fail_msg("row %zu", i);
	memset(line, 'x', sizeof line);
	memcpy(line, "NOOP ", 5);
	assert_int_equal(
		wire_verb_of(span(line, WIRE_LINE - 2), &rest), WIRE_NOOP);
	assert_int_equal(
		wire_verb_of(span(line, WIRE_LINE - 1), &rest), WIRE_UNKNOWN);
	assert_string_equal(wire_verb_name(WIRE_STORE), "STORE");
	assert_string_equal(wire_verb_name((enum wire_verb)99), "UNKNOWN");
}

/* Rule: a domain name of at most 253 characters, no address, no UTF-8. */
static void test_nodes(void **state)
{
	static const char long_name[] = LABEL LABEL LABEL X50 X10 "xx";

	(void)state;
	assert_true(wire_node_valid(SPAN("mx1.example")));
	assert_true(wire_node_valid(SPAN("xn--bcher-kva.example")));
	assert_true(wire_node_valid(span(long_name, 253)));
	assert_false(wire_node_valid(span(long_name, 254)));
	assert_false(wire_node_valid(SPAN("")));
	assert_false(wire_node_valid(SPAN("b\xc3\xbc"
					  "cher.example")));
	assert_false(wire_node_valid(SPAN("[192.0.2.1]")));
	assert_false(wire_node_valid(SPAN("a,b")));
	assert_false(wire_node_valid(SPAN("a:b")));
	assert_false(wire_node_valid(SPAN("a/b")));
	assert_false(wire_node_valid(SPAN("a b")));
}

static const char longest[] = LABEL LABEL LABEL X50 X10 "x";

/* Rule: what makes SEEN too long is left out, and the line is still good; more
 * nodes or runs than there may be are refused. */
static void test_most(void **state)
{
	struct wire_ping p = {.next = 1, .seen.n = WIRE_SEEN}, back;
	struct wire_hello h;
	struct buf out;
	struct span rest;
	const char *why;

	(void)state;
	buf_init(&out, 1 << 16);
	for (unsigned i = 0; i < WIRE_SEEN; i++)
		p.seen.v[i] = (struct wire_seen_node){
			span(longest, WIRE_NODE), UINT64_MAX};
	p.seen.v[0].node = SPAN("not a name");
	p.seen.v[15].node = SPAN("short");
	wire_ping_write(&out, &p);
	assert_int_equal(
		wire_verb_of(span(out.p, out.n - 2), &rest), WIRE_PING);
	assert_int_equal(wire_ping_read(rest, &back, &why), 0);
	assert_int_equal(back.seen.n, 6 + 1);
	assert_true(span_eq(back.seen.v[6].node, SPAN("short")));
	p.seen = (struct wire_seen){.v = {{SPAN("a b"), 1}}, .n = 1};
	buf_clear(&out);
	wire_ping_write(&out, &p);
	assert_string_equal(buf_str(&out), "XSHADOW PING NEXT=1\r\n");
	for (unsigned n = 15; n <= 17; n++) {
		buf_clear(&out);
		buf_adds(&out, "NEXT=1 SEEN=a:1");
		for (unsigned i = 1; i < n; i++)
			buf_adds(&out, ",a:1");
		assert_int_equal(wire_ping_read(buf_span(&out), &back, &why),
			n <= WIRE_SEEN ? 0 : -1);
	}
	for (unsigned n = 31; n <= 33; n++) {
		buf_clear(&out);
		buf_adds(&out, H T " PREV=" INC);
		for (unsigned i = 1; i < n; i++)
			buf_adds(&out, "," INC);
		assert_int_equal(wire_hello_read(buf_span(&out), &h, &why),
			n <= WIRE_PREV ? 0 : -1);
		if (n <= WIRE_PREV)
			assert_int_equal(h.prev.n, n);
	}
	buf_fini(&out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_hello),
		cmocka_unit_test(test_commands),
		cmocka_unit_test(test_replies),
		cmocka_unit_test(test_verbs),
		cmocka_unit_test(test_nodes),
		cmocka_unit_test(test_most),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
