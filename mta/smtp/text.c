/* text - UTF-8 decoding, and cleaning of text that a peer wrote. */
#include "mta/smtp/text.h"

size_t utf8_take(struct span s, uint32_t *cp_r)
{
	static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
	const unsigned char *p = (const unsigned char *)s.p;
	size_t n;
	uint32_t cp;

	if (s.n == 0)
		return 0;
	if (p[0] < 0x80) {
		*cp_r = p[0];
		return 1;
	}
	if (p[0] < 0xc2 || p[0] > 0xf4)
		return 0;
	n = p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;
	if (n > s.n)
		return 0;
	cp = p[0] & (0x7fU >> n);
	for (size_t i = 1; i < n; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return 0;
		cp = cp << 6 | (p[i] & 0x3fU);
	}
	if (cp < least[n] || cp > 0x10ffff || (cp >= 0xd800 && cp <= 0xdfff))
		return 0;
	*cp_r = cp;
	return n;
}

/* Whether all of eight octets are printable ASCII: the usual case. */
static int plain(const char *p)
{
	const uint64_t ones = 0x0101010101010101u, highs = ones << 7;
	uint64_t v;

	memcpy(&v, p, sizeof v);
	/* Above 126: the sum carries into the top bit. Below 32: it borrows,
	 * which can at most make its neighbour look odd as well. */
	return ((v | (v + ones) | (v - ones * 0x20)) & highs) == 0;
}

/* How many octets at the start of s may be shown as they are. */
static size_t clean_run(struct span s)
{
	size_t i = 0;

	while (s.n - i >= 8 && plain(s.p + i))
		i += 8;
	for (; i < s.n; i++) {
		unsigned char c = (unsigned char)s.p[i];

		if (c < 0x20 || c == 0x7f)
			break;
		if (c == 0xc2 && i + 1 < s.n &&
			(unsigned char)s.p[i + 1] >= 0x80 &&
			(unsigned char)s.p[i + 1] < 0xa0)
			break;
	}
	return i;
}

struct span utf8_cut(struct span s, size_t max)
{
	size_t n = max;

	if (s.n <= max)
		return s;
	for (int i = 0; i < 3 && n && ((unsigned char)s.p[n] & 0xc0) == 0x80;
		i++)
		n--;
	return span(s.p, n);
}

size_t text_clean(struct span s, size_t max, struct buf *out)
{
	size_t total = 0;

	s = utf8_cut(s, max);
	while (s.n) {
		size_t n = clean_run(s);

		buf_add(out, span(s.p, n));
		total += n;
		s = span_skip(s, n);
		if (s.n == 0)
			break;
		/* A C1 control has two octets; its second one goes with it. */
		n = (unsigned char)s.p[0] == 0xc2 ? 2 : 1;
		buf_addc(out, s.p[0] == '\t' ? ' ' : '?');
		total++;
		s = span_skip(s, n);
	}
	return total;
}
