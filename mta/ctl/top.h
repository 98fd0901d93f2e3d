/* top - the first N of many by one field, in memory that grows with N only.
 *
 * What is pushed is a name (an id or a key) and the value of its field; what
 * has no value comes last in either direction, equal values by name. With
 * after, only what comes behind that one is kept: so a page goes on where the
 * last one ended.
 */
#pragma once

#include "mta/base/filter.h"

enum { TOP_MAX = 100000 };

struct top_item {
	int missing;
	uint64_t number; /* of the value, in its order */
	char *text;      /* of the value, or NULL */
	uint64_t id;     /* the name, or */
	char *key;       /* the name */
};

struct top {
	enum filter_kind kind;
	int down; /* the largest first */
	size_t most, n, cap;
	struct top_item *v; /* a heap, the last one first; sorted by top_end */
	struct top_item after;
	int has_after;
	size_t left;     /* of v, not in order yet */
	uint64_t pushed; /* behind after, also those that were not kept */
};

void top_init(struct top *t, enum filter_kind kind, int down, size_t most);
void top_fini(struct top *t);
/* v NULL: it has no value. key empty: the name is id. */
void top_after(struct top *t, const struct filter_value *v, uint64_t id,
	struct span key);
void top_push(struct top *t, const struct filter_value *v, uint64_t id,
	struct span key);
/* Nothing more is pushed: puts v in order, some of it. 1: v[0 .. n) is in
 * order; 0: call it again, in another turn. */
int top_end(struct top *t);
