/* show - a snapshot back to YAML, row by row of the table, so that loading it
 * gives the same snapshot. */
#include <stdlib.h>

#include "mta/base/check.h"
#include "mta/conf/conf_private.h"

enum { VALUE_MAX = 4 << 20 };

/* Where the writer stands between two rows of a scope. */
struct place {
	struct buf *out;
	unsigned indent;  /* of the scope's own keys */
	struct span open; /* the maps that are open: "retry" */
	unsigned depth;   /* their number */
	int hyphen;       /* the next line starts a member of a list */
};

static int is_plain(struct span s)
{
	static const char first[] = "abcdefghijklmnopqrstuvwxyz"
				    "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/";

	if (s.n == 0 || !strchr(first, s.p[0]))
		return 0;
	for (size_t i = 0; i < s.n; i++)
		if (s.p[i] == '\0' ||
			(!strchr(first, s.p[i]) && !strchr("._-@", s.p[i])))
			return 0;
	return 1;
}

static void show_text(struct span s, int quoted, struct buf *out)
{
	if (!quoted && is_plain(s)) {
		buf_add(out, s);
		return;
	}
	buf_addc(out, '"');
	add_escaped(out, s);
	buf_addc(out, '"');
}

static const char *comma(unsigned i)
{
	return i ? ", " : "";
}

static void show_flags(const char *words, unsigned bits, struct buf *out)
{
	struct span rest = span_str(words), w;
	unsigned n = 0;

	buf_addc(out, '[');
	for (unsigned i = 0; words_next(&rest, '|', &w); i++)
		if (bits & 1U << i)
			buf_addf(out, "%s%.*s", comma(n++), SPAN_ARG(w));
	buf_addc(out, ']');
}

static void show_servers(struct span rest, struct buf *out)
{
	struct span w;

	buf_addc(out, '[');
	for (unsigned i = 0; words_next(&rest, ',', &w); i++) {
		buf_adds(out, comma(i));
		show_text(w, 1, out);
	}
	buf_addc(out, ']');
}

/* array_count - of a list that is an array beside its number of members. */
static unsigned array_count(const struct conf_key *k, const void *obj)
{
	return *(const unsigned *)(const void *)((const char *)obj +
						 k->count_at);
}

static void show_array(
	const struct conf_key *k, const void *obj, struct buf *out)
{
	const void *items =
		*(const void *const *)(const void *)((const char *)obj + k->at);
	unsigned n = array_count(k, obj);

	buf_addc(out, '[');
	for (unsigned i = 0; i < n; i++) {
		const struct conf_endpoint *e = items;
		const struct conf_address_space *s = items;
		const struct conf_cidr *c = items;

		buf_adds(out, comma(i));
		if (k->type == TYPE_CIDRS) {
			buf_addc(out, '"');
			cidr_print(&c[i], out);
			buf_addc(out, '"');
		} else if (k->type == TYPE_SPACES) {
			buf_addf(out, "\"%.*s;%u\"", SPAN_ARG(s[i].pattern),
				s[i].cost);
		} else {
			show_text(e[i].text, 1, out);
		}
	}
	buf_addc(out, ']');
}

static void show_word(const char *words, int place, struct buf *out)
{
	struct span rest = span_str(words), w;

	for (int i = 0; words_next(&rest, '|', &w); i++)
		if (i == place)
			buf_add(out, w);
}

/* Nought of a key without a default is that there is none. */
static void show_number(const struct conf_key *k, uint64_t v, struct buf *out)
{
	if (v == 0 && k->value && k->value[0] == '\0')
		buf_adds(out, "\"\"");
	else
		number_print(k->type, v, out);
}

void show_value(const struct conf_key *k, const void *obj, struct buf *out)
{
	const void *at = (const char *)obj + k->at;

	switch (k->type) {
	case TYPE_TEXT:
	case TYPE_NAME:
	case TYPE_DOMAIN:
	case TYPE_PATTERN:
	case TYPE_ADDRESS:
	case TYPE_PATH:
	case TYPE_PIN:
	case TYPE_LEVEL:
		show_text(*(const struct span *)at, 0, out);
		break;
	case TYPE_COUNT:
		number_print(k->type, *(const unsigned *)at, out);
		break;
	case TYPE_PORT:
		number_print(k->type, *(const uint16_t *)at, out);
		break;
	case TYPE_SIZE:
	case TYPE_NUMBER:
	case TYPE_PERCENT:
	case TYPE_DURATION:
		show_number(k, *(const uint64_t *)at, out);
		break;
	case TYPE_ENDPOINT:
		show_text(((const struct conf_endpoint *)at)->text, 1, out);
		break;
	case TYPE_WORD:
		show_word(k->words, *(const int *)at, out);
		break;
	case TYPE_FLAGS:
		show_flags(k->words, *(const unsigned *)at, out);
		break;
	case TYPE_SERVERS:
	case TYPE_USERS:
		show_servers(*(const struct span *)at, out);
		break;
	case TYPE_BINDS:
	case TYPE_HOSTS:
	case TYPE_CIDRS:
	case TYPE_SPACES:
		show_array(k, obj, out);
		break;
	case TYPE_MAPS: /* the members: show_items */
		buf_adds(out, array_count(k, obj) ? "" : "[]");
		break;
	case TYPE_LATER:
	case TYPE_LATER_MAP:
		break;
	}
}

/* start_line - the indent for a key in depth maps, or the hyphen. */
static void start_line(struct place *p, unsigned depth)
{
	unsigned n = p->indent + 2 * depth;

	for (unsigned i = 0; i < n; i++)
		buf_addc(p->out, p->hyphen && i + 2 == n ? '-' : ' ');
	p->hyphen = 0;
}

/* show_key - opens the maps that the row is in and the last row was not. */
static void show_key(struct place *p, const char *path, struct span value)
{
	struct span rest = span_str(path), name, was = p->open, w;
	ptrdiff_t dot = span_rchr(rest, '.');
	unsigned depth = 0;
	int same = 1;

	p->open = span_head(rest, dot < 0 ? 0 : (size_t)dot);
	name = dot < 0 ? rest : span_skip(rest, (size_t)dot + 1);
	for (rest = p->open; words_next(&rest, '.', &w); depth++) {
		struct span old = {0};

		same = words_next(&was, '.', &old) && same && span_eq(old, w);
		if (same)
			continue;
		start_line(p, depth);
		buf_addf(p->out, "%.*s:\n", SPAN_ARG(w));
	}
	p->depth = depth;
	start_line(p, depth);
	buf_addf(p->out, "%.*s:%s", SPAN_ARG(name), value.n ? " " : "");
	buf_add(p->out, value);
	buf_addc(p->out, '\n');
}

/* is_default - v is the printed value of k. */
static int is_default(const struct conf *c, const struct conf_key *k,
	const void *defaults, struct span v)
{
	struct arena a = {0};
	struct buf t;
	int same;

	if (!k->value)
		return 0;
	buf_init(&t, VALUE_MAX);
	if (k->value[0] == '(')
		show_text(schema_derived(c, k, &a), 0, &t);
	else
		show_value(k, defaults, &t);
	same = span_eq(buf_span(&t), v);
	buf_fini(&t);
	arena_fini(&a);
	return same;
}

static void show_items(const struct conf *c, const struct conf_scope *sc,
	unsigned indent, int only_set, struct buf *out);

/* show_scope - the rows of sc whose path starts with section (NULL: all). */
static void show_scope(const struct conf *c, const struct conf_scope *sc,
	const void *obj, const char *section, int only_set, struct place *p)
{
	struct span want = span_str(section), first;
	struct arena a = {0};
	void *defaults = arena_alloc(&a, sc->size);
	struct buf v;

	buf_init(&v, VALUE_MAX);
	schema_defaults(sc, &a, defaults);
	for (unsigned i = 0; i < sc->n; i++) {
		const struct conf_key *k = &sc->key[i];
		struct span path = span_str(k->path);

		if (type_is_later(k->type))
			continue;
		if (want.n && !(words_next(&path, '.', &first) &&
				      span_eq(first, want)))
			continue;
		buf_clear(&v);
		show_value(k, obj, &v);
		if (only_set && is_default(c, k, defaults, buf_span(&v)))
			continue;
		show_key(p, k->path, buf_span(&v));
		if (k->type == TYPE_MAPS)
			show_items(c, k->items, p->indent + 4 + 2 * p->depth,
				only_set, p->out);
	}
	buf_fini(&v);
	arena_fini(&a);
}

/* show_items - the members of a list of maps; indent is of their keys. */
static void show_items(const struct conf *c, const struct conf_scope *sc,
	unsigned indent, int only_set, struct buf *out)
{
	const char *base = (const char *)c;
	const char *items = *(const char *const *)(const void *)(base + sc->at);
	unsigned n = *(const unsigned *)(const void *)(base + sc->count_at);

	for (unsigned i = 0; i < n; i++) {
		struct place p = {.out = out, .indent = indent, .hyphen = 1};

		show_scope(c, sc, items + i * sc->size, NULL, only_set, &p);
	}
}

static void show_list(const struct conf *c, const struct conf_section *s,
	int only_set, struct buf *out)
{
	unsigned n = *(const unsigned *)(const void *)((const char *)c +
						       s->list->count_at);

	if (n || !only_set)
		buf_addf(out, "%s:%s\n", s->name, n ? "" : " []");
	show_items(c, s->list, 4, only_set, out);
}

void conf_show(const struct conf *c, int only_set, struct buf *out)
{
	struct place p = {.out = out};

	for (unsigned i = 0; i < conf_nsections; i++) {
		if (conf_sections[i].list)
			show_list(c, &conf_sections[i], only_set, out);
		else
			show_scope(c, &conf_root, c, conf_sections[i].name,
				only_set, &p);
	}
}
