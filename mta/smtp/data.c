/* data - the octets of a message on their way in.
 *
 * Works line by line: memchr finds the LF, sixteen octets at a time are looked
 * over for what must not be there, and runs of whole lines are emitted in one
 * piece; only a line that starts with a dot breaks a run.
 */
#include "mta/smtp/data.h"

enum { AT_LINE, IN_LINE, AFTER_DOT, AFTER_DOT_CR };

/* One register of what the processor has; the compiler knows how. */
typedef uint8_t octets __attribute__((vector_size(16)));

void data_scan_init(struct data_scan *d, int dots)
{
	*d = (struct data_scan){
		.state = AT_LINE, .dots = (uint8_t)dots, .in_header = 1};
}

struct seen { /* the top bit of an octet says that it is one */
	octets high, nul, cr;
};

static void look_at(struct seen *s, const char *p)
{
	octets v;

	memcpy(&v, p, sizeof v);
	s->high |= v;
	s->nul |= (octets)(v == 0);
	s->cr |= (octets)(v == '\r');
}

static int any(octets v)
{
	uint64_t half[2];

	memcpy(half, &v, sizeof half);
	return ((half[0] | half[1]) & 0x8080808080808080u) != 0;
}

/* Flags for a run that should hold neither CR, NUL nor 8-bit octets. */
static unsigned look_over(const char *p, size_t n)
{
	struct seen s = {0};
	unsigned flags = 0;
	char rest[sizeof(octets)];

	for (; n > sizeof rest; p += sizeof rest, n -= sizeof rest)
		look_at(&s, p);
	if (n) {
		memset(rest, ' ', sizeof rest);
		memcpy(rest, p, n);
		look_at(&s, rest);
	}
	if (!any(s.high | s.nul | s.cr))
		return 0;
	if (any(s.high))
		flags |= DATA_8BIT;
	if (any(s.nul))
		flags |= DATA_NUL;
	if (any(s.cr))
		flags |= DATA_BARE_CR;
	return flags;
}

/* Looks over a piece of one line: without its LF, and ended says whether an
 * LF follows. True when the line ended in CRLF. */
static int line_piece(struct data_scan *d, struct span s, int ended)
{
	unsigned flags;
	int cr = d->last_cr; /* is the octet before the LF a CR? */

	if (s.n) {
		if (d->last_cr)
			d->flags |= DATA_BARE_CR;
		cr = s.p[s.n - 1] == '\r';
		flags = look_over(s.p, s.n - (size_t)cr);
		if (d->in_header && (flags & DATA_8BIT))
			flags |= DATA_8BIT_HEADER;
		d->flags |= flags;
		d->line += s.n;
	}
	d->last_cr = (uint8_t)cr;
	if (d->line - (size_t)cr > DATA_LINE_MAX)
		d->flags |= DATA_LONG_LINE;
	if (!ended)
		return 0;
	if (!cr)
		d->flags |= DATA_BARE_LF;
	d->last_cr = 0;
	return cr;
}

struct run {
	void (*emit)(void *arg, struct span piece);
	void *arg;
	const char *from;
};

static void flush(struct data_scan *d, struct run *r, const char *to)
{
	if (to > r->from) {
		d->bytes += (uint64_t)(to - r->from);
		r->emit(r->arg, span(r->from, (size_t)(to - r->from)));
	}
	r->from = to;
}

/* A line starts at *p, with a dot: is it the end, or a stuffed dot? Octets
 * may be missing yet. 1 at the end of data. */
static int after_dot(
	struct data_scan *d, struct run *r, const char **p, const char *end)
{
	if (d->state == AFTER_DOT) {
		if (**p != '\r') {
			d->state = IN_LINE; /* the dot was stuffed: gone */
			return 0;
		}
		d->state = AFTER_DOT_CR;
		r->from = ++*p;
		if (*p == end)
			return 0;
	}
	if (**p == '\n') {
		r->from = ++*p;
		return 1;
	}
	/* ".\r" and something else: a bare CR in a line. */
	d->flags |= DATA_BARE_CR;
	d->bytes++;
	d->line++;
	r->emit(r->arg, span("\r", 1));
	d->state = IN_LINE;
	return 0;
}

size_t data_scan(struct data_scan *d, struct span in,
	void (*emit)(void *arg, struct span piece), void *arg, int *end_r)
{
	const char *p = in.p, *end = in.p + in.n, *nl;
	struct run r = {emit, arg, in.p};
	int crlf;

	*end_r = 0;
	while (p < end) {
		if (d->state == AT_LINE) {
			if (d->dots && *p == '.') {
				flush(d, &r, p);
				d->state = AFTER_DOT;
				r.from = ++p;
				continue;
			}
			d->state = IN_LINE;
		} else if (d->state != IN_LINE) {
			if (after_dot(d, &r, &p, end)) {
				*end_r = 1;
				return (size_t)(p - in.p);
			}
			continue;
		}
		nl = memchr(p, '\n', (size_t)(end - p));
		crlf = line_piece(
			d, span(p, (size_t)((nl ? nl : end) - p)), nl != NULL);
		if (!nl)
			break;
		p = nl + 1;
		if (d->in_header && d->line <= 1) {
			d->in_header = 0;
			d->header = d->bytes + (uint64_t)(p - r.from);
		}
		d->line = 0;
		/* A line starts after CRLF only: a dot after a bare LF is text,
		 * or another mail would hide behind it (smuggling). */
		d->state = crlf ? AT_LINE : IN_LINE;
	}
	flush(d, &r, end);
	return in.n;
}

void data_scan_end(struct data_scan *d)
{
	if (d->last_cr)
		d->flags |= DATA_BARE_CR;
	if (d->in_header)
		d->header = d->bytes;
}
