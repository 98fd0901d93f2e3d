/* guess - "did you mean": the valid word nearest to a wrong one, by the
 * number of letters to insert, drop, change or swap. Also the two small things
 * that every message needs: quoting what a person wrote, and cutting a table's
 * list of words into its parts. */
#include "mta/base/check.h"
#include "mta/conf/conf_private.h"

enum { WORD_MAX = 48, QUOTE_MAX = 64 };

static unsigned min2(unsigned a, unsigned b)
{
	return a < b ? a : b;
}

/* distance - optimal string alignment, case folded; three rows suffice. */
static unsigned distance(struct span a, struct span b)
{
	unsigned row[3][WORD_MAX + 1];
	unsigned *two = row[0], *one = row[1], *now = row[2], *t;

	for (size_t j = 0; j <= b.n; j++)
		one[j] = (unsigned)j;
	for (size_t i = 1; i <= a.n; i++) {
		now[0] = (unsigned)i;
		for (size_t j = 1; j <= b.n; j++) {
			char x = ascii_lower(a.p[i - 1]);
			char y = ascii_lower(b.p[j - 1]);

			now[j] = min2(one[j - 1] + (x != y),
				min2(one[j], now[j - 1]) + 1);
			if (i > 1 && j > 1 && x == ascii_lower(b.p[j - 2]) &&
				y == ascii_lower(a.p[i - 2]))
				now[j] = min2(now[j], two[j - 2] + 1);
		}
		t = two;
		two = one;
		one = now;
		now = t;
	}
	return one[b.n];
}

void guess_try(struct guess *g, struct span name)
{
	unsigned d, most;

	if (g->wrong.n == 0 || g->wrong.n > WORD_MAX || name.n > WORD_MAX)
		return;
	d = distance(g->wrong, name);
	/* A third of the letters may be wrong; more is another word. */
	most = (unsigned)(g->wrong.n > name.n ? g->wrong.n : name.n) / 3;
	if (most == 0)
		most = 1;
	if (d > most)
		return;
	/* Letters are lost more often than added. */
	if (g->best.n == 0 || d < g->distance ||
		(d == g->distance && name.n > g->best.n)) {
		g->best = name;
		g->distance = d;
	}
}

void guess_print(const struct guess *g, struct buf *out)
{
	if (g->best.n)
		buf_addf(out, " (did you mean \"%.*s\"?)", SPAN_ARG(g->best));
}

void add_escaped(struct buf *out, struct span s)
{
	for (size_t i = 0; i < s.n; i++) {
		unsigned char c = (unsigned char)s.p[i];

		if (c == '"' || c == '\\')
			buf_addf(out, "\\%c", c);
		else if (c < 0x20 || c == 0x7f)
			buf_addf(out, "\\x%02x", c);
		else
			buf_addc(out, (char)c);
	}
}

void quote(struct buf *out, struct span s)
{
	struct span t = span_head(s, QUOTE_MAX);

	/* Never half a character of UTF-8. */
	while (t.n && t.n < s.n && ((unsigned char)s.p[t.n] & 0xc0) == 0x80)
		t.n--;
	buf_addc(out, '"');
	add_escaped(out, t);
	buf_adds(out, t.n < s.n ? "...\"" : "\"");
}

int words_next(struct span *rest, char sep, struct span *word_r)
{
	ptrdiff_t at;

	if (rest->n == 0)
		return 0;
	at = span_chr(*rest, sep);
	*word_r = at < 0 ? *rest : span_head(*rest, (size_t)at);
	*rest = at < 0 ? span(NULL, 0) : span_skip(*rest, (size_t)at + 1);
	return 1;
}
