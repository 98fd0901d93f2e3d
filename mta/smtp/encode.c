/* encode - quoted-printable and base64 as streams. Both are fed a byte at a
 * time; whatever a decision needs to see next (a blank before a line end, CR
 * before LF, the third byte of a group) waits in the state, so that the result
 * is the same for any cut of the input. */
#include "mta/smtp/encode.h"

#include "mta/base/check.h"

static const char hex[] = "0123456789ABCDEF";
static const char alphabet[] =
	"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void encode_out_flush(struct encode_out *o)
{
	size_t n = o->n;

	must(n <= ENCODE_OUT);
	o->n = 0;
	if (n)
		o->emit(o->arg, span(o->p, n));
}

static void put(struct encode_out *o, const char *p, size_t n)
{
	if (o->n + n > ENCODE_OUT)
		encode_out_flush(o);
	memcpy(o->p + o->n, p, n);
	o->n += n;
}

/* One unit that must not be broken. A line keeps its last column for the '='
 * of a soft line break (RFC 2045 6.7 rule 5). */
static void qp_unit(
	struct qp *q, const char *p, unsigned n, struct encode_out *o)
{
	if (q->col + n > ENCODE_LINE - 1) {
		put(o, "=\r\n", 3);
		q->col = 0;
	}
	put(o, p, n);
	q->col += n;
}

static void qp_escape(struct qp *q, char c, struct encode_out *o)
{
	unsigned char u = (unsigned char)c;
	char e[3] = {'=', hex[u >> 4], hex[u & 15]};

	qp_unit(q, e, 3, o);
}

static void qp_plain(struct qp *q, char c, struct encode_out *o)
{
	int full = q->col + 1 > ENCODE_LINE - 1;

	if (c == '-' && (q->col == 0 || full)) {
		if (full) {
			put(o, "=\r\n", 3);
			q->col = 0;
		}
		q->dash = 1;
		return;
	}
	qp_unit(q, &c, 1, o);
}

/* A line may not open with two dashes: broken or escaped text could then look
 * like a delimiter of a multipart around it ("--x" of a longer line, or octets
 * that spell a boundary with '=' in it once escaped). */
static void qp_dash(struct qp *q, char next, struct encode_out *o)
{
	q->dash = 0;
	if (next == '-')
		qp_escape(q, '-', o);
	else
		qp_unit(q, "-", 1, o);
}

/* What waited turned out not to stand before a CRLF. */
static void qp_settle(struct qp *q, struct encode_out *o)
{
	if (q->blank)
		qp_plain(q, q->blank, o);
	if (q->cr)
		qp_escape(q, '\r', o);
	q->blank = 0;
	q->cr = 0;
}

static void qp_byte(struct qp *q, char c, struct encode_out *o)
{
	if (q->dash)
		qp_dash(q, c, o);
	if (q->cr && c == '\n') {
		if (q->blank)
			qp_escape(q, q->blank, o);
		put(o, "\r\n", 2);
		*q = (struct qp){0};
		return;
	}
	if (c == '\r' && !q->cr) {
		q->cr = 1;
		return;
	}
	qp_settle(q, o);
	if (c == '\r')
		q->cr = 1;
	else if (c == ' ' || c == '\t')
		q->blank = c;
	else if (c > ' ' && c < 127 && c != '=')
		qp_plain(q, c, o);
	else
		qp_escape(q, c, o);
}

void qp_push(struct qp *q, struct span s, struct encode_out *o)
{
	for (size_t i = 0; i < s.n; i++)
		qp_byte(q, s.p[i], o);
}

void qp_end(struct qp *q, struct encode_out *o)
{
	if (q->dash)
		qp_dash(q, 0, o);
	/* A blank at the end would stand before the delimiter's CRLF. */
	if (q->blank && !q->cr) {
		qp_escape(q, q->blank, o);
		q->blank = 0;
	}
	qp_settle(q, o);
	*q = (struct qp){0};
}

static void base64_group(struct base64 *b, struct encode_out *o)
{
	const unsigned char *k = b->keep;
	char g[4] = {
		alphabet[k[0] >> 2],
		alphabet[(k[0] & 3) << 4 | k[1] >> 4],
		b->n > 1 ? alphabet[(k[1] & 15) << 2 | k[2] >> 6] : '=',
		b->n > 2 ? alphabet[k[2] & 63] : '=',
	};

	if (b->col == ENCODE_LINE) {
		put(o, "\r\n", 2);
		b->col = 0;
	}
	put(o, g, 4);
	b->col += 4;
	b->n = 0;
	memset(b->keep, 0, sizeof b->keep);
}

void base64_push(struct base64 *b, struct span s, struct encode_out *o)
{
	must(b->n < 3);
	for (size_t i = 0; i < s.n; i++) {
		b->keep[b->n++] = (unsigned char)s.p[i];
		if (b->n == 3)
			base64_group(b, o);
	}
}

void base64_end(struct base64 *b, struct encode_out *o)
{
	if (b->n)
		base64_group(b, o);
	*b = (struct base64){0};
}
