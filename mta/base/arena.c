/* arena - memory that is given back all at once. */
#include "mta/base/arena.h"

#include <stdalign.h>
#include <stdlib.h>

#include "mta/base/check.h"

enum { ARENA_FIRST = 480, ARENA_MOST = 32768 };

struct arena_chunk {
	struct arena_chunk *next;
	size_t size;
	alignas(max_align_t) char mem[];
};

void *arena_alloc(struct arena *a, size_t n)
{
	struct arena_chunk *c = a->chunk;
	size_t size, need;
	void *p;

	n = (n + alignof(max_align_t) - 1) & ~(alignof(max_align_t) - 1);
	if (!c || c->size - a->used < n) {
		size = c ? c->size * 2 : ARENA_FIRST;
		if (size > ARENA_MOST)
			size = ARENA_MOST;
		if (size < n)
			size = n;
		must(!__builtin_add_overflow(size, sizeof *c, &need));
		c = x_calloc(1, need);
		c->size = size;
		c->next = a->chunk;
		a->chunk = c;
		a->used = 0;
		a->total += need;
	}
	p = c->mem + a->used;
	a->used += n;
	return p;
}

struct span arena_span(struct arena *a, struct span s)
{
	char *p;

	if (s.n == 0)
		return span("", 0);
	p = arena_alloc(a, s.n);
	memcpy(p, s.p, s.n);
	return span(p, s.n);
}

char *arena_str(struct arena *a, struct span s)
{
	char *p = arena_alloc(a, s.n + 1);

	if (s.n)
		memcpy(p, s.p, s.n);
	return p;
}

void arena_fini(struct arena *a)
{
	struct arena_chunk *c, *next;

	for (c = a->chunk; c; c = next) {
		next = c->next;
		free(c);
	}
	*a = (struct arena){0};
}
