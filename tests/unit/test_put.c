/* Values as people read them in the answers of the control socket. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "mta/base/check.h"
#include "mta/ctl/answer.h"

struct number_case {
	void (*put)(struct buf *out, uint64_t v);
	uint64_t in;
	const char *want;
};

static const struct number_case numbers[] = {
	{put_duration, 0, "0s"},
	{put_duration, 999, "0s"},
	{put_duration, 59999, "59s"},
	{put_duration, 60000, "1m"},
	{put_duration, 250000, "4m10s"},
	{put_duration, 3600000, "1h"},
	{put_duration, 3661000, "1h1m"},
	{put_duration, 3605000, "1h"},
	{put_duration, 86400000, "1d"},
	{put_duration, 190800000, "2d5h"},
	{put_bytes, 0, "0"},
	{put_bytes, 1023, "1023"},
	{put_bytes, 1024, "1.0K"},
	{put_bytes, 4200, "4.1K"},
	{put_bytes, 10240, "10K"},
	{put_bytes, 1048575, "1023K"},
	{put_bytes, 1048576, "1.0M"},
	{put_bytes, 37748736, "36M"},
	{put_bytes, UINT64_C(1) << 40, "1.0T"},
	{put_bytes, UINT64_MAX, "15E"},
	{put_utc, 0, "1970-01-01T00:00:00.000Z"},
	{put_utc, 951782399999, "2000-02-28T23:59:59.999Z"},
	{put_utc, 951782400000, "2000-02-29T00:00:00.000Z"},
	{put_utc, 1790000000123, "2026-09-21T14:13:20.123Z"},
	{put_utc, 4107542400000, "2100-03-01T00:00:00.000Z"},
	{put_when, 1790000000123, "2026-09-21T15:13:20+01:00"},
};

/* Rule: the two largest units, sizes in powers of 1024, ISO 8601. */
static void test_numbers(void **state)
{
	(void)state;
	setenv("TZ", "XXX-1", 1);
	tzset();
	for (size_t i = 0; i < countof(numbers); i++) {
		const struct number_case *c = &numbers[i];
		struct buf b;

		buf_init(&b, 1000);
		c->put(&b, c->in);
		if (strcmp(buf_str(&b), c->want) != 0)
			fail_msg("%zu: %s, not %s", i, buf_str(&b), c->want);
		buf_fini(&b);
	}
}

/* Rule: put_utc agrees with the C library on every day of two centuries. */
static void test_calendar(void **state)
{
	(void)state;
	for (time_t t = 0; t < 200 * 366 * 86400ll; t += 86400 - 1) {
		struct buf b;
		struct tm tm;
		char want[64];

		gmtime_r(&t, &tm);
		strftime(want, sizeof want, "%Y-%m-%dT%H:%M:%S.007Z", &tm);
		buf_init(&b, 100);
		put_utc(&b, (uint64_t)t * 1000 + 7);
		assert_string_equal(buf_str(&b), want);
		buf_fini(&b);
	}
}

struct clean_case {
	struct span in;
	size_t most, columns;
	const char *want;
};

static const struct clean_case cleans[] = {
	{SPAN_INIT("plain \"text\" \\"), 0, 14, "plain \"text\" \\"},
	{SPAN_INIT("a\nb"), 0, 6, "a\\x0ab"},
	{SPAN_INIT("\033[2J"), 0, 7, "\\x1b[2J"},
	{SPAN_INIT("\177\0"), 0, 8, "\\x7f\\x00"},
	{SPAN_INIT("gr\303\274n"), 0, 4, "gr\303\274n"},
	{SPAN_INIT("\302\233x"), 0, 9, "\\xc2\\x9bx"},
	{SPAN_INIT("\302\240"), 0, 1, "\302\240"},
	{SPAN_INIT("\377\303"), 0, 8, "\\xff\\xc3"},
	{SPAN_INIT("0123456789"), 10, 10, "0123456789"},
	{SPAN_INIT("0123456789a"), 10, 10, "0123456..."},
	{SPAN_INIT("\303\274\303\274\303\274\303\274\303\274\303\274"), 5, 5,
		"\303\274\303\274..."},
};

/* Rule: nothing that a terminal obeys, no half character, and the columns are
 * counted in characters. */
static void test_clean(void **state)
{
	(void)state;
	for (size_t i = 0; i < countof(cleans); i++) {
		const struct clean_case *c = &cleans[i];
		struct buf b;
		size_t n;

		buf_init(&b, 1000);
		n = put_clean(&b, c->in, c->most);
		if (n != c->columns || strcmp(buf_str(&b), c->want) != 0)
			fail_msg("%zu: %zu %s", i, n, buf_str(&b));
		buf_fini(&b);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_numbers),
		cmocka_unit_test(test_calendar),
		cmocka_unit_test(test_clean),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
