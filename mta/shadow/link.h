/* link - our connection to a peer, as the rest of the room uses it: calls (a
 * line and its reply) and copies being sent. */
#pragma once

#include "mta/shadow/wire.h"
#include "queue/copies.h"

struct copy;
struct peer;
struct link;
struct tls_hash;

/* link.c */
struct call { /* one line, and one reply to it */
	struct list node;
	struct link *link; /* NULL: not on one */
	uint64_t sent;
	int store;       /* the call of a store_call */
	struct buf line; /* the link's, until it was said */
	/* r NULL: the link was lost: whether it was done is not known. text:
	 * the reply's, for the wire_ readers. Frees the call. */
	void (*heard)(struct call *c, struct peer *p, const struct reply *r,
		struct span text);
};
void link_open(struct peer *p);
void link_close(struct peer *p, const char *why);
int link_up(const struct peer *p);
/* The link is up. */
void link_call(struct peer *p, struct call *c);
/* A STORE that was not begun is taken back: 0; else -1. */
int link_unsay(struct call *c);
void link_configure(struct peer *p); /* another address, or none */
const char *link_state(const struct peer *p);
unsigned link_stores(const struct peer *p);
void link_tick(struct peer *p);

/* store_out.c */
struct store_call {
	struct call call;  /* first */
	struct copy *copy; /* NULL: it went away */
	struct peer *peer;
	struct mid mid;
	uint32_t gen;
	struct blob *record;
	struct body *body;
	uint64_t octets; /* of the payload */
	void (*done)(struct store_call *sc, struct copy *c, int held);
	uint32_t stale; /* with held 0: the GEN that the peer knows; 0 none */
	int gone;       /* with held 0: it says that it is finished */
	int begun, own_hash;
	struct tls_hash *hash;
	uint8_t digest[WIRE_DIGEST]; /* of what was sent */
	/* A body in a file, piece by piece. */
	struct store *store;
	struct blob *piece;
	uint64_t at;  /* read so far */
	uint32_t crc; /* of that */
	size_t got;
	enum err err;
	int reading, abandoned;
	int bad; /* it cannot be read, however often it is tried */
	struct work work;
};
/* Sends c to p, whose link is up: record and body are referenced. finished:
 * recipients that need no delivery any more. done fires once, never inside the
 * call; c is NULL when the copy went away meanwhile. */
void store_start(struct copy *c, struct peer *p, struct blob *record,
	struct body *body, const struct wire_set *finished,
	void (*done)(struct store_call *sc, struct copy *c, int held));
void store_call_free(struct store_call *sc); /* not before its read is done */
void store_forget(struct copy *c); /* it goes away: what was begun goes on */
