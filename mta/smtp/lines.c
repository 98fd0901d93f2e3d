/* lines - LF to CRLF, in pieces cut anywhere. */
#include "mta/smtp/lines.h"

/* The CRs that turned out to be none of a line end. */
static void give_cr(
	struct lines *l, void (*emit)(void *arg, struct span piece), void *arg)
{
	for (; l->cr; l->cr--) {
		emit(arg, SPAN("\r"));
		l->line++;
	}
}

/* Octets without LF. */
static void inside(struct lines *l, struct span s,
	void (*emit)(void *arg, struct span piece), void *arg)
{
	size_t n = s.n;

	while (n && s.p[n - 1] == '\r')
		n--;
	if (n) {
		give_cr(l, emit, arg);
		emit(arg, span_head(s, n));
		l->line += n;
	}
	l->cr += s.n - n;
}

void lines_take(struct lines *l, struct span in,
	void (*emit)(void *arg, struct span piece), void *arg)
{
	while (in.n) {
		ptrdiff_t lf = span_chr(in, '\n');

		if (lf < 0) {
			inside(l, in, emit, arg);
			return;
		}
		inside(l, span_head(in, (size_t)lf), emit, arg);
		emit(arg, SPAN("\r\n"));
		l->cr = l->line = 0;
		in = span_skip(in, (size_t)lf + 1);
	}
}

void lines_end(
	struct lines *l, void (*emit)(void *arg, struct span piece), void *arg)
{
	give_cr(l, emit, arg);
	if (l->line == 0)
		return;
	emit(arg, SPAN("\r\n"));
	l->line = 0;
}
