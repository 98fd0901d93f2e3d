/* convert - making a message fit for a next hop that takes less.
 *
 * 8BITMIME or BINARYMIME to 7 bits (RFC 6152 3, RFC 3030 3, RFC 2045): every
 * leaf part with 8-bit or binary octets gets quoted-printable (text) or
 * base64 (else), its Content-Transfer-Encoding replaced, the encodings of the
 * multiparts above it set to 7bit; message/rfc822 parts are entered, never
 * encoded. Bytes outside such parts do not change. Works as a stream: push
 * pieces in any size, converted pieces come out through emit; memory is
 * bounded by nesting (CONVERT_DEPTH) and one header block (CONVERT_HEADER).
 *
 * What cannot be converted (8-bit in a header, too deep, a header block too
 * large, a broken multipart that would be mangled) fails with ERR_SYNTAX and a
 * reason: the message is bounced 5.6.3, not changed. multipart/signed parts
 * would lose their signature: also refused (RFC 1847 2.1) when they hold 8-bit.
 *
 * A leaf's encoding must be known before its bytes are emitted, but its bytes
 * come later: so a conversion is two passes over the same input. Pass one
 * (convert_survey) notes which leaves need what, at most CONVERT_PARTS of
 * them; pass two rewrites.
 */
#pragma once

#include "mta/base/err.h"
#include "mta/base/span.h"

enum { CONVERT_DEPTH = 16, CONVERT_HEADER = 256 * 1024, CONVERT_PARTS = 4096 };

struct convert; /* opaque */

/* What the next hop can take. */
enum convert_to { CONVERT_TO_7BIT, CONVERT_TO_8BIT };

struct convert *convert_create(enum convert_to to);
void convert_destroy(struct convert **c);

/* Pass one. */
void convert_survey(struct convert *c, struct span piece);
enum err convert_survey_end(struct convert *c, const char **why_r);
int convert_needed(const struct convert *c); /* nothing to do: send as it is */

/* Pass two: the same bytes again. */
void convert_push(struct convert *c, struct span piece,
	void (*emit)(void *arg, struct span out), void *arg);
enum err convert_end(
	struct convert *c, void (*emit)(void *arg, struct span out), void *arg);
