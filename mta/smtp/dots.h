/* dots - dot-stuffing of outgoing mail data (RFC 5321 4.5.2), without copies.
 *
 * The body comes in pieces cut anywhere; dots_next says, span by span, what
 * goes to the wire: either a part of the piece as it is, or one "." to put
 * before it. Loop for every piece, then send dots_end:
 *
 *	while (in.n) {
 *		in = span_skip(in, dots_next(&d, in, &out));
 *		... out ...
 *	}
 *
 * A dot after a bare LF is doubled too: a receiver that takes bare LF for a
 * line end must not find an end of data inside a body.
 */
#pragma once

#include "mta/base/span.h"

struct dots {
	int bol;  /* at the beginning of a line; 1 at the start */
	int cr;   /* the byte before was CR */
	int bare; /* the last line ended with LF only */
};

#define DOTS_INIT                                                              \
	{                                                                      \
		.bol = 1                                                       \
	}

/* Takes as much of in as can go out in one span; returns how many bytes that
 * is. 0 with a "." in out_r: the byte at in is a dot that opens a line; call
 * again with the same in. out_r points into in or at static memory. */
size_t dots_next(struct dots *d, struct span in, struct span *out_r);

/* What ends the data; static. Nothing comes after it. */
struct span dots_end(const struct dots *d);
