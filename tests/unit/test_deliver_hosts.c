/* test_deliver_hosts - from a domain or a list of smart hosts to addresses in
 * the order of trying. Rule: what DNS says for certain may fail mail, what it
 * could not say never does; ourselves are never an answer through MX.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

#include "mta/base/check.h"
#include "mta/deliver/hosts.h"
#include "tests/sim/sim_dns.c"
#include "tests/sim/sim_loop.c"

struct asked {
	int done;
	enum hosts_verdict verdict;
	char text[8192]; /* "mx1=192.0.2.1 ..." or "550 5.1.2 words" */
	uint64_t ttl;
};

static void on_done(void *arg, const struct hosts_answer *a)
{
	struct asked *k = arg;
	size_t n = 0;
	char ip[46];

	assert_false(k->done);
	k->done = 1;
	k->verdict = a->verdict;
	k->ttl = a->ttl;
	k->text[0] = '\0';
	if (a->verdict != HOSTS_OK) {
		const struct outcome *o = &a->outcome;

		snprintf(k->text, sizeof k->text, "%u %u.%u.%u %.*s", o->code,
			o->enh.class, o->enh.subject, o->enh.detail,
			SPAN_ARG(o->text));
		return;
	}
	assert_in_range(a->n, 1, HOSTS_MAX);
	for (unsigned i = 0; i < a->n; i++) {
		struct span t = net_addr_text(&a->v[i].addr, ip);

		n += (size_t)snprintf(k->text + n, sizeof k->text - n,
			"%s%.*s=%.*s", i ? " " : "", SPAN_ARG(a->v[i].name),
			SPAN_ARG(t));
	}
}

static int on_self(void *arg, const struct net_addr *a)
{
	static const uint8_t self[4] = {192, 0, 2, 99};

	(void)arg;
	return !a->v6 && memcmp(a->b, self, sizeof self) == 0 && a->port == 25;
}

struct setting {
	struct loop *loop;
	struct sim_zone *zone;
	struct dns *dns;
	struct conf_send conf;
};

static void fill(struct sim_zone *z)
{
	sim_zone_addr(z, "one.example", "192.0.2.1");
	sim_zone_addr(z, "two.example", "192.0.2.2");
	sim_zone_addr(z, "two.example", "2001:db8::2");
	sim_zone_addr(z, "two.example", "192.0.2.3");
	sim_zone_addr(z, "two.example", "2001:db8::3");
	sim_zone_addr(z, "self.example", "192.0.2.99");
	sim_zone_addr(z, "local.example", "127.0.0.1");
	sim_zone_addr(z, "local6.example", "::1");
	sim_zone_empty(z, "empty.example");
	sim_zone_trouble(z, "broken.example", -1, "SERVFAIL from 192.0.2.53");
	sim_zone_trouble(z, "half.example", DNS_AAAA, "timeout");
	sim_zone_addr(z, "half.example", "192.0.2.4");

	sim_zone_mx(z, "plain.test", 10, "one.example");
	sim_zone_mx(z, "order.test", 20, "one.example");
	sim_zone_mx(z, "order.test", 10, "two.example");
	sim_zone_mx(z, "null.test", 0, "");
	sim_zone_mx(z, "nullmore.test", 0, "");
	sim_zone_mx(z, "nullmore.test", 10, "one.example");
	sim_zone_addr(z, "implicit.test", "192.0.2.7");
	sim_zone_empty(z, "nothing.test");
	sim_zone_trouble(z, "trouble.test", -1, "REFUSED from 192.0.2.53");
	sim_zone_mx(z, "dead.test", 10, "gone.example");
	sim_zone_mx(z, "dead.test", 20, "empty.example");
	sim_zone_mx(z, "deadish.test", 10, "gone.example");
	sim_zone_mx(z, "deadish.test", 20, "broken.example");
	sim_zone_mx(z, "partly.test", 10, "broken.example");
	sim_zone_mx(z, "partly.test", 20, "one.example");
	sim_zone_mx(z, "half.test", 10, "half.example");
	sim_zone_cname(z, "alias.test", "plain.test");
	sim_zone_mx(z, "backup.test", 10, "one.example");
	sim_zone_mx(z, "backup.test", 20, "RELAY.example");
	sim_zone_mx(z, "backup.test", 20, "two.example");
	sim_zone_mx(z, "backup.test", 30, "half.example");
	sim_zone_addr(z, "relay.example", "192.0.2.50");
	sim_zone_mx(z, "first.test", 10, "self.example");
	sim_zone_mx(z, "first.test", 20, "one.example");
	sim_zone_mx(z, "loopy.test", 10, "local.example");
	sim_zone_mx(z, "loopy6.test", 10, "local6.example");
	sim_zone_mx(z, "loopy6.test", 5, "one.example");
	sim_zone_addr(z, "implicitself.test", "192.0.2.99");
}

static void setting_init(struct setting *s)
{
	s->loop = sim_loop_create(3);
	s->zone = sim_zone_create(s->loop);
	s->conf = (struct conf_send){.port = 25};
	sim_zone_latency(s->zone, 5);
	fill(s->zone);
	assert_int_equal(dns_create(&s->dns, s->loop, NULL), ERR_OK);
}

static void setting_fini(struct setting *s)
{
	dns_destroy(&s->dns);
	sim_zone_destroy(&s->zone);
	loop_destroy(&s->loop);
}

static struct hosts *start(
	struct setting *s, const char *domain, struct asked *k)
{
	const struct hosts_options o = {.loop = s->loop,
		.dns = s->dns,
		.conf = &s->conf,
		.node = SPAN("relay.example"),
		.domain = span_str(domain),
		.is_self = on_self};

	memset(k, 0, sizeof *k);
	return hosts_resolve(&o, on_done, k);
}

static void ask(struct setting *s, const char *domain, struct asked *k)
{
	(void)start(s, domain, k);
	assert_false(k->done); /* never inside the call */
	sim_loop_step(s->loop, 1000);
	assert_true(k->done);
}

static const struct {
	const char *name, *domain;
	enum hosts_verdict verdict;
	const char *want;
} mx_rows[] = {
	{"one MX", "plain.test", HOSTS_OK, "one.example=192.0.2.1"},
	{"by preference, families alternate", "order.test", HOSTS_OK,
		"two.example=192.0.2.2 two.example=2001:db8::2 "
		"two.example=192.0.2.3 two.example=2001:db8::3 "
		"one.example=192.0.2.1"},
	{"CNAME", "alias.test", HOSTS_OK, "one.example=192.0.2.1"},
	{"implicit MX", "implicit.test", HOSTS_OK, "implicit.test=192.0.2.7"},
	{"literal", "[192.0.2.8]", HOSTS_OK, "[192.0.2.8]=192.0.2.8"},
	{"literal IPv6", "[IPv6:2001:db8::8]", HOSTS_OK,
		"[IPv6:2001:db8::8]=2001:db8::8"},
	{"null MX", "null.test", HOSTS_FAIL,
		"556 5.1.10 Domain null.test takes no mail (null MX)"},
	{"null MX beside others counts for nothing", "nullmore.test", HOSTS_OK,
		"one.example=192.0.2.1"},
	{"no such domain", "missing.test", HOSTS_FAIL,
		"550 5.1.2 Domain missing.test does not exist"},
	{"no MX and no address", "nothing.test", HOSTS_FAIL,
		"550 5.4.4 No mail host of nothing.test has an address"},
	{"MX without addresses", "dead.test", HOSTS_FAIL,
		"550 5.4.4 No mail host of dead.test has an address"},
	{"trouble never bounces", "trouble.test", HOSTS_DEFER,
		"451 4.4.3 DNS trouble with MX of trouble.test: REFUSED from "
		"192.0.2.53"},
	{"trouble with an address never bounces", "deadish.test", HOSTS_DEFER,
		"451 4.4.3 DNS trouble with the address of deadish.test: "
		"SERVFAIL from 192.0.2.53"},
	{"what works is used", "partly.test", HOSTS_OK,
		"one.example=192.0.2.1"},
	{"no AAAA for now", "half.test", HOSTS_OK, "half.example=192.0.2.4"},
	{"own name: it and all of equal or worse preference", "backup.test",
		HOSTS_OK, "one.example=192.0.2.1"},
	{"own address first: a loop", "first.test", HOSTS_FAIL,
		"550 5.4.6 Mail for first.test loops back to this host"},
	{"loopback through MX", "loopy.test", HOSTS_FAIL,
		"550 5.4.6 Mail for loopy.test loops back to this host"},
	{"loopback IPv6 as a worse one", "loopy6.test", HOSTS_OK,
		"one.example=192.0.2.1"},
	{"own address as implicit MX", "implicitself.test", HOSTS_FAIL,
		"550 5.4.6 Mail for implicitself.test loops back to this "
		"host"},
	{"own address as literal", "[192.0.2.99]", HOSTS_FAIL,
		"550 5.4.6 Mail for [192.0.2.99] loops back to this host"},
};

static void test_mx(void **state)
{
	struct setting s;

	(void)state;
	setting_init(&s);
	for (size_t i = 0; i < countof(mx_rows); i++) {
		struct asked k;

		ask(&s, mx_rows[i].domain, &k);
		if (k.verdict != mx_rows[i].verdict ||
			strcmp(k.text, mx_rows[i].want) != 0)
			fail_msg("%s: %d %s, wanted %s", mx_rows[i].name,
				k.verdict, k.text, mx_rows[i].want);
	}
	setting_fini(&s);
}

static const struct {
	const char *name;
	const char *host[3];
	enum host_order order;
	enum hosts_verdict verdict;
	const char *want;
} smart_rows[] = {
	{"as listed", {"192.0.2.9", "two.example", "2001:db8::9"}, ORDER_LISTED,
		HOSTS_OK,
		"192.0.2.9=192.0.2.9 two.example=192.0.2.2 "
		"two.example=2001:db8::2 two.example=192.0.2.3 "
		"two.example=2001:db8::3 2001:db8::9=2001:db8::9"},
	{"loopback is allowed here", {"127.0.0.1"}, ORDER_LISTED, HOSTS_OK,
		"127.0.0.1=127.0.0.1"},
	{"our own address too", {"self.example"}, ORDER_LISTED, HOSTS_OK,
		"self.example=192.0.2.99"},
	{"a missing smart host is our fault, never a bounce",
		{"missing.example"}, ORDER_LISTED, HOSTS_DEFER,
		"451 4.4.4 Smart host missing.example has no address"},
	{"trouble", {"broken.example"}, ORDER_SPREAD, HOSTS_DEFER,
		"451 4.4.3 DNS trouble with the address of broken.example: "
		"SERVFAIL from 192.0.2.53"},
	{"one of them is missing", {"missing.example", "one.example"},
		ORDER_LISTED, HOSTS_OK, "one.example=192.0.2.1"},
};

static void set_smart(struct setting *s, struct conf_endpoint e[3],
	const char *const host[3], enum host_order order)
{
	s->conf.smart_host = e;
	s->conf.nsmart_host = 0;
	s->conf.order = order;
	for (unsigned i = 0; i < 3 && host[i]; i++)
		e[s->conf.nsmart_host++] =
			(struct conf_endpoint){span_str(host[i]), 25, {0}};
}

static void test_smart(void **state)
{
	struct conf_endpoint e[3];
	struct setting s;

	(void)state;
	setting_init(&s);
	for (size_t i = 0; i < countof(smart_rows); i++) {
		struct asked k;

		set_smart(&s, e, smart_rows[i].host, smart_rows[i].order);
		ask(&s, "", &k);
		if (k.verdict != smart_rows[i].verdict ||
			strcmp(k.text, smart_rows[i].want) != 0)
			fail_msg("%s: %d %s, wanted %s", smart_rows[i].name,
				k.verdict, k.text, smart_rows[i].want);
	}
	setting_fini(&s);
}

/* Equal preferences come in every order, and smart hosts to spread over begin
 * with each of them; better preferences always come before. */
static void test_random(void **state)
{
	static const char *const names[3] = {
		"192.0.2.1", "192.0.2.2", "192.0.2.3"};
	unsigned first[3] = {0}, smart[3] = {0};
	struct conf_endpoint e[3];
	struct setting s;
	struct asked k;

	(void)state;
	setting_init(&s);
	for (unsigned i = 0; i < 3; i++) {
		char name[16];

		snprintf(name, sizeof name, "h%u.example", i);
		sim_zone_addr(s.zone, name, names[i]);
		sim_zone_mx(s.zone, "equal.test", 10, name);
	}
	sim_zone_mx(s.zone, "equal.test", 5, "half.example");
	sim_zone_mx(s.zone, "equal.test", 50, "one.example");
	for (unsigned i = 0; i < 300; i++) {
		const char *at;

		set_smart(&s, e, (const char *const[3]){NULL}, ORDER_LISTED);
		ask(&s, "equal.test", &k);
		assert_int_equal(strncmp(k.text, "half.example=", 13), 0);
		assert_non_null(strstr(k.text, " one.example=192.0.2.1"));
		at = strstr(k.text, " h");
		first[at[2] - '0']++;
		set_smart(&s, e, names, ORDER_SPREAD);
		ask(&s, "", &k);
		smart[k.text[8] - '1']++;
	}
	for (unsigned i = 0; i < 3; i++) {
		assert_in_range(first[i], 60, 140);
		assert_in_range(smart[i], 60, 140);
	}
	setting_fini(&s);
}

/* However many hosts and addresses there are, at most HOSTS_MAX come out, and
 * only so many questions are asked. */
static void test_bounds(void **state)
{
	struct setting s;
	struct asked k;
	unsigned n = 0, before;

	(void)state;
	setting_init(&s);
	for (unsigned i = 0; i < DNS_MX_MAX; i++) {
		char name[32], ip[32];

		snprintf(name, sizeof name, "m%u.example", i);
		sim_zone_mx(s.zone, "many.test", (uint16_t)i, name);
		for (unsigned j = 1; j < 12; j++) {
			snprintf(ip, sizeof ip, "198.51.%u.%u", i, j);
			sim_zone_addr(s.zone, name, ip);
		}
	}
	before = sim_zone_asked(s.zone);
	ask(&s, "many.test", &k);
	for (const char *p = k.text; (p = strchr(p, '=')); p++)
		n++;
	assert_int_equal(n, HOSTS_MAX);
	assert_int_equal(strncmp(k.text, "m0.example=198.51.0.1 ", 22), 0);
	assert_int_equal(
		sim_zone_asked(s.zone) - before, 1 + 2 * HOSTS_NAMES_MAX);
	setting_fini(&s);
}

/* Canceled at any moment: no callback, nothing left. The time to live is the
 * smallest of all answers, within bounds. */
static void test_cancel_and_ttl(void **state)
{
	struct setting s;
	struct asked k;

	(void)state;
	setting_init(&s);
	for (uint64_t at = 0; at < 12; at++) {
		struct hosts *h = start(&s, "order.test", &k);

		sim_loop_step(s.loop, at);
		if (!k.done)
			hosts_cancel(&h);
		assert_int_equal(k.done, at >= 10);
		sim_loop_step(s.loop, 100);
	}
	ask(&s, "order.test", &k);
	assert_int_equal(k.ttl, 300000);
	sim_zone_ttl(s.zone, 1);
	ask(&s, "order.test", &k);
	assert_int_equal(k.ttl, 30000);
	sim_zone_ttl(s.zone, 1000000);
	ask(&s, "order.test", &k);
	assert_int_equal(k.ttl, 3600000);
	setting_fini(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_mx),
		cmocka_unit_test(test_smart),
		cmocka_unit_test(test_random),
		cmocka_unit_test(test_bounds),
		cmocka_unit_test(test_cancel_and_ttl),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
