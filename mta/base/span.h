/* span - a run of bytes that somebody else owns: a pointer and a length.
 *
 * Passed by value. The bytes are not NUL-terminated and may hold anything. A
 * span lives as long as what it points into; a function that keeps one says
 * so. The empty span is { NULL, 0 } or any pointer with length 0.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct span {
	const char *p;
	size_t n;
};

#define SPAN(lit) ((struct span){"" lit, sizeof(lit) - 1})
#define SPAN_INIT(lit)                                                         \
	{                                                                      \
		"" lit, sizeof(lit) - 1                                        \
	}
#define SPAN_ARG(s) (int)(s).n, (s).p /* for "%.*s" */

static inline struct span span(const char *p, size_t n)
{
	return (struct span){p, n};
}

static inline struct span span_str(const char *s)
{
	return s ? (struct span){s, strlen(s)} : (struct span){NULL, 0};
}

static inline int span_eq(struct span a, struct span b)
{
	return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

/* The rest of s after its first n bytes (all of it when shorter). */
static inline struct span span_skip(struct span s, size_t n)
{
	if (n > s.n)
		n = s.n;
	return n ? span(s.p + n, s.n - n) : s;
}

static inline struct span span_head(struct span s, size_t n)
{
	return span(s.p, n < s.n ? n : s.n);
}

static inline int span_starts(struct span s, struct span with)
{
	return s.n >= with.n && span_eq(span(s.p, with.n), with);
}

static inline char ascii_lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
}

int span_ieq(struct span a, struct span b);  /* ASCII case folded */
int span_icmp(struct span a, struct span b); /* order, ASCII case folded */
int span_istarts(struct span s, struct span with);
ptrdiff_t span_chr(struct span s, char c);  /* first index, or -1 */
ptrdiff_t span_rchr(struct span s, char c); /* last index, or -1 */
struct span span_trim(struct span s);       /* without outer SP and HT */

/* Decimal digits only, at least one, all of s; 0 and *v, or -1 when it is
 * anything else or more than max. */
int span_u64(struct span s, uint64_t max, uint64_t *v);
/* Hexadecimal digits only, 1 to 16 of them, all of s, in either case; 0 and
 * *v, or -1. */
int span_hex(struct span s, uint64_t *v);
/* Exactly 2 * n of them: n bytes. After -1 what is in b is of no use. */
int span_unhex(struct span s, uint8_t *b, size_t n);
