/* The map and its hash. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "mta/base/check.h"
#include "mta/base/map.h"
#include "mta/base/rand.h"

enum { KEYS = 3000, OPS = 60000 };

/* SipHash-1-3 of the octets 0, 1, 2, ... n-1 under the key 0, 1, ... 15, made
 * with another implementation: for each n
 *   openssl mac -macopt size:8 -macopt c-rounds:1 -macopt d-rounds:3
 *     -macopt hexkey:000102030405060708090a0b0c0d0e0f -in FILE SIPHASH
 * read as a little-endian number. */
static const uint64_t vectors[64] = {
	0xabac0158050fc4dc,
	0xc9f49bf37d57ca93,
	0x82cb9b024dc7d44d,
	0x8bf80ab8e7ddf7fb,
	0xcf75576088d38328,
	0xdef9d52f49533b67,
	0xc50d2b50c59f22a7,
	0xd3927d989bb11140,
	0x369095118d299a8e,
	0x25a48eb36c063de4,
	0x79de85ee92ff097f,
	0x70c118c1f94dc352,
	0x78a384b157b4d9a2,
	0x306f760c1229ffa7,
	0x605aa111c0f95d34,
	0xd320d86d2a519956,
	0xcc4fdd1a7d908b66,
	0x9cf2689063dbd80c,
	0x8ffc389cb473e63e,
	0xf21f9de58d297d1c,
	0xc0dc2f46a6cce040,
	0xb992abfe2b45f844,
	0x7ffe7b9ba320872e,
	0x525a0e7fdae6c123,
	0xf464aeb267349c8c,
	0x45cd5928705b0979,
	0x3a3e35e3ca9913a5,
	0xa91dc74e4ade3b35,
	0xfb0bed02ef6cd00d,
	0x88d93cb44ab1e1f4,
	0x540f11d643c5e663,
	0x2370dd1f8c21d1bc,
	0x81157b6c16a7b60d,
	0x4d54b9e57a8ff9bf,
	0x759f12781f2a753e,
	0xcea1a3bebf186b91,
	0x2cf508d3ada26206,
	0xb6101c2da3c33057,
	0xb3f47496ae3a36a1,
	0x626b57547b108392,
	0xc1d2363299e41531,
	0x667cc1923f1ad944,
	0x65704ffec8138825,
	0x24f280d1c28949a6,
	0xc2ca1cedfaf8876b,
	0xc2164bfc9f042196,
	0xa16e9c9368b1d623,
	0x49fb169c8b5114fd,
	0x9f3143f8df074c46,
	0xc6fdaf2412cc86b3,
	0x7eaf49d10a52098f,
	0x1cf313559d292f9a,
	0xc44a30dda2f41f12,
	0x36fae98943a71ed0,
	0x318fb34c73f0bce6,
	0xa27abf3670a7e980,
	0xb4bcc0db243c6d75,
	0x23f8d852fdb71513,
	0x8f035f4da67d8a08,
	0xd89cd0e5b7e8f148,
	0xf6f4e6bcf7a644ee,
	0xaec59ad80f1837f2,
	0xc3b2f6154b6694e0,
	0x9d199062b7bbb3a8,
};

/* Rule: the hash is SipHash-1-3, at every length modulo the word and at any
 * alignment. */
static void test_siphash(void **state)
{
	static const uint64_t key[2] = {
		UINT64_C(0x0706050403020100), UINT64_C(0x0f0e0d0c0b0a0908)};
	char octets[72];

	(void)state;
	for (size_t shift = 0; shift < 8; shift++) {
		for (size_t i = 0; i < 64; i++)
			octets[shift + i] = (char)i;
		for (size_t n = 0; n < 64; n++)
			if (siphash(key, span(octets + shift, n)) != vectors[n])
				fail_msg("length %zu, shift %zu", n, shift);
	}
	assert_true(siphash(key, span(NULL, 0)) == vectors[0]);
}

struct member {
	struct map_node node;
	char key[24];
	size_t n;
	int in, seen;
};

static struct span key_of(const struct member *m)
{
	return span(m->key, m->n);
}

/* Every member once, and only those that are in. */
static void check_walk(const struct map *m, struct member *v, size_t in)
{
	size_t n = 0;

	for (size_t i = 0; i < KEYS; i++)
		v[i].seen = 0;
	for (struct map_node *x = map_next(m, NULL); x; x = map_next(m, x)) {
		struct member *at = container_of(x, struct member, node);

		assert_true(at->in);
		assert_false(at->seen);
		at->seen = 1;
		n++;
	}
	assert_int_equal(n, in);
	assert_int_equal(m->n, in);
}

/* Rule: whatever is put in and taken out, in any order, is found when it is in
 * and only then. Keys are of any octets and length, prefixes of each other. */
static void test_model(void **state)
{
	struct member *v = x_calloc(KEYS, sizeof *v);
	struct rand r;
	struct map m;
	size_t in = 0;

	(void)state;
	rand_seed(&r, 3);
	map_init(&m, (const uint64_t[2]){rand_u64(&r), rand_u64(&r)});
	assert_null(map_get(&m, SPAN("")));
	assert_null(map_next(&m, NULL));
	for (size_t i = 0; i < KEYS; i++) {
		/* The number, least octet first, so that lengths differ. */
		for (size_t k = i; k; k >>= 4)
			v[i].key[v[i].n++] = (char)(k & 15);
	}
	for (size_t op = 0; op < OPS; op++) {
		struct member *x = &v[rand_below(&r, KEYS)];
		struct map_node *got = map_get(&m, key_of(x));

		if (got != (x->in ? &x->node : NULL))
			fail_msg("op %zu", op);
		/* Fills up first, empties towards the end. */
		if (x->in && rand_below(&r, OPS) < op) {
			map_del(&m, got);
			x->in = 0;
			in--;
		} else if (!x->in && rand_below(&r, OPS) > op / 2) {
			map_put(&m, &x->node, key_of(x));
			x->in = 1;
			in++;
		}
		if (op % 1000 == 0)
			check_walk(&m, v, in);
	}
	for (size_t i = 0; i < KEYS; i++)
		if (v[i].in)
			map_del(&m, &v[i].node);
	assert_int_equal(m.n, 0);
	assert_null(map_next(&m, NULL));
	map_fini(&m);
	free(v);
}

/* Rule: the table grows with its members, to a power of two not below their
 * number, and stays correct at each size. */
static void test_growth(void **state)
{
	static const struct {
		size_t n, cap;
	} cases[] = {{1, 16}, {16, 16}, {17, 32}, {32, 32}, {33, 64},
		{1000, 1024}, {1024, 1024}, {1025, 2048}};
	struct member *v = x_calloc(KEYS, sizeof *v);
	struct map m;
	size_t n = 0, half = 0;

	(void)state;
	map_init(&m, (const uint64_t[2]){1, 2});
	for (size_t i = 0; i < countof(cases); i++) {
		for (; n < cases[i].n; n++) {
			v[n].n = (size_t)snprintf(
				v[n].key, sizeof v[n].key, "%zu", n);
			map_put(&m, &v[n].node, key_of(&v[n]));
			v[n].in = 1;
			/* Also while some have moved and some have not. */
			check_walk(&m, v, n + 1);
			half += m.old && m.moved > 0;
			assert_ptr_equal(
				map_get(&m, key_of(&v[n / 2])), &v[n / 2].node);
		}
		assert_int_equal(m.cap, cases[i].cap);
		for (size_t k = 0; k < n; k++)
			assert_ptr_equal(
				map_get(&m, key_of(&v[k])), &v[k].node);
		assert_null(map_get(&m, SPAN("none")));
	}
	/* A table moves a little with each call, not all with the first. */
	assert_true(half > 200);
	for (size_t k = 0; k < n; k++) {
		map_del(&m, &v[k].node);
		assert_null(map_get(&m, key_of(&v[k])));
	}
	assert_null(map_next(&m, NULL));
	map_fini(&m);
	free(v);
}

/* Rule: members in one chain, even of one whole hash, are told apart by their
 * keys; each can be taken out of the front, the middle and the end. */
static void test_collisions(void **state)
{
	static const int orders[][4] = {
		{0, 1, 2, 3}, {3, 2, 1, 0}, {1, 3, 0, 2}, {2, 0, 3, 1}};
	struct member *v = x_calloc(4, sizeof *v);

	(void)state;
	for (size_t o = 0; o < countof(orders); o++) {
		struct map m;
		unsigned tries = 0;
		size_t n = 0;

		map_init(&m, (const uint64_t[2]){7, o});
		while (n < 4) { /* four keys of slot 5 in a table of 16 */
			v[n].n = (size_t)snprintf(
				v[n].key, sizeof v[n].key, "k%u", tries++);
			if ((siphash(m.k, key_of(&v[n])) & 15) == 5)
				n++;
		}
		for (n = 0; n < 4; n++)
			map_put(&m, &v[n].node, key_of(&v[n]));
		for (n = 0; n < 4; n++) {
			map_del(&m, &v[orders[o][n]].node);
			for (size_t k = 0; k < 4; k++) {
				size_t at = 0;

				while (orders[o][at] != (int)k)
					at++;
				assert_ptr_equal(map_get(&m, key_of(&v[k])),
					at <= n ? NULL : &v[k].node);
			}
		}
		/* The same hash, forced: the key decides. */
		map_put(&m, &v[0].node, SPAN("same"));
		v[0].node.key = SPAN("else");
		assert_null(map_get(&m, SPAN("same")));
		map_fini(&m);
	}
	free(v);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_siphash),
		cmocka_unit_test(test_model),
		cmocka_unit_test(test_growth),
		cmocka_unit_test(test_collisions),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
