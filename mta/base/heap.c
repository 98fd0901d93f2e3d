/* heap - smallest key first.
 * Invariant: for i > 1, v[i/2] is before v[i]; v[i]->at == i. */
#include "mta/base/heap.h"

#include <stdlib.h>

#include "mta/base/check.h"

static int before(const struct heap_node *a, const struct heap_node *b)
{
	return a->key != b->key ? a->key < b->key : a->seq < b->seq;
}

static void set(struct heap *h, size_t i, struct heap_node *n)
{
	h->v[i] = n;
	n->at = i;
}

static void up(struct heap *h, size_t i, struct heap_node *n)
{
	while (i > 1 && before(n, h->v[i / 2])) {
		set(h, i, h->v[i / 2]);
		i /= 2;
	}
	set(h, i, n);
}

static void down(struct heap *h, size_t i, struct heap_node *n)
{
	size_t c;

	while ((c = 2 * i) <= h->n) {
		if (c < h->n && before(h->v[c + 1], h->v[c]))
			c++;
		if (before(n, h->v[c]))
			break;
		set(h, i, h->v[c]);
		i = c;
	}
	set(h, i, n);
}

void heap_put(struct heap *h, struct heap_node *n, uint64_t key)
{
	must(n->at == 0);
	if (h->n + 1 >= h->cap) {
		h->cap = h->cap ? h->cap * 2 : 16;
		h->v = x_realloc(h->v, h->cap * sizeof(struct heap_node *));
	}
	n->key = key;
	n->seq = h->seq++;
	up(h, ++h->n, n);
}

void heap_del(struct heap *h, struct heap_node *n)
{
	struct heap_node *last;
	size_t i = n->at;

	if (i == 0)
		return;
	must(i <= h->n && h->v[i] == n);
	n->at = 0;
	last = h->v[h->n--];
	if (last == n)
		return;
	if (i > 1 && before(last, h->v[i / 2]))
		up(h, i, last);
	else
		down(h, i, last);
}

void heap_fini(struct heap *h)
{
	free(h->v);
	*h = (struct heap){0};
}
