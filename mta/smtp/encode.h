/* encode - quoted-printable and base64 as streams (RFC 2045 6.7 and 6.8).
 *
 * Bytes are pushed in any pieces; the encoded text, which does not depend on
 * how the bytes were cut, gathers in a struct encode_out and goes to its emit
 * whenever it is full or flushed. A span given to emit lives for that call.
 */
#pragma once

#include "mta/base/span.h"

enum { ENCODE_LINE = 76, ENCODE_OUT = 4096 };

struct encode_out {
	void (*emit)(void *arg, struct span out);
	void *arg;
	size_t n;
	char p[ENCODE_OUT];
};

void encode_out_flush(struct encode_out *o);

/* Quoted-printable of text: CRLF stays a line end, everything else that is
 * not printable is escaped, bare CR and LF too. Zeroed is ready. */
struct qp {
	unsigned col; /* columns used in this line */
	char blank;   /* SP or HT that may turn out to end a line, or 0 */
	char dash;    /* a '-' that opened a line waits for its neighbour */
	char cr;      /* a CR that may turn out to be half a CRLF */
};

void qp_push(struct qp *q, struct span s, struct encode_out *o);
void qp_end(struct qp *q, struct encode_out *o); /* no CRLF at the end */

/* Zeroed is ready. */
struct base64 {
	unsigned col;
	unsigned n; /* bytes kept for the next group of three */
	unsigned char keep[3];
};

void base64_push(struct base64 *b, struct span s, struct encode_out *o);
void base64_end(struct base64 *b, struct encode_out *o); /* the same */
