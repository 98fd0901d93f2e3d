/* The language of --where: what holds, what is refused and where, and that
 * what costs little is looked at first. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "mta/base/check.h"
#include "mta/base/filter.h"

enum {
	F_HOP,
	F_AGE,
	F_ERROR,
	F_SIZE,
	F_RCPT,
	F_COUNT,
	F_AT,
	F_HELD,
	F_LATE,
	F_SPEED
};

static const struct filter_field fields[] = {
	[F_HOP] = {"next_hop", FILTER_KIND_TEXT, 0, NULL},
	[F_AGE] = {"age", FILTER_KIND_DURATION, 0, NULL},
	[F_ERROR] = {"last_error", FILTER_KIND_TEXT, 2, NULL},
	[F_SIZE] = {"size", FILTER_KIND_SIZE, 0, NULL},
	[F_RCPT] = {"recipient", FILTER_KIND_TEXT, 1, NULL},
	[F_COUNT] = {"recipients", FILTER_KIND_NUMBER, 0, NULL},
	[F_AT] = {"received", FILTER_KIND_TIME, 0, NULL},
	[F_HELD] = {"suspended", FILTER_KIND_FLAG, 0, NULL},
	[F_LATE] = {"attempts", FILTER_KIND_NUMBER, 0,
		"is not known when a message comes in"},
	[F_SPEED] = {"velocity", FILTER_KIND_NUMBER, 0, NULL},
};

static const struct filter_language language = {
	fields, countof(fields), "umbra help fields"};

/* 2026-11-20T12:00:00Z */
#define NOON 1795176000000ull

struct object {
	const char *rcpt[3];
	const char *error;
	unsigned gets, of[countof(fields)];
	int unreadable;
};

static int get(void *arg, unsigned field, unsigned n, struct filter_value *v_r)
{
	struct object *o = arg;
	const char *t = NULL;

	o->gets++;
	o->of[field]++;
	switch (field) {
	case F_RCPT:
		if (o->unreadable)
			return -1;
		t = n < countof(o->rcpt) ? o->rcpt[n] : NULL;
		v_r->text = span_str(t);
		return t ? 2 : 0;
	case F_ERROR:
		if (o->unreadable)
			return -1;
		v_r->text = span_str(o->error);
		return o->error && n == 0;
	case F_HOP:
		v_r->text = SPAN("internet|x.example");
		break;
	case F_AGE:
		v_r->number = 3 * 3600000;
		break;
	case F_SIZE:
		v_r->number = 10 << 20;
		break;
	case F_COUNT:
		v_r->number = 2;
		break;
	case F_SPEED:
		v_r->number = (uint64_t)-5;
		break;
	case F_AT:
		v_r->number = NOON;
		break;
	default:
		v_r->number = 1;
	}
	return n == 0;
}

static const struct {
	const char *text;
	int holds;
} matches[] = {
	{"next_hop == \"internet|x.example\"", 1},
	{"next_hop == internet|x.example", 1},
	{"next_hop == 'INTERNET|X.example'", 1},
	{"next_hop == x.example", 0},
	{"next_hop ~ x.example", 1},
	{"next_hop ~ X.EXAMPLE", 1},
	{"next_hop !~ x.example", 0},
	{"next_hop ~ *x.example", 1},
	{"next_hop ~ x.*", 0},
	{"next_hop ~ \"internet|?.exam*\"", 1},
	{"next_hop ~ \"*|*|*\"", 0},
	{"next_hop ~ \"***e\"", 1},
	{"next_hop ~ \"\"", 1},
	{"next_hop != y", 1},
	{"NEXT_HOP ~ x AND NOT age < 1h", 1},
	{"age > 2h", 1},
	{"age>2h and age<=3h", 1},
	{"age >= 3h and age == 180m", 1},
	{"age < 3h", 0},
	{"age != 3h", 0},
	{"age > \"2h\"", 1},
	{"size >= 10MiB", 1},
	{"size > 10MiB", 0},
	{"size == 10485760", 1},
	{"recipients == 2", 1},
	{"recipients > 2", 0},
	{"recipients > -3", 1},
	{"recipients < -3", 0},
	{"velocity < 0", 1},
	{"velocity == -5 and velocity >= -5 and velocity > -6", 1},
	{"suspended", 1},
	{"not suspended", 0},
	{"suspended == yes", 1},
	{"suspended == no", 0},
	{"suspended != no", 1},
	{"suspended and age > 1s", 1},
	{"received == 2026-11-20T12:00:00Z", 1},
	{"received == 2026-11-20T12:00", 1},
	{"received == 2026-11-20T13:00:00.000+01:00", 1},
	{"received == \"2026-11-20 07:00 -0500\"", -1},
	{"received == '2026-11-20 07:00-0500'", 1},
	{"received > 2026-11-20", 1},
	{"received < 2026-11-20", 0},
	{"received == now", 1},
	{"received > now-1h", 1},
	{"received > now+1h", 0},
	{"received < now+1d", 1},
	/* Of several values any; not equal means equal to none. */
	{"recipient == b@y.example", 1},
	{"recipient != b@y.example", 0},
	{"recipient ~ *@y.example", 1},
	{"recipient !~ *@y.example", 0},
	{"recipient != c@y.example", 1},
	/* What is not there. */
	{"last_error == \"\"", 1},
	{"last_error != ''", 0},
	{"last_error ~ x", 0},
	{"last_error !~ x", 1},
	{"last_error == x", 0},
	{"recipient == ''", 0},
	/* Precedence. */
	{"age > 5h and age > 5h or suspended", 1},
	{"suspended or age > 5h and age > 5h", 1},
	{"(suspended or age > 5h) and age > 5h", 0},
	{"not age > 5h and age > 5h", 0},
	{"not (age > 5h and age > 5h)", 1},
	{"not not suspended", 1},
	{"((suspended))", 1},
	{"next_hop ~ x\nand\tage > 2h", 1},
	/* The example of the manual. */
	{"next_hop ~ \"x.example\" and age > 2h and not (last_error ~ "
	 "\"timeout\" or size >= 11MiB)",
		1},
	{"recipient == \"a \\\"quoted\\\" \\\\ @y.example\"", 1},
	{"recipient == 'a \"quoted\" \\\\ @y.example'", 1},
};

static int match(const char *text, struct object *o)
{
	const struct filter_source s = {o, NOON, get};
	struct arena mem = {0};
	struct filter *f;
	struct buf why;
	int r = -1;

	buf_init(&why, 4096);
	if (filter_compile(&f, span_str(text), &language, &mem, &why) == 0)
		r = filter_match(f, &s);
	buf_fini(&why);
	arena_fini(&mem);
	return r;
}

static void test_matches(void **state)
{
	(void)state;
	for (size_t i = 0; i < countof(matches); i++) {
		struct object o = {.rcpt = {"a@x.example", "b@Y.example",
					   "a \"quoted\" \\ @y.example"}};
		int r = match(matches[i].text, &o);

		if (r != matches[i].holds)
			fail_msg("%s: %d", matches[i].text, r);
	}
}

static const struct {
	const char *text, *why;
} faults[] = {
	{"", "column 1: the end stands where a condition is wanted, for "
	     "example age > 2h\n  \n  ^"},
	{"next_hpo == x", "column 1: there is no field \"next_hpo\"; did you "
			  "mean \"next_hop\"?\n  next_hpo == x\n  ^"},
	{"age > 2h and foo == 1",
		"column 14: there is no field \"foo\"; \"umbra help fields\" "
		"lists them\n  age > 2h and foo == 1\n               ^"},
	{"age > 2", "column 7: \"2\" is not a duration: write it as 30s, 5m, "
		    "4h or 2d\n  age > 2\n        ^"},
	{"size > 2MB", "column 8: \"2MB\" is not a size: write it as 4096, "
		       "64KiB or 10MiB\n  size > 2MB\n         ^"},
	{"recipients > many", "column 14: \"many\" is not a whole number\n"
			      "  recipients > many\n               ^"},
	{"received > yesterday",
		"column 12: \"yesterday\" is not a time: write it as "
		"2026-11-20, 2026-11-20T12:00:00Z or now-2h\n"
		"  received > yesterday\n             ^"},
	{"suspended == maybe", "column 14: \"maybe\" is neither yes nor no\n"
			       "  suspended == maybe\n               ^"},
	{"age ~ 2h", "column 5: \"~\" is for text only: use ==, !=, <, <=, > "
		     "or >=\n  age ~ 2h\n      ^"},
	{"next_hop > x", "column 10: \">\" is not for text: use ==, !=, ~ or "
			 "!~\n  next_hop > x\n           ^"},
	{"next_hop = x", "column 10: write == instead of =\n  next_hop = x\n"
			 "           ^"},
	{"age -gt 2h", "column 5: write > instead of -gt\n  age -gt 2h\n"
		       "      ^"},
	{"age > 2h && suspended", "column 10: write and instead of &&\n"
				  "  age > 2h && suspended\n           ^"},
	{"age > 2h || suspended", "column 10: write or instead of ||\n"
				  "  age > 2h || suspended\n           ^"},
	{"(age > 2h || suspended)", "column 11: write or instead of ||\n"
				    "  (age > 2h || suspended)\n"
				    "            ^"},
	{"!suspended", "column 1: write not instead of !\n  !suspended\n  ^"},
	{"age > 2h age < 3h",
		"column 10: \"age\" stands where \"and\", \"or\" or the end is "
		"wanted\n  age > 2h age < 3h\n           ^"},
	{"age > 2h and",
		"column 13: the end stands where a condition is wanted, for "
		"example age > 2h\n  age > 2h and\n              ^"},
	{"and age > 2h",
		"column 1: \"and\" stands where a condition is wanted, for "
		"example age > 2h\n  and age > 2h\n  ^"},
	{"age >", "column 6: the end stands where a value is wanted\n  age >\n"
		  "       ^"},
	{"age", "column 4: the end stands where ==, !=, <, <=, > or >= is "
		"wanted\n  age\n     ^"},
	{"next_hop x", "column 10: \"x\" stands where ==, !=, ~ or !~ is "
		       "wanted\n  next_hop x\n           ^"},
	{"(age > 2h", "column 1: this parenthesis is not closed\n  (age > 2h\n"
		      "  ^"},
	{"age > 2h)", "column 9: \")\" stands where \"and\", \"or\" or the end "
		      "is wanted\n  age > 2h)\n          ^"},
	{"next_hop == \"x", "column 13: this quote has no end\n"
			    "  next_hop == \"x\n              ^"},
	{"next_hop == 'gr\303\274n' age",
		"column 20: \"age\" stands where \"and\", \"or\" or the end is "
		"wanted\n  next_hop == 'gr\303\274n' age\n"
		"                     ^"},
	{"attempts > 2", "column 1: \"attempts\" is not known when a message "
			 "comes in\n  attempts > 2\n  ^"},
	{"age > 2h\1", "column 9: a control character (0x01)"},
	{"received > 2026-02-29", "column 12: \"2026-02-29\" is not a time: "
				  "write it as 2026-11-20, "
				  "2026-11-20T12:00:00Z or now-2h\n"
				  "  received > 2026-02-29\n             ^"},
};

static void test_faults(void **state)
{
	(void)state;
	for (size_t i = 0; i < countof(faults); i++) {
		struct arena mem = {0};
		struct filter *f;
		struct buf why;
		int r;

		buf_init(&why, 4096);
		r = filter_compile(
			&f, span_str(faults[i].text), &language, &mem, &why);
		assert_int_equal(r, -1);
		assert_null(f);
		assert_string_equal(buf_str(&why), faults[i].why);
		buf_fini(&why);
		arena_fini(&mem);
	}
}

static void test_times(void **state)
{
	static const char *const good[] = {"2024-02-29", "2000-02-29T23:59:59Z",
		"1971-01-01T00:00:00+14:00", "2026-11-20T12:00:00.123Z", "now",
		"NOW-0", "now+2d"};
	static const char *const bad[] = {"2023-02-29", "1900-02-29",
		"2026-13-01", "2026-00-10", "2026-11-31", "2026-11-20T24:00",
		"2026-11-20T12", "2026-11-20T12:60", "2026-11-20T12:00:60",
		"2026-11-20T12:00:00.1Z", "2026-11-20T12:00:00ZZ", "2026-11-2",
		"1969-01-01", "2026-11-20T12:00+15:00", "2026-11-20T12:00+1",
		"now2h", "now-2", "now-", "nowt", ""};
	char text[100];
	struct object o = {0};

	(void)state;
	for (size_t i = 0; i < countof(good); i++) {
		snprintf(text, sizeof text, "received > \"%s\"", good[i]);
		if (match(text, &o) < 0)
			fail_msg("%s was refused", good[i]);
	}
	for (size_t i = 0; i < countof(bad); i++) {
		snprintf(text, sizeof text, "received > \"%s\"", bad[i]);
		if (match(text, &o) >= 0)
			fail_msg("%s was taken", bad[i]);
	}
}

/* The dear fields stand first in the text and are asked last. */
static void test_cheap_first(void **state)
{
	struct object o = {.rcpt = {"a@x.example"}};

	(void)state;
	assert_int_equal(
		match("last_error ~ x and recipient ~ a and age > 5h", &o), 0);
	assert_int_equal(o.of[F_AGE], 1);
	assert_int_equal(o.gets, 1);
	o = (struct object){.rcpt = {"a@x.example"}};
	assert_int_equal(
		match("(last_error ~ x or recipient ~ a) or age > 1h", &o), 1);
	assert_int_equal(o.gets, 1);
	/* Also through parentheses: what is below them costs the most. */
	o = (struct object){.rcpt = {"a@x.example"}};
	assert_int_equal(
		match("(last_error ~ x or age > 1h) and recipient ~ z", &o), 0);
	assert_int_equal(o.of[F_ERROR], 0);
	o = (struct object){.rcpt = {"a@x.example"}};
	assert_int_equal(match("not last_error ~ x and age > 5h", &o), 0);
	assert_int_equal(o.of[F_ERROR], 0);
}

/* What cannot be read is neither this nor that, also under not. */
static void test_unreadable(void **state)
{
	struct object o = {.unreadable = 1};

	(void)state;
	assert_int_equal(match("recipient ~ x", &o), -1);
	assert_int_equal(match("not recipient ~ x", &o), -1);
	assert_int_equal(match("recipient ~ x or age > 5h", &o), -1);
	assert_int_equal(match("recipient ~ x or age > 1h", &o), 1);
	assert_int_equal(match("recipient ~ x and age > 5h", &o), 0);
}

static void test_limits(void **state)
{
	struct object o = {0};
	struct buf b;

	(void)state;
	buf_init(&b, 1 << 16);
	for (int i = 0; i < FILTER_DEPTH - 1; i++)
		buf_addc(&b, '(');
	buf_adds(&b, "age > 1h");
	for (int i = 0; i < FILTER_DEPTH - 1; i++)
		buf_addc(&b, ')');
	assert_int_equal(match(buf_str(&b), &o), 1);
	buf_clear(&b);
	for (int i = 0; i < FILTER_DEPTH; i++)
		buf_addc(&b, '(');
	buf_adds(&b, "age > 1h");
	for (int i = 0; i < FILTER_DEPTH; i++)
		buf_addc(&b, ')');
	assert_int_equal(match(buf_str(&b), &o), -1);
	buf_clear(&b);
	for (int i = 0; i < 5000; i++)
		buf_adds(&b, "not ");
	buf_adds(&b, "suspended");
	assert_int_equal(match(buf_str(&b), &o), -1);
	/* As long as it may be. */
	buf_clear(&b);
	buf_adds(&b, "age>1s");
	while (b.n + 14 <= FILTER_TEXT)
		buf_adds(&b, " or suspended");
	assert_int_equal(match(buf_str(&b), &o), 1);
	while (b.n <= FILTER_TEXT)
		buf_addc(&b, ' ');
	assert_int_equal(match(buf_str(&b), &o), -1);
	buf_fini(&b);
}

/* A pattern made to cost much is answered at once. */
static void test_glob_cost(void **state)
{
	static char s[2000], text[2100] = "recipient ~ \"";
	struct object o = {.rcpt = {s}};

	(void)state;
	memset(s, 'a', sizeof s - 1);
	for (int i = 0; i < 500; i++)
		strncat(text, "*a", sizeof text - strlen(text) - 1);
	strncat(text, "*b\"", sizeof text - strlen(text) - 1);
	for (int i = 0; i < 100; i++)
		assert_int_equal(match(text, &o), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_matches),
		cmocka_unit_test(test_faults),
		cmocka_unit_test(test_times),
		cmocka_unit_test(test_cheap_first),
		cmocka_unit_test(test_unreadable),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_glob_cost),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
