/* text - UTF-8 and making a peer's words fit to show.
 *
 * Shared by the grammar functions of this room. Pure; nothing here looks at
 * a byte past the end of its span.
 */
#pragma once

#include <stdint.h>

#include "mta/base/buf.h"
#include "mta/base/span.h"

/* The character at the start of s: its length in octets and code point, or 0
 * when s is empty or does not start with well-formed UTF-8 (RFC 3629: no
 * overlong forms, no surrogates, nothing above U+10FFFF). */
size_t utf8_take(struct span s, uint32_t *cp_r);

/* The longest head of s within max octets that does not end inside a UTF-8
 * sequence. Of octets that are no UTF-8 at all, at most three are lost. */
struct span utf8_cut(struct span s, size_t max);

/* Appends s with control characters (C0, DEL, C1 written as UTF-8) as '?' and
 * HT as SP; at most max octets, never ending inside a UTF-8 sequence. Returns
 * how many octets were offered to out. */
size_t text_clean(struct span s, size_t max, struct buf *out);
