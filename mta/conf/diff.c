/* diff - two snapshots compared by the table of keys. Values are compared as
 * they are shown, so that "60s" and "1m" are no difference. */
#include "mta/conf/diff.h"

#include <stdlib.h>

#include "mta/base/check.h"
#include "mta/base/map.h"
#include "mta/conf/conf_private.h"

enum { VALUE_MAX = 4 << 20, PATH_MAX_LEN = 1024 };

struct diff {
	const struct conf *a, *b;
	void (*fn)(void *arg, const struct conf_change *c);
	void *arg;
	struct buf path, from, to;
	unsigned n;
};

static const void *at(const void *base, size_t offset)
{
	return (const char *)base + offset;
}

static unsigned count(const struct conf *c, const struct conf_scope *sc)
{
	return *(const unsigned *)at(c, sc->count_at);
}

static const void *member(
	const struct conf *c, const struct conf_scope *sc, unsigned i)
{
	return at(*(const char *const *)at(c, sc->at), i * sc->size);
}

/* Every list of maps has its `name` first. */
static struct span name_of(const struct conf_scope *sc, const void *obj)
{
	must(strcmp(sc->key[0].path, "name") == 0);
	return *(const struct span *)at(obj, sc->key[0].at);
}

static void tell(struct diff *d, struct conf_change *c)
{
	c->path = buf_span(&d->path);
	d->n++;
	d->fn(d->arg, c);
}

/* --- one key ---------------------------------------------------------------
 */

static int same(
	struct diff *d, const struct conf_key *k, const void *a, const void *b)
{
	buf_clear(&d->from);
	buf_clear(&d->to);
	show_value(k, a, &d->from);
	show_value(k, b, &d->to);
	return span_eq(buf_span(&d->from), buf_span(&d->to));
}

static void compare_key(struct diff *d, const struct conf_key *k, const void *a,
	const void *b, struct span section, struct span name)
{
	struct conf_change c = {.kind = CHANGE_KEY,
		.section = section,
		.member = name,
		.restart = !k->reload};
	size_t before = d->path.n;

	if (same(d, k, a, b))
		return;
	c.from = buf_span(&d->from);
	c.to = buf_span(&d->to);
	if (name.n)
		buf_addc(&d->path, '.');
	buf_adds(&d->path, k->path);
	tell(d, &c);
	d->path.n = before;
}

/* --- lists of maps ---------------------------------------------------------
 */

struct entry {
	struct map_node node;
	const void *obj;
	int seen;
};

/* Keys of the map are folded: names differ without regard to case. */
static struct span fold(struct arena *mem, struct span name)
{
	char *p = arena_alloc(mem, name.n + 1);

	for (size_t i = 0; i < name.n; i++)
		p[i] = (char)(name.p[i] >= 'A' && name.p[i] <= 'Z'
				      ? name.p[i] + 32
				      : name.p[i]);
	return span(p, name.n);
}

static struct entry *index_of(const struct conf *c, const struct conf_scope *sc,
	struct map *m, struct arena *mem)
{
	unsigned n = count(c, sc);
	struct entry *e = x_calloc(n + 1u, sizeof *e);

	for (unsigned i = 0; i < n; i++) {
		e[i].obj = member(c, sc, i);
		map_put(m, &e[i].node, fold(mem, name_of(sc, e[i].obj)));
	}
	return e;
}

static void member_path(struct diff *d, struct span list, struct span name)
{
	buf_clear(&d->path);
	buf_addf(&d->path, "%.*s[%.*s]", SPAN_ARG(list), SPAN_ARG(name));
}

static void came_or_went(struct diff *d, enum change_kind kind,
	struct span list, struct span name)
{
	struct conf_change c = {.kind = kind, .section = list, .member = name};

	member_path(d, list, name);
	tell(d, &c);
}

static void names(
	const struct conf *c, const struct conf_scope *sc, struct buf *out)
{
	buf_clear(out);
	buf_addc(out, '[');
	for (unsigned i = 0; i < count(c, sc); i++)
		buf_addf(out, "%s%.*s", i ? ", " : "",
			SPAN_ARG(name_of(sc, member(c, sc, i))));
	buf_addc(out, ']');
}

/* The same members in another order. */
static void compare_order(
	struct diff *d, const struct conf_scope *sc, struct span list)
{
	struct conf_change c = {.kind = CHANGE_KEY, .section = list};

	names(d->a, sc, &d->from);
	names(d->b, sc, &d->to);
	if (span_ieq(buf_span(&d->from), buf_span(&d->to)))
		return;
	c.from = buf_span(&d->from);
	c.to = buf_span(&d->to);
	buf_clear(&d->path);
	buf_add(&d->path, list);
	tell(d, &c);
}

static void compare_list(struct diff *d, const struct conf_scope *sc,
	struct span list, int ordered)
{
	static const uint64_t key[2] = {3, 4}; /* no peer chooses the names */
	struct arena mem = {0};
	struct map old;
	struct entry *e;
	unsigned before = d->n;

	map_init(&old, key);
	e = index_of(d->a, sc, &old, &mem);
	for (unsigned i = 0; i < count(d->b, sc); i++) {
		const void *obj = member(d->b, sc, i);
		struct span name = name_of(sc, obj);
		struct map_node *was = map_get(&old, fold(&mem, name));

		if (!was) {
			came_or_went(d, CHANGE_ADDED, list, name);
			continue;
		}
		container_of(was, struct entry, node)->seen = 1;
		member_path(d, list, name);
		for (unsigned j = 0; j < sc->n; j++)
			if (!type_is_later(sc->key[j].type))
				compare_key(d, &sc->key[j],
					container_of(was, struct entry, node)
						->obj,
					obj, list, name);
	}
	for (unsigned i = 0; i < count(d->a, sc); i++)
		if (!e[i].seen)
			came_or_went(
				d, CHANGE_REMOVED, list, name_of(sc, e[i].obj));
	if (ordered && d->n == before)
		compare_order(d, sc, list);
	map_fini(&old);
	arena_fini(&mem);
	free(e);
}

/* --- the whole -------------------------------------------------------------
 */

static void compare_root(struct diff *d, const struct conf_section *s)
{
	struct span want = span_str(s->name), first;

	for (unsigned i = 0; i < conf_root.n; i++) {
		const struct conf_key *k = &conf_root.key[i];
		struct span path = span_str(k->path);

		if (type_is_later(k->type) || !words_next(&path, '.', &first) ||
			!span_eq(first, want))
			continue;
		buf_clear(&d->path);
		if (k->type == TYPE_MAPS)
			compare_list(d, k->items, span_str(k->path), 1);
		else
			compare_key(d, k, d->a, d->b, want, span(NULL, 0));
	}
}

static void ignore(void *arg, const struct conf_change *c)
{
	(void)arg;
	(void)c;
}

unsigned conf_diff(const struct conf *from, const struct conf *to,
	void (*fn)(void *arg, const struct conf_change *c), void *arg)
{
	struct diff d = {
		.a = from, .b = to, .fn = fn ? fn : ignore, .arg = arg};

	buf_init(&d.path, PATH_MAX_LEN);
	buf_init(&d.from, VALUE_MAX);
	buf_init(&d.to, VALUE_MAX);
	for (unsigned i = 0; i < conf_nsections; i++) {
		const struct conf_section *s = &conf_sections[i];

		if (s->list)
			compare_list(&d, s->list, span_str(s->name), 0);
		else
			compare_root(&d, s);
	}
	buf_fini(&d.path);
	buf_fini(&d.from);
	buf_fini(&d.to);
	return d.n;
}

/* Only plain values count at a start only: numbers and texts. */
void conf_keep(struct conf *c, const struct conf *running)
{
	for (unsigned i = 0; i < conf_root.n; i++) {
		const struct conf_key *k = &conf_root.key[i];
		void *to = (char *)c + k->at;

		if (k->reload || type_is_later(k->type))
			continue;
		must(!type_is_list(k->type) && k->type != TYPE_MAPS &&
			k->type != TYPE_ENDPOINT);
		memcpy(to, at(running, k->at), k->size);
		if (k->size == sizeof(struct span))
			*(struct span *)to =
				arena_span(&c->arena, *(const struct span *)to);
	}
}
