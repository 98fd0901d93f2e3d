/* buf - a growing run of bytes with a hard maximum given at the start.
 *
 * Appending past the maximum appends nothing and sets full, which stays set
 * until buf_clear; so a writer may append many pieces and look once at the
 * end. A zeroed struct buf has no memory and a maximum of 0: buf_init it.
 * The owner calls buf_fini. Not NUL-terminated, except after buf_str().
 */
#pragma once

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "mta/base/err.h"
#include "mta/base/span.h"

struct buf {
	char *p;
	size_t n;   /* bytes in use */
	size_t cap; /* bytes allocated */
	size_t max; /* never more than this */
	int full;   /* an append was refused */
};

static inline void buf_init(struct buf *b, size_t max)
{
	*b = (struct buf){.max = max};
}

void buf_fini(struct buf *b); /* frees; b is as after init */
enum err buf_reserve(struct buf *b, size_t more); /* ERR_LIMIT, ERR_NOMEM */

static inline void buf_clear(struct buf *b)
{
	b->n = 0;
	b->full = 0;
}

static inline struct span buf_span(const struct buf *b)
{
	return span(b->p, b->n);
}

void buf_add(struct buf *b, struct span s);
void buf_addc(struct buf *b, char c);
void buf_adds(struct buf *b, const char *s);
void buf_addu(struct buf *b, uint64_t v);                   /* decimal */
void buf_addhex(struct buf *b, const uint8_t *p, size_t n); /* lower case */
void buf_addf(struct buf *b, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
void buf_drop(struct buf *b, size_t n); /* the first n bytes go */
const char *buf_str(struct buf *b);     /* NUL-terminated view; "" when
					   there is no room for the NUL */
