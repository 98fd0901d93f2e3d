/* Routing: which send connector takes a recipient, and which domains are
 * accepted. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "mta/base/check.h"
#include "mta/route/route.h"

#define HEAD                                                                   \
	"node: { name: relay.example.org, data: /d }\n"                        \
	"receive_connectors: [ { name: in, bind: [\"127.0.0.1:25\"] } ]\n"
#define NO_DOMAINS "accepted_domains: [ { name: local.example } ]\n"
#define SEND "send_connectors:\n"
#define C(name, spaces) "  - { name: " name ", address_spaces: " spaces " }\n"
#define CX(name, spaces, more)                                                 \
	"  - { name: " name ", address_spaces: " spaces ", " more " }\n"

static struct route_table *table(const char *text)
{
	struct route_table *t;
	struct conf *c;
	struct buf why;

	buf_init(&why, 10000);
	if (conf_parse(&c, "test.yaml", span_str(text), &why) != ERR_OK)
		fail_msg("%s", buf_str(&why));
	buf_fini(&why);
	t = route_table_create(c);
	conf_unref(&c); /* the table holds its own */
	return t;
}

#define TOO_LARGE "!5.3.4 message too large for every send connector"

/* One configuration and what it makes of recipients. */
static const char sizes[] = HEAD NO_DOMAINS SEND CX("small",
	"[\"a.example;1\", \"*;5\"]", "limits: { message_size: 10KiB }")
	CX("medium", "[\"a.example;2\"]", "limits: { message_size: 20KiB }") CX(
		"any", "[\"*.wide.example\"]", "limits: { message_size: 0 }")
		CX("large", "[\"*;9\"]", "limits: { message_size: 100KiB }");
static const char spaces[] = HEAD NO_DOMAINS SEND C("all", "[\"*\"]")
	C("tld", "[\"*.example;1\"]") C("sub", "[\"*.a.example;50\"]")
		C("exact", "[\"a.example;100\", \"b.a.example;100\"]")
			CX("smart", "[\"smart.example\"]",
				"smart_hosts: [\"192.0.2.1:25\"]");
static const char costs[] = HEAD NO_DOMAINS SEND C(
	"m", "[\"a.example;10\", \"b.example;7\", \"c.example;7\"]")
	C("z", "[\"a.example;9\", \"b.example;7\"]") C(
		"B", "[\"b.example;7\", \"c.example;8\"]")
		CX("a", "[\"a.example;1\", \"b.example;1\"]", "enabled: false")
			CX("off", "[\"off.example\", \"*.off.example\"]",
				"enabled: false");
static const char idn[] = HEAD NO_DOMAINS SEND C("u",
	"[\"b\xc3\xbc"
	"cher.example\", \"*.stra\xc3\x9f"
	"e.example\"]") C("x", "[\"xn--n3h-test.example\"]");
static const char no_star[] = HEAD NO_DOMAINS SEND C("x", "[\"x.example\"]");

/* Rule: Exchange's: disabled and too small ones are left out, the most
 * specific address space wins whatever it costs, then the cost, then the
 * name; a match that only size excluded fails with 5.3.4, no match waits. */
static const struct {
	const char *conf, *domain;
	uint64_t size;
	const char *connector, *space, *key;
} choices[] = {
	/* most specific first */
	{spaces, "a.example", 1, "exact", "a.example", "exact|a.example"},
	{spaces, "A.Example", 1, "exact", "a.example", "exact|a.example"},
	{spaces, "b.a.example", 1, "exact", "b.a.example", "exact|b.a.example"},
	{spaces, "c.a.example", 1, "sub", "*.a.example", "sub|c.a.example"},
	{spaces, "c.b.a.example", 1, "sub", "*.a.example", "sub|c.b.a.example"},
	{spaces, "d.c.b.a.EXAMPLE", 1, "sub", "*.a.example",
		"sub|d.c.b.a.example"},
	{spaces, "xa.example", 1, "tld", "*.example", "tld|xa.example"},
	{spaces, "b.example", 1, "tld", "*.example", "tld|b.example"},
	{spaces, "example", 1, "all", "*", "all|example"},
	{spaces, "a.example.org", 1, "all", "*", "all|a.example.org"},
	{spaces, "aexample", 1, "all", "*", "all|aexample"},
	{spaces, "x", 1, "all", "*", "all|x"},
	{spaces, "[192.0.2.7]", 1, "all", "*", "all|[192.0.2.7]"},
	{spaces, "[IPv6:2001:db8::1]", 1, "all", "*", "all|[ipv6:2001:db8::1]"},
	{spaces, "smart.example", 1, "smart", "smart.example", "smart"},
	{spaces, "SMART.example", 1, "smart", "smart.example", "smart"},
	{spaces, "not.smart.example", 1, "tld", "*.example",
		"tld|not.smart.example"},
	/* the cost, the name, disabled ones */
	{costs, "a.example", 1, "z", "a.example", "z|a.example"},
	{costs, "b.example", 1, "B", "b.example", "B|b.example"},
	{costs, "c.example", 1, "m", "c.example", "m|c.example"},
	{costs, "off.example", 1, NULL, NULL, "unreachable"},
	{costs, "x.off.example", 1, NULL, NULL, "unreachable"},
	{costs, "d.example", 1, NULL, NULL, "unreachable"},
	/* sizes: equal is not above */
	{sizes, "a.example", 0, "small", "a.example", "small|a.example"},
	{sizes, "a.example", 10240, "small", "a.example", "small|a.example"},
	{sizes, "a.example", 10241, "medium", "a.example", "medium|a.example"},
	{sizes, "a.example", 20480, "medium", "a.example", "medium|a.example"},
	{sizes, "a.example", 20481, "large", "*", "large|a.example"},
	{sizes, "a.example", 102400, "large", "*", "large|a.example"},
	{sizes, "a.example", 102401, NULL, NULL, TOO_LARGE},
	{sizes, "z.example", 10240, "small", "*", "small|z.example"},
	{sizes, "z.example", 10241, "large", "*", "large|z.example"},
	{sizes, "z.example", UINT64_MAX, NULL, NULL, TOO_LARGE},
	{sizes, "x.wide.example", UINT64_MAX, "any", "*.wide.example",
		"any|x.wide.example"},
	{sizes, "wide.example", UINT64_MAX, NULL, NULL, TOO_LARGE},
	/* U-labels and A-labels are one domain */
	{idn,
		"b\xc3\xbc"
		"cher.example",
		1, "u", "xn--bcher-kva.example", "u|xn--bcher-kva.example"},
	{idn,
		"B\xc3\x9c"
		"CHER.Example",
		1, "u", "xn--bcher-kva.example", "u|xn--bcher-kva.example"},
	{idn, "XN--Bcher-KVA.example", 1, "u", "xn--bcher-kva.example",
		"u|xn--bcher-kva.example"},
	{idn,
		"x.stra\xc3\x9f"
		"e.example",
		1, "u", "*.xn--strae-oqa.example", "u|x.xn--strae-oqa.example"},
	{idn, "x.strasse.example", 1, NULL, NULL, "unreachable"},
	{idn, "bucher.example", 1, NULL, NULL, "unreachable"},
	/* what is no name, or too long, has no route: never a crash */
	{no_star, "", 1, NULL, NULL, "unreachable"},
	{spaces, "", 1, NULL, NULL, "unreachable"},
	{idn, "\xff.example", 1, NULL, NULL, "unreachable"},
	{no_star, ".", 1, NULL, NULL, "unreachable"},
	{no_star, "..x.example", 1, NULL, NULL, "unreachable"},
	{no_star, "x.example.", 1, NULL, NULL, "unreachable"},
	{no_star, "*", 1, NULL, NULL, "unreachable"},
	{no_star, "y.x.example", 1, NULL, NULL, "unreachable"},
};

static void assert_choice(size_t i, const struct route_choice *r)
{
	const char *want = choices[i].connector;

	if (!span_eq(r->key, span_str(choices[i].key)))
		fail_msg("row %zu, %s: %.*s", i, choices[i].domain,
			SPAN_ARG(r->key));
	assert_int_equal(r->connector != NULL, want != NULL);
	assert_int_equal(r->space != NULL, want != NULL);
	if (want) {
		assert_true(span_eq(r->connector->name, span_str(want)));
		assert_true(
			span_eq(r->space->pattern, span_str(choices[i].space)));
		assert_int_equal(r->fail.code, 0);
	}
	if (choices[i].key[0] == '!') {
		assert_int_equal(r->fail.code, 552);
		assert_int_equal(r->fail.enh.class, 5);
		assert_int_equal(r->fail.enh.subject, 3);
		assert_int_equal(r->fail.enh.detail, 4);
	} else {
		assert_int_equal(r->fail.code, 0);
	}
}

/* Rule: a key says all that the next hop needs: the connector, and the domain
 * unless smart hosts take it; or the failure; or nothing, for unreachable. */
static void assert_round(
	const struct route_table *t, const struct route_choice *r)
{
	struct route_target g;

	assert_int_equal(route_target(t, r->key, &g), 0);
	assert_ptr_equal(g.connector, r->connector);
	if (r->connector && !r->connector->nsmart_host)
		assert_true(span_eq(
			g.domain, span_skip(r->key, r->connector->name.n + 1)));
	else
		assert_int_equal(g.domain.n, 0);
	assert_int_equal(g.fail.code != 0, r->fail.code != 0);
	if (r->fail.code) {
		assert_int_equal(g.fail.code / 100, 5);
		assert_memory_equal(
			&g.fail.enh, &r->fail.enh, sizeof g.fail.enh);
		assert_true(span_eq(g.fail.text, r->fail.text));
	}
}

static void test_choose(void **state)
{
	(void)state;
	for (size_t i = 0; i < countof(choices); i++) {
		struct route_table *t = table(choices[i].conf);
		struct arena a = {0};
		struct route_choice r;

		route_choose(t, span_str(choices[i].domain), choices[i].size,
			&a, &r);
		assert_choice(i, &r);
		assert_round(t, &r);
		arena_fini(&a);
		route_table_destroy(&t);
		assert_null(t);
	}
}

/* Rule: the choice does not depend on the order in which connectors are
 * written: their names and costs decide. */
static void test_order(void **state)
{
	static const char *const lines[] = {
		C("one", "[\"a.example;3\", \"*;1\"]"),
		C("two", "[\"a.example;3\", \"*;2\"]"),
		C("three", "[\"*.example;1\", \"*;1\"]"),
	};
	static const int orders[][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2},
		{1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
	static const struct {
		const char *domain, *key;
	} wants[] = {{"a.example", "one|a.example"},
		{"b.example", "three|b.example"}, {"c.test", "one|c.test"}};

	(void)state;
	for (size_t o = 0; o < countof(orders); o++) {
		struct route_table *t;
		char text[1000];

		snprintf(text, sizeof text, "%s%s%s%s", HEAD NO_DOMAINS SEND,
			lines[orders[o][0]], lines[orders[o][1]],
			lines[orders[o][2]]);
		t = table(text);
		for (size_t i = 0; i < countof(wants); i++) {
			struct arena a = {0};
			struct route_choice r;

			route_choose(t, span_str(wants[i].domain), 1, &a, &r);
			if (!span_eq(r.key, span_str(wants[i].key)))
				fail_msg("%.*s", SPAN_ARG(r.key));
			arena_fini(&a);
		}
		route_table_destroy(&t);
	}
}

/* Rule: a name of any length is looked up or has no route; a long key is
 * whole. */
static void test_long(void **state)
{
	struct route_table *t = table(spaces);
	char name[600];

	(void)state;
	for (size_t n = 1; n <= 600; n++) {
		struct arena a = {0};
		struct route_choice r;

		for (size_t i = 0; i < n; i++)
			name[i] = i % 2 ? '.' : 'x';
		route_choose(t, span(name, n), 1, &a, &r);
		if (n <= 255)
			assert_int_equal(r.key.n, n + 4);
		if (n > 256)
			assert_true(span_eq(r.key, SPAN("unreachable")));
		route_accepted(t, span(name, n));
		arena_fini(&a);
	}
	route_table_destroy(&t);
}

/* Rule: the connector that an administrator chose takes it, whatever its
 * address spaces and limits; one that is gone or disabled makes it wait, under
 * a key that is nobody's. */
static void test_by(void **state)
{
	static const struct {
		const char *conf, *name, *domain, *key;
	} rows[] = {
		{spaces, "smart", "a.example", "smart"},
		{spaces, "exact", "B.example", "exact|b.example"},
		{spaces, "none", "a.example", "unreachable:none"},
		{sizes, "small", "elsewhere.test", "small|elsewhere.test"},
		{costs, "a", "a.example", "unreachable:a"},
		{costs, "off", "off.example", "unreachable:off"},
		{idn, "x",
			"b\xc3\xbc"
			"cher.example",
			"x|xn--bcher-kva.example"},
	};

	(void)state;
	for (size_t i = 0; i < countof(rows); i++) {
		struct route_table *t = table(rows[i].conf);
		int waits = strncmp(rows[i].key, "unreachable", 11) == 0;
		struct arena a = {0};
		struct route_choice r;
		struct route_target to;

		route_by(t, span_str(rows[i].name), span_str(rows[i].domain),
			&a, &r);
		if (!span_eq(r.key, span_str(rows[i].key)))
			fail_msg("row %zu: %.*s", i, SPAN_ARG(r.key));
		assert_int_equal(r.connector == NULL, waits);
		assert_int_equal(route_target(t, r.key, &to), waits ? -1 : 0);
		if (!waits)
			assert_ptr_equal(to.connector, r.connector);
		arena_fini(&a);
		route_table_destroy(&t);
	}
}

/* Rule: an accepted domain is found by its exact name first, then by the
 * longest "*.suffix", which does not cover the suffix itself. */
static void test_accepted(void **state)
{
	static const char text[] =
		HEAD "accepted_domains:\n"
		     "  - { name: a.example, type: authoritative }\n"
		     "  - { name: \"*.a.example\", type: internal_relay }\n"
		     "  - { name: \"*.b.a.example\", type: external_relay }\n"
		     "  - { name: c.b.a.example, type: authoritative }\n"
		     "  - { name: b\xc3\xbc"
		     "cher.example }\n"
		     "  - { name: \"*.stra\xc3\x9f"
		     "e.example\" }\n" SEND C("all", "[\"*\"]");
	static const struct {
		const char *domain, *name; /* NULL: not accepted */
		enum domain_type type;
	} cases[] = {
		{"a.example", "a.example", DOMAIN_AUTHORITATIVE},
		{"A.EXAMPLE", "a.example", DOMAIN_AUTHORITATIVE},
		{"b.a.example", "*.a.example", DOMAIN_INTERNAL_RELAY},
		{"x.a.example", "*.a.example", DOMAIN_INTERNAL_RELAY},
		{"x.y.z.a.example", "*.a.example", DOMAIN_INTERNAL_RELAY},
		{"x.b.a.example", "*.b.a.example", DOMAIN_EXTERNAL_RELAY},
		{"x.C.b.A.example", "*.b.a.example", DOMAIN_EXTERNAL_RELAY},
		{"c.b.a.example", "c.b.a.example", DOMAIN_AUTHORITATIVE},
		{"b\xc3\xbc"
		 "cher.example",
			"xn--bcher-kva.example", DOMAIN_AUTHORITATIVE},
		{"B\xc3\x9c"
		 "CHER.example",
			"xn--bcher-kva.example", DOMAIN_AUTHORITATIVE},
		{"xn--BCHER-kva.example", "xn--bcher-kva.example",
			DOMAIN_AUTHORITATIVE},
		{"x.stra\xc3\x9f"
		 "e.example",
			"*.xn--strae-oqa.example", DOMAIN_AUTHORITATIVE},
		{"stra\xc3\x9f"
		 "e.example",
			NULL, 0},
		{"example", NULL, 0},
		{"ba.example", NULL, 0},
		{"a.example.", NULL, 0},
		{"a.example.org", NULL, 0},
		{".a.example", NULL, 0},
		{"*", NULL, 0},
		{"", NULL, 0},
		{"[192.0.2.1]", NULL, 0},
		{"\xff.a.example", NULL, 0},
		{"b\xc3.example", NULL, 0},
	};
	struct route_table *t = table(text);

	(void)state;
	for (size_t i = 0; i < countof(cases); i++) {
		const struct conf_domain *d =
			route_accepted(t, span_str(cases[i].domain));

		if ((d != NULL) != (cases[i].name != NULL))
			fail_msg("row %zu: %s", i, cases[i].domain);
		if (!d)
			continue;
		if (!span_eq(d->name, span_str(cases[i].name)))
			fail_msg("row %zu: %.*s", i, SPAN_ARG(d->name));
		assert_int_equal(d->type, cases[i].type);
	}
	route_table_destroy(&t);
}

/* Rule: a key of another configuration, whose connector is gone or has become
 * one with (or without) smart hosts, leads nowhere. */
static void test_target(void **state)
{
	static const struct {
		const char *key;
		int rc;
		const char *connector, *domain;
		unsigned code;
	} cases[] = {
		{"unreachable", 0, NULL, "", 0},
		{"all|a.example", 0, "all", "a.example", 0},
		{"all|", 0, "all", "", 0},
		{"all|a|b", 0, "all", "a|b", 0},
		{"smart", 0, "smart", "", 0},
		{"smart|a.example", -1, NULL, NULL, 0},
		{"all", -1, NULL, NULL, 0},
		{"gone|a.example", -1, NULL, NULL, 0},
		{"gone", -1, NULL, NULL, 0},
		{"ALL|a.example", -1, NULL, NULL, 0},
		{"", -1, NULL, NULL, 0},
		{"|a.example", -1, NULL, NULL, 0},
		{"!5.3.4 too large", 0, NULL, "", 5},
	};
	struct route_table *t = table(spaces);

	(void)state;
	for (size_t i = 0; i < countof(cases); i++) {
		struct route_target g;

		if (route_target(t, span_str(cases[i].key), &g) != cases[i].rc)
			fail_msg("row %zu: %s", i, cases[i].key);
		if (cases[i].rc)
			continue;
		assert_int_equal(
			g.connector != NULL, cases[i].connector != NULL);
		if (g.connector)
			assert_true(span_eq(g.connector->name,
				span_str(cases[i].connector)));
		assert_true(span_eq(g.domain, span_str(cases[i].domain)));
		assert_int_equal(g.fail.code / 100, cases[i].code);
	}
	route_table_destroy(&t);
}

static const char explained[] = HEAD
	"accepted_domains:\n"
	"  - { name: \"*.local.example\", type: internal_relay }\n" SEND C(
		"out", "[\"*.example;7\"]") CX("box", "[\"*.local.example;3\"]",
		"protocol: lmtp, order: spread, "
		"smart_hosts: [\"192.0.2.1:24\", \"box.example:2424\"], "
		"tls: { mode: none }, limits: { message_size: 1KiB }")
		CX("small", "[\"*.test\"]", "limits: { message_size: 1KiB }");

/* Rule: the explanation has every step that was taken: what the address is,
 * whether its domain is accepted, which connector and why, the hosts, the
 * protocol, and the queue; for a person, one line each. */
static void test_explain(void **state)
{
	static const struct {
		const char *address;
		uint64_t size;
		const char *lines[6]; /* each is in it, in this order */
		int n;                /* lines in all */
	} cases[] = {
		{"u@x.local.example", 1,
			{"address     u@x.local.example\n",
				"domain      x.local.example is an accepted "
				"domain (internal relay, entry "
				"\"*.local.example\")",
				"connector   box: address space "
				"\"*.local.example\" is the most specific "
				"that fits, cost 3\n",
				"next hop    smart hosts, spread: 192.0.2.1:24 "
				"box.example:2424\n",
				"protocol    LMTP, TLS none\n",
				"queue       box\n"},
			6},
		{"u@A.example", 1,
			{"address     u@A.example\n",
				"domain      A.example is not an accepted",
				"connector   out: address space \"*.example\"",
				"next hop    the MX hosts of A.example, port "
				"25 (DNS)\n",
				"protocol    SMTP, TLS opportunistic\n",
				"queue       out|a.example\n"},
			6},
		{"u@x.local.example", 2000,
			{"connector   out: address space \"*.example\"",
				"queue       out|x.local.example\n"},
			6},
		{"u@a.test", 2000,
			{"domain      a.test is not an accepted domain",
				"failed      message too large for every send "
				"connector (2000 octets)\n",
				"queue       " TOO_LARGE "\n"},
			4},
		{"u@a.nowhere", 1,
			{"domain      a.nowhere is not",
				"connector   none: no enabled send connector "
				"has an address space for this domain\n",
				"queue       unreachable\n"},
			4},
		{"u@", 1, {"address     not valid: "}, 1},
		{"", 1, {"address     not valid: "}, 1},
	};
	struct route_table *t = table(explained);

	(void)state;
	for (size_t i = 0; i < countof(cases); i++) {
		const char *p;
		struct buf out;
		int n = 0;

		buf_init(&out, 10000);
		route_explain(
			t, span_str(cases[i].address), cases[i].size, &out);
		p = buf_str(&out);
		for (int k = 0; k < 6 && cases[i].lines[k]; k++) {
			p = strstr(p, cases[i].lines[k]);
			if (!p)
				fail_msg("row %zu: no %s in\n%s", i,
					cases[i].lines[k], buf_str(&out));
			assert_true(p == out.p || p[-1] == '\n');
		}
		for (size_t k = 0; k < out.n; k++)
			n += out.p[k] == '\n';
		assert_int_equal(n, cases[i].n);
		buf_fini(&out);
	}
	route_table_destroy(&t);
	route_table_destroy(&t); /* none */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_choose),
		cmocka_unit_test(test_order),
		cmocka_unit_test(test_long),
		cmocka_unit_test(test_by),
		cmocka_unit_test(test_accepted),
		cmocka_unit_test(test_target),
		cmocka_unit_test(test_explain),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
