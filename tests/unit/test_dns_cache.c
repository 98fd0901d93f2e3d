/* test_dns_cache - answers are kept by their TTL, within bounds, and whole. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>

#include "dns/cache.h"

static const uint64_t seed[2] = {1, 2};

static struct dns_kept *addr_answer(uint32_t ttl, uint8_t last)
{
	struct dns_addr addr = {.b = {192, 0, 2, last}};
	struct dns_answer a = {
		.verdict = DNS_OK, .ttl = ttl, .n = 1, .addr = &addr};

	return dns_kept_copy(&a);
}

static void put(
	struct dns_cache *c, const char *name, struct dns_kept *k, uint64_t now)
{
	char key[DNS_KEY_MAX];

	dns_cache_put(c, dns_cache_key(key, DNS_A, span_str(name)), k, now);
	dns_kept_unref(&k);
}

/* The last byte of the address kept, or -1. */
static int get(struct dns_cache *c, enum dns_type type, const char *name,
	uint64_t now, uint32_t *left)
{
	char key[DNS_KEY_MAX];
	struct dns_kept *k = dns_cache_get(
		c, dns_cache_key(key, type, span_str(name)), now, left);
	int last = -1;

	if (k)
		last = k->a.n ? k->a.addr[0].b[3] : 0;
	dns_kept_unref(&k);
	return last;
}

/* Rule: kept for the TTL, but at most a day, negative five minutes, trouble
 * and TTL nought never; the TTL that comes out counts down. */
static void lifetime(void **state)
{
	static const struct {
		const char *name;
		enum dns_verdict verdict;
		uint32_t ttl;
		uint64_t at; /* seconds */
		int there;
		uint32_t left;
	} t[] = {
		{"fresh", DNS_OK, 60, 0, 1, 60},
		{"counts down", DNS_OK, 60, 45, 1, 15},
		{"last second", DNS_OK, 60, 59, 1, 1},
		{"over", DNS_OK, 60, 60, 0, 0},
		{"ttl 0", DNS_OK, 0, 0, 0, 0},
		{"a day at most", DNS_OK, 1000000, 86399, 1, 1},
		{"over after a day", DNS_OK, 1000000, 86400, 0, 0},
		{"nxdomain", DNS_NXDOMAIN, 3600, 299, 1, 1},
		{"nxdomain over", DNS_NXDOMAIN, 3600, 300, 0, 0},
		{"nodata short", DNS_NODATA, 10, 10, 0, 0},
		{"nodata", DNS_NODATA, 10, 9, 1, 1},
		{"trouble", DNS_TROUBLE, 60, 0, 0, 0},
	};

	(void)state;
	for (size_t i = 0; i < countof(t); i++) {
		struct dns_cache c;
		struct dns_answer a = {
			.verdict = t[i].verdict, .ttl = t[i].ttl};
		uint32_t left = 0;

		dns_cache_init(&c, seed, 10, 10000);
		put(&c, "x", dns_kept_copy(&a), 5000);
		if ((get(&c, DNS_A, "x", 5000 + t[i].at * 1000, &left) >= 0) !=
				t[i].there ||
			left != t[i].left)
			fail_msg("%s: left %u", t[i].name, left);
		dns_cache_fini(&c);
	}
}

/* Rule: one entry per type and name without case; a later answer replaces. */
static void keys(void **state)
{
	struct dns_cache c;
	uint32_t left;

	(void)state;
	dns_cache_init(&c, seed, 10, 10000);
	put(&c, "A.Example", addr_answer(60, 1), 0);
	assert_int_equal(get(&c, DNS_A, "a.eXAMPLE", 0, &left), 1);
	assert_int_equal(get(&c, DNS_AAAA, "a.example", 0, &left), -1);
	assert_int_equal(get(&c, DNS_A, "b.example", 0, &left), -1);
	put(&c, "a.example", addr_answer(60, 2), 0);
	assert_int_equal(get(&c, DNS_A, "a.example", 0, &left), 2);
	assert_int_equal(c.n, 1);
	put(&c, "a.example", addr_answer(0, 3), 0);
	assert_int_equal(get(&c, DNS_A, "a.example", 0, &left), -1);
	assert_int_equal(c.n, 0);
	assert_int_equal(c.bytes, 0);
	dns_cache_fini(&c);
}

/* Rule: full, the least recently used goes, also one asked for long ago. */
static void eviction(void **state)
{
	struct dns_cache c;
	char name[16];
	uint32_t left;

	(void)state;
	dns_cache_init(&c, seed, 4, 10000);
	for (int i = 0; i < 4; i++) {
		snprintf(name, sizeof name, "n%d", i);
		put(&c, name, addr_answer(60, (uint8_t)i), 0);
	}
	assert_int_equal(get(&c, DNS_A, "n0", 0, &left), 0);
	put(&c, "n4", addr_answer(60, 4), 0);
	assert_int_equal(c.n, 4);
	assert_int_equal(get(&c, DNS_A, "n0", 0, &left), 0);
	assert_int_equal(get(&c, DNS_A, "n1", 0, &left), -1);
	assert_int_equal(get(&c, DNS_A, "n4", 0, &left), 4);
	for (int i = 0; i < 1000; i++) {
		snprintf(name, sizeof name, "m%d", i);
		put(&c, name, addr_answer(60, 9), 0);
		assert_true(c.n <= 4);
	}
	dns_cache_flush(&c);
	assert_int_equal(c.n, 0);
	assert_int_equal(get(&c, DNS_A, "m999", 0, &left), -1);
	dns_cache_fini(&c);
}

/* Rule: big answers do not take more memory than was given, and one that is
 * bigger than the whole cache is not kept. */
static void bytes(void **state)
{
	struct dns_cache c;
	static char big[5000];
	struct span text = span(big, sizeof big);
	struct dns_answer a = {
		.verdict = DNS_OK, .ttl = 60, .n = 1, .text = &text};
	char name[16];

	(void)state;
	dns_cache_init(&c, seed, 1000, 30000);
	for (int i = 0; i < 20; i++) {
		snprintf(name, sizeof name, "n%d", i);
		put(&c, name, dns_kept_copy(&a), 0);
		assert_true(c.bytes <= 30000);
	}
	assert_in_range(c.n, 4, 6);
	dns_cache_fini(&c);
	dns_cache_init(&c, seed, 1000, 4000);
	put(&c, "n", dns_kept_copy(&a), 0);
	assert_int_equal(c.n, 0);
	dns_cache_fini(&c);
}

/* Rule: an answer that is in somebody's hands outlives its eviction. */
static void held(void **state)
{
	struct dns_cache c;
	struct dns_kept *k;
	char key[DNS_KEY_MAX];
	uint32_t left;

	(void)state;
	dns_cache_init(&c, seed, 1, 10000);
	put(&c, "a", addr_answer(60, 7), 0);
	k = dns_cache_get(&c, dns_cache_key(key, DNS_A, SPAN("a")), 0, &left);
	assert_non_null(k);
	put(&c, "b", addr_answer(60, 8), 0);
	dns_cache_fini(&c);
	assert_int_equal(k->a.addr[0].b[3], 7);
	dns_kept_unref(&k);
	assert_null(k);
}

/* Rule: a packed answer is the answer, independent of what it came from. */
static void packing(void **state)
{
	char one[] = "mx1.example", two[] = "", data[] = "\x01\x02\x03";
	struct dns_mx mx[] = {{10, SPAN_INIT("")}, {5, SPAN_INIT("")}};
	struct dns_tlsa tlsa = {3, 1, 1, span(data, 3)};
	struct dns_answer a = {.verdict = DNS_OK, .ttl = 9, .n = 2, .mx = mx};
	struct dns_kept *k;

	(void)state;
	mx[0].name = span_str(one);
	mx[1].name = span_str(two);
	k = dns_kept_copy(&a);
	memset(one, 'x', sizeof one);
	memset(mx, 0, sizeof mx);
	assert_int_equal(k->a.mx[0].preference, 10);
	assert_true(span_eq(k->a.mx[0].name, SPAN("mx1.example")));
	assert_int_equal(k->a.mx[1].preference, 5);
	assert_int_equal(k->a.mx[1].name.n, 0);
	dns_kept_unref(&k);
	a = (struct dns_answer){.verdict = DNS_OK, .n = 1, .tlsa = &tlsa};
	k = dns_kept_copy(&a);
	assert_int_equal(k->a.tlsa[0].usage, 3);
	assert_true(span_eq(k->a.tlsa[0].data, SPAN("\x01\x02\x03")));
	dns_kept_unref(&k);
	k = dns_kept_verdict(DNS_TROUBLE, "%s and %d", "this", 3);
	assert_string_equal(k->a.why, "this and 3");
	dns_kept_unref(&k);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lifetime),
		cmocka_unit_test(keys),
		cmocka_unit_test(eviction),
		cmocka_unit_test(bytes),
		cmocka_unit_test(held),
		cmocka_unit_test(packing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
