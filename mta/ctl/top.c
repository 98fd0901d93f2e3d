/* top - a bounded heap, and its order. */
#include "mta/ctl/top.h"

#include <stdlib.h>

#include "mta/base/check.h"

enum { TEXT_KEPT = 256, TURN_ITEMS = 1000 };

static int compare_number(uint64_t x, uint64_t y)
{
	return x < y ? -1 : x > y;
}

/* Below nought: x stands before y. */
static int compare(
	const struct top *t, const struct top_item *x, const struct top_item *y)
{
	int c;

	if (x->missing != y->missing)
		return x->missing ? 1 : -1;
	if (t->kind == FILTER_KIND_TEXT)
		c = span_icmp(span_str(x->text), span_str(y->text));
	else
		c = compare_number(x->number, y->number);
	if (c)
		return t->down ? -c : c;
	if (x->key || y->key)
		return span_icmp(span_str(x->key), span_str(y->key));
	return compare_number(x->id, y->id);
}

static char *copy(struct span s)
{
	char *p = x_calloc(1, s.n + 1);

	if (s.n)
		memcpy(p, s.p, s.n);
	return p;
}

static void item_set(struct top *t, struct top_item *i,
	const struct filter_value *v, uint64_t id, struct span key)
{
	*i = (struct top_item){.missing = !v, .id = id};
	if (key.n)
		i->key = copy(key);
	if (v && t->kind == FILTER_KIND_TEXT)
		i->text = copy(span_head(v->text, TEXT_KEPT));
	else if (v)
		/* Signed numbers in the order of unsigned ones. */
		i->number = v->number ^
			    (t->kind == FILTER_KIND_NUMBER ? 1ull << 63 : 0);
}

static void item_free(struct top_item *i)
{
	free(i->text);
	free(i->key);
}

void top_init(struct top *t, enum filter_kind kind, int down, size_t most)
{
	*t = (struct top){.kind = kind, .down = down, .most = most};
}

void top_fini(struct top *t)
{
	for (size_t i = 0; i < t->n; i++)
		item_free(&t->v[i]);
	free(t->v);
	item_free(&t->after);
	*t = (struct top){0};
}

void top_after(struct top *t, const struct filter_value *v, uint64_t id,
	struct span key)
{
	item_set(t, &t->after, v, id, key);
	t->has_after = 1;
}

static void swap(struct top *t, size_t a, size_t b)
{
	struct top_item i = t->v[a];

	t->v[a] = t->v[b];
	t->v[b] = i;
}

/* v[i] is out of place among v[0 .. n): parents stand behind children. */
static void sink(struct top *t, size_t i, size_t n)
{
	for (;;) {
		size_t last = i, c = 2 * i + 1;

		if (c < n && compare(t, &t->v[c], &t->v[last]) > 0)
			last = c;
		if (c + 1 < n && compare(t, &t->v[c + 1], &t->v[last]) > 0)
			last = c + 1;
		if (last == i)
			return;
		swap(t, i, last);
		i = last;
	}
}

static void rise(struct top *t, size_t i)
{
	while (i && compare(t, &t->v[i], &t->v[(i - 1) / 2]) > 0) {
		swap(t, i, (i - 1) / 2);
		i = (i - 1) / 2;
	}
}

void top_push(struct top *t, const struct filter_value *v, uint64_t id,
	struct span key)
{
	struct top_item i;

	item_set(t, &i, v, id, key);
	if (t->has_after && compare(t, &i, &t->after) <= 0) {
		item_free(&i);
		return;
	}
	t->pushed++;
	if (t->n < t->most) {
		if (t->n == t->cap) {
			t->cap = t->cap ? 2 * t->cap : 64;
			t->v = x_realloc(t->v, t->cap * sizeof *t->v);
		}
		t->v[t->n] = i;
		rise(t, t->n++);
	} else if (t->n && compare(t, &i, &t->v[0]) < 0) {
		item_free(&t->v[0]);
		t->v[0] = i;
		sink(t, 0, t->n);
	} else {
		item_free(&i);
	}
}

/* The last one of the rest goes to the end, again and again. */
int top_end(struct top *t)
{
	if (!t->left)
		t->left = t->n;
	for (int i = 0; i < TURN_ITEMS && t->left > 1; i++) {
		swap(t, 0, --t->left);
		sink(t, 0, t->left);
	}
	return t->left <= 1;
}
