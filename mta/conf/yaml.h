/* yaml - a file of the strict profile of YAML as a small tree.
 *
 * Every node knows where it stands, so that whoever looks at it later can
 * point there. Refused, each with its place: anchors, aliases, tags,
 * directives, a second document, the same key twice, keys that are not plain
 * words, nesting deeper than 16, files over 1 MiB. What is refused is left
 * out of the tree or stands in it as NODE_BAD, and reading goes on where that
 * can be done. Scalars are bytes; the schema gives them their types.
 */
#pragma once

#include "mta/base/arena.h"
#include "mta/base/err.h"
#include "mta/base/span.h"

enum { YAML_MAX_SIZE = 1 << 20, YAML_MAX_DEPTH = 16 };

struct report;

struct yaml_file {
	struct span name, text;
	unsigned order; /* of the files read: for sorting */
};

struct ymark {
	const struct yaml_file *file;
	unsigned line, col; /* from 1; col counts characters; line 0: none */
};

enum ynode_kind { NODE_BAD, NODE_SCALAR, NODE_LIST, NODE_MAP };

struct ynode {
	enum ynode_kind kind;
	int bad;   /* a fault was reported here: ask no more of it */
	int plain; /* a scalar without quotes */
	struct ymark at, key_at;
	struct span key;   /* in a map */
	struct span text;  /* of a scalar */
	struct span meant; /* of an unknown key: the one it was taken for */
	unsigned index;    /* in the list, as its file has it */
	unsigned n;        /* members below */
	struct ynode *first, *last, *next;
};

/* The tree is in the arena, with nothing in it for an empty file. ERR_CONFIG:
 * not well formed, there is no tree; the report says why. Faults of the
 * profile are in the report and the result is ERR_OK. */
enum err yaml_read(const struct yaml_file *file, struct arena *a,
	struct report *report, struct ynode **root_r) must_use;

/* Takes all of from into root: maps merge, lists at the top append; what both
 * set is a fault at the second place. */
void yaml_merge(struct ynode *root, struct ynode *from, struct report *report);

struct ynode *yaml_get(const struct ynode *map, struct span key); /* NULL */
/* True when an unknown key of the map was taken for this one, so that nobody
 * need hear that it is missing as well. */
int yaml_meant(const struct ynode *map, struct span key);
/* By a path of keys, "queue.memory"; NULL when there is none. */
struct ynode *yaml_find(struct ynode *map, const char *path);

/* A scalar that is just not there, as in "key:". */
static inline int ynode_null(const struct ynode *n)
{
	return n->kind == NODE_SCALAR && n->plain && n->text.n == 0;
}
