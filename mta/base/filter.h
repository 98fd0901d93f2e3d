/* filter - the language of --where: which messages, or which next hops.
 *
 *   next_hop == "x.example" and age > 2h and not (last_error ~ "timeout" or
 *   size >= 10MiB)
 *
 *   filter     = conjunction { "or" conjunction }
 *   conjunction = term { "and" term }
 *   term       = "not" term | "(" filter ")" | field | field operator value
 *   operator   = == != < <= > >= ~ !~
 *   value      = "..." or '...' (a backslash before a quote or a backslash),
 *                or a bare word: no blanks, quotes, parentheses or < > = ! ~
 *
 * By kind of the field:
 *   text      == != ~ !~; the case of ASCII letters does not count. ~ with *
 *             or ? in its value is a glob over the whole text, else the text
 *             contains the value.
 *   number, size (10MiB), duration (2h), time: == != < <= > >=. A time is
 *             2026-11-20T12:00:00Z (with an offset instead of Z, or nothing:
 *             UTC; or the day alone), now, now-2h or now+10m.
 *   flag      alone, or == and != with yes or no.
 *
 * A field may have several values (the recipients): a condition holds when it
 * holds for any of them; != and !~ are "not ==" and "not ~", so they hold when
 * no value is equal. A field without a value makes every condition false, and
 * so != and !~ true; as text it is equal to "".
 *
 * A filter is compiled once and evaluated against a source that gives one
 * value at a time, when it is asked for. What is joined by "and" or by "or" is
 * evaluated in the order of the fields' costs, so that a field that must be
 * read from disk is looked at only when nothing cheaper has decided.
 *
 * Pure: no clock; bounded: FILTER_TEXT octets, FILTER_DEPTH nested "not" and
 * parentheses, FILTER_NODES conditions.
 */
#pragma once

#include "mta/base/arena.h"
#include "mta/base/buf.h"
#include "mta/base/span.h"

enum {
	FILTER_TEXT = 4096,
	FILTER_DEPTH = 32,
	FILTER_NODES = 256,
	FILTER_FIELDS = 64,
};

enum filter_kind {
	FILTER_KIND_TEXT,
	FILTER_KIND_NUMBER,   /* signed: an int64_t in number */
	FILTER_KIND_SIZE,     /* octets */
	FILTER_KIND_DURATION, /* ms */
	FILTER_KIND_TIME,     /* ms since 1970 */
	FILTER_KIND_FLAG,     /* 0 or 1 */
};

struct filter_field {
	const char *name; /* small letters, digits and _ */
	enum filter_kind kind;
	unsigned cost;      /* 0: at hand */
	const char *refuse; /* why it cannot be used here, or NULL */
};

struct filter_language {
	const struct filter_field *field;
	unsigned n;       /* FILTER_FIELDS at most */
	const char *help; /* what to type for the list of fields */
};

struct filter_value {
	uint64_t number; /* every kind but text */
	struct span text;
};

struct filter_source {
	void *arg;
	uint64_t now; /* ms since 1970 */
	/* Value n, from 0, of a field: 1: there is none behind it, 2: there may
	 * be; 0: there is no value n; -1: what is looked at cannot be read. The
	 * text lives until the next call. */
	int (*get)(void *arg, unsigned field, unsigned n,
		struct filter_value *v_r);
};

struct filter; /* opaque; lives in the arena */

/* 0; or -1 and why: "column N: what is wrong and what to write", the text and
 * a caret under the place, three lines without an end of line behind the last.
 * text is copied. */
int filter_compile(struct filter **f_r, struct span text,
	const struct filter_language *l, struct arena *a, struct buf *why);
/* 1: it holds; 0: it does not; -1: what was asked for cannot be read. */
int filter_match(const struct filter *f, const struct filter_source *s);
/* The name of a kind, for the list of fields: "text", "duration". */
const char *filter_kind_name(enum filter_kind k);
