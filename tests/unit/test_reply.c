/* Replies: what a server may say to us, and what we say. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "mta/base/check.h"
#include "mta/smtp/reply.h"

struct take_case {
	const char *name, *in;
	enum reply_got got;
	size_t used;
	unsigned code, lines;
	const char *status; /* enhanced code, "0.0.0" for none */
	const char *text;
};

static const struct take_case takes[] = {
	{"one line", "250 ok\r\n", REPLY_OK, 8, 250, 1, "0.0.0", "ok"},
	{"next reply stays", "250 ok\r\n354 go\r\n", REPLY_OK, 8, 250, 1,
		"0.0.0", "ok"},
	{"code alone", "250\r\n", REPLY_OK, 5, 250, 1, "0.0.0", ""},
	{"code and blank", "250 \r\n", REPLY_OK, 6, 250, 1, "0.0.0", ""},
	{"two lines", "250-a\r\n250 b\r\n", REPLY_OK, 14, 250, 2, "0.0.0",
		"a b"},
	{"empty lines", "250-\r\n250-a\r\n250 \r\n", REPLY_OK, 19, 250, 3,
		"0.0.0", "a"},
	{"enhanced", "550 5.7.1 no\r\n", REPLY_OK, 14, 550, 1, "5.7.1", "no"},
	{"enhanced in each line", "550-5.7.1 a\r\n550 5.7.1 b\r\n", REPLY_OK,
		26, 550, 2, "5.7.1", "a b"},
	{"enhanced in the last", "550-a\r\n550 5.7.1 b\r\n", REPLY_OK, 20, 550,
		2, "5.7.1", "a b"},
	{"enhanced alone", "250 2.0.0\r\n", REPLY_OK, 11, 250, 1, "2.0.0", ""},
	{"enhanced of another class is text", "550 4.7.1 no\r\n", REPLY_OK, 14,
		550, 1, "0.0.0", "4.7.1 no"},
	{"no enhanced with 354", "354 3.0.0 go\r\n", REPLY_OK, 14, 354, 1,
		"0.0.0", "3.0.0 go"},
	{"controls", "250 a\tb\001\177\033[2J\302\233c\r\n", REPLY_OK, 18, 250,
		1, "0.0.0", "a b???[2J?c"},
	{"blanks around", "250-  a \r\n250  b \r\n", REPLY_OK, 19, 250, 2,
		"0.0.0", "a b"},
	{"UTF-8", "250 \303\274\r\n", REPLY_OK, 8, 250, 1, "0.0.0", "\303\274"},
	{"nothing", "", REPLY_MORE, 0, 0, 0, NULL, NULL},
	{"part of a code", "25", REPLY_MORE, 0, 0, 0, NULL, NULL},
	{"no line end", "250 ok", REPLY_MORE, 0, 0, 0, NULL, NULL},
	{"half a line end", "250 ok\r", REPLY_MORE, 0, 0, 0, NULL, NULL},
	{"last line missing", "250-ok\r\n", REPLY_MORE, 0, 0, 0, NULL, NULL},
	{"bare LF", "250 ok\n", REPLY_FAULT, 0, 0, 0, NULL, NULL},
	{"bare LF inside", "250 a\n250 b\r\n", REPLY_FAULT, 0, 0, 0, NULL,
		NULL},
	{"LF alone", "\n", REPLY_FAULT, 0, 0, 0, NULL, NULL},
	{"empty line", "\r\n", REPLY_FAULT, 0, 0, 0, NULL, NULL},
	{"bare CR", "250 a\rb\r\n", REPLY_FAULT, 0, 0, 0, NULL, NULL},
	{"CR CR LF", "250 a\r\r\n", REPLY_FAULT, 0, 0, 0, NULL, NULL},
	{"code changes", "250-a\r\n550 b\r\n", REPLY_FAULT, 0, 0, 0, NULL,
		NULL},
	{"no code", "hello\r\n", REPLY_FAULT, 0, 0, 0, NULL, NULL},
	{"second line without code", "250-a\r\nb\r\n", REPLY_FAULT, 0, 0, 0,
		NULL, NULL},
	{"1xx", "150 a\r\n", REPLY_FAULT, 0, 0, 0, NULL, NULL},
	{"6xx", "650 a\r\n", REPLY_FAULT, 0, 0, 0, NULL, NULL},
	{"four digits", "2500 a\r\n", REPLY_FAULT, 0, 0, 0, NULL, NULL},
	{"other separator", "250.a\r\n", REPLY_FAULT, 0, 0, 0, NULL, NULL},
	{"short code", "25 a\r\n", REPLY_FAULT, 0, 0, 0, NULL, NULL},
	{"blank first", " 250 a\r\n", REPLY_FAULT, 0, 0, 0, NULL, NULL},
};

/* Rule: one reply is taken whole, or more is asked for, or the connection is
 * given up; never is a byte of the next reply taken. */
static void test_take(void **state)
{
	struct buf text, status;

	(void)state;
	buf_init(&text, 4096);
	buf_init(&status, 64);
	for (size_t i = 0; i < countof(takes); i++) {
		const struct take_case *c = &takes[i];
		const char *why = NULL;
		struct outcome o = {.code = 0};
		struct reply r;
		size_t used;
		enum reply_got got =
			reply_take(span_str(c->in), &r, &used, &why);

		if (got != c->got || used != c->used || r.code != c->code ||
			r.lines != c->lines)
			fail_msg("%s: %d %zu %u %s", c->name, (int)got, used,
				r.code, why);
		assert_int_equal(got == REPLY_FAULT, *why != '\0');
		if (got != REPLY_OK)
			continue;
		assert_true(span_eq(r.raw, span(c->in, used)));
		buf_clear(&text);
		reply_text(&r, &text);
		assert_string_equal(buf_str(&text), c->text);
		o.enh = r.enh;
		buf_clear(&status);
		if (r.enh.class)
			outcome_status(&status, &o);
		else
			buf_adds(&status, "0.0.0");
		assert_string_equal(buf_str(&status), c->status);
	}
	buf_fini(&text);
	buf_fini(&status);
}

/* Rule: however a reply is cut into pieces, the answer is the same, and no
 * part of it is an answer before the whole has come. */
static void test_pieces(void **state)
{
	(void)state;
	for (size_t i = 0; i < countof(takes); i++) {
		const struct take_case *c = &takes[i];
		size_t all = strlen(c->in);

		for (size_t n = 0; n < all; n++) {
			char *p = malloc(n ? n : 1);
			const char *why;
			struct reply r;
			size_t used;
			enum reply_got got;

			assert_non_null(p);
			memcpy(p, c->in, n);
			got = reply_take(span(p, n), &r, &used, &why);
			if (got == REPLY_FAULT)
				assert_int_equal(c->got, REPLY_FAULT);
			else if (got == REPLY_OK)
				assert_true(
					c->got == REPLY_OK && used == c->used);
			free(p);
		}
	}
}

static size_t filled(char *p, size_t n, const char *start, const char *end)
{
	memset(p, 'x', n);
	memcpy(p, start, strlen(start));
	memcpy(p + n - strlen(end), end, strlen(end));
	return n;
}

/* Rule: the limits of a reply hold to the octet. */
static void test_limits(void **state)
{
	static char big[REPLY_BYTES + 4096];
	const char *why;
	struct reply r;
	size_t used, n;

	(void)state;
	n = filled(big, REPLY_LINE, "250 ", "\r\n");
	assert_int_equal(reply_take(span(big, n), &r, &used, &why), REPLY_OK);
	n = filled(big, REPLY_LINE + 1, "250 ", "\r\n");
	assert_int_equal(
		reply_take(span(big, n), &r, &used, &why), REPLY_FAULT);
	assert_int_equal(reply_take(span(big, REPLY_LINE), &r, &used, &why),
		REPLY_FAULT);
	assert_int_equal(reply_take(span(big, REPLY_LINE - 1), &r, &used, &why),
		REPLY_MORE);

	for (n = 0; n < REPLY_LINES; n++)
		memcpy(big + n * 6, "250-\r\n", 6);
	memcpy(big + n * 6, "250 \r\n", 6);
	assert_int_equal(
		reply_take(span(big, n * 6), &r, &used, &why), REPLY_MORE);
	assert_int_equal(
		reply_take(span(big, n * 6 + 6), &r, &used, &why), REPLY_FAULT);
	big[(REPLY_LINES - 1) * 6 + 3] = ' ';
	assert_int_equal(
		reply_take(span(big, n * 6 + 6), &r, &used, &why), REPLY_OK);
	assert_int_equal(r.lines, REPLY_LINES);

	for (n = 0; n < REPLY_BYTES; n += 1024)
		filled(big + n, 1024, "250-", "\r\n");
	filled(big + n, 1024, "250 ", "\r\n");
	assert_int_equal(
		reply_take(span(big, n + 1024), &r, &used, &why), REPLY_FAULT);
	big[n - 1024 + 3] = ' ';
	assert_int_equal(
		reply_take(span(big, n + 1024), &r, &used, &why), REPLY_OK);
	assert_int_equal(used, REPLY_BYTES);
}

/* Rule: kept text has a limit and never ends inside a character. */
static void test_text_limit(void **state)
{
	char big[REPLY_LINE];
	const char *why;
	struct buf out;
	struct reply r;
	size_t used, n;

	(void)state;
	buf_init(&out, 8192);
	for (size_t pad = 0; pad < 3; pad++) {
		n = filled(big, 2000 + pad, "250 ", "\r\n");
		for (size_t i = 4 + pad; i + 4 < n; i += 2)
			memcpy(big + i, "\303\274", 2);
		assert_int_equal(
			reply_take(span(big, n), &r, &used, &why), REPLY_OK);
		buf_clear(&out);
		reply_text(&r, &out);
		assert_true(out.n <= REPLY_TEXT && out.n >= REPLY_TEXT - 1);
		assert_int_equal((unsigned char)out.p[out.n - 1], 0274);
	}
	buf_fini(&out);
}

/* Rule: lines are found by number, without code and line end. */
static void test_lines(void **state)
{
	static const char in[] = "250-mx1\r\n250-\r\n250-SIZE 10\r\n250\r\n";
	static const char *const want[] = {"mx1", "", "SIZE 10", ""};
	struct span line;
	const char *why;
	struct reply r;
	size_t used;

	(void)state;
	assert_int_equal(reply_take(span_str(in), &r, &used, &why), REPLY_OK);
	for (unsigned i = 0; i < countof(want); i++) {
		assert_int_equal(reply_line(&r, i, &line), 0);
		assert_true(span_eq(line, span_str(want[i])));
	}
	assert_int_equal(reply_line(&r, countof(want), &line), -1);
	r = (struct reply){.code = 0};
	assert_int_equal(reply_line(&r, 0, &line), -1);
}

/* Rule: what is written is a reply, whatever the text holds; and reading it
 * gives back code, enhanced code and text. */
static void test_write(void **state)
{
	static const struct {
		uint16_t code;
		struct enhanced enh;
		const char *text, *want;
	} cases[] = {
		{250, {2, 0, 0}, "ok", "250 2.0.0 ok\r\n"},
		{220, {0, 0, 0}, "mx1 ESMTP", "220 mx1 ESMTP\r\n"},
		{550, {5, 10, 999}, "no", "550 5.10.999 no\r\n"},
		{250, {2, 0, 0}, "", "250 2.0.0\r\n"},
		{250, {0, 0, 0}, "", "250 \r\n"},
		{250, {0, 0, 0}, "mx1\nSIZE 10\nHELP",
			"250-mx1\r\n250-SIZE 10\r\n250 HELP\r\n"},
		{550, {5, 7, 1}, "a\nb", "550-5.7.1 a\r\n550 5.7.1 b\r\n"},
		{550, {5, 7, 1}, "a\n", "550-5.7.1 a\r\n550 5.7.1\r\n"},
		{550, {5, 7, 1}, "a\r\n250 b",
			"550-5.7.1 a?\r\n550 5.7.1 250 b\r\n"},
		{550, {0, 0, 0}, "a\rb\001\177", "550 a?b??\r\n"},
	};
	struct buf out;

	(void)state;
	buf_init(&out, 4096);
	for (size_t i = 0; i < countof(cases); i++) {
		const char *why;
		struct reply r;
		size_t used;

		buf_clear(&out);
		reply_write(&out, cases[i].code, cases[i].enh,
			span_str(cases[i].text));
		assert_string_equal(buf_str(&out), cases[i].want);
		assert_int_equal(
			reply_take(buf_span(&out), &r, &used, &why), REPLY_OK);
		assert_int_equal(used, out.n);
		assert_int_equal(r.code, cases[i].code);
		assert_memory_equal(&r.enh, &cases[i].enh, sizeof r.enh);
	}
	buf_fini(&out);
}

/* Rule: no line of ours is longer than 512 octets (RFC 5321 4.5.3.1.5); the
 * text goes on in the next one and is whole when it is put together. */
static void test_write_long(void **state)
{
	char text[1300];
	struct span line;
	const char *why;
	struct buf out, back;
	struct reply r;
	size_t used;

	(void)state;
	buf_init(&out, 4096);
	buf_init(&back, 4096);
	for (size_t i = 0; i < sizeof text; i++)
		text[i] = (char)('a' + i % 26);
	memcpy(text + 499, "\303\274", 2); /* where the first line ends */
	reply_write(
		&out, 550, (struct enhanced){5, 7, 1}, span(text, sizeof text));
	assert_int_equal(reply_take(buf_span(&out), &r, &used, &why), REPLY_OK);
	assert_int_equal(used, out.n);
	assert_int_equal(r.lines, 3);
	for (unsigned i = 0; reply_line(&r, i, &line) == 0; i++) {
		assert_true(line.n + 6 <= 512);
		buf_add(&back, span_skip(line, 6));
	}
	assert_true(span_eq(buf_span(&back), span(text, sizeof text)));
	buf_fini(&out);
	buf_fini(&back);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_take),
		cmocka_unit_test(test_pieces),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_text_limit),
		cmocka_unit_test(test_lines),
		cmocka_unit_test(test_write),
		cmocka_unit_test(test_write_long),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
