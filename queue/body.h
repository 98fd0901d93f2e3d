/* body - the stored octets of one message, shared without copying.
 *
 * In memory (a blob), or in a file of its own when it is larger than
 * queue.large_body. Reference counted; immutable once complete. A body in
 * memory is accounted in the queue's budget until the last reference goes.
 */
#pragma once

#include <stdatomic.h>
#include <stdint.h>

#include "mta/base/blob.h"
#include "mta/base/list.h"
#include "mta/base/span.h"

/* budget - memory for bodies in flight and cached, one per loop. Taking never
 * fails: whoever takes looks at budget_over and stops reading. Squeezed: there
 * is no room for reading, whatever the limit is. */
struct budget {
	uint64_t limit, used;
	uint64_t cached; /* of it: what over() would give back */
	int squeezed;
	struct list waiters;
	struct budget_waiter *ahead; /* went on last without room */
	void (*over)(void *arg);     /* asks the owner to drop cached bodies */
	void (*waits)(void *arg); /* somebody does: budget_pass now and then */
	void *arg;
};

struct budget_waiter {
	struct list node;
	void (*fn)(struct budget_waiter *w); /* there is room again */
};

/* That may be used while bodies are read. */
static inline uint64_t budget_room(const struct budget *b)
{
	return b->squeezed ? 0 : b->limit;
}
void budget_init(struct budget *b, uint64_t limit);
void budget_take(struct budget *b, uint64_t n);
void budget_give(struct budget *b, uint64_t n); /* may call waiters */
int budget_over(struct budget *b);              /* asks to drop caches first */
/* The same of the limit alone: may something begin that is read later? */
int budget_full(struct budget *b);
/* May call waiters. */
void budget_set(struct budget *b, uint64_t limit, int squeezed);
void budget_wait(struct budget *b, struct budget_waiter *w);
void budget_unwait(struct budget_waiter *w);
/* The first waiter goes on although there is no room: what is half received may
 * be what uses it up, and nobody would ever end if all waited. When it waits
 * again it is the first again, so that one ends before others grow. */
void budget_pass(struct budget *b);

struct body {
	unsigned refs; /* one loop only */
	int cached;    /* one of them is a cache's, which can do without */
	uint64_t size;
	struct blob *mem;      /* or NULL */
	struct budget *budget; /* accounted: mem->cap */
	uint64_t file;         /* id of the body file when mem is NULL, */
	uint32_t crc;          /* and the CRC32C that it has to have */
};

struct body *body_from_blob(struct blob *take_mem, struct budget *b);
struct body *body_from_file(uint64_t file, uint64_t size, uint32_t crc);
struct body *body_ref(struct body *b);
/* The caller's reference is now, or is not any more, that of a cache: what
 * nobody else has counts as cached in the budget. */
void body_cache(struct body *b, int on);
void body_unref(struct body **b);
