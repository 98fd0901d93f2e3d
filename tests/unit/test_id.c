/* Names of messages: printed and read back. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "mta/base/check.h"
#include "mta/base/id.h"
#include "mta/base/rand.h"

/* Rule: people may type O for 0, I and L for 1, and small letters; U is no
 * digit; nought names nothing; what does not fit 64 bits is refused, not cut.
 * want is what is printed back; NULL: refused. */
static void test_msg_id(void **state)
{
	static const struct {
		struct span in;
		uint64_t v;
		const char *want;
	} cases[] = {
		{SPAN_INIT("1"), 1, "1"},
		{SPAN_INIT("9"), 9, "9"},
		{SPAN_INIT("A"), 10, "A"},
		{SPAN_INIT("H"), 17, "H"},
		{SPAN_INIT("J"), 18, "J"},
		{SPAN_INIT("K"), 19, "K"},
		{SPAN_INIT("M"), 20, "M"},
		{SPAN_INIT("N"), 21, "N"},
		{SPAN_INIT("P"), 22, "P"},
		{SPAN_INIT("T"), 26, "T"},
		{SPAN_INIT("V"), 27, "V"},
		{SPAN_INIT("Z"), 31, "Z"},
		{SPAN_INIT("z"), 31, "Z"},
		{SPAN_INIT("10"), 32, "10"},
		{SPAN_INIT("1GZ3K8Q2"), UINT64_C(52583572194), "1GZ3K8Q2"},
		{SPAN_INIT("igz3k8q2"), UINT64_C(52583572194), "1GZ3K8Q2"},
		{SPAN_INIT("LGZ3K8Q2"), UINT64_C(52583572194), "1GZ3K8Q2"},
		{SPAN_INIT("lO"), 32, "10"},
		{SPAN_INIT("io"), 32, "10"},
		{SPAN_INIT("0000000000001"), 1, "1"},
		{SPAN_INIT("FZZZZZZZZZZZZ"), UINT64_MAX, "FZZZZZZZZZZZZ"},
		{SPAN_INIT("8000000000000"), UINT64_C(1) << 63,
			"8000000000000"},
		{SPAN_INIT("G000000000000"), 0, NULL},
		{SPAN_INIT("ZZZZZZZZZZZZZ"), 0, NULL},
		{SPAN_INIT("00000000000001"), 0, NULL},
		{SPAN_INIT("U"), 0, NULL},
		{SPAN_INIT("u"), 0, NULL},
		{SPAN_INIT(""), 0, NULL},
		{SPAN_INIT("0"), 0, NULL},
		{SPAN_INIT("000"), 0, NULL},
		{SPAN_INIT("1\0"), 0, NULL},
		{SPAN_INIT("1-2"), 0, NULL},
		{SPAN_INIT(" 1"), 0, NULL},
		{SPAN_INIT("1\xe9"), 0, NULL},
		{SPAN_INIT("@"), 0, NULL},
		{SPAN_INIT("["), 0, NULL},
	};

	(void)state;
	for (size_t i = 0; i < countof(cases); i++) {
		struct msg_id id = {0};
		char text[MSG_ID_TEXT];

		if (msg_id_parse(cases[i].in, &id) != (cases[i].want ? 0 : -1))
			fail_msg("row %zu: parse", i);
		if (!cases[i].want)
			continue;
		if (id.v != cases[i].v)
			fail_msg("row %zu: %llu", i, (unsigned long long)id.v);
		assert_true(span_eq(
			msg_id_text(id, text), span_str(cases[i].want)));
		assert_string_equal(text, cases[i].want);
	}
}

/* Rule: every id reads back as itself, and ids of one length sort as text the
 * way they sort as numbers. */
static void test_msg_id_round(void **state)
{
	struct rand r;
	struct msg_id last = {0};
	char text[MSG_ID_TEXT], before[MSG_ID_TEXT];

	(void)state;
	rand_seed(&r, 5);
	for (unsigned i = 0; i < 20000; i++) {
		struct msg_id id = {rand_u64(&r) >> (i % 64)}, back;
		struct span s = msg_id_text(id, text);
		struct span p = msg_id_text(last, before);

		if (id.v == 0)
			continue;
		assert_int_equal(msg_id_parse(s, &back), 0);
		assert_true(back.v == id.v);
		if (last.v && s.n == p.n)
			assert_true(
				(memcmp(s.p, p.p, s.n) < 0) == (id.v < last.v));
		last = id;
	}
}

/* Rule: 32 hexadecimal digits in either case, and nothing else. */
static void test_trace_id(void **state)
{
	static const struct {
		const char *in, *want; /* NULL: refused */
	} cases[] = {
		{"00000000000000000000000000000000",
			"00000000000000000000000000000000"},
		{"0123456789abcdeffedcba9876543210",
			"0123456789abcdeffedcba9876543210"},
		{"0123456789ABCDEFFEDCBA9876543210",
			"0123456789abcdeffedcba9876543210"},
		{"ffffffffffffffffffffffffffffffff",
			"ffffffffffffffffffffffffffffffff"},
		{"0123456789abcdeffedcba987654321", NULL},
		{"0123456789abcdeffedcba98765432100", NULL},
		{"0123456789abcdeffedcba987654321g", NULL},
		{"0123456789abcdeffedcba987654321/", NULL},
		{":123456789abcdeffedcba9876543210", NULL},
		{"`123456789abcdeffedcba9876543210", NULL},
		{"0123456789abcdef-edcba9876543210", NULL},
		{"", NULL},
	};

	(void)state;
	for (size_t i = 0; i < countof(cases); i++) {
		struct trace_id id;
		char text[TRACE_ID_TEXT];

		if (trace_id_parse(span_str(cases[i].in), &id) !=
			(cases[i].want ? 0 : -1))
			fail_msg("row %zu", i);
		if (!cases[i].want)
			continue;
		assert_int_equal(trace_id_text(id, text).n, 32);
		assert_string_equal(text, cases[i].want);
	}
}

#define SID "0123456789abcdeffedcba9876543210"
#define INC "00000000000000ff"

/* Rule: a database, a run and a number of full, full and shortest length; a
 * number is written in one way only, and nought names nothing. What is refused
 * leaves the result alone. */
static void test_mid(void **state)
{
	static const struct {
		struct span in;
		uint64_t inc, seq; /* seq nought: refused */
	} cases[] = {
		{SPAN_INIT(SID ":" INC ":1"), 255, 1},
		{SPAN_INIT(SID ":0000000000000000:a0"), 0, 160},
		{SPAN_INIT(SID ":FFFFFFFFFFFFFFFF:FFFFFFFFFFFFFFFF"),
			UINT64_MAX, UINT64_MAX},
		{SPAN_INIT("0123456789ABCDEFFEDCBA9876543210:" INC ":1c"), 255,
			28},
		{SPAN_INIT(SID ":" INC ":0"), 0, 0},
		{SPAN_INIT(SID ":" INC ":01"), 0, 0},
		{SPAN_INIT(SID ":" INC ":"), 0, 0},
		{SPAN_INIT(SID ":" INC), 0, 0},
		{SPAN_INIT(SID ":" INC ":1ffffffffffffffff"), 0, 0},
		{SPAN_INIT(SID ":" INC ":1 "), 0, 0},
		{SPAN_INIT(SID ":" INC ":1:"), 0, 0},
		{SPAN_INIT(SID ":" INC ":-1"), 0, 0},
		{SPAN_INIT(SID ":" INC ":0x1"), 0, 0},
		{SPAN_INIT(SID ":" INC ":1\0"), 0, 0},
		{SPAN_INIT(SID ":ff:1"), 0, 0},
		{SPAN_INIT(SID ":0000000000000ff:11"), 0, 0},
		{SPAN_INIT(SID "0:000000000000ff:1"), 0, 0},
		{SPAN_INIT("g123456789abcdeffedcba9876543210:" INC ":1"), 0, 0},
		{SPAN_INIT(SID ":g0000000000000ff:1"), 0, 0},
		{SPAN_INIT(SID "/" INC ":1"), 0, 0},
		{SPAN_INIT(SID ":" INC "/1"), 0, 0},
		{SPAN_INIT(""), 0, 0},
	};

	(void)state;
	for (size_t i = 0; i < countof(cases); i++) {
		struct mid m = {.inc = 7}, was = m;
		char text[MID_TEXT];

		if (mid_parse(cases[i].in, &m) != (cases[i].seq ? 0 : -1))
			fail_msg("row %zu: parse", i);
		if (!cases[i].seq) {
			assert_true(mid_eq(&m, &was));
			continue;
		}
		assert_int_equal(m.sid[0], 0x01);
		assert_int_equal(m.sid[15], 0x10);
		assert_true(m.inc == cases[i].inc && m.seq == cases[i].seq);
		assert_true(span_ieq(mid_text(&m, text), cases[i].in));
		assert_int_equal(strlen(text), cases[i].in.n);
	}
}

/* Rule: every identity reads back as itself; the key tells apart what differs
 * in any bit. */
static void test_mid_round(void **state)
{
	struct rand r;
	char text[MID_TEXT];

	(void)state;
	rand_seed(&r, 9);
	for (unsigned i = 0; i < 20000; i++) {
		struct mid m, back;

		rand_bytes(&r, &m, sizeof m);
		m.inc >>= rand_below(&r, 64);
		m.seq = m.seq >> rand_below(&r, 64) | 1;
		assert_int_equal(mid_parse(mid_text(&m, text), &back), 0);
		assert_true(mid_eq(&m, &back));
		assert_true(span_eq(mid_key(&m), mid_key(&back)));
		((uint8_t *)&back)[i % 32] ^= (uint8_t)(1 << i % 7);
		assert_false(mid_eq(&m, &back));
		assert_false(span_eq(mid_key(&m), mid_key(&back)));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_msg_id),
		cmocka_unit_test(test_msg_id_round),
		cmocka_unit_test(test_trace_id),
		cmocka_unit_test(test_mid),
		cmocka_unit_test(test_mid_round),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
