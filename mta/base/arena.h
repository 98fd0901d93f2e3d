/* arena - memory that is given back all at once.
 *
 * Allocation never fails (it aborts: an arena holds small things; whatever a
 * peer sizes has a limit first). Everything is zeroed. A zeroed struct arena
 * is ready for use and owns no memory until the first allocation.
 */
#pragma once

#include <stddef.h>

#include "mta/base/span.h"

struct arena_chunk;
struct arena {
	struct arena_chunk *chunk; /* newest first */
	size_t used;               /* in the newest */
	size_t total;              /* bytes allocated from the heap */
};

void *arena_alloc(struct arena *a, size_t n); /* aligned for any type */
struct span arena_span(struct arena *a, struct span s); /* a copy */
char *arena_str(struct arena *a, struct span s);        /* with a NUL */
void arena_fini(struct arena *a); /* frees all; a is ready for use again */
