/* blob - an immutable, reference counted block of bytes. */
#include "mta/base/blob.h"

#include <stdlib.h>

#include "mta/base/check.h"

struct blob *blob_create(size_t cap)
{
	struct blob *b;
	size_t need;

	if (__builtin_add_overflow(cap, sizeof *b, &need))
		return NULL;
	b = malloc(need);
	if (!b)
		return NULL;
	atomic_init(&b->refs, 1);
	b->n = 0;
	b->cap = cap;
	return b;
}

struct blob *blob_grow(struct blob *b, size_t cap)
{
	struct blob *q;
	size_t need;

	must(atomic_load(&b->refs) == 1);
	if (__builtin_add_overflow(cap, sizeof *b, &need))
		return NULL;
	q = realloc(b, need);
	if (q)
		q->cap = cap;
	return q;
}

void blob_unref(struct blob *b)
{
	if (b && atomic_fetch_sub_explicit(&b->refs, 1, memory_order_acq_rel) ==
			 1)
		free(b);
}
