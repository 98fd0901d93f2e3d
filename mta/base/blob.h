/* blob - an immutable, reference counted block of bytes.
 *
 * Made once (filled while there is one reference), then only read, by any
 * thread, without copying. The last blob_unref frees it.
 */
#pragma once

#include <stdatomic.h>

#include "mta/base/err.h"
#include "mta/base/span.h"

struct blob {
	atomic_uint refs;
	size_t n;   /* bytes in use */
	size_t cap; /* bytes there is room for */
	char p[];
};

struct blob *blob_create(size_t cap);               /* NULL: no memory */
struct blob *blob_grow(struct blob *b, size_t cap); /* sole owner; may move;
						   NULL: no memory, b stays */
static inline struct blob *blob_ref(struct blob *b)
{
	atomic_fetch_add_explicit(&b->refs, 1, memory_order_relaxed);
	return b;
}
void blob_unref(struct blob *b); /* NULL is harmless */

static inline struct span blob_span(const struct blob *b)
{
	return b ? span(b->p, b->n) : span(NULL, 0);
}
