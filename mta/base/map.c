/* map - chained hash table under a keyed hash. */
#include "mta/base/map.h"

#include <stdlib.h>

#include "mta/base/check.h"

enum { MOVE = 4 };

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
	free(m->old);
	m->v = m->old = NULL;
	m->n = m->cap = 0;
}

static size_t old_index(const struct map *m, uint64_t hash)
{
	return hash & (m->cap / 2 - 1);
}

/* The chain that members of this hash are in. */
static struct map_node **chain(const struct map *m, uint64_t hash)
{
	if (m->old && old_index(m, hash) >= m->moved)
		return &m->old[old_index(m, hash)];
	return &m->v[hash & (m->cap - 1)];
}

struct map_node *map_get(const struct map *m, struct span key)
{
	struct map_node *n;
	uint64_t h;

	if (m->n == 0)
		return NULL;
	h = siphash(m->k, key);
	for (n = *chain(m, h); n; n = n->next)
		if (n->hash == h && span_eq(n->key, key))
			return n;
	return NULL;
}

/* More than one chain a call: all of them long before the table is full. */
static void move_some(struct map *m)
{
	for (int i = 0; i < MOVE && m->old; i++) {
		struct map_node *n = m->old[m->moved++], *next;

		for (; n; n = next) {
			struct map_node **to = &m->v[n->hash & (m->cap - 1)];

			next = n->next;
			n->next = *to;
			*to = n;
		}
		if (m->moved < m->cap / 2)
			continue;
		free(m->old);
		m->old = NULL;
	}
}

static void grow(struct map *m)
{
	while (m->old)
		move_some(m);
	m->old = m->v;
	m->moved = 0;
	m->cap = m->cap ? m->cap * 2 : 16;
	m->v = x_calloc(m->cap, sizeof(struct map_node *));
}

void map_put(struct map *m, struct map_node *n, struct span key)
{
	struct map_node **at;

	if (m->n >= m->cap)
		grow(m);
	move_some(m);
	n->key = key;
	n->hash = siphash(m->k, key);
	at = chain(m, n->hash);
	n->next = *at;
	*at = n;
	m->n++;
}

void map_del(struct map *m, struct map_node *n)
{
	struct map_node **p = chain(m, n->hash);

	while (*p != n) {
		must(*p != NULL);
		p = &(*p)->next;
	}
	*p = n->next;
	n->next = NULL;
	m->n--;
}

static struct map_node *first(struct map_node **v, size_t i, size_t cap)
{
	for (; i < cap; i++)
		if (v[i])
			return v[i];
	return NULL;
}

/* What is left of the old table, then the new one. */
struct map_node *map_next(const struct map *m, const struct map_node *n)
{
	struct map_node *next = NULL;
	size_t i = 0;
	int old = m->old != NULL;

	if (n && n->next)
		return n->next;
	if (n)
		old = old && old_index(m, n->hash) >= m->moved;
	if (old) {
		i = n ? old_index(m, n->hash) + 1 : m->moved;
		next = first(m->old, i, m->cap / 2);
		i = 0;
	} else if (n) {
		i = (n->hash & (m->cap - 1)) + 1;
	}
	return next ? next : first(m->v, i, m->cap);
}
