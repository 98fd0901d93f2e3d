/* filter_match - a compiled filter against one object. */
#include "mta/base/check.h"
#include "mta/base/filter_private.h"

static uint64_t bound(const struct filter *f, uint64_t now)
{
	uint64_t v = f->value.number;

	if (f->from_now > 0)
		return now > UINT64_MAX - v ? UINT64_MAX : now + v;
	if (f->from_now < 0)
		return now > v ? now - v : 0;
	return v;
}

/* -1, 0 or 1: less, equal, more. */
static int compare(const struct filter *f, uint64_t x, uint64_t now)
{
	uint64_t y = bound(f, now);

	if (x == y)
		return 0;
	if (f->kind == FILTER_KIND_NUMBER)
		return (int64_t)x < (int64_t)y ? -1 : 1;
	return x < y ? -1 : 1;
}

static int holds(
	const struct filter *f, const struct filter_value *v, uint64_t now)
{
	switch (f->op) {
	case OP_CONTAINS:
		return filter_contains(v->text, f->value.text);
	case OP_GLOB:
		return filter_glob(f->value.text, v->text);
	case OP_LT:
		return compare(f, v->number, now) < 0;
	case OP_LE:
		return compare(f, v->number, now) <= 0;
	case OP_GT:
		return compare(f, v->number, now) > 0;
	case OP_GE:
		return compare(f, v->number, now) >= 0;
	case OP_FLAG:
		return v->number != 0;
	default:
		return f->kind == FILTER_KIND_TEXT
			       ? span_ieq(v->text, f->value.text)
			       : compare(f, v->number, now) == 0;
	}
}

/* Any of the values. */
static int condition(const struct filter *f, const struct filter_source *s)
{
	struct filter_value v = {0};
	int got = 0;

	for (unsigned n = 0;; n++) {
		got = s->get(s->arg, f->field, n, &v);
		if (got < 0)
			return -1;
		if (got == 0)
			/* What is not there is equal to "". */
			return n == 0 && f->kind == FILTER_KIND_TEXT &&
			       f->op == OP_EQ && f->value.text.n == 0;
		if (holds(f, &v, s->now))
			return 1;
		if (got == 1)
			return 0;
	}
}

/* No deeper than FILTER_DEPTH allowed it to be written. */
int filter_match(const struct filter *f, const struct filter_source *s)
{
	int r;

	switch (f->op) {
	case OP_NOT:
		r = filter_match(f->child, s);
		return r < 0 ? r : !r;
	case OP_AND:
	case OP_OR:
		for (const struct filter *c = f->child; c; c = c->next) {
			r = filter_match(c, s);
			if (r < 0 || r == (f->op == OP_OR))
				return r;
		}
		return f->op == OP_AND;
	default:
		return condition(f, s);
	}
}
