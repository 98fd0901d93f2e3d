/* serve - what the files of a peer's connection to us share. */
#pragma once

#include "mta/shadow/private.h"

struct slot { /* the place of a reply */
	struct list node;
	int ready;
	struct buf text;
};

struct serve {
	unsigned magic;
	struct shadow *s;
	struct stream *st;
	struct list node; /* s->serves */
	struct peer *p;   /* NULL: not known yet */
	struct list slots;
	unsigned nslots, errors;
	struct store_in *in;   /* the payload that is coming, or NULL */
	struct give_in *give;  /* the same of a GIVE */
	struct tls_hash *hash; /* of it; made once: that is dear */
	struct budget_waiter memory;
	/* waits: held, until there is room again */
	uint8_t hello, closing, waits_disk, waits_memory, waits_peer;
	const char *why;
};

struct slot *serve_slot(struct serve *v);
void serve_ready(struct serve *v, struct slot *o, struct span text);
void serve_wake(struct serve *v); /* a body has room again */
/* Replies behind all that was asked before; serve_reply counts refusals. */
void serve_say(struct serve *v, struct span text);
void serve_reply(struct serve *v, uint16_t code, unsigned a, unsigned b,
	const char *text);
void serve_end(struct serve *v, const char *why); /* once that has left */

/* serve_verbs.c: one line, without its end. */
void serve_command(struct serve *v, struct span line);

/* store_in.c: a STORE that is being received. It has a slot from the start,
 * and outlives its connection while something is under way. */
struct store_in *store_in_begin(
	struct serve *v, struct peer *p, const struct wire_store *w);
/* Its payload is read and dropped. */
void store_in_refuse(struct store_in *i, uint16_t code, unsigned a, unsigned b,
	const char *text);
/* Takes what it wants of in; *end_r: the payload is complete. */
size_t store_in_data(struct store_in *i, struct span in, int *end_r);
int store_in_busy(const struct store_in *i);
void store_in_end(struct store_in *i);
void store_in_drop(struct store_in *i); /* in the middle of the payload */
void store_in_orphan(struct shadow *s, struct serve *v); /* v is gone */

/* holder.c, keeper.c: what verbs mean. */
void holder_done(struct shadow *s, const struct wire_done *d);
/* -1: cannot be read now. */
int holder_status(struct shadow *s, struct peer *p, const struct mid *m,
	struct wire_answer *a_r);
void keeper_claim(struct shadow *s, struct peer *p, const struct wire_claim *w,
	struct buf *reply);
