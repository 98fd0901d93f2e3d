/* Outcomes: enhanced status codes and the bridge from plumbing failures. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "mta/base/check.h"
#include "mta/smtp/outcome.h"

/* Rule: only "d.ddd.ddd" of RFC 3463 followed by a blank or nothing is an
 * enhanced code; anything else is text, untouched. Printing gives it back. */
static void test_enhanced(void **state)
{
	static const struct {
		const char *in, *status, *rest; /* status NULL: none */
	} cases[] = {
		{"2.0.0 ok", "2.0.0", "ok"},
		{"5.7.1 no", "5.7.1", "no"},
		{"4.999.999 x", "4.999.999", "x"},
		{"4.4.1", "4.4.1", ""},
		{"4.4.1 ", "4.4.1", ""},
		{"4.4.1  two", "4.4.1", " two"},
		{"5.10.100 x", "5.10.100", "x"},
		{"", NULL, ""},
		{"5", NULL, ""},
		{"5.7", NULL, ""},
		{"5.7.", NULL, ""},
		{"5..1 x", NULL, ""},
		{"3.0.0 x", NULL, ""},
		{"1.0.0 x", NULL, ""},
		{"6.0.0 x", NULL, ""},
		{"5.1000.0 x", NULL, ""},
		{"5.0.1000 x", NULL, ""},
		{"5.07.1 x", NULL, ""},
		{"5.7.01 x", NULL, ""},
		{"5.7.1x", NULL, ""},
		{"5.7.1.2 x", NULL, ""},
		{"5.7.1: x", NULL, ""},
		{" 5.7.1 x", NULL, ""},
		{"52.0.0 x", NULL, ""},
		{"5.-1.0 x", NULL, ""},
	};
	struct buf b;

	(void)state;
	buf_init(&b, 64);
	for (size_t i = 0; i < countof(cases); i++) {
		struct outcome o = {.code = 550};
		struct span in = span_str(cases[i].in), rest;
		int r = enhanced_parse(in, &o.enh, &rest);

		if (r != (cases[i].status ? 0 : -1))
			fail_msg("%s: %d", cases[i].in, r);
		if (r < 0) {
			assert_true(span_eq(rest, in));
			assert_int_equal(o.enh.class, 0);
			continue;
		}
		assert_true(span_eq(rest, span_str(cases[i].rest)));
		buf_clear(&b);
		outcome_status(&b, &o);
		assert_string_equal(buf_str(&b), cases[i].status);
	}
	buf_fini(&b);
}

/* Rule: a status always has a class of RFC 3463. */
static void test_status(void **state)
{
	static const struct {
		uint16_t code;
		const char *want;
	} cases[] = {{250, "2.0.0"}, {451, "4.0.0"}, {554, "5.0.0"},
		{0, "4.0.0"}, {354, "4.0.0"}};
	struct buf b;

	(void)state;
	buf_init(&b, 64);
	for (size_t i = 0; i < countof(cases); i++) {
		struct outcome o = {.code = cases[i].code};

		buf_clear(&b);
		outcome_status(&b, &o);
		assert_string_equal(buf_str(&b), cases[i].want);
	}
	buf_fini(&b);
}

/* Rule: no plumbing failure ever bounces mail; code and class agree. */
static void test_from_err(void **state)
{
	static const enum err all[] = {
#define X(name, code, text, temp) name,
		ERR_MAP(X)
#undef X
	};
	struct outcome o = outcome_from_err(ERR_OK);

	(void)state;
	assert_true(outcome_ok(&o) && o.enh.class == 2);
	for (size_t i = 0; i < countof(all); i++) {
		o = outcome_from_err(all[i]);
		assert_true(outcome_temporary(&o));
		assert_int_equal(o.enh.class, 4);
		assert_true(o.text.n > 0);
		assert_int_equal(o.host.n, 0);
	}
	assert_int_equal(outcome_from_err(ERR_REFUSED).enh.detail, 1);
	assert_int_equal(outcome_from_err(ERR_RESET).enh.detail, 2);
	assert_int_equal(outcome_from_err(ERR_NOSPACE).code, 452);
	assert_int_equal(outcome_from_err(ERR_INTERNAL).enh.subject, 3);
}

/* Rule: a copy shares nothing with what it was made from. */
static void test_copy(void **state)
{
	char text[] = "text", host[] = "host";
	struct outcome o = {550, {5, 7, 1}, span(text, 4), span(host, 4)};
	struct arena a = {.chunk = NULL};
	struct outcome c = outcome_copy(&a, &o);

	(void)state;
	text[0] = host[0] = 'X';
	assert_true(span_eq(c.text, SPAN("text")));
	assert_true(span_eq(c.host, SPAN("host")));
	assert_int_equal(c.code, 550);
	assert_int_equal(c.enh.subject, 7);
	o = (struct outcome){.code = 250};
	c = outcome_copy(&a, &o);
	assert_int_equal(c.text.n, 0);
	arena_fini(&a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_enhanced),
		cmocka_unit_test(test_status),
		cmocka_unit_test(test_from_err),
		cmocka_unit_test(test_copy),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
