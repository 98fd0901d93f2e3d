/* Runs of bytes: comparing and searching them (span), and gathering them up
 * to a maximum (buf). */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>

#include "mta/base/buf.h"
#include "mta/base/check.h"
#include "mta/base/span.h"

static int sign(int x)
{
	return x < 0 ? -1 : x > 0;
}

/* Rule: equality looks at every octet and at the length; the folded ones fold
 * ASCII letters and nothing else; order is by octets, a prefix comes first. */
static void test_compare(void **state)
{
	static const struct {
		struct span a, b;
		int eq, ieq, icmp, starts, istarts;
	} cases[] = {
		{SPAN_INIT(""), SPAN_INIT(""), 1, 1, 0, 1, 1},
		{{NULL, 0}, SPAN_INIT(""), 1, 1, 0, 1, 1},
		{SPAN_INIT("a"), SPAN_INIT(""), 0, 0, 1, 1, 1},
		{SPAN_INIT(""), SPAN_INIT("a"), 0, 0, -1, 0, 0},
		{SPAN_INIT("a"), SPAN_INIT("a"), 1, 1, 0, 1, 1},
		{SPAN_INIT("a"), SPAN_INIT("A"), 0, 1, 0, 0, 1},
		{SPAN_INIT("Z"), SPAN_INIT("z"), 0, 1, 0, 0, 1},
		{SPAN_INIT("abc"), SPAN_INIT("ab"), 0, 0, 1, 1, 1},
		{SPAN_INIT("ABC"), SPAN_INIT("ab"), 0, 0, 1, 0, 1},
		{SPAN_INIT("ab"), SPAN_INIT("abc"), 0, 0, -1, 0, 0},
		{SPAN_INIT("abd"), SPAN_INIT("ABC"), 0, 0, 1, 0, 0},
		{SPAN_INIT("B"), SPAN_INIT("a"), 0, 0, 1, 0, 0},
		/* 32 apart, and not letters */
		{SPAN_INIT("@"), SPAN_INIT("`"), 0, 0, -1, 0, 0},
		{SPAN_INIT("["), SPAN_INIT("{"), 0, 0, -1, 0, 0},
		{SPAN_INIT("\xc0"), SPAN_INIT("\xe0"), 0, 0, -1, 0, 0},
		/* octets are not signed, a NUL is one of them */
		{SPAN_INIT("\x80"), SPAN_INIT("z"), 0, 0, 1, 0, 0},
		{SPAN_INIT("a\0b"), SPAN_INIT("a\0c"), 0, 0, -1, 0, 0},
		{SPAN_INIT("a\0b"), SPAN_INIT("a"), 0, 0, 1, 1, 1},
	};

	(void)state;
	for (size_t i = 0; i < countof(cases); i++) {
		struct span a = cases[i].a, b = cases[i].b;

		if (span_eq(a, b) != cases[i].eq ||
			span_ieq(a, b) != cases[i].ieq ||
			sign(span_icmp(a, b)) != cases[i].icmp ||
			sign(span_icmp(b, a)) != -cases[i].icmp ||
			span_starts(a, b) != cases[i].starts ||
			span_istarts(a, b) != cases[i].istarts)
			fail_msg("row %zu", i);
	}
}

/* Rule: the first and the last index, -1 when there is none. */
static void test_find(void **state)
{
	static const struct {
		struct span in;
		char c;
		ptrdiff_t first, last;
	} cases[] = {
		{SPAN_INIT(""), 'a', -1, -1},
		{{NULL, 0}, 'a', -1, -1},
		{SPAN_INIT("a"), 'a', 0, 0},
		{SPAN_INIT("xaxax"), 'a', 1, 3},
		{SPAN_INIT("xx"), 'a', -1, -1},
		{SPAN_INIT("x"), '\0', -1, -1},
		{SPAN_INIT("x\0\0y"), '\0', 1, 2},
		{SPAN_INIT("x\xff"), '\xff', 1, 1},
	};

	(void)state;
	for (size_t i = 0; i < countof(cases); i++) {
		assert_int_equal(
			span_chr(cases[i].in, cases[i].c), cases[i].first);
		assert_int_equal(
			span_rchr(cases[i].in, cases[i].c), cases[i].last);
	}
}

/* Rule: head and skip cut at n, both all there is when n is more; trim takes
 * blanks from the ends only. */
static void test_cut(void **state)
{
	static const struct {
		const char *in;
		size_t n;
		const char *head, *skip, *trim;
	} cases[] = {
		{"", 0, "", "", ""},
		{"", 5, "", "", ""},
		{"abc", 0, "", "abc", "abc"},
		{"abc", 1, "a", "bc", "abc"},
		{"abc", 3, "abc", "", "abc"},
		{"abc", SIZE_MAX, "abc", "", "abc"},
		{" \t a b\t ", 2, " \t", " a b\t ", "a b"},
		{" \t", 1, " ", "\t", ""},
		{"\r\n", 1, "\r", "\n", "\r\n"},
	};

	(void)state;
	for (size_t i = 0; i < countof(cases); i++) {
		struct span s = span_str(cases[i].in);

		if (!span_eq(span_head(s, cases[i].n),
			    span_str(cases[i].head)) ||
			!span_eq(span_skip(s, cases[i].n),
				span_str(cases[i].skip)) ||
			!span_eq(span_trim(s), span_str(cases[i].trim)))
			fail_msg("row %zu", i);
	}
	assert_int_equal(span_str(NULL).n, 0);
}

/* Rule: digits, at least one, nothing else, at most max. */
static void test_u64(void **state)
{
	static const struct {
		struct span in;
		uint64_t max, want;
		int rc;
	} cases[] = {
		{SPAN_INIT("0"), 0, 0, 0},
		{SPAN_INIT("00012"), 12, 12, 0},
		{SPAN_INIT("13"), 12, 0, -1},
		{SPAN_INIT("18446744073709551615"), UINT64_MAX, UINT64_MAX, 0},
		{SPAN_INIT("18446744073709551616"), UINT64_MAX, 0, -1},
		{SPAN_INIT("18446744073709551620"), UINT64_MAX, 0, -1},
		{SPAN_INIT("99999999999999999999"), UINT64_MAX, 0, -1},
		{SPAN_INIT("100000000000000000000"), UINT64_MAX, 0, -1},
		{SPAN_INIT(""), 9, 0, -1},
		{SPAN_INIT(" 1"), 9, 0, -1},
		{SPAN_INIT("1 "), 9, 0, -1},
		{SPAN_INIT("+1"), 9, 0, -1},
		{SPAN_INIT("-1"), 9, 0, -1},
		{SPAN_INIT("0x1"), 9, 0, -1},
		{SPAN_INIT("1\0"), 9, 0, -1},
		{SPAN_INIT("/"), 9, 0, -1},
		{SPAN_INIT(":"), 99, 0, -1},
	};

	(void)state;
	for (size_t i = 0; i < countof(cases); i++) {
		uint64_t v = 77;

		if (span_u64(cases[i].in, cases[i].max, &v) != cases[i].rc ||
			v != (cases[i].rc ? 77 : cases[i].want))
			fail_msg("row %zu", i);
	}
}

/* Rule: whoever appends adds exactly this, and all of it or nothing; full
 * stays set, and later appends add nothing even where they would fit. */
static void add_one(struct buf *b, int how)
{
	switch (how) {
	case 0:
		buf_add(b, SPAN("12345"));
		break;
	case 1:
		buf_adds(b, "12345");
		break;
	case 2:
		buf_addu(b, 12345);
		break;
	case 3:
		buf_addf(b, "%d%s", 123, "45");
		break;
	default:
		for (char c = '1'; c <= '5'; c++)
			buf_addc(b, c);
		break;
	}
}

static void test_full(void **state)
{
	(void)state;
	for (int how = 0; how < 5; how++) {
		struct buf b;

		/* buf_addf asks for one octet more, for its NUL. */
		buf_init(&b, 12 + (how == 3));
		add_one(&b, how);
		add_one(&b, how);
		assert_false(b.full);
		assert_true(span_eq(buf_span(&b), SPAN("1234512345")));
		add_one(&b, how);
		assert_true(b.full);
		assert_true(b.cap <= b.max);
		if (how < 4) /* octets one by one fill it up */
			assert_true(span_eq(buf_span(&b), SPAN("1234512345")));
		else
			assert_true(
				span_eq(buf_span(&b), SPAN("123451234512")));
		b.n = 10;
		buf_addc(&b, 'x');
		buf_adds(&b, "x");
		buf_addf(&b, "x");
		buf_add(&b, span(NULL, 0));
		assert_int_equal(b.n, 10);
		assert_true(b.full);
		buf_clear(&b);
		assert_false(b.full);
		assert_int_equal(b.n, 0);
		add_one(&b, how);
		assert_true(span_eq(buf_span(&b), SPAN("12345")));
		buf_fini(&b);
		assert_null(b.p);
		assert_int_equal(b.max, 12 + (how == 3));
		add_one(&b, how);
		assert_int_equal(b.n, 5);
		buf_fini(&b);
	}
}

/* Rule: a buf that was never given a maximum takes nothing, and says so. */
static void test_zeroed(void **state)
{
	struct buf b = {0};

	(void)state;
	buf_add(&b, span(NULL, 0));
	assert_false(b.full);
	assert_int_equal(buf_reserve(&b, 1), ERR_LIMIT);
	assert_string_equal(buf_str(&b), "");
	buf_addc(&b, 'x');
	assert_true(b.full);
	assert_int_equal(b.n, 0);
	buf_fini(&b);
}

/* Rule: room is made up to max and not beyond, and no sum wraps around. */
static void test_reserve(void **state)
{
	static const struct {
		size_t max, used, more;
		enum err want;
	} cases[] = {
		{100, 0, 0, ERR_OK},
		{100, 0, 100, ERR_OK},
		{100, 0, 101, ERR_LIMIT},
		{100, 60, 40, ERR_OK},
		{100, 60, 41, ERR_LIMIT},
		{100, 100, 0, ERR_OK},
		{100, 100, 1, ERR_LIMIT},
		{100, 60, SIZE_MAX, ERR_LIMIT},
		{100, 60, SIZE_MAX - 59, ERR_LIMIT},
		{SIZE_MAX, 60, SIZE_MAX - 59, ERR_LIMIT},
		{1 << 20, 1, (1 << 20) - 1, ERR_OK},
	};

	(void)state;
	for (size_t i = 0; i < countof(cases); i++) {
		struct buf b;

		buf_init(&b, cases[i].max);
		for (size_t k = 0; k < cases[i].used; k++)
			buf_addc(&b, (char)('a' + k % 26));
		if (buf_reserve(&b, cases[i].more) != cases[i].want ||
			b.cap > b.max || b.n != cases[i].used || b.full)
			fail_msg("row %zu", i);
		if (cases[i].want == ERR_OK)
			assert_true(b.cap - b.n >= cases[i].more);
		for (size_t k = 0; k < cases[i].used; k++)
			assert_int_equal(b.p[k], 'a' + (int)(k % 26));
		buf_fini(&b);
	}
}

/* Rule: numbers and octets print in full, and a printf longer than the room
 * there is grows it once and is whole. */
static void test_print(void **state)
{
	static const struct {
		uint64_t v;
		const char *want;
	} numbers[] = {
		{0, "0"},
		{9, "9"},
		{10, "10"},
		{UINT64_C(10000000000), "10000000000"},
		{UINT64_MAX, "18446744073709551615"},
	};
	static const uint8_t octets[] = {0x00, 0x7f, 0x80, 0xab, 0xff};
	struct buf b;

	(void)state;
	buf_init(&b, 10000);
	for (size_t i = 0; i < countof(numbers); i++) {
		buf_clear(&b);
		buf_addu(&b, numbers[i].v);
		assert_string_equal(buf_str(&b), numbers[i].want);
	}
	buf_clear(&b);
	buf_addhex(&b, octets, sizeof octets);
	assert_string_equal(buf_str(&b), "007f80abff");
	for (int n = 0; n < 300; n++) {
		struct buf f;

		buf_init(&f, 10000);
		buf_adds(&f, "ab");
		buf_addf(&f, "%*d|", n, 7);
		assert_false(f.full);
		assert_int_equal(f.n, 2 + (n < 1 ? 1 : n) + 1);
		assert_int_equal(f.p[f.n - 1], '|');
		assert_int_equal(f.p[f.n - 2], '7');
		assert_memory_equal(f.p, "ab", 2);
		buf_fini(&f);
	}
	buf_fini(&b);
}

/* Rule: dropping takes from the front and keeps the rest in order. */
static void test_drop(void **state)
{
	static const struct {
		size_t n;
		const char *rest;
	} cases[] = {{0, "abcdef"}, {1, "bcdef"}, {5, "f"}, {6, ""}};

	(void)state;
	for (size_t i = 0; i < countof(cases); i++) {
		struct buf b;

		buf_init(&b, 6);
		buf_adds(&b, "abcdef");
		buf_drop(&b, cases[i].n);
		assert_true(span_eq(buf_span(&b), span_str(cases[i].rest)));
		/* A full one has no room for the NUL of its view. */
		assert_string_equal(
			buf_str(&b), cases[i].n ? cases[i].rest : "");
		assert_true(span_eq(buf_span(&b), span_str(cases[i].rest)));
		buf_fini(&b);
	}
}

/* Rule: 1 to 16 digits in either case and nothing else; bytes: exactly twice
 * as many digits. */
static void test_hex(void **state)
{
	static const struct {
		struct span in;
		int rc;
		uint64_t v;
	} cases[] = {
		{SPAN_INIT("0"), 0, 0},
		{SPAN_INIT("09aF"), 0, 0x9af},
		{SPAN_INIT("ffffffffffffffff"), 0, UINT64_MAX},
		{SPAN_INIT("00000000000000000"), -1, 0},
		{SPAN_INIT(""), -1, 0},
		{SPAN_INIT("g"), -1, 0},
		{SPAN_INIT("/"), -1, 0},
		{SPAN_INIT(":"), -1, 0},
		{SPAN_INIT("@"), -1, 0},
		{SPAN_INIT("`"), -1, 0},
		{SPAN_INIT("0x1"), -1, 0},
		{SPAN_INIT("-1"), -1, 0},
		{SPAN_INIT("1\0"), -1, 0},
	};
	uint8_t b[3];

	(void)state;
	for (size_t i = 0; i < countof(cases); i++) {
		uint64_t v = 0;

		if (span_hex(cases[i].in, &v) != cases[i].rc || v != cases[i].v)
			fail_msg("row %zu", i);
	}
	assert_int_equal(span_unhex(SPAN("00fFa1"), b, 3), 0);
	assert_memory_equal(b, "\x00\xff\xa1", 3);
	assert_int_equal(span_unhex(SPAN("00ffa"), b, 3), -1);
	assert_int_equal(span_unhex(SPAN("00ffa10"), b, 3), -1);
	assert_int_equal(span_unhex(SPAN("00ffg1"), b, 3), -1);
	assert_int_equal(span_unhex(SPAN("00ffa "), b, 3), -1);
	assert_int_equal(span_unhex(SPAN(""), b, 0), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_compare),
		cmocka_unit_test(test_find),
		cmocka_unit_test(test_cut),
		cmocka_unit_test(test_u64),
		cmocka_unit_test(test_full),
		cmocka_unit_test(test_zeroed),
		cmocka_unit_test(test_reserve),
		cmocka_unit_test(test_print),
		cmocka_unit_test(test_drop),
		cmocka_unit_test(test_hex),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
