/* buf - a growing run of bytes with a hard maximum. */
#include "mta/base/buf.h"

#include <stdio.h>
#include <stdlib.h>

#include "mta/base/check.h"

void buf_fini(struct buf *b)
{
	free(b->p);
	*b = (struct buf){.max = b->max};
}

enum err buf_reserve(struct buf *b, size_t more)
{
	size_t need, cap;
	char *p;

	if (b->cap - b->n >= more)
		return ERR_OK;
	if (__builtin_add_overflow(b->n, more, &need) || need > b->max)
		return ERR_LIMIT;
	cap = b->cap ? b->cap * 2 : 64;
	if (cap < need)
		cap = need;
	if (cap > b->max)
		cap = b->max;
	p = realloc(b->p, cap);
	if (!p)
		return ERR_NOMEM;
	b->p = p;
	b->cap = cap;
	return ERR_OK;
}

void buf_add(struct buf *b, struct span s)
{
	if (s.n == 0 || b->full)
		return;
	/* There mostly is room, and a call is dear for a few bytes. */
	if (b->cap - b->n < s.n && buf_reserve(b, s.n) != ERR_OK) {
		b->full = 1;
		return;
	}
	memcpy(b->p + b->n, s.p, s.n);
	b->n += s.n;
}

void buf_addc(struct buf *b, char c)
{
	if (b->n < b->cap && !b->full)
		b->p[b->n++] = c;
	else
		buf_add(b, span(&c, 1));
}

void buf_adds(struct buf *b, const char *s)
{
	buf_add(b, span_str(s));
}

void buf_addu(struct buf *b, uint64_t v)
{
	char t[20];
	size_t i = sizeof t;

	do {
		t[--i] = (char)('0' + v % 10);
		v /= 10;
	} while (v);
	buf_add(b, span(t + i, sizeof t - i));
}

void buf_addhex(struct buf *b, const uint8_t *p, size_t n)
{
	static const char digit[] = "0123456789abcdef";

	if (b->full || buf_reserve(b, 2 * n) != ERR_OK) {
		b->full = 1;
		return;
	}
	for (size_t i = 0; i < n; i++) {
		b->p[b->n++] = digit[p[i] >> 4];
		b->p[b->n++] = digit[p[i] & 15];
	}
}

void buf_addf(struct buf *b, const char *fmt, ...)
{
	va_list ap;
	int n;

	if (b->full)
		return;
	va_start(ap, fmt);
	n = vsnprintf(b->p ? b->p + b->n : NULL, b->cap - b->n, fmt, ap);
	va_end(ap);
	if (n >= 0 && (size_t)n >= b->cap - b->n) {
		/* One byte more than needed: vsnprintf wants room for its NUL.
		 */
		if (buf_reserve(b, (size_t)n + 1) != ERR_OK) {
			b->full = 1;
			return;
		}
		va_start(ap, fmt);
		n = vsnprintf(b->p + b->n, b->cap - b->n, fmt, ap);
		va_end(ap);
	}
	must(n >= 0);
	b->n += (size_t)n;
}

void buf_drop(struct buf *b, size_t n)
{
	must(n <= b->n);
	if (n && n < b->n)
		memmove(b->p, b->p + n, b->n - n);
	b->n -= n;
}

const char *buf_str(struct buf *b)
{
	if (buf_reserve(b, 1) != ERR_OK)
		return "";
	b->p[b->n] = '\0';
	return b->p;
}
