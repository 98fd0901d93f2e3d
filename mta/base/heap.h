/* heap - smallest key first; the node inside the member.
 *
 * A binary heap in an array of pointers. Keys that are equal come out in the
 * order in which they were put in (seq), so that a simulated run is the same
 * every time. A zeroed struct heap is ready for use. at == 0 means that a
 * node is in no heap.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct heap_node {
	uint64_t key;
	uint64_t seq;
	size_t at; /* place in the heap, from 1; 0: in none */
};

struct heap {
	struct heap_node **v;
	size_t n, cap;
	uint64_t seq;
};

void heap_put(struct heap *h, struct heap_node *n, uint64_t key);
void heap_del(struct heap *h, struct heap_node *n); /* harmless when in none */
void heap_fini(struct heap *h);                     /* nodes are not touched */

static inline struct heap_node *heap_min(const struct heap *h)
{
	return h->n ? h->v[1] : NULL;
}
