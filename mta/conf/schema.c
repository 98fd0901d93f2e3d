/* schema - the tree into struct conf, by the table. Every fault is reported
 * with its place and reading goes on: a key that failed keeps its default, so
 * that what comes later can still be looked at. */
#include "mta/base/check.h"
#include "mta/conf/conf_private.h"

enum { PATH_MAX_SIZE = 1024, KEY_SHOWN = 64, WHY_MAX = 1024 };

struct reader {
	struct conf *c;
	struct report *report;
	struct buf path; /* where we are, for messages */
	size_t scope_at; /* in path: where the scope's own part begins */
	struct buf why;
};

/* The part of path that conf_key.path is compared with. */
static struct span scope_path(const struct reader *r)
{
	return span_skip(buf_span(&r->path), r->scope_at);
}

/* enter - goes down to key; returns what leave wants. A key that could not be
 * any of ours is shortened and made printable, and then matches no row. */
static size_t enter(struct reader *r, struct span key)
{
	size_t was = r->path.n;

	if (was > r->scope_at)
		buf_addc(&r->path, '.');
	if (key.n > KEY_SHOWN || span_chr(key, '.') >= 0 || key.n == 0) {
		quote(&r->path, key);
		return was;
	}
	for (size_t i = 0; i < key.n; i++)
		buf_addc(&r->path,
			(unsigned char)key.p[i] < 0x20 || key.p[i] == 0x7f
				? '?'
				: key.p[i]);
	return was;
}

static size_t enter_index(struct reader *r, unsigned i)
{
	size_t was = r->path.n;

	buf_addf(&r->path, "[%u]", i);
	return was;
}

static void leave(struct reader *r, size_t was)
{
	r->path.n = was;
	r->path.full = 0;
}

static void fault_at(struct reader *r, struct ymark at, const char *text)
{
	report_error(
		r->report, at, "%.*s: %s", SPAN_ARG(buf_span(&r->path)), text);
}

static void fault(struct reader *r, struct ynode *n, const char *text)
{
	n->bad = 1;
	fault_at(r, n->at, text);
}

static void *member(const struct conf_key *k, void *obj)
{
	return (char *)obj + k->at;
}

static const struct conf_key *find_key(
	const struct conf_scope *sc, struct span path)
{
	for (unsigned i = 0; i < sc->n; i++)
		if (span_eq(span_str(sc->key[i].path), path))
			return &sc->key[i];
	return NULL;
}

/* below - the word that comes after prefix in a key's path; empty when the
 * key is elsewhere. */
static struct span below(const struct conf_key *k, struct span prefix)
{
	struct span p = span_str(k->path), word = {0};

	if (prefix.n) {
		if (!span_starts(p, prefix) || p.n == prefix.n ||
			p.p[prefix.n] != '.')
			return word;
		p = span_skip(p, prefix.n + 1);
	}
	(void)words_next(&p, '.', &word);
	return word;
}

static int is_section(const struct conf_scope *sc, struct span path)
{
	for (unsigned i = 0; i < sc->n; i++)
		if (below(&sc->key[i], path).n)
			return 1;
	return 0;
}

static const struct conf_scope *find_list(struct span name)
{
	for (unsigned i = 0; i < conf_nsections; i++)
		if (conf_sections[i].list &&
			span_eq(span_str(conf_sections[i].name), name))
			return conf_sections[i].list;
	return NULL;
}

static void unknown_key(struct reader *r, struct ynode *n,
	const struct conf_scope *sc, struct span prefix)
{
	struct guess g = {.wrong = n->key};
	struct buf text;

	for (unsigned i = 0; i < sc->n; i++) {
		struct span w = below(&sc->key[i], prefix);

		if (w.n)
			guess_try(&g, w);
	}
	if (sc == &conf_root && prefix.n == 0)
		for (unsigned i = 0; i < conf_nsections; i++)
			guess_try(&g, span_str(conf_sections[i].name));
	buf_init(&text, WHY_MAX);
	buf_adds(&text, "unknown key");
	guess_print(&g, &text);
	n->bad = 1;
	n->meant = g.best;
	fault_at(r, n->key_at, buf_str(&text));
	buf_fini(&text);
}

/* read_one - s into at; the fault, if there is one, goes to n. */
static void read_one(
	struct reader *r, const struct conf_key *k, struct ynode *n, void *at)
{
	buf_clear(&r->why);
	if (value_read(k, n->text, &r->c->arena, at, &r->why) != 0)
		fault(r, n, buf_str(&r->why));
}

static void no_value(
	struct reader *r, const struct conf_key *k, struct ynode *n)
{
	buf_clear(&r->why);
	buf_adds(&r->why, "has no value");
	if (k->example[0])
		buf_addf(&r->why, " (write it as %s)", k->example);
	fault(r, n, buf_str(&r->why));
}

static void read_scalar(
	struct reader *r, const struct conf_key *k, struct ynode *n, void *obj)
{
	if (n->kind == NODE_BAD)
		return;
	if (n->kind != NODE_SCALAR) {
		fault(r, n,
			n->kind == NODE_LIST ? "takes one value, not a list"
					     : "takes one value, not a map");
	} else if (ynode_null(n)) {
		no_value(r, k, n);
	} else if (n->text.n == 0 && k->value && k->value[0] == '\0') {
		/* "" is how one writes that there is none. */
		memset(member(k, obj), 0, k->size);
	} else {
		read_one(r, k, n, member(k, obj));
	}
}

/* list_start - zeroes what the list is stored in and makes room for n. */
static void *list_start(
	const struct conf_key *k, struct arena *a, unsigned n, void *obj)
{
	void *at = member(k, obj), *items = at;
	size_t size = value_size(k->type);

	memset(at, 0, k->size);
	if (size) {
		items = arena_alloc(a, size * n);
		*(void **)at = items;
		*(unsigned *)(void *)((char *)obj + k->count_at) = n;
	}
	return items;
}

static void read_list(
	struct reader *r, const struct conf_key *k, struct ynode *n, void *obj)
{
	char *item;
	size_t was;

	if (n->kind == NODE_BAD)
		return;
	if (ynode_null(n)) {
		no_value(r, k, n);
		return;
	}
	if (n->kind != NODE_LIST || n->n < k->min || n->n > k->max) {
		buf_clear(&r->why);
		if (n->kind != NODE_LIST)
			buf_adds(&r->why, "takes a list");
		else if (n->n > k->max)
			buf_addf(&r->why, "has more than %u members",
				(unsigned)k->max);
		else
			buf_adds(&r->why, "must not be empty");
		buf_addf(&r->why, " (write it as %s)", k->example);
		fault(r, n, buf_str(&r->why));
		return;
	}
	item = list_start(k, &r->c->arena, n->n, obj);
	for (struct ynode *it = n->first; it; it = it->next) {
		was = enter_index(r, it->index);
		if (it->kind == NODE_SCALAR)
			read_one(r, k, it, item);
		else if (it->kind != NODE_BAD)
			fault(r, it, "must be a single value");
		n->bad |= it->bad;
		item += value_size(k->type);
		leave(r, was);
	}
}

static void read_later(
	struct reader *r, const struct conf_key *k, struct ynode *n)
{
	int empty = ynode_null(n) || (n->kind == NODE_MAP && n->n == 0);

	if (k->type == TYPE_LATER || !empty)
		fault_at(r, n->key_at, "is not available in this version");
}

static void read_map(struct reader *r, struct ynode *map,
	const struct conf_scope *sc, void *obj);
static void read_items(
	struct reader *r, struct ynode *list, const struct conf_scope *sc);

/* read_entry - one entry of a map: a key of the table, a map of such keys, or
 * at the root a list of connectors, domains or peers. */
static void read_entry(struct reader *r, struct ynode *n,
	const struct conf_scope *sc, struct span prefix, void *obj)
{
	struct span path = scope_path(r);
	const struct conf_key *k = find_key(sc, path);
	const struct conf_scope *list =
		sc == &conf_root ? find_list(path) : NULL;

	if (k && type_is_list(k->type))
		read_list(r, k, n, obj);
	else if (k && k->type == TYPE_MAPS)
		read_items(r, n, k->items);
	else if (k && type_is_later(k->type))
		read_later(r, k, n);
	else if (k)
		read_scalar(r, k, n, obj);
	else if (list)
		read_items(r, n, list);
	else if (!is_section(sc, path))
		unknown_key(r, n, sc, prefix);
	else if (n->kind == NODE_MAP)
		read_map(r, n, sc, obj);
	else if (n->kind != NODE_BAD && !ynode_null(n))
		fault(r, n, "takes a map of keys");
}

static void read_map(struct reader *r, struct ynode *map,
	const struct conf_scope *sc, void *obj)
{
	char prefix[128];
	struct span sp = scope_path(r);
	size_t was;

	/* A copy, because the path moves when it grows. */
	must(sp.n < sizeof prefix);
	memcpy(prefix, sp.n ? sp.p : "", sp.n);
	for (struct ynode *n = map->first; n; n = n->next) {
		was = enter(r, n->key);
		read_entry(r, n, sc, span(prefix, sp.n), obj);
		leave(r, was);
	}
}

/* nearest_place - of the innermost map that the missing key would be in; line
 * 0 when a fault was found on the way there. */
static struct ymark nearest_place(struct ynode *map, const char *path)
{
	struct span rest = span_str(path), word;
	struct ynode *n = map, *down;
	struct ymark at = map->at;
	int known = map->bad;

	while (n->kind == NODE_MAP && words_next(&rest, '.', &word)) {
		down = yaml_get(n, word);
		known |= !down && yaml_meant(n, word);
		if (!down)
			break;
		n = down;
		at = n->key_at;
		known |= n->bad;
	}
	if (known)
		at.line = 0;
	return at;
}

static void check_required(
	struct reader *r, struct ynode *map, const struct conf_scope *sc)
{
	for (unsigned i = 0; i < sc->n; i++) {
		const struct conf_key *k = &sc->key[i];
		struct ymark at = nearest_place(map, k->path);
		size_t was;

		if (k->value || yaml_find(map, k->path) || at.line == 0)
			continue;
		was = r->path.n;
		if (was > r->scope_at || (sc->name && was))
			buf_addc(&r->path, '.');
		buf_adds(&r->path, k->path);
		buf_clear(&r->why);
		buf_addf(&r->why, "must be given (write for example %s)",
			k->example);
		fault_at(r, at, buf_str(&r->why));
		leave(r, was);
	}
}

void schema_defaults(const struct conf_scope *sc, struct arena *a, void *obj)
{
	struct span rest, word;
	struct buf why;

	buf_init(&why, WHY_MAX);
	for (unsigned i = 0; i < sc->n; i++) {
		const struct conf_key *k = &sc->key[i];
		unsigned n = 0;
		char *item;

		if (!k->value || k->value[0] == '(' || k->value[0] == '\0' ||
			type_is_later(k->type))
			continue;
		if (!type_is_list(k->type)) {
			must(value_read(k, span_str(k->value), a,
				     member(k, obj), &why) == 0);
			continue;
		}
		for (rest = span_str(k->value); words_next(&rest, ',', &word);)
			n++;
		item = list_start(k, a, n, obj);
		for (rest = span_str(k->value); words_next(&rest, ',', &word);
			item += value_size(k->type))
			must(value_read(k, span_trim(word), a, item, &why) ==
				0);
	}
	buf_fini(&why);
}

struct span schema_derived(
	const struct conf *c, const struct conf_key *k, struct arena *a)
{
	struct span name = c->node.name;
	char *p;

	if (k->type == TYPE_DOMAIN)
		return name;
	must(k->type == TYPE_ADDRESS);
	p = arena_alloc(a, sizeof "postmaster@" + name.n);
	memcpy(p, "postmaster@", sizeof "postmaster@" - 1);
	if (name.n)
		memcpy(p + sizeof "postmaster@" - 1, name.p, name.n);
	return span(p, sizeof "postmaster@" - 1 + name.n);
}

/* derive - gives the keys that come from another one their value. */
static void derive(struct conf *c, const struct conf_scope *sc, void *obj)
{
	for (unsigned i = 0; i < sc->n; i++) {
		const struct conf_key *k = &sc->key[i];
		struct span *at = member(k, obj);

		if (k->value && k->value[0] == '(' && at->n == 0)
			*at = schema_derived(c, k, &c->arena);
	}
}

static void read_items(
	struct reader *r, struct ynode *list, const struct conf_scope *sc)
{
	size_t was, scope_was = r->scope_at;
	char *item;

	if (list->kind == NODE_BAD || ynode_null(list))
		return;
	if (list->kind != NODE_LIST) {
		fault(r, list, "takes a list of maps, each after a hyphen");
		return;
	}
	if (list->n > sc->max) {
		buf_clear(&r->why);
		buf_addf(&r->why, "has more than %u members", sc->max);
		fault(r, list, buf_str(&r->why));
		return;
	}
	item = arena_alloc(&r->c->arena, sc->size * list->n);
	*(void **)(void *)((char *)r->c + sc->at) = item;
	*(unsigned *)(void *)((char *)r->c + sc->count_at) = list->n;
	for (struct ynode *it = list->first; it; it = it->next) {
		was = enter_index(r, it->index);
		schema_defaults(sc, &r->c->arena, item);
		r->scope_at = r->path.n + 1;
		if (it->kind == NODE_MAP) {
			buf_addc(&r->path, '.');
			read_map(r, it, sc, item);
			r->path.n--;
			r->scope_at = r->path.n;
			check_required(r, it, sc);
		} else if (it->kind != NODE_BAD) {
			fault(r, it, "must be a map of keys");
		}
		item += sc->size;
		leave(r, was);
		r->scope_at = scope_was;
	}
}

void schema_read(struct conf *c, struct ynode *root, struct report *report)
{
	struct reader r = {.c = c, .report = report};

	buf_init(&r.path, PATH_MAX_SIZE);
	buf_init(&r.why, WHY_MAX);
	schema_defaults(&conf_root, &c->arena, c);
	read_map(&r, root, &conf_root, c);
	check_required(&r, root, &conf_root);
	/* After everything is read: node.name may stand last. */
	derive(c, &conf_root, c);
	for (unsigned i = 0; i < conf_nsections; i++) {
		const struct conf_scope *sc = conf_sections[i].list;
		char *items;

		if (!sc)
			continue;
		items = *(void **)(void *)((char *)c + sc->at);
		for (unsigned j = 0;
			j < *(unsigned *)(void *)((char *)c + sc->count_at);
			j++)
			derive(c, sc, items + j * sc->size);
	}
	buf_fini(&r.path);
	buf_fini(&r.why);
}
