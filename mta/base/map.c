/* map - chained hash table under a keyed hash. */
#include "mta/base/map.h"

#include <stdlib.h>

#include "mta/base/check.h"

#define ROTL(x, b) (((x) << (b)) | ((x) >> (64 - (b))))

static void sip_round(uint64_t v[4])
{
	v[0] += v[1];
	v[1] = ROTL(v[1], 13) ^ v[0];
	v[0] = ROTL(v[0], 32);
	v[2] += v[3];
	v[3] = ROTL(v[3], 16) ^ v[2];
	v[0] += v[3];
	v[3] = ROTL(v[3], 21) ^ v[0];
	v[2] += v[1];
	v[1] = ROTL(v[1], 17) ^ v[2];
	v[2] = ROTL(v[2], 32);
}

/* SipHash-1-3 (Aumasson, Bernstein 2012): one round per word, three last. */
uint64_t siphash(const uint64_t key[2], struct span s)
{
	uint64_t v[4] = {key[0] ^ 0x736f6d6570736575u,
		key[1] ^ 0x646f72616e646f6du, key[0] ^ 0x6c7967656e657261u,
		key[1] ^ 0x7465646279746573u};
	uint64_t m, tail = (uint64_t)s.n << 56;
	size_t i;

	for (i = 0; i + 8 <= s.n; i += 8) {
		memcpy(&m, s.p + i, 8);
		v[3] ^= m;
		sip_round(v);
		v[0] ^= m;
	}
	m = 0;
	if (s.n > i)
		memcpy(&m, s.p + i, s.n - i);
	m |= tail;
	v[3] ^= m;
	sip_round(v);
	v[0] ^= m;
	v[2] ^= 0xff;
	for (i = 0; i < 3; i++)
		sip_round(v);
	return v[0] ^ v[1] ^ v[2] ^ v[3];
}

void map_init(struct map *m, const uint64_t key[2])
{
	*m = (struct map){.k = {key[0], key[1]}};
}

void map_fini(struct map *m)
{
	free(m->v);
	m->v = NULL;
	m->n = m->cap = 0;
}

struct map_node *map_get(const struct map *m, struct span key)
{
	struct map_node *n;
	uint64_t h;

	if (m->n == 0)
		return NULL;
	h = siphash(m->k, key);
	for (n = m->v[h & (m->cap - 1)]; n; n = n->next)
		if (n->hash == h && span_eq(n->key, key))
			return n;
	return NULL;
}

static void grow(struct map *m)
{
	size_t cap = m->cap ? m->cap * 2 : 16;
	struct map_node **v = x_calloc(cap, sizeof(struct map_node *));

	for (size_t i = 0; i < m->cap; i++) {
		struct map_node *n, *next;

		for (n = m->v[i]; n; n = next) {
			next = n->next;
			n->next = v[n->hash & (cap - 1)];
			v[n->hash & (cap - 1)] = n;
		}
	}
	free(m->v);
	m->v = v;
	m->cap = cap;
}

void map_put(struct map *m, struct map_node *n, struct span key)
{
	struct map_node **slot;

	if (m->n >= m->cap)
		grow(m);
	n->key = key;
	n->hash = siphash(m->k, key);
	slot = &m->v[n->hash & (m->cap - 1)];
	n->next = *slot;
	*slot = n;
	m->n++;
}

void map_del(struct map *m, struct map_node *n)
{
	struct map_node **p = &m->v[n->hash & (m->cap - 1)];

	while (*p != n) {
		must(*p != NULL);
		p = &(*p)->next;
	}
	*p = n->next;
	n->next = NULL;
	m->n--;
}

struct map_node *map_next(const struct map *m, const struct map_node *n)
{
	size_t i = 0;

	if (n) {
		if (n->next)
			return n->next;
		i = (n->hash & (m->cap - 1)) + 1;
	}
	for (; i < m->cap; i++)
		if (m->v[i])
			return m->v[i];
	return NULL;
}
