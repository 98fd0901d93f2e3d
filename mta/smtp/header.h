/* header - looking over a message's header block (RFC 5322 2.2).
 *
 * Counts and remembers only what the relay needs. Pure; the spans point into
 * the input. Nothing here changes a message.
 */
#pragma once

#include "mta/base/buf.h"
#include "mta/base/span.h"

struct header_field {
	struct span name;  /* as written */
	struct span value; /* without outer blanks, folded as it was */
	struct span whole; /* name to the end of its last line */
};

enum header_line {
	HEADER_FIELD, /* taken from the front of s */
	HEADER_END,   /* the empty line was; s is at the body */
	HEADER_BODY,  /* s is at a line that is no field */
	HEADER_CUT,   /* s is empty */
};

/* The field at the start of *s, and *s goes on behind it. */
enum header_line header_next(struct span *s, struct header_field *f_r);

struct header_facts {
	size_t bytes; /* header block with the empty line, if any */
	int ended;    /* the empty line was seen */
	unsigned fields;
	unsigned received;      /* "Received:" fields: hops (RFC 5321 6.3) */
	struct span message_id; /* value without outer blanks, or empty */
	struct span subject;
	struct span from;
	struct span date;
	struct span mime_version;
	struct span content_type;
	struct span content_transfer_encoding;
};

/* head: the start of a message (the whole of it, or at least its header
 * block as far as limits allow). */
void header_scan(struct span head, struct header_facts *f_r);

/* A field's value for a person: unfolded, controls as '?', cut at max. */
void header_value_clean(struct span value, size_t max, struct buf *out);

/* One trace field at the top of a message (RFC 5321 4.4). Folded, CRLF at the
 * end. Empty spans leave their part out. */
struct received {
	struct span helo;   /* what the client called itself */
	struct span client; /* address literal text: "192.0.2.1", "IPv6:..." */
	struct span client_name; /* verified reverse name, or empty */
	struct span by;          /* node name */
	struct span with;        /* "ESMTPS", "UTF8SMTP" ... (RFC 3848, 6531) */
	struct span tls;  /* "TLSv1.3:TLS_AES_256_GCM_SHA384", or empty */
	struct span id;   /* queue id */
	struct span rcpt; /* the recipient when there is exactly one */
	struct span note; /* behind by, in brackets: "pickup directory" */
	uint64_t wall;    /* ms since 1970 */
};
void received_write(struct buf *out, const struct received *r);

/* "Fri, 20 Nov 2026 11:42:47 +0000" (always UTC) */
void date_write(struct buf *out, uint64_t wall);
