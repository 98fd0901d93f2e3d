/* test_conf_value - times, sizes, ranges of addresses and names as people
 * write them. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>

#include "mta/base/check.h"
#include "mta/conf/conf_private.h"

static const struct {
	const char *in;
	int rc;
	uint64_t want;
	const char *print; /* NULL: as in */
} durations[] =
	{
		{"500ms", 0, 500, NULL},
		{"30s", 0, 30000, NULL},
		{"5m", 0, 300000, NULL},
		{"4h", 0, 14400000, NULL},
		{"2d", 0, 172800000, NULL},
		{"90s", 0, 90000, NULL},
		{"1500ms", 0, 1500, NULL},
		{"1000ms", 0, 1000, "1s"},
		{"48h", 0, 172800000, "2d"},
		{"0", 0, 0, "0s"},
		{"0ms", 0, 0, "0s"},
		{"007s", 0, 7000, "7s"},
		/* The largest, and one more. */
		{"18446744073709551615ms", 0, UINT64_MAX, NULL},
		{"18446744073709551616ms", -1, 0, NULL},
		{"213503982335d", -1, 0, NULL},
		{"", -1, 0, NULL},
		{"s", -1, 0, NULL},
		{"5", -1, 0, NULL},
		{"5 m", -1, 0, NULL},
		{"5M", -1, 0, NULL},
		{"5min", -1, 0, NULL},
		{"1h30m", -1, 0, NULL},
		{"1.5h", -1, 0, NULL},
		{"-1s", -1, 0, NULL},
		{"+1s", -1, 0, NULL},
		{"1w", -1, 0, NULL},
		{"0x1s", -1, 0, NULL},
},
  sizes[] = {
	  {"4096", 0, 4096, "4KiB"},
	  {"4097", 0, 4097, NULL},
	  {"64KiB", 0, 65536, NULL},
	  {"10MiB", 0, 10485760, NULL},
	  {"2GiB", 0, 2147483648, NULL},
	  {"1TiB", 0, 1099511627776, NULL},
	  {"1536MiB", 0, 1610612736, NULL},
	  {"0", 0, 0, NULL},
	  {"0MiB", 0, 0, "0"},
	  {"18446744073709551615", 0, UINT64_MAX, NULL},
	  {"16777216TiB", -1, 0, NULL},
	  {"", -1, 0, NULL},
	  {"KiB", -1, 0, NULL},
	  {"64K", -1, 0, NULL},
	  {"64KB", -1, 0, NULL},
	  {"64kib", -1, 0, NULL},
	  {"64 KiB", -1, 0, NULL},
	  {"1e3", -1, 0, NULL},
	  {"-1", -1, 0, NULL},
};

static void test_numbers(void **state)
{
	struct buf out;
	uint64_t v;

	(void)state;
	buf_init(&out, 64);
	for (size_t i = 0; i < countof(durations); i++) {
		const char *in = durations[i].in;

		v = 0;
		if (duration_parse(span_str(in), &v) != durations[i].rc ||
			v != durations[i].want)
			fail_msg("duration \"%s\": %llu", in,
				(unsigned long long)v);
		if (durations[i].rc != 0)
			continue;
		buf_clear(&out);
		duration_print(v, &out);
		assert_string_equal(buf_str(&out),
			durations[i].print ? durations[i].print : in);
	}
	for (size_t i = 0; i < countof(sizes); i++) {
		const char *in = sizes[i].in;

		v = 0;
		if (size_parse(span_str(in), &v) != sizes[i].rc ||
			v != sizes[i].want)
			fail_msg(
				"size \"%s\": %llu", in, (unsigned long long)v);
		if (sizes[i].rc != 0)
			continue;
		buf_clear(&out);
		size_print(v, &out);
		assert_string_equal(
			buf_str(&out), sizes[i].print ? sizes[i].print : in);
	}
	buf_fini(&out);
}

/* want NULL: refused. */
static const struct {
	const char *in, *want;
} cidrs[] = {
	{"10.0.0.0/24", "10.0.0.0/24"},
	{"10.0.0.5", "10.0.0.5/32"},
	{"0.0.0.0/0", "0.0.0.0/0"},
	{"::/0", "::/0"},
	{"2001:DB8:0::/32", "2001:db8::/32"},
	{"2001:db8::1", "2001:db8::1/128"},
	{"fe80::/10", "fe80::/10"},
	/* One form for one address. */
	{"::ffff:10.0.0.0/104", "10.0.0.0/8"},
	{"::ffff:10.0.0.5", "10.0.0.5/32"},
	{"::ffff:0.0.0.0/96", "0.0.0.0/0"},
	{"10.0.0.1/24", NULL},
	{"128.0.0.0/0", NULL},
	{"2001:db8::1/64", NULL},
	{"10.0.0.0/33", NULL},
	{"::/129", NULL},
	{"10.0.0.0/", NULL},
	{"10.0.0.0/+8", NULL},
	{"10.0.0.0/255.0.0.0", NULL},
	{"10.0.0/24", NULL},
	{"10.0.0.256", NULL},
	{"010.0.0.1", NULL},
	{"[::]/0", NULL},
	{"fe80::1%eth0", NULL},
	{"/8", NULL},
	{"", NULL},
	{"example.org", NULL},
	{"1111:2222:3333:4444:5555:6666:7777:8888:9999:aaaa:bbbb", NULL},
};

static void test_cidr_parse(void **state)
{
	struct buf out;

	(void)state;
	buf_init(&out, 64);
	for (size_t i = 0; i < countof(cidrs); i++) {
		struct conf_cidr c;
		int rc = cidr_parse(span_str(cidrs[i].in), &c);

		if (rc != (cidrs[i].want ? 0 : -1))
			fail_msg("cidr \"%s\": %d", cidrs[i].in, rc);
		if (rc != 0)
			continue;
		buf_clear(&out);
		cidr_print(&c, &out);
		assert_string_equal(buf_str(&out), cidrs[i].want);
	}
	buf_fini(&out);
}

static const struct {
	const char *range, *client;
	int want;
} matches[] = {
	{"10.0.0.0/24", "10.0.0.255", 1},
	{"10.0.0.0/24", "10.0.1.0", 0},
	{"10.0.0.0/9", "10.127.0.1", 1},
	{"10.0.0.0/9", "10.128.0.1", 0},
	{"10.0.0.5", "10.0.0.5", 1},
	{"10.0.0.5", "10.0.0.4", 0},
	{"0.0.0.0/0", "255.255.255.255", 1},
	{"::/0", "2001:db8::1", 1},
	{"2001:db8::/33", "2001:db8:7fff::1", 1},
	{"2001:db8::/33", "2001:db8:8000::1", 0},
	/* The families are two worlds ... */
	{"0.0.0.0/0", "::1", 0},
	{"::/0", "10.0.0.1", 0},
	/* ... and a mapped address is IPv4: who names ::/0 for relay has
	 * not named everybody in IPv4. */
	{"10.0.0.0/8", "::ffff:10.1.2.3", 1},
	{"10.0.0.0/8", "::ffff:11.1.2.3", 0},
	{"::/0", "::ffff:10.1.2.3", 0},
};

static void test_cidr_match(void **state)
{
	(void)state;
	for (size_t i = 0; i < countof(matches); i++) {
		uint8_t addr[16] = {0};
		struct conf_cidr c;
		int v6;

		assert_int_equal(cidr_parse(span_str(matches[i].range), &c), 0);
		v6 = strchr(matches[i].client, ':') != NULL;
		assert_int_equal(inet_pton(v6 ? AF_INET6 : AF_INET,
					 matches[i].client, addr),
			1);
		if (cidr_match(&c, v6, addr) != matches[i].want)
			fail_msg("%s in %s", matches[i].client,
				matches[i].range);
	}
}

#define L63 "a23456789012345678901234567890123456789012345678901234567890123"

/* want NULL: refused. */
static const struct {
	const char *in, *want;
} domains[] = {
	{"example.org", "example.org"},
	{"Example.ORG", "example.org"},
	{"localhost", "localhost"},
	{"3com.example", "3com.example"},
	{"a_b.example", "a_b.example"},
	{"xn--bcher-kva.example", "xn--bcher-kva.example"},
	/* IDNA2008, not 2003: sharp s stays itself. */
	{"bücher.example", "xn--bcher-kva.example"},
	{"BÜCHER.example", "xn--bcher-kva.example"},
	{"straße.example", "xn--strae-oqa.example"},
	{"例え。テスト", "xn--r8jz45g.xn--zckzah"},
	{L63 "." L63 "." L63 ".example", L63 "." L63 "." L63 ".example"},
	{L63 "." L63 "." L63 "." L63, NULL},
	{L63 "x.example", NULL},
	{"", NULL},
	{".", NULL},
	{"example.org.", NULL},
	{".example.org", NULL},
	{"a..b", NULL},
	{"-a.example", NULL},
	{"a-.example", NULL},
	{"a b.example", NULL},
	{"*.example", NULL},
	{"a@b.example", NULL},
	{"10.0.0.1", NULL},
	{"example.42", NULL},
	{"[10.0.0.1]", NULL},
	{"\xff.example", NULL},
	{"\xe2\x80\xae.example", NULL}, /* a change of direction */
	{"-ü.example", NULL},
};

static void test_domain(void **state)
{
	(void)state;
	for (size_t i = 0; i < countof(domains); i++) {
		const char *want = domains[i].want;
		struct arena a = {0};
		struct span name = {0};
		struct buf why;
		int rc;

		buf_init(&why, 256);
		rc = domain_read(span_str(domains[i].in), &a, &name, &why);
		if (rc != (want ? 0 : -1) || (rc == -1 && why.n == 0) ||
			(want && !span_eq(name, span_str(want))))
			fail_msg("\"%s\": %d %.*s %s", domains[i].in, rc,
				SPAN_ARG(name), buf_str(&why));
		buf_fini(&why);
		arena_fini(&a);
	}
}

/* The nearest of "message_size recipients hops off offer". */
static const struct {
	const char *in, *want;
} guesses[] = {
	{"message_sise", "message_size"},
	{"messagesize", "message_size"},
	{"mesage_szie", "message_size"},
	{"recipient", "recipients"},
	{"hosp", "hops"},  /* a swap is one mistake */
	{"offr", "offer"}, /* of two as near, the longer */
	{"OFF", "off"},
	{"size", NULL},
	{"x", NULL},
	{"", NULL},
};

static void test_guess(void **state)
{
	struct span all = SPAN("message_size recipients hops off offer");

	(void)state;
	for (size_t i = 0; i < countof(guesses); i++) {
		struct guess g = {.wrong = span_str(guesses[i].in)};
		struct span rest = all, w;

		while (words_next(&rest, ' ', &w))
			guess_try(&g, w);
		if (!span_eq(g.best, span_str(guesses[i].want)))
			fail_msg("\"%s\": %.*s", guesses[i].in,
				SPAN_ARG(g.best));
	}
}

/* Rule: a percent is a number with the sign and at most two digits after the
 * point. -1: refused. */
static const struct {
	const char *in;
	int want;
} percents[] = {
	{"0%", 0},
	{"96%", 9600},
	{"99.5%", 9950},
	{"0.25%", 25},
	{"100%", 10000},
	{"99.05%", 9905},
	{"1000%", 100000},
	{"1001%", -1},
	{"96", -1},
	{"%", -1},
	{"", -1},
	{".5%", -1},
	{"5.%", -1},
	{"5.123%", -1},
	{"5,5%", -1},
	{"-5%", -1},
	{"5 %", -1},
	{"5.-1%", -1},
};

static void test_percent(void **state)
{
	(void)state;
	for (size_t i = 0; i < countof(percents); i++) {
		uint64_t v = 0;
		int rc = percent_parse(span_str(percents[i].in), &v);

		if (rc != (percents[i].want < 0 ? -1 : 0) ||
			(rc == 0 && v != (uint64_t)percents[i].want))
			fail_msg("\"%s\": %d %u", percents[i].in, rc,
				(unsigned)v);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_numbers),
		cmocka_unit_test(test_percent),
		cmocka_unit_test(test_cidr_parse),
		cmocka_unit_test(test_cidr_match),
		cmocka_unit_test(test_domain),
		cmocka_unit_test(test_guess),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
