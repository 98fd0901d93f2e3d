/* outcome - what became of a recipient, a command or a message.
 *
 * The mail-side result type: an SMTP code, an enhanced status code (RFC 3463)
 * and a text, either said by a peer (host is set) or found out here (host is
 * empty). Never mixed with enum err; outcome_from_err is the one bridge.
 * The spans belong to whoever made the outcome; outcome_copy moves one into
 * an arena.
 */
#pragma once

#include <stdint.h>

#include "mta/base/arena.h"
#include "mta/base/buf.h"
#include "mta/base/err.h"
#include "mta/base/span.h"

struct enhanced { /* RFC 3463: class.subject.detail; class 0: none */
	uint16_t class, subject, detail;
};

struct outcome {
	uint16_t code; /* 2xx done, 4xx later, 5xx never; 0: none yet */
	struct enhanced enh;
	struct span text; /* without code; lines of a long reply joined by SP */
	struct span
		host; /* who said it: "mx1.example[192.0.2.1]:25", or empty */
};

static inline int outcome_ok(const struct outcome *o)
{
	return o->code / 100 == 2;
}
static inline int outcome_temporary(const struct outcome *o)
{
	return o->code / 100 == 4;
}
static inline int outcome_permanent(const struct outcome *o)
{
	return o->code / 100 == 5;
}

#define OUTCOME(c, a, b, d, lit)                                               \
	((struct outcome){.code = (c), .enh = {a, b, d}, .text = SPAN(lit)})

/* 4.4.1, 4.4.2, 4.3.0 ... for a plumbing failure; text is static. */
struct outcome outcome_from_err(enum err e);
struct outcome outcome_copy(struct arena *a, const struct outcome *o);

/* "5.7.1"; the class of code with ".0.0" when there is no enhanced code. */
void outcome_status(struct buf *b, const struct outcome *o);

/* "d.ddd.ddd" at the start of s (RFC 2034); the rest after it and one SP in
 * rest_r. 0, or -1 when there is none (rest_r is s then). */
int enhanced_parse(struct span s, struct enhanced *e_r, struct span *rest_r);
