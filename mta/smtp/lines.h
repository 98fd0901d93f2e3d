/* lines - text of this machine (lines end in LF) as mail (CRLF).
 *
 * For what did not come by SMTP: files of the pickup directory, the standard
 * input of sendmail. An LF ends a line whatever stands before it, so CRs in
 * front of it belong to the line end. A CR anywhere else stays as it is, and
 * the message is refused for it later, as from any client: if it became a line
 * end here, a program that only keeps LF out of a header could be made to
 * write fields that it does not know of. (sendmail makes it one in the body,
 * where it knows that the header is over.)
 */
#pragma once

#include "mta/base/span.h"

struct lines {
	size_t cr;   /* CRs seen that nothing has followed yet */
	size_t line; /* octets of this line so far, without these */
};

/* Gives the octets of in to emit, in pieces, some of them static. */
void lines_take(struct lines *l, struct span in,
	void (*emit)(void *arg, struct span piece), void *arg);
/* What is still kept, and a line end where the last line has none. */
void lines_end(
	struct lines *l, void (*emit)(void *arg, struct span piece), void *arg);
