/* guess - the valid word nearest to a wrong one. */
#include "mta/base/guess.h"

enum { WORD_MAX = 48 };

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
