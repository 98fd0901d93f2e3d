/* conf_private - what the files of this room share: the table of keys as
 * data, the list of faults found, and the readers of single values.
 *
 * A scope is one struct that keys are read into: the root (struct conf) or
 * one member of a list (struct conf_receive and so on). A key's path is
 * relative to its scope: "queue.memory" at the root, "tls.mode" in a receive
 * connector.
 */
#pragma once

#include "mta/base/arena.h"
#include "mta/base/buf.h"
#include "mta/base/guess.h"
#include "mta/base/span.h"
#include "mta/conf/conf.h"
#include "mta/conf/yaml.h"

enum conf_type {
	TYPE_TEXT,     /* struct span: printable ASCII */
	TYPE_NAME,     /* struct span: of a connector */
	TYPE_DOMAIN,   /* struct span: lower case A-labels */
	TYPE_PATTERN,  /* struct span: the same, or "*." before it */
	TYPE_ADDRESS,  /* struct span: local@domain */
	TYPE_PATH,     /* struct span: absolute */
	TYPE_PIN,      /* struct span: "sha256:" and 64 lower case hex digits */
	TYPE_COUNT,    /* unsigned */
	TYPE_PORT,     /* uint16_t */
	TYPE_SIZE,     /* uint64_t, bytes */
	TYPE_NUMBER,   /* uint64_t */
	TYPE_PERCENT,  /* uint64_t, hundredths of a percent */
	TYPE_DURATION, /* uint64_t, milliseconds */
	TYPE_WORD,     /* int or enum: place in words */
	TYPE_LEVEL,    /* struct span: one of words */
	TYPE_ENDPOINT, /* struct conf_endpoint: IP address, port or max */
	/* Lists, from here on. */
	TYPE_FLAGS,   /* unsigned: a bit per word */
	TYPE_BINDS,   /* struct conf_endpoint[]: address and port */
	TYPE_HOSTS,   /* struct conf_endpoint[]: host or address, port */
	TYPE_CIDRS,   /* struct conf_cidr[] */
	TYPE_SPACES,  /* struct conf_address_space[] */
	TYPE_SERVERS, /* struct span: "address:port,..." */
	TYPE_USERS,   /* struct span: "name,name": of this machine */
	/* Of maps: the structs of another scope. Only at the root. */
	TYPE_MAPS,
	/* Known, but for a later version; stored nowhere, from here on. */
	TYPE_LATER,     /* refused */
	TYPE_LATER_MAP, /* refused unless empty */
};

enum { SHADOW_PORT = 2526, HTTP_PORT = 8025 };

struct conf_scope;

struct conf_key {
	const char *path;
	enum conf_type type;
	size_t at;         /* where in the scope's struct */
	size_t size;       /* of that member */
	size_t count_at;   /* TYPE_BINDS to TYPE_SPACES: the number of them */
	const char *value; /* default as written, "" for none; NULL: required;
			      "(...)": derived from another key */
	uint64_t min, max; /* of a number; of a text's or list's length */
	const char *words; /* "off|offer|~dane"; ~: not in this version */
	int reload;        /* SIGHUP is enough to change it */
	const char *prose, *example;
	const struct conf_scope *items; /* TYPE_MAPS: what a member is */
};

struct conf_scope {
	const char *name; /* path of the list; NULL for the root */
	const struct conf_key *key;
	unsigned n;
	size_t size;         /* of the struct */
	size_t at, count_at; /* of the array and its count in struct conf */
	unsigned max;        /* members of the list */
};

/* What stands at the top of the file, in the order of show and manual. */
struct conf_section {
	const char *name;
	const struct conf_scope *list; /* NULL: keys of the root */
	const char *prose;
};

extern const struct conf_scope conf_root;
extern const struct conf_section conf_sections[];
extern const unsigned conf_nsections;

static inline int type_is_list(enum conf_type t)
{
	return t >= TYPE_FLAGS && t <= TYPE_USERS;
}

static inline int type_is_later(enum conf_type t)
{
	return t >= TYPE_LATER;
}

/* report.c: the faults found, printed sorted by file, line and column. */
enum { REPORT_MAX = 200 }; /* more are only counted */
struct report_item;
struct report {
	struct arena arena;
	struct report_item *first, *last;
	unsigned n;      /* kept */
	unsigned errors; /* all, warnings not counted */
};
void report_error(struct report *r, struct ymark at, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
void report_warning(struct report *r, struct ymark at, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
void report_print(struct report *r, struct buf *out);
void report_each(struct report *r,
	void (*fn)(void *arg, const struct conf_fault *f), void *arg);
void report_fini(struct report *r);

/* guess.c. Adds ` (did you mean "best"?)` when something is near enough. */
void guess_print(const struct guess *g, struct buf *out);
/* Adds "s" in double quotes, clipped, with nothing unprintable in it. */
void quote(struct buf *out, struct span s);
/* As in double quotes in YAML: quotes, backslashes and controls escaped. */
void add_escaped(struct buf *out, struct span s);
/* The next piece of *rest up to sep, which is taken from it; 0 at the end. */
int words_next(struct span *rest, char sep, struct span *word_r);

/* domain.c: domain names and IP addresses. On -1 the reason, which makes
 * sense after the quoted text, is in why. */
int domain_read(
	struct span s, struct arena *a, struct span *name_r, struct buf *why);
int ip_read(struct span s, int *v6_r, uint8_t addr_r[16]);

/* value.c: one scalar, or one member of a list, as the key's type says, into
 * at. On -1 the message without the path is in why. */
int value_read(const struct conf_key *k, struct span s, struct arena *a,
	void *at, struct buf *why);
size_t value_size(enum conf_type t); /* of a member of a list */
void number_print(enum conf_type t, uint64_t v, struct buf *out);
/* What value_read is made of: the same rules. value_fault is always -1. */
int value_fault(struct buf *why, struct span s, const char *text);
int domain_value(
	struct span s, struct arena *a, struct span *at, struct buf *why);

/* endpoint.c: the same for values about the network. */
int endpoint_read(enum conf_type t, unsigned port, struct span s,
	struct arena *a, struct conf_endpoint *at, struct buf *why);
int server_read(
	struct span s, struct arena *a, struct span *at, struct buf *why);
/* Appends a word to a list with commas between. */
void comma_append(struct span s, struct arena *a, struct span *at);
int cidr_value(struct span s, struct conf_cidr *at, struct buf *why);
void cidr_print(const struct conf_cidr *c, struct buf *out);

/* schema.c: the tree into c, which has only its arena yet. */
void schema_read(struct conf *c, struct ynode *root, struct report *report);
/* A scope's struct with every default; for a list, its member. */
void schema_defaults(const struct conf_scope *sc, struct arena *a, void *obj);
/* The value of a default like "(node.name)". */
struct span schema_derived(
	const struct conf *c, const struct conf_key *k, struct arena *a);

/* validate.c: what no single key can tell. */
void validate(struct conf *c, struct ynode *root, struct report *report);

/* show.c: the value of one key as YAML on one line; nothing for a list of
 * maps with something in it. */
void show_value(const struct conf_key *k, const void *obj, struct buf *out);
