/* validate - what the files that check a whole configuration share. A node
 * that has a fault already is not blamed again. */
#pragma once

#include "mta/conf/conf_private.h"

struct check {
	struct conf *c;
	struct ynode *root;
	struct report *report;
	struct arena arena; /* for the time of the check */
};

/* Where the value of path in map stands, or the map itself. */
struct ymark check_at(struct ynode *map, const char *path);
/* 0 when the key at path has been complained about. */
int check_usable(struct ynode *map, const char *path);
/* The members of a list at the top, in step with the array in struct conf;
 * NULL when there are none. */
struct ynode *check_items(const struct check *k, const char *name);
struct ynode *check_nth(struct ynode *list, unsigned i);
/* A certificate is no use without its key. */
void check_pair(const struct check *k, const char *list, struct ynode *it,
	struct span cert, struct span key);

/* The same IP address and port, in whatever way they are written. */
int check_same_endpoint(
	const struct conf_endpoint *a, const struct conf_endpoint *b);
/* No two members of a list of maps have the same name, which is the first
 * member of their struct. */
void check_unique(const struct check *k, const char *list, const void *first,
	unsigned n, size_t size);

void check_receive(struct check *k);        /* validate_receive.c */
void check_shadow(struct check *k);         /* validate_shadow.c */
void check_pressure(const struct check *k); /* validate_pressure.c */
void check_local(struct check *k);          /* validate_local.c */
