/* Rules shown here (T1): CRLF "." CRLF ends the data and nothing else does;
 * stuffed dots go, everything else stays byte for byte; bare CR, bare LF and
 * NUL are noticed wherever they are; the split of the input changes nothing. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "mta/base/buf.h"
#include "mta/base/check.h"
#include "mta/smtp/data.h"

#define CR DATA_BARE_CR
#define LF DATA_BARE_LF

static const struct row {
	const char *name;
	struct span in;
	struct span out;
	int end; /* octets taken when the end was found, else -1 */
	unsigned flags;
	int header; /* -1: not looked at */
} rows[] = {
	{"plain", SPAN_INIT("a\r\n.\r\n"), SPAN_INIT("a\r\n"), 6, 0, 3},
	{"empty message", SPAN_INIT(".\r\n"), SPAN_INIT(""), 3, 0, 0},
	{"only an empty line", SPAN_INIT("\r\n.\r\n"), SPAN_INIT("\r\n"), 5, 0,
		2},
	{"stuffed dot", SPAN_INIT("..a\r\n.\r\n"), SPAN_INIT(".a\r\n"), 8, 0,
		4},
	{"stuffed dot alone", SPAN_INIT("..\r\n.\r\n"), SPAN_INIT(".\r\n"), 7,
		0, 3},
	{"one dot is taken from a line", SPAN_INIT(".a\r\n.\r\n"),
		SPAN_INIT("a\r\n"), 7, 0, 3},
	{"dot in a line stays", SPAN_INIT("a.\r\nb.c\r\n.\r\n"),
		SPAN_INIT("a.\r\nb.c\r\n"), 12, 0, 9},
	{"what follows the end is not taken",
		SPAN_INIT("a\r\n.\r\nMAIL FROM:<>\r\n"), SPAN_INIT("a\r\n"), 6,
		0, 3},
	{"header ends at the empty line",
		SPAN_INIT("A: b\r\n\r\nbody\r\n.\r\n"),
		SPAN_INIT("A: b\r\n\r\nbody\r\n"), 17, 0, 8},
	/* CVE-2023-51764 and its kin: none of these is an end. */
	{"LF . LF", SPAN_INIT("a\n.\nb\r\n.\r\n"), SPAN_INIT("a\n.\nb\r\n"), 10,
		LF, -1},
	{"LF . CRLF", SPAN_INIT("a\n.\r\nb\r\n.\r\n"),
		SPAN_INIT("a\n.\r\nb\r\n"), 11, LF, -1},
	{"CRLF . LF", SPAN_INIT("a\r\n.\nb\r\n.\r\n"),
		SPAN_INIT("a\r\n\nb\r\n"), 11, LF, -1},
	{"CR . CR", SPAN_INIT("a\r.\rb\r\n.\r\n"), SPAN_INIT("a\r.\rb\r\n"), 10,
		CR, -1},
	{"CRLF . CR", SPAN_INIT("a\r\n.\rb\r\n.\r\n"),
		SPAN_INIT("a\r\n\rb\r\n"), 11, CR, -1},
	{"CRLF . CR CRLF", SPAN_INIT("a\r\n.\r\r\nb\r\n.\r\n"),
		SPAN_INIT("a\r\n\r\r\nb\r\n"), 13, CR, -1},
	{"CR CRLF . CRLF", SPAN_INIT("a\r\r\n.\r\n"), SPAN_INIT("a\r\r\n"), 7,
		CR, -1},
	{"CR . CRLF", SPAN_INIT("a\r.\r\nb\r\n.\r\n"),
		SPAN_INIT("a\r.\r\nb\r\n"), 11, CR, -1},
	{"CRLF . NUL LF", SPAN_INIT("a\r\n.\0\nb\r\n.\r\n"),
		SPAN_INIT("a\r\n\0\nb\r\n"), 12, LF | DATA_NUL, -1},
	{"LF .. CRLF", SPAN_INIT("a\n..\r\n.\r\n"), SPAN_INIT("a\n..\r\n"), 9,
		LF, -1},
	{"NUL", SPAN_INIT("a\0b\r\n.\r\n"), SPAN_INIT("a\0b\r\n"), 8, DATA_NUL,
		-1},
	{"8 bit in the body", SPAN_INIT("A: b\r\n\r\n\xe9\r\n.\r\n"),
		SPAN_INIT("A: b\r\n\r\n\xe9\r\n"), 14, DATA_8BIT, 8},
	{"8 bit in the header", SPAN_INIT("A: \xe9\r\n\r\n.\r\n"),
		SPAN_INIT("A: \xe9\r\n\r\n"), 11, DATA_8BIT | DATA_8BIT_HEADER,
		8},
	{"no end", SPAN_INIT("a\r\n.\r"), SPAN_INIT("a\r\n"), -1, 0, -1},
	{"no end after text", SPAN_INIT("abc"), SPAN_INIT("abc"), -1, 0, 3},
};

static void emit(void *arg, struct span piece)
{
	buf_add(arg, piece);
}

/* Feeds in pieces of at most step octets, each copied to its own block. */
static size_t feed(struct data_scan *d, struct span in, size_t step,
	struct buf *out, int *end_r)
{
	size_t total = 0, used;

	*end_r = 0;
	while (in.n && !*end_r) {
		struct span part = span_head(in, step);
		char *copy = malloc(part.n);

		memcpy(copy, part.p, part.n);
		used = data_scan(d, span(copy, part.n), emit, out, end_r);
		free(copy);
		total += used;
		if (!*end_r)
			assert_int_equal(used, part.n);
		in = span_skip(in, used);
	}
	return total;
}

static void test_table(void **state)
{
	(void)state;
	for (size_t i = 0; i < countof(rows); i++)
		for (size_t step = 1; step <= rows[i].in.n + 1; step++) {
			const struct row *r = &rows[i];
			struct data_scan d;
			struct buf out;
			size_t used;
			int end;

			buf_init(&out, 4096);
			data_scan_init(&d, 1);
			used = feed(&d, r->in, step, &out, &end);
			data_scan_end(&d);
			if (end != (r->end >= 0) ||
				(end && used != (size_t)r->end) ||
				!span_eq(buf_span(&out), r->out) ||
				d.flags != r->flags || d.bytes != r->out.n ||
				(r->header >= 0 &&
					d.header != (uint64_t)r->header))
				fail_msg("%s, pieces of %zu: end %d used %zu "
					 "flags %x header %llu out \"%.*s\"",
					r->name, step, end, used, d.flags,
					(unsigned long long)d.header,
					SPAN_ARG(buf_span(&out)));
			buf_fini(&out);
		}
}

/* BDAT: no dots, no end, the same notes. */
static void test_chunks(void **state)
{
	static const struct span in = SPAN_INIT(".\r\n..\r\n.\r\na\nb\r");
	struct data_scan d;
	struct buf out;
	int end;

	(void)state;
	for (size_t step = 1; step <= in.n; step++) {
		buf_init(&out, 4096);
		data_scan_init(&d, 0);
		assert_int_equal(feed(&d, in, step, &out, &end), in.n);
		data_scan_end(&d);
		assert_int_equal(end, 0);
		assert_true(span_eq(buf_span(&out), in));
		assert_int_equal(d.flags, LF | CR);
		buf_fini(&out);
	}
}

/* A line of 998 octets is not long, one of 999 is (RFC 5321 4.5.3.1.6). */
static void test_long_line(void **state)
{
	char line[1002];

	(void)state;
	for (size_t n = 997; n <= 1000; n++)
		for (size_t step = 1; step < 1500; step += 333) {
			struct data_scan d;
			struct buf out;
			int end;

			memset(line, 'x', n);
			memcpy(line + n, "\r\n", 2);
			buf_init(&out, 4096);
			data_scan_init(&d, 1);
			feed(&d, span(line, n + 2), step, &out, &end);
			assert_int_equal(d.flags, n > 998 ? DATA_LONG_LINE : 0);
			buf_fini(&out);
		}
}

/* Flags do not depend on where in an 8-octet word an octet lies. */
static void test_positions(void **state)
{
	static const struct {
		char c;
		unsigned flags;
	} odd[] = {{'\r', CR}, {'\0', DATA_NUL},
		{'\x80', DATA_8BIT | DATA_8BIT_HEADER},
		{'\xff', DATA_8BIT | DATA_8BIT_HEADER}, {'\x01', 0},
		{'\x0c', 0}, {'\x0e', 0}};
	char line[42];

	(void)state;
	for (size_t k = 0; k < countof(odd); k++)
		for (size_t at = 0; at < 39; at++) {
			struct data_scan d;
			struct buf out;
			int end;

			memset(line, 'x', 40);
			memcpy(line + 40, "\r\n", 2);
			line[at] = odd[k].c;
			buf_init(&out, 4096);
			data_scan_init(&d, 1);
			feed(&d, span(line, 42), 42, &out, &end);
			data_scan_end(&d);
			if (d.flags != odd[k].flags)
				fail_msg("octet %02x at %zu: flags %x",
					(unsigned char)odd[k].c, at, d.flags);
			buf_fini(&out);
		}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_table),
		cmocka_unit_test(test_chunks),
		cmocka_unit_test(test_long_line),
		cmocka_unit_test(test_positions),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
