/* data - the octets of a message on their way in (RFC 5321 4.5.2, 2.3.8).
 *
 * One scanner per message, fed with whatever has arrived, in any split. It
 * takes the dots away that the client put in, finds the end of data, which is
 * CRLF "." CRLF and nothing else, and notes everything that the relay must
 * know: bare CR, bare LF, NUL (the message is refused, RFC 5321 2.3.8; what
 * others take for an end of data is one of these), octets above 127, long
 * lines, where the header block ends.
 *
 * With BDAT (RFC 3030) there are no dots and no end: the same notes only.
 */
#pragma once

#include <stdint.h>

#include "mta/base/span.h"

enum data_flag {
	DATA_BARE_CR = 1,
	DATA_BARE_LF = 2,
	DATA_NUL = 4,
	DATA_8BIT = 8,
	DATA_8BIT_HEADER = 16,
	DATA_LONG_LINE = 32, /* more than 998 octets without the CRLF */
};

enum { DATA_LINE_MAX = 998 };

struct data_scan {
	uint8_t state;
	uint8_t dots; /* DATA: dots and an end; BDAT: neither */
	uint8_t in_header;
	uint8_t last_cr; /* the octet before this one was CR */
	unsigned flags;  /* enum data_flag */
	size_t line;     /* octets of the current line so far */
	uint64_t bytes;  /* octets emitted */
	uint64_t header; /* octets of the header block with its empty line */
};

void data_scan_init(struct data_scan *d, int dots);

/* Takes octets of in up to the end of data (then *end_r is 1) or all of them.
 * What belongs to the message goes to emit in as few pieces as possible,
 * pointing into in. Returns how many octets were taken. */
size_t data_scan(struct data_scan *d, struct span in,
	void (*emit)(void *arg, struct span piece), void *arg, int *end_r);

/* The message is complete: a last line without its line end, or a CR at the
 * very end, shows now. */
void data_scan_end(struct data_scan *d);
