/* json - writing JSON (RFC 8259) into a buf, piece by piece.
 *
 * The writer knows where commas go; the caller opens and closes objects and
 * arrays in pairs and gives a key before every value in an object. Several
 * values one after the other at the outermost level get nothing in between:
 * the caller ends each with a newline. The buf may be emptied between calls,
 * so that long answers can leave in parts. Strings may hold any bytes: what is
 * not UTF-8 becomes U+FFFD, control characters are escaped.
 */
#pragma once

#include <stdint.h>

#include "mta/base/buf.h"

enum { JSON_DEPTH = 32 };

struct json {
	struct buf *out;
	unsigned depth;
	uint64_t some;  /* bit per level: a comma is due before the next */
	uint64_t array; /* bit per level: an array, not an object */
	int key;        /* a key was written, its value comes next */
};

static inline void json_init(struct json *j, struct buf *out)
{
	*j = (struct json){.out = out};
}

void json_put_object(struct json *j);
void json_put_array(struct json *j);
void json_put_end(struct json *j); /* the innermost object or array */
void json_put_key(struct json *j, const char *key);
void json_put_str(struct json *j, struct span s);
void json_put_u64(struct json *j, uint64_t v);
void json_put_count(struct json *j, const char *key, uint64_t v); /* both */
void json_put_i64(struct json *j, int64_t v);
/* v / 10^digits, exactly: json_put_decimal(j, 1250, 3) writes 1.250. */
void json_put_decimal(struct json *j, uint64_t v, unsigned digits);
void json_put_bool(struct json *j, int v);
void json_put_null(struct json *j);

/* The number of bytes of the valid UTF-8 character at the start of s (RFC
 * 3629: shortest form, no surrogates, at most U+10FFFF), or 0. */
size_t json_utf8(struct span s);
