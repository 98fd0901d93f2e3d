/* reply - SMTP replies: reading a server's, writing ours (RFC 5321 4.2).
 *
 * Reading: reply_take looks for one whole reply at the start of what has
 * arrived. Lines end in CRLF (a bare LF is a fault: response smuggling);
 * all lines of a reply must carry the same code; text is bounded to
 * REPLY_TEXT, more is cut off but counted, and a reply of more than
 * REPLY_BYTES octets or REPLY_LINES lines is a fault.
 */
#pragma once

#include <stdint.h>

#include "mta/base/buf.h"
#include "mta/smtp/outcome.h"

enum {
	REPLY_LINE = 2048, /* octets of one line with its CRLF */
	REPLY_LINES = 128,
	REPLY_BYTES = 65536,
	REPLY_TEXT = 1024, /* octets of joined text that are kept */
};

struct reply {
	uint16_t code;
	struct enhanced enh; /* class 0: none given */
	struct span raw;     /* all lines, as received, in the input */
	unsigned lines;
};

enum reply_got { REPLY_MORE, REPLY_OK, REPLY_FAULT };

/* in: unread bytes. REPLY_OK: *used_r bytes were one reply. REPLY_FAULT: the
 * connection must end; *why_r is static. */
enum reply_got reply_take(
	struct span in, struct reply *r_r, size_t *used_r, const char **why_r);

/* The n-th line's text after "250-" (n from 0) without CRLF; 0 or -1. */
int reply_line(const struct reply *r, unsigned n, struct span *line_r);

/* The text of all lines joined by SP, enhanced codes taken out, control
 * characters as '?', at most REPLY_TEXT octets, appended to out. */
void reply_text(const struct reply *r, struct buf *out);

/* Writes "250 2.0.0 text\r\n"; a text with '\n' becomes a multi-line reply.
 * Control characters in text become '?'. enh.class 0: no enhanced code. */
void reply_write(
	struct buf *out, uint16_t code, struct enhanced enh, struct span text);
