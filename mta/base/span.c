/* span - comparing and searching runs of bytes. */
#include "mta/base/span.h"

int span_ieq(struct span a, struct span b)
{
	if (a.n != b.n)
		return 0;
	for (size_t i = 0; i < a.n; i++)
		if (ascii_lower(a.p[i]) != ascii_lower(b.p[i]))
			return 0;
	return 1;
}

int span_icmp(struct span a, struct span b)
{
	size_t n = a.n < b.n ? a.n : b.n;

	for (size_t i = 0; i < n; i++) {
		unsigned char x = (unsigned char)ascii_lower(a.p[i]);
		unsigned char y = (unsigned char)ascii_lower(b.p[i]);

		if (x != y)
			return x < y ? -1 : 1;
	}
	return a.n < b.n ? -1 : a.n > b.n;
}

int span_istarts(struct span s, struct span with)
{
	return s.n >= with.n && span_ieq(span(s.p, with.n), with);
}

ptrdiff_t span_chr(struct span s, char c)
{
	const char *p = s.n ? memchr(s.p, c, s.n) : NULL;

	return p ? p - s.p : -1;
}

ptrdiff_t span_rchr(struct span s, char c)
{
	const char *p = s.n ? memrchr(s.p, c, s.n) : NULL;

	return p ? p - s.p : -1;
}

struct span span_trim(struct span s)
{
	while (s.n && (s.p[0] == ' ' || s.p[0] == '\t')) {
		s.p++;
		s.n--;
	}
	while (s.n && (s.p[s.n - 1] == ' ' || s.p[s.n - 1] == '\t'))
		s.n--;
	return s;
}

int span_u64(struct span s, uint64_t max, uint64_t *v)
{
	uint64_t x = 0;

	if (s.n == 0)
		return -1;
	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] < '0' || s.p[i] > '9')
			return -1;
		if (__builtin_mul_overflow(x, 10, &x) ||
			__builtin_add_overflow(
				x, (uint64_t)(s.p[i] - '0'), &x) ||
			x > max)
			return -1;
	}
	*v = x;
	return 0;
}

static int digit16(char c)
{
	c = ascii_lower(c);
	return c >= '0' && c <= '9'   ? c - '0'
	       : c >= 'a' && c <= 'f' ? c - 'a' + 10
				      : -1;
}

int span_hex(struct span s, uint64_t *v)
{
	uint64_t x = 0;

	if (s.n == 0 || s.n > 16)
		return -1;
	for (size_t i = 0; i < s.n; i++) {
		int d = digit16(s.p[i]);

		if (d < 0)
			return -1;
		x = x << 4 | (uint64_t)d;
	}
	*v = x;
	return 0;
}

int span_unhex(struct span s, uint8_t *b, size_t n)
{
	if (s.n != 2 * n)
		return -1;
	for (size_t i = 0; i < n; i++) {
		int hi = digit16(s.p[2 * i]), lo = digit16(s.p[2 * i + 1]);

		if (hi < 0 || lo < 0)
			return -1;
		b[i] = (uint8_t)(hi << 4 | lo);
	}
	return 0;
}
