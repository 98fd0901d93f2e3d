/* mimehead - what a part's header block says about its body (RFC 2045).
 *
 * Pure; spans point into the block. Reads only what a conversion of transfer
 * encodings has to know, and is wary: where readers of mail may disagree about
 * what a header means the part is MIME_FIXED and says why. A fixed part may be
 * passed on but never changed.
 */
#pragma once

#include "mta/base/span.h"

enum { MIME_BOUNDARY = 200 }; /* RFC 2046 5.1.1 allows 70 */

enum mime_kind {
	MIME_TEXT,      /* a leaf of lines */
	MIME_OTHER,     /* a leaf of octets */
	MIME_MULTIPART, /* with a boundary */
	MIME_MESSAGE,   /* message/rfc822 */
	MIME_FIXED,     /* not to be looked into or changed; see why */
};

enum mime_cte {
	MIME_CTE_NONE, /* no field: 7bit */
	MIME_CTE_7BIT,
	MIME_CTE_8BIT,
	MIME_CTE_BINARY,
	MIME_CTE_ENCODED, /* quoted-printable, base64 or something unknown */
};

struct mime_head {
	enum mime_kind kind;
	enum mime_cte cte;
	int has_version;
	int has_type;
	int digest;      /* its parts are messages unless they say otherwise */
	const char *why; /* of MIME_FIXED; static */
	size_t boundary_n;
	char boundary[MIME_BOUNDARY];
};

/* block: the fields with the empty line, if there is one. in_digest: the part
 * stands in a multipart/digest. */
void mime_head_read(struct span block, int in_digest, struct mime_head *h_r);

struct mime_field {
	struct span all; /* with folded lines and the CRLF at the end */
	struct span name;
	struct span value; /* not unfolded, not trimmed */
};

/* Takes the next field off block. 1: a field; 0: only the empty line or
 * nothing is left; -1: something that is no field. */
int mime_field_next(struct span *block, struct mime_field *f_r);
