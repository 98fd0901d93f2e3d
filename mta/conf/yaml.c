/* yaml - libyaml's events into a tree, keeping to the strict profile.
 *
 * Events, not documents: the document loader of libyaml follows aliases and
 * keeps duplicate keys without a word, and takes time that is quadratic in
 * the nesting; here reading stops at the first bracket that is too deep. */
#include "mta/conf/yaml.h"

#include <yaml.h>

#include "mta/base/check.h"
#include "mta/conf/conf_private.h"

enum { KEYS_MAX = 256, NODES_MAX = 262144 };

enum step { GO, STOP, DONE };

struct frame {
	struct ynode *node; /* a list or map that is open */
	struct ynode *key;  /* of a map: waits for its value */
};

struct reader {
	const struct yaml_file *file;
	struct arena *arena;
	struct report *report;
	struct ynode *root;
	struct frame frame[YAML_MAX_DEPTH];
	unsigned depth, docs, nodes;
};

static struct ymark mark(const struct reader *r, yaml_mark_t m)
{
	return (struct ymark){
		r->file, (unsigned)m.line + 1, (unsigned)m.column + 1};
}

struct ynode *yaml_get(const struct ynode *map, struct span key)
{
	for (struct ynode *n = map->first; n; n = n->next)
		if (span_eq(n->key, key))
			return n;
	return NULL;
}

int yaml_meant(const struct ynode *map, struct span key)
{
	for (struct ynode *n = map->first; n; n = n->next)
		if (n->meant.n && span_eq(n->meant, key))
			return 1;
	return 0;
}

struct ynode *yaml_find(struct ynode *map, const char *path)
{
	struct span rest = span_str(path), word;
	struct ynode *n = map;

	while (n && words_next(&rest, '.', &word))
		n = n->kind == NODE_MAP ? yaml_get(n, word) : NULL;
	return n;
}

static void append(struct ynode *parent, struct ynode *n)
{
	n->next = NULL;
	if (parent->last)
		parent->last->next = n;
	else
		parent->first = n;
	parent->last = n;
	parent->n++;
}

/* take_key - n is the next key of the map in f; a bad one is remembered too,
 * so that its value is known to be one. */
static enum step take_key(struct reader *r, struct frame *f, struct ynode *n)
{
	struct ynode *old;
	struct buf name;

	f->key = n;
	if (n->kind == NODE_BAD)
		return GO;
	if (n->kind != NODE_SCALAR) {
		report_error(r->report, n->at, "a key must be a word");
		n->bad = 1;
		return GO;
	}
	if (f->node->n >= KEYS_MAX) {
		report_error(r->report, n->at, "more than %d keys in one map",
			KEYS_MAX);
		return STOP;
	}
	old = yaml_get(f->node, n->text);
	if (old) {
		buf_init(&name, 512);
		quote(&name, n->text);
		report_error(r->report, n->at,
			"the key %s stands already in line %u", buf_str(&name),
			old->key_at.line);
		buf_fini(&name);
		n->bad = 1;
	}
	return GO;
}

/* attach - n into the innermost open list or map. */
static enum step attach(struct reader *r, struct ynode *n)
{
	struct frame *f = r->depth ? &r->frame[r->depth - 1] : NULL;

	if (!f) {
		r->root = n;
	} else if (f->node->kind == NODE_LIST) {
		n->index = f->node->n;
		append(f->node, n);
	} else if (!f->key) {
		return take_key(r, f, n);
	} else {
		if (f->key->kind == NODE_SCALAR && !f->key->bad) {
			n->key = f->key->text;
			n->key_at = f->key->at;
			append(f->node, n);
		}
		f->key = NULL;
	}
	return GO;
}

/* add_node - text, of a scalar, must be there before attach: it may be a key
 * that is to be compared. */
static enum step add_node(struct reader *r, enum ynode_kind kind,
	const yaml_event_t *ev, struct span text, struct ynode **node_r)
{
	struct ynode *n;

	/* What has so many faults is no configuration. */
	if (r->report->n >= REPORT_MAX)
		return STOP;
	if (++r->nodes > NODES_MAX) {
		report_error(r->report, mark(r, ev->start_mark),
			"more than %d values in one file", NODES_MAX);
		return STOP;
	}
	n = arena_alloc(r->arena, sizeof *n);
	n->kind = kind;
	n->bad = kind == NODE_BAD;
	n->at = mark(r, ev->start_mark);
	if (kind == NODE_SCALAR) {
		n->text = arena_span(r->arena, text);
		n->plain = ev->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
	}
	*node_r = n;
	return attach(r, n);
}

static void refuse_extras(struct reader *r, const yaml_event_t *ev,
	const yaml_char_t *anchor, const yaml_char_t *tag)
{
	if (anchor)
		report_error(r->report, mark(r, ev->start_mark),
			"anchors (&) are not allowed");
	if (tag)
		report_error(r->report, mark(r, ev->start_mark),
			"tags (!) are not allowed");
}

static enum step open_node(
	struct reader *r, enum ynode_kind kind, const yaml_event_t *ev)
{
	struct ynode *n;
	enum step s;

	/* A list or map as a key waits in the frame as bad, so what is in it
	 * goes into a tree that nobody keeps. */
	s = add_node(r, kind, ev, span(NULL, 0), &n);
	if (s != GO)
		return s;
	if (r->depth == YAML_MAX_DEPTH) {
		report_error(r->report, n->at, "nested deeper than %d",
			YAML_MAX_DEPTH);
		return STOP;
	}
	r->frame[r->depth++] = (struct frame){.node = n};
	return GO;
}

static enum step on_scalar(struct reader *r, const yaml_event_t *ev)
{
	struct ynode *n;
	const char *text = (const char *)ev->data.scalar.value;

	refuse_extras(r, ev, ev->data.scalar.anchor, ev->data.scalar.tag);
	return add_node(
		r, NODE_SCALAR, ev, span(text, ev->data.scalar.length), &n);
}

static enum step on_document(struct reader *r, const yaml_event_t *ev)
{
	if (ev->data.document_start.version_directive ||
		ev->data.document_start.tag_directives.start !=
			ev->data.document_start.tag_directives.end)
		report_error(r->report, mark(r, ev->start_mark),
			"directives (%%) are not allowed");
	if (r->docs++ == 0)
		return GO;
	report_error(r->report, mark(r, ev->start_mark),
		"a second document (---) is not allowed");
	return DONE;
}

static enum step on_event(struct reader *r, const yaml_event_t *ev)
{
	struct ynode *n;

	switch (ev->type) {
	case YAML_DOCUMENT_START_EVENT:
		return on_document(r, ev);
	case YAML_ALIAS_EVENT:
		report_error(r->report, mark(r, ev->start_mark),
			"aliases (*) are not allowed; put a value that starts "
			"with * in quotes");
		return add_node(r, NODE_BAD, ev, span(NULL, 0), &n);
	case YAML_SCALAR_EVENT:
		return on_scalar(r, ev);
	case YAML_SEQUENCE_START_EVENT:
		refuse_extras(r, ev, ev->data.sequence_start.anchor,
			ev->data.sequence_start.tag);
		return open_node(r, NODE_LIST, ev);
	case YAML_MAPPING_START_EVENT:
		refuse_extras(r, ev, ev->data.mapping_start.anchor,
			ev->data.mapping_start.tag);
		return open_node(r, NODE_MAP, ev);
	case YAML_SEQUENCE_END_EVENT:
	case YAML_MAPPING_END_EVENT:
		must(r->depth > 0);
		r->depth--;
		return GO;
	case YAML_STREAM_END_EVENT:
		return DONE;
	case YAML_NO_EVENT:
	case YAML_STREAM_START_EVENT:
	case YAML_DOCUMENT_END_EVENT:
		break;
	}
	return GO;
}

/* place_of - line and column of a byte, for faults in the encoding. */
static struct ymark place_of(const struct reader *r, size_t offset)
{
	struct span s = span_head(r->file->text, offset);
	struct ymark m = {r->file, 1, 1};

	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] == '\n') {
			m.line++;
			m.col = 1;
		} else if (((unsigned char)s.p[i] & 0xc0) != 0x80) {
			m.col++;
		}
	}
	return m;
}

static enum err parser_failed(struct reader *r, const yaml_parser_t *p)
{
	const char *problem = p->problem ? p->problem : "not YAML";

	if (p->error == YAML_MEMORY_ERROR)
		return ERR_NOMEM;
	if (p->error == YAML_READER_ERROR)
		report_error(r->report, place_of(r, p->problem_offset),
			"not a text file in UTF-8: %s", problem);
	else if (p->context)
		report_error(r->report, mark(r, p->problem_mark),
			"not YAML: %s, %s (which starts in line %u)", problem,
			p->context, (unsigned)p->context_mark.line + 1);
	else
		report_error(r->report, mark(r, p->problem_mark),
			"not YAML: %s", problem);
	return ERR_CONFIG;
}

static enum err read_events(struct reader *r, yaml_parser_t *p)
{
	yaml_event_t ev;
	enum step s;

	do {
		if (!yaml_parser_parse(p, &ev))
			return parser_failed(r, p);
		s = on_event(r, &ev);
		yaml_event_delete(&ev);
	} while (s == GO);
	return s == DONE ? ERR_OK : ERR_CONFIG;
}

enum err yaml_read(const struct yaml_file *file, struct arena *a,
	struct report *report, struct ynode **root_r)
{
	struct reader r = {.file = file, .arena = a, .report = report};
	struct span text = file->text;
	yaml_parser_t p;
	enum err e;

	if (text.n > YAML_MAX_SIZE) {
		report_error(report, (struct ymark){.file = file},
			"larger than 1 MiB");
		return ERR_CONFIG;
	}
	if (!yaml_parser_initialize(&p))
		return ERR_NOMEM;
	/* Fixed, or libyaml would take UTF-16 and the lines that we show
	 * would not be those of the file. */
	yaml_parser_set_encoding(&p, YAML_UTF8_ENCODING);
	yaml_parser_set_input_string(
		&p, (const unsigned char *)(text.n ? text.p : ""), text.n);
	e = read_events(&r, &p);
	yaml_parser_delete(&p);
	if (e != ERR_OK)
		return e;
	if (!r.root || ynode_null(r.root)) {
		r.root = arena_alloc(a, sizeof *r.root);
		r.root->kind = NODE_MAP;
		r.root->at = (struct ymark){file, 1, 1};
	}
	if (r.root->kind != NODE_MAP) {
		if (!r.root->bad)
			report_error(report, r.root->at,
				"a map is expected here, as in \"node:\"");
		return ERR_CONFIG;
	}
	*root_r = r.root;
	return ERR_OK;
}

static void merge_map(struct ynode *to, struct ynode *from, struct buf *path,
	struct report *report);

/* merge_key - n comes to what the map has under the same key already. */
static void merge_key(struct ynode *old, struct ynode *n, struct buf *path,
	struct report *report)
{
	size_t was = path->n;
	int top = was == 0;
	struct ynode *next;

	buf_addf(path, "%s%.*s", top ? "" : ".",
		SPAN_ARG(span_head(n->key, 64)));
	if (old->kind == NODE_MAP && n->kind == NODE_MAP) {
		merge_map(old, n, path, report);
	} else if (top && old->kind == NODE_LIST && n->kind == NODE_LIST) {
		for (struct ynode *it = n->first; it; it = next) {
			next = it->next;
			append(old, it);
		}
	} else if (!ynode_null(n) && !n->bad && !old->bad) {
		report_error(report, n->key_at,
			"%.*s: is set already in %.*s:%u:%u",
			SPAN_ARG(buf_span(path)),
			SPAN_ARG(old->key_at.file->name), old->key_at.line,
			old->key_at.col);
	}
	path->n = was;
}

static void merge_map(struct ynode *to, struct ynode *from, struct buf *path,
	struct report *report)
{
	struct ynode *next, *old;

	for (struct ynode *n = from->first; n; n = next) {
		next = n->next;
		old = yaml_get(to, n->key);
		if (!old) {
			append(to, n);
		} else if (ynode_null(old)) {
			/* An empty section gives way to one with something
			 * in it, and keeps its place in the list. */
			struct ynode *after = old->next;

			*old = *n;
			old->next = after;
		} else {
			merge_key(old, n, path, report);
		}
	}
}

void yaml_merge(struct ynode *root, struct ynode *from, struct report *report)
{
	struct buf path;

	/* Room for the longest: a key of 64 and a dot for every level. */
	buf_init(&path, 65 * YAML_MAX_DEPTH + 1);
	merge_map(root, from, &path, report);
	buf_fini(&path);
}
