/* filter_private - the compiled form; for the files filter*.c only. */
#pragma once

#include "mta/base/filter.h"

enum filter_op {
	OP_AND, /* of all children; with none: holds */
	OP_OR,
	OP_NOT, /* of the only child */
	OP_FLAG,
	OP_EQ,
	OP_LT,
	OP_LE,
	OP_GT,
	OP_GE,
	OP_CONTAINS,
	OP_GLOB,
};

struct filter {
	uint8_t op;
	uint8_t kind;
	int8_t from_now; /* number is to be added to now, or taken off it */
	unsigned cost;   /* of the dearest field below */
	unsigned field;
	struct filter_value value;
	struct filter *child, *next; /* cheapest first */
};

/* filter_value.c: a value as its kind wants it, into f. 0, or -1 and what is
 * wrong, to stand behind the quoted value. */
int filter_value_read(struct filter *f, struct span s, const char **why_r);
/* * is any run of octets, ? any one octet; case folded. */
int filter_glob(struct span pattern, struct span s);
int filter_contains(struct span s, struct span part);
