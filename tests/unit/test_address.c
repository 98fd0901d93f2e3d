/* Addresses: what is let in, how it is taken apart, and that it says the same
 * when it is read again. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "mta/base/check.h"
#include "mta/smtp/address.h"
#include "mta/smtp/text.h"

#define X8 "xxxxxxxx"
#define X16 X8 X8
#define X32 X16 X16
#define X60 X32 X16 X8 "xxxx"
#define X64 X32 X32
#define X256 X64 X64 X64 X64
/* 255 octets: four labels of 60, four dots, and "exampleabcd". */
#define D255 X60 "." X60 "." X60 "." X60 ".exampleabcd"

enum {
	U = ADDRESS_UTF8,
	Q = ADDRESS_QUOTED,
	L = ADDRESS_LITERAL,
	R = ADDRESS_ROUTED,
	N = ADDRESS_NULL,
	P = ADDRESS_POSTMASTER,
};

struct path_case {
	const char *in;
	const char *local, *domain; /* NULL: refused */
	unsigned flags;
	const char *rest;
};

static const struct path_case paths[] = {
	/* plain */
	{"<a@b>", "a", "b", 0, ""},
	{"<a@b.example> SIZE=1", "a", "b.example", 0, " SIZE=1"},
	{"<a@b>x", "a", "b", 0, "x"},
	{"<John.Doe@Example.ORG>", "John.Doe", "Example.ORG", 0, ""},
	{"<a+b=c/d!#$&'*?^_`{|}~-@b.example>", "a+b=c/d!#$&'*?^_`{|}~-",
		"b.example", 0, ""},
	{"<1@1a.2b>", "1", "1a.2b", 0, ""},
	{"<a@localhost>", "a", "localhost", 0, ""},
	{"<a@x-y.z_z.example>", "a", "x-y.z_z.example", 0, ""},
	{"<a@xn--bcher-kva.example>", "a", "xn--bcher-kva.example", 0, ""},
	/* null, postmaster */
	{"<>", "", "", N, ""},
	{"<> BODY=7BIT", "", "", N, " BODY=7BIT"},
	{"<postMASTER>", "postMASTER", "", P, ""},
	{"<postmaster@b>", "postmaster", "b", 0, ""},
	{"<postmastr>", NULL, NULL, 0, NULL},
	{"<\"postmaster\">", NULL, NULL, 0, NULL},
	{"<postmaster", NULL, NULL, 0, NULL},
	{"< >", NULL, NULL, 0, NULL},
	{"<\"\">", NULL, NULL, 0, NULL},
	/* brackets */
	{"", NULL, NULL, 0, NULL},
	{"<", NULL, NULL, 0, NULL},
	{"a@b", NULL, NULL, 0, NULL},
	{"a@b>", NULL, NULL, 0, NULL},
	{"<a@b", NULL, NULL, 0, NULL},
	{"<a>", NULL, NULL, 0, NULL},
	{"<<a@b>>", NULL, NULL, 0, NULL},
	{"< a@b>", NULL, NULL, 0, NULL},
	{"<a@b >", NULL, NULL, 0, NULL},
	{"<a @b>", NULL, NULL, 0, NULL},
	{"<a@ b>", NULL, NULL, 0, NULL},
	{"<a@b\t>", NULL, NULL, 0, NULL},
	{"<a@b>>", "a", "b", 0, ">"},
	/* missing parts */
	{"<@>", NULL, NULL, 0, NULL},
	{"<@b>", NULL, NULL, 0, NULL},
	{"<a@>", NULL, NULL, 0, NULL},
	{"<@@b>", NULL, NULL, 0, NULL},
	/* dots */
	{"<.a@b>", NULL, NULL, 0, NULL},
	{"<a.@b>", NULL, NULL, 0, NULL},
	{"<a..b@b>", NULL, NULL, 0, NULL},
	{"<a@.b>", NULL, NULL, 0, NULL},
	{"<a@b.>", NULL, NULL, 0, NULL},
	{"<a@b..c>", NULL, NULL, 0, NULL},
	{"<user@localhost.>", NULL, NULL, 0, NULL},
	{"<a@.>", NULL, NULL, 0, NULL},
	/* domains */
	{"<a@-b>", NULL, NULL, 0, NULL},
	{"<a@b->", NULL, NULL, 0, NULL},
	{"<a@b-.c>", NULL, NULL, 0, NULL},
	{"<a@_b.c>", NULL, NULL, 0, NULL},
	{"<a@b_.c>", NULL, NULL, 0, NULL},
	{"<a@b,c>", NULL, NULL, 0, NULL},
	{"<a@b/c>", NULL, NULL, 0, NULL},
	{"<a@b(c)>", NULL, NULL, 0, NULL},
	{"<a@\"b\">", NULL, NULL, 0, NULL},
	{"<a@b%00>", NULL, NULL, 0, NULL},
	{"<a@b\\>", NULL, NULL, 0, NULL},
	{"<a@b:25>", NULL, NULL, 0, NULL},
	{"<a@127.0.0.1>", NULL, NULL, 0, NULL},
	{"<a@2130706433>", NULL, NULL, 0, NULL},
	{"<a@example.123>", NULL, NULL, 0, NULL},
	/* literals */
	{"<user@[127.0.0.1]>", "user", "[127.0.0.1]", L, ""},
	{"<user@[IPv6:::1]>", "user", "[IPv6:::1]", L, ""},
	{"<user@[ipv6:2001:DB8::1]>", "user", "[ipv6:2001:DB8::1]", L, ""},
	{"<user@[IPv6:::ffff:192.0.2.1]>", "user", "[IPv6:::ffff:192.0.2.1]", L,
		""},
	{"<user@[::1]>", NULL, NULL, 0, NULL},
	{"<user@[]>", NULL, NULL, 0, NULL},
	{"<user@[127.0.0.1>", NULL, NULL, 0, NULL},
	{"<user@[127.0.0.1].x>", NULL, NULL, 0, NULL},
	{"<user@[127.1]>", NULL, NULL, 0, NULL},
	{"<user@[0177.0.0.1]>", NULL, NULL, 0, NULL},
	{"<user@[0x7f.0.0.1]>", NULL, NULL, 0, NULL},
	{"<user@[1.2.3.256]>", NULL, NULL, 0, NULL},
	{"<user@[ 1.2.3.4 ]>", NULL, NULL, 0, NULL},
	{"<user@[IPv6:fe80::1%eth0]>", NULL, NULL, 0, NULL},
	{"<user@[IPv6:1.2.3.4]>", NULL, NULL, 0, NULL},
	{"<user@[x400:c=us]>", NULL, NULL, 0, NULL},
	/* quoted local parts */
	{"<\"a b\"@c>", "\"a b\"", "c", Q, ""},
	{"<\"\"@c>", "\"\"", "c", Q, ""},
	{"<\"a\\\"b\"@c>", "\"a\\\"b\"", "c", Q, ""},
	{"<\"a>b\"@c> X", "\"a>b\"", "c", Q, " X"},
	{"<\"a@b\"@c>", "\"a@b\"", "c", Q, ""},
	{"<\"\\\\\"@c>", "\"\\\\\"", "c", Q, ""},
	{"<\"a\\\"@c>", NULL, NULL, 0, NULL},
	{"<\"a@c>", NULL, NULL, 0, NULL},
	{"<\"a\"b@c>", NULL, NULL, 0, NULL},
	{"<\"a\".b@c>", NULL, NULL, 0, NULL},
	{"<a\"b\"@c>", NULL, NULL, 0, NULL},
	{"<\"a\tb\"@c>", NULL, NULL, 0, NULL},
	{"<\"a\\\tb\"@c>", NULL, NULL, 0, NULL},
	{"<\"a\x7f\"@c>", NULL, NULL, 0, NULL},
	{"<\"a\\\xc3\xbc\"@c>", NULL, NULL, 0, NULL},
	{"<\"a\\", NULL, NULL, 0, NULL},
	/* ways to be routed on (T16): read, told by address_local_routes */
	{"<user%remote@local>", "user%remote", "local", 0, ""},
	{"<remote!user@local>", "remote!user", "local", 0, ""},
	{"<\"user@remote\"@local>", "\"user@remote\"", "local", Q, ""},
	{"<IMCEASMTP-user+40remote@local>", "IMCEASMTP-user+40remote", "local",
		0, ""},
	{"<user@remote@local>", NULL, NULL, 0, NULL},
	{"<remote!user>", NULL, NULL, 0, NULL},
	/* source routes */
	{"<@a,@b:user@c>", "user", "c", R, ""},
	{"<@a:user@c>", "user", "c", R, ""},
	{"<@a.b,@c.d:\"x y\"@[1.2.3.4]>", "\"x y\"", "[1.2.3.4]", R | Q | L,
		""},
	{"<@a,b:user@c>", NULL, NULL, 0, NULL},
	{"<@a:@b:user@c>", NULL, NULL, 0, NULL},
	{"<@a, @b:user@c>", NULL, NULL, 0, NULL},
	{"<@a,:user@c>", NULL, NULL, 0, NULL},
	{"<@a.:user@c>", NULL, NULL, 0, NULL},
	{"<@:user@c>", NULL, NULL, 0, NULL},
	{"<@a,@b>", NULL, NULL, 0, NULL},
	{"<@a:>", NULL, NULL, 0, NULL},
	{"<@a:user>", NULL, NULL, 0, NULL},
	{"<@a", NULL, NULL, 0, NULL},
	/* UTF-8 */
	{"<j\xc3\xbcrgen@b>", "j\xc3\xbcrgen", "b", U, ""},
	{"<a@b\xc3\xbc"
	 "cher.example>",
		"a",
		"b\xc3\xbc"
		"cher.example",
		U, ""},
	/* NFC and NFD twins stay two addresses, each byte for byte */
	{"<ju\xcc\x88rgen@b>", "ju\xcc\x88rgen", "b", U, ""},
	{"<\"\xe7\x94\xa8 \xf0\x9f\x98\x80\"@b>",
		"\"\xe7\x94\xa8 \xf0\x9f\x98\x80\"", "b", U | Q, ""},
	{"<@\xc3\xbc:a@b>", "a", "b", R, ""},
	{"<a@b\xe3\x80\x82"
	 "c>",
		NULL, NULL, 0, NULL}, /* U+3002 */
	{"<a@b\xef\xbc\x8e"
	 "c>",
		NULL, NULL, 0, NULL}, /* U+FF0E */
	{"<a@b\xef\xbd\xa1"
	 "c>",
		NULL, NULL, 0, NULL}, /* U+FF61 */
	{"<a@b\xef\xbc\xa0"
	 "c>",
		NULL, NULL, 0, NULL}, /* U+FF20 */
	{"<a@b\xef\xb9\xab"
	 "c>",
		NULL, NULL, 0, NULL}, /* U+FE6B */
	{"<a\xef\xbc\xa0"
	 "b>",
		NULL, NULL, 0, NULL}, /* no '@' at all */
	{"<a\xef\xbc\xa0"
	 "b@c>",
		"a\xef\xbc\xa0"
		"b",
		"c", U, ""},
	{"<a@b\xe2\x80\xa4"
	 "c>",
		NULL, NULL, 0, NULL}, /* U+2024 */
	{"<\"a\xff\"@b>", NULL, NULL, 0, NULL},
	{"<a\xff@b>", NULL, NULL, 0, NULL},
	{"<a\xc3@b>", NULL, NULL, 0, NULL},
	{"<\xc1\x80@b>", NULL, NULL, 0, NULL},         /* overlong '@' */
	{"<\xe0\x80\xaf@b>", NULL, NULL, 0, NULL},     /* overlong '/' */
	{"<\xf0\x80\x81\x80@b>", NULL, NULL, 0, NULL}, /* overlong '@' */
	{"<\xed\xa0\x80@b>", NULL, NULL, 0, NULL},     /* surrogate */
	{"<\xf4\x90\x80\x80@b>", NULL, NULL, 0, NULL}, /* > U+10FFFF */
	{"<\xc2\x85@b>", NULL, NULL, 0, NULL},         /* C1 control */
	{"<a@\xc2\x9b.b>", NULL, NULL, 0, NULL},
	{"<a@b.\xc3>", NULL, NULL, 0, NULL},
	/* control characters */
	{"<a\x01@b>", NULL, NULL, 0, NULL},
	{"<a@b\x7f>", NULL, NULL, 0, NULL},
	{"<a@b\r\n>", NULL, NULL, 0, NULL},
	{"<a\r@b>", NULL, NULL, 0, NULL},
	/* limits */
	{"<" X64 "@b>", X64, "b", 0, ""},
	{"<" X256 X32 X16 X8 "xxx@b>", X256 X32 X16 X8 "xxx", "b", 0, ""},
	{"<" X256 X32 X16 X8 "xxxx@b>", NULL, NULL, 0, NULL},
	{"<" X256 X32 X16 X8 "xxx@bbbbb>", NULL, NULL, 0, NULL},
	{"<a@" X60 "xxx.b>", "a", X60 "xxx.b", 0, ""},
	{"<a@" X64 ".b>", NULL, NULL, 0, NULL},
	{"<" X60 "xxxx@" D255 ">", X60 "xxxx", D255, 0, ""},
	{"<" X64 "x@" D255 ">", NULL, NULL, 0, NULL},
	{"<a@" D255 "d>", NULL, NULL, 0, NULL},
};

/* The bytes of s in memory that ends where s ends. */
static struct span exact(const char *s, size_t n)
{
	char *p = malloc(n ? n : 1);

	assert_non_null(p);
	if (n)
		memcpy(p, s, n);
	return span(p, n);
}

static void drop(struct span s)
{
	union {
		const char *in;
		char *out;
	} u = {.in = s.p};

	free(u.out);
}

/* Rule: a path is read exactly as RFC 5321 and 6531 write it, or refused with
 * a reason; what follows it is left alone. */
static void test_paths(void **state)
{
	(void)state;
	for (size_t i = 0; i < countof(paths); i++) {
		const struct path_case *c = &paths[i];
		struct span in = exact(c->in, strlen(c->in)), rest;
		struct address a;
		const char *why = NULL;
		int r = address_parse_path(in, &a, &rest, &why);

		if (r != (c->local ? 0 : -1))
			fail_msg("%s: %d %s", c->in, r, why);
		if (!c->local) {
			assert_true(why && *why);
			assert_int_equal(a.text.n, 0);
			assert_int_equal(a.flags, 0);
		} else if (!span_eq(a.local, span_str(c->local)) ||
			   !span_eq(a.domain, span_str(c->domain)) ||
			   a.flags != c->flags ||
			   !span_eq(rest, span_str(c->rest))) {
			fail_msg("%s: %.*s %.*s %x rest %.*s", c->in,
				SPAN_ARG(a.local), SPAN_ARG(a.domain), a.flags,
				SPAN_ARG(rest));
		}
		drop(in);
	}
}

/* Rule: what was parsed, written down and parsed again is the same address,
 * byte for byte: the one that is routed on is the one that was authorised. */
static void test_print_back(void **state)
{
	(void)state;
	for (size_t i = 0; i < countof(paths); i++) {
		struct span rest, rest2, text, path;
		struct address a, b;
		const char *why;
		char t[512];

		if (address_parse_path(span_str(paths[i].in), &a, &rest, &why) <
			0)
			continue;
		path = span(t, (size_t)snprintf(t, sizeof t, "<%.*s>",
				       SPAN_ARG(a.text)));
		assert_int_equal(address_parse_path(path, &b, &rest2, &why), 0);
		assert_int_equal(rest2.n, 0);
		assert_true(span_eq(a.text, b.text));
		assert_true(span_eq(a.local, b.local));
		assert_true(span_eq(a.domain, b.domain));
		assert_int_equal(a.flags & ~(unsigned)R, b.flags);
		if (a.flags & N)
			continue;
		text = exact(a.text.p, a.text.n);
		if (address_parse(text, &b, &why) < 0)
			fail_msg("%.*s: %s", SPAN_ARG(text), why);
		assert_true(span_eq(b.text, text));
		assert_true(span_eq(a.local, b.local));
		assert_true(span_eq(a.domain, b.domain));
		assert_int_equal(a.flags & ~(unsigned)R, b.flags);
		drop(text);
	}
}

/* Rule: a bare address is all of its span, and has no route or brackets. */
static void test_bare(void **state)
{
	static const struct {
		const char *in;
		int want;
	} cases[] = {
		{"a@b", 0},
		{"postmaster", 0},
		{"", -1},
		{"<a@b>", -1},
		{"@x:a@b", -1},
		{"a@b>", -1},
		{"a@b c", -1},
		{"a@b,c@d", -1},
		{" a@b", -1},
		{"a", -1},
		{"a@[1.2.3.4]x", -1},
		{"Ann <a@b>", -1},
	};

	(void)state;
	for (size_t i = 0; i < countof(cases); i++) {
		struct span in = exact(cases[i].in, strlen(cases[i].in));
		struct address a;
		const char *why;

		if (address_parse(in, &a, &why) != cases[i].want)
			fail_msg("%s", cases[i].in);
		drop(in);
	}
	/* NUL is a character like any other bad one. */
	{
		struct address a;
		const char *why;

		assert_int_equal(address_parse(span("a\0@b", 4), &a, &why), -1);
		assert_int_equal(address_parse(span("a@b\0", 4), &a, &why), -1);
		assert_int_equal(
			address_parse(span("a@[1.2.3.4\0]", 12), &a, &why), -1);
	}
}

/* Rule: a domain alone: names, literals, and UTF-8 only when asked for. */
static void test_domain(void **state)
{
	static const struct {
		const char *in;
		int ascii, utf8;
	} cases[] = {
		{"relay.example.org", 1, 1},
		{"localhost", 1, 1},
		{"WIN-7_PC", 1, 1},
		{"192.0.2.1", 1, 1}, /* as clients say it in EHLO */
		{"[192.0.2.1]", 1, 1},
		{"[IPv6:2001:db8::1]", 1, 1},
		{"[192.0.2.1", 0, 0},
		{"[IPv6:2001:db8::g]", 0, 0},
		{"[IPv6:]", 0, 0},
		{"b\xc3\xbc"
		 "cher.example",
			0, 1},
		{"b\xe3\x80\x82"
		 "c",
			0, 0},
		{"b\xff", 0, 0},
		{"", 0, 0},
		{".", 0, 0},
		{"a.", 0, 0},
		{".a", 0, 0},
		{"a b", 0, 0},
		{"a>", 0, 0},
		{"a\n", 0, 0},
		{"a:b", 0, 0},
		{D255, 1, 1},
		{D255 "d", 0, 0},
	};

	(void)state;
	for (size_t i = 0; i < countof(cases); i++) {
		struct span in = exact(cases[i].in, strlen(cases[i].in));

		if (domain_valid(in, 0) != cases[i].ascii ||
			domain_valid(in, 1) != cases[i].utf8)
			fail_msg("%s", cases[i].in);
		drop(in);
	}
	assert_int_equal(domain_valid(span("a\0b", 3), 1), 0);
	assert_int_equal(literal_valid(SPAN("[]")), 0);
	assert_int_equal(literal_valid(SPAN("[")), 0);
	assert_int_equal(literal_valid(SPAN("1.2.3.4")), 0);
}

/* Rule: every known way to ask the next hop to relay is told (T16). */
static void test_routes(void **state)
{
	static const struct {
		const char *local;
		int want;
	} cases[] = {
		{"user", 0},
		{"john.doe+tag", 0},
		{"bounce-1-2=x", 0},
		{"o'hara", 0},
		{"\"john doe\"", 0},
		{"\"\"", 0},
		{"j\xc3\xbcrgen", 0},
		{"IMCEAEX-_o=org_cn=user", 0},
		{"user%remote", 1},
		{"remote!user", 1},
		{"!user", 1},
		{"\"user@remote\"", 1},
		{"\"user\\@remote\"", 1},
		{"\"user%remote\"", 1},
		{"\"@a:user@remote\"", 1},
		{"IMCEASMTP-user+40remote", 1},
		{"\"imceafax-x\"", 1},
		{"-oQ/tmp", 1},
		{"\"-f x\"", 1},
		{"|sh", 1},
		{"/dev/null", 1},
		{"\":include:x\"", 1},
		{"\".a\"", 1},
		{"\"a.\"", 1},
		{"\" a\"", 1},
		{"\"a \"", 1},
		{"user\xef\xbc\xa0remote", 1},
		{"user\xef\xbc\x85remote", 1},
		{"user\xef\xbc\x81remote", 1},
		{"user\xef\xb9\xabremote", 1},
		{"", 0},
	};

	(void)state;
	for (size_t i = 0; i < countof(cases); i++)
		if (address_local_routes(span_str(cases[i].local)) !=
			cases[i].want)
			fail_msg("%s", cases[i].local);
}

/* Rule: exactly the well-formed sequences of RFC 3629 are characters: all
 * code points round, all shorter and wrong forms out. */
static void test_utf8(void **state)
{
	size_t good = 0;

	(void)state;
	for (uint32_t v = 0; v < 0x1000000; v += v < 0x10000 ? 1 : 17) {
		unsigned char b[3] = {(unsigned char)(v >> 16),
			(unsigned char)(v >> 8), (unsigned char)v};
		uint32_t cp = 0;
		size_t n = utf8_take(span((const char *)b, 3), &cp);

		if (n == 2)
			assert_true(cp >= 0x80 && cp < 0x800 &&
				    b[0] == (0xc0 | cp >> 6) &&
				    b[1] == (0x80 | (cp & 0x3f)));
		if (n == 3)
			assert_true(cp >= 0x800 && cp < 0x10000 &&
				    (cp < 0xd800 || cp > 0xdfff) &&
				    b[0] == (0xe0 | cp >> 12) &&
				    b[2] == (0x80 | (cp & 0x3f)));
		assert_true(n < 4);
		good += n > 1;
	}
	assert_true(good > 1000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_paths),
		cmocka_unit_test(test_print_back),
		cmocka_unit_test(test_bare),
		cmocka_unit_test(test_domain),
		cmocka_unit_test(test_routes),
		cmocka_unit_test(test_utf8),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
