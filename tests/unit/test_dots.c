/* test_dots - dot-stuffing gives the same bytes for every cut of the body. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "mta/base/buf.h"
#include "mta/base/check.h"
#include "mta/smtp/dots.h"

static const struct {
	const char *name;
	struct span in;
	struct span want;
} rows[] = {
	{"an empty body is the dot alone", SPAN_INIT(""), SPAN_INIT(".\r\n")},
	{"no dots: nothing changes", SPAN_INIT("ab\r\ncd\r\n"),
		SPAN_INIT("ab\r\ncd\r\n.\r\n")},
	{"a dot in a line stays", SPAN_INIT("a.b\r\n"),
		SPAN_INIT("a.b\r\n.\r\n")},
	{"the first byte begins a line", SPAN_INIT(".a\r\n"),
		SPAN_INIT("..a\r\n.\r\n")},
	{"a lone dot is doubled", SPAN_INIT(".\r\n"), SPAN_INIT("..\r\n.\r\n")},
	{"only the first dot of a line is doubled", SPAN_INIT("a\r\n...\r\n"),
		SPAN_INIT("a\r\n....\r\n.\r\n")},
	{"every line that opens with a dot",
		SPAN_INIT("x\r\n.\r\n.y\r\nz.\r\n"),
		SPAN_INIT("x\r\n..\r\n..y\r\nz.\r\n.\r\n")},
	{"a missing last CRLF is added", SPAN_INIT("a"),
		SPAN_INIT("a\r\n.\r\n")},
	{"one dot without line end", SPAN_INIT("."), SPAN_INIT("..\r\n.\r\n")},
	{"a dot after a bare LF is doubled", SPAN_INIT("a\n.\r\nb\r\n"),
		SPAN_INIT("a\n..\r\nb\r\n.\r\n")},
	{"a bare LF at the end does not end the data", SPAN_INIT("a\n"),
		SPAN_INIT("a\n\r\n.\r\n")},
	{"a lone LF does not end the data", SPAN_INIT("\n"),
		SPAN_INIT("\n\r\n.\r\n")},
	{"a bare CR at the end does not end the data", SPAN_INIT("a\r"),
		SPAN_INIT("a\r\r\n.\r\n")},
	{"a dot after a bare CR is in the line", SPAN_INIT("a\r.b\r\n"),
		SPAN_INIT("a\r.b\r\n.\r\n")},
	{"dot LF: the CR before the dot does not count", SPAN_INIT("a\r\n.\n"),
		SPAN_INIT("a\r\n..\n\r\n.\r\n")},
	{"empty lines", SPAN_INIT("\r\n\r\n"), SPAN_INIT("\r\n\r\n.\r\n")},
	{"NUL is a byte like others", SPAN_INIT("\0\r\n.\0\r\n"),
		SPAN_INIT("\0\r\n..\0\r\n.\r\n")},
};

static void stuff(struct span in, size_t piece, struct buf *out)
{
	struct dots d = DOTS_INIT;
	struct span s;

	buf_clear(out);
	while (in.n) {
		struct span part = span_head(in, piece);

		in = span_skip(in, part.n);
		while (part.n) {
			size_t n = dots_next(&d, part, &s);

			assert_true(s.n > 0);
			assert_true(n == s.n || n == 0);
			buf_add(out, s);
			part = span_skip(part, n);
		}
	}
	buf_add(out, dots_end(&d));
}

static void test_rows(void **state)
{
	struct buf out;

	(void)state;
	buf_init(&out, 4096);
	for (size_t i = 0; i < countof(rows); i++) {
		for (size_t piece = 1; piece <= rows[i].in.n + 1; piece++) {
			stuff(rows[i].in, piece, &out);
			if (!span_eq(buf_span(&out), rows[i].want))
				fail_msg("%s (pieces of %zu): \"%.*s\"",
					rows[i].name, piece,
					SPAN_ARG(buf_span(&out)));
		}
	}
	buf_fini(&out);
}

/* Text without dots goes out as one span: nothing is copied or cut. */
static void test_one_span(void **state)
{
	struct dots d = DOTS_INIT;
	struct span in = SPAN("a\r\nb\r\n\r\nc\r\n"), out;

	(void)state;
	assert_int_equal(dots_next(&d, in, &out), in.n);
	assert_ptr_equal(out.p, in.p);
	assert_int_equal(out.n, in.n);
	assert_int_equal(dots_next(&d, span(NULL, 0), &out), 0);
	assert_int_equal(out.n, 0);
	assert_true(span_eq(dots_end(&d), SPAN(".\r\n")));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rows),
		cmocka_unit_test(test_one_span),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
