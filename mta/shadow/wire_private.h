/* wire_private - what the files of the link's grammar share. */
#pragma once

#include "mta/shadow/wire.h"

static inline int wire_fault(const char *why, const char **why_r)
{
	*why_r = why;
	return -1;
}

/* The next word of *rest, which moves to the one after it: 1; 0 at the end;
 * -1 for an empty word or one that is not printable ASCII. */
int wire_word(struct span *rest, struct span *word_r, const char **why);

/* A number as it is written: no leading nought. 0 or -1. */
int wire_number(struct span s, uint64_t max, uint64_t *v_r);

/* That s is a set with no number above max (and that cut to WIRE_RCPT), and
 * how many it has. 0 or -1. */
int wire_set_check(
	struct span s, unsigned max, unsigned *count_r, const char **why);

/* A kind of parameter value. */
struct wire_kind {
	int (*get)(struct span v, void *to); /* 0 or -1; *to was zeroed */
	void (*put)(struct buf *out, const void *from);
	int (*given)(const void *from); /* NULL: it must always be there */
};

/* For members of type uint64_t, ... */
extern const struct wire_kind wire_k_count, wire_k_octets, wire_k_positive,
	wire_k_hex, wire_k_inc;
extern const struct wire_kind wire_k_small, wire_k_gen; /* uint32_t */
extern const struct wire_kind wire_k_sid;               /* uint8_t[16] */
extern const struct wire_kind wire_k_dig;   /* uint8_t[WIRE_DIGEST] */
extern const struct wire_kind wire_k_mid;   /* struct mid */
extern const struct wire_kind wire_k_incs;  /* struct wire_incs */
extern const struct wire_kind wire_k_set;   /* struct span */
extern const struct wire_kind wire_k_seen;  /* struct wire_seen */
extern const struct wire_kind wire_k_room;  /* enum wire_free */
extern const struct wire_kind wire_k_gives; /* enum wire_gives */
