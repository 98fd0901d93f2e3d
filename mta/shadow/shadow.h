/* shadow - a second copy of each message on a peer, and what follows from it.
 *
 * Words (docs/shadow.md has the protocol and its rules R1-R17):
 *   peer      another node, by its name; a witness is a peer that keeps no
 *             copies and only says whom it can hear.
 *   link      our connection to a peer: we are the client. Each node opens one
 *             to each of its peers.
 *   copy      a message of which more than one node knows: ours with copies
 *             elsewhere, or one that we hold for its owner.
 *   owner     the node that delivers a message; a holder keeps a copy of it.
 *   takeover  a holder becomes the owner, with a GEN one higher.
 *   solo      accepted with one copy only, because no peer was there.
 *
 * Mail comes in through shadow_accept and nowhere else: it is durable here and
 * at a peer, as far as the policy asks for it, when done fires. The queue's
 * events about tagged messages are wired to the shadow_ functions at the end.
 *
 * One loop owns it. Time is loop_now, which never jumps.
 */
#pragma once

#include "mta/base/log.h"
#include "mta/base/loop.h"
#include "mta/conf/conf.h"
#include "mta/net/stream.h"
#include "mta/pressure/pressure.h"
#include "queue/copies.h"
#include "tls/tls.h"

struct shadow;
struct copy;
struct peer;

struct shadow_options {
	struct loop *loop;
	struct log *log;
	struct queue *queue;
	struct pressure *pressure; /* whether new copies are held; or NULL */
	void *arg;
	/* The context of links, both directions; NULL: links cannot be made
	 * (the simulator's are made without). */
	struct tls_context *(*tls)(void *arg);
	/* The other end of st has shown that it is p (certificate or pin). */
	int (*is_peer)(void *arg, struct stream *st, const struct conf_peer *p);
};

/* Before queue_recover, which calls shadow_found. */
struct shadow *shadow_create(const struct shadow_options *o);
/* Applies a snapshot: listener, peers. At the first call the links start and
 * what was barred at recovery asks its targets. On an error (why) nothing has
 * changed. */
enum err shadow_configure(
	struct shadow *s, struct conf *c, struct buf *why) must_use;
/* on: no new copies of peers are taken until it is called with 0; they are
 * answered 452, as by a node without room, and ask another; they are told to
 * give us no mail. What is held stays held, and everything else goes on. */
void shadow_drain(struct shadow *s, int on);
/* The node is about to stop: nothing waits for a peer or a next hop any more.
 */
void shadow_hurry(struct shadow *s);
/* Closes listener and links. stopped(arg) when the last stream has ended,
 * never inside the call; accepts that wait have failed by then. */
void shadow_stop(struct shadow *s, void (*stopped)(void *arg), void *arg);
/* After queue_close. */
void shadow_destroy(struct shadow **s);

/* --- taking mail in ------------------------------------------------------- */

enum shadow_level {     /* how safe a message is when it is acknowledged */
	LEVEL_LOCAL,    /* policy off: on this disk */
	LEVEL_SHADOWED, /* and on a peer's */
	LEVEL_SOLO,     /* a peer was wanted and is not there */
	LEVEL_NEXT_HOP, /* every recipient's next hop has taken it */
	LEVEL_DELAYED,  /* they have not, in time; accepted all the same */
};

/* The struct, env (with its spans) and body stay until done. done fires once,
 * never inside the call. err: ERR_OK: to be acknowledged; ERR_UNREACH: no copy
 * could be made (policy require); ERR_TIMEOUT: the next hops were too slow
 * (on_delay: refuse); else as queue_intake. With an error nothing remains that
 * would be delivered. */
struct accept {
	enum shadow_policy policy;
	uint64_t delay;             /* next_hop: ms */
	enum delay_action on_delay; /* next_hop */
	int report; /* a notice: never waits for a peer that is not there */
	void (*done)(struct accept *a);
	void *arg;

	enum err err; /* the outcome: these three */
	enum shadow_level level;
	struct span peer; /* SHADOWED: its name; lives until done returns */

	struct shadow *s; /* from here on the room's own */
	struct intake intake;
	struct envelope *env;
	struct body *body;
	struct blob *record; /* of env, as stored */
	struct copy *copy;
	struct list node;
	struct timer timer;
	struct peer *held_by, *next;
	uint32_t tried;                        /* bits of peers */
	uint8_t state, local, progressed, bad; /* bad: no body to copy */
};
void shadow_accept(struct shadow *s, struct accept *a, struct envelope *env,
	struct body *body);
/* Mail that needs a copy has been waiting for one for 10 s: no more of it is
 * to be begun (R13). For policy require only; the others can go alone. */
int shadow_behind(const struct shadow *s);
const char *shadow_level_name(enum shadow_level l); /* "shadowed", "solo" */

/* --- moving mail to a peer ------------------------------------------------ */

/* What is ours is given to a peer, which delivers it from then on; a copy stays
 * here. A message goes when nobody has it in hands, the peer holds a copy of
 * it for sure, and says that it takes mail; until then it is tried again and
 * again. What has no identity (mail of before there were peers, or taken with
 * shadow off or next_hop) cannot be given: it is counted (R17).
 *
 * Everything that is ours now; with go_on also what becomes ours later, until
 * shadow_move_stop. What that is, is looked for in this and the following turns
 * (2000 a turn; view.looking); what becomes ours in them may be among it, and
 * the first of it may be given before the last is found. An error (why: text
 * for people): ERR_NOTFOUND: no such peer, or one that takes no mail at all (a
 * witness); ERR_VERSION: it is of an older version; ERR_EXISTS: all of it is
 * being moved to another one. */
enum err shadow_move_start(struct shadow *s, struct span peer, int go_on,
	struct buf *why) must_use;
/* Whether that could be ordered: the same errors. */
enum err shadow_may_move(
	struct shadow *s, struct span peer, struct buf *why) must_use;
/* What was not begun, or not found yet, stays. So it is when the peer is taken
 * out of shadow.peers. */
void shadow_move_stop(struct shadow *s, struct span peer);
/* One message, by its tag in the queue; errors as above, and ERR_NOTFOUND when
 * it has no identity, or is not ours. */
enum err shadow_give(struct shadow *s, void *tag, struct span peer,
	struct buf *why) must_use;

struct shadow_move_view {
	int all, go_on;  /* of shadow_move_start, and not at its end */
	int looking;     /* left is not all yet */
	uint64_t left;   /* to be given, also those that are under way */
	uint64_t given;  /* the peer has made it its own; since the start of
			    the first that is not done */
	uint64_t unsure; /* given, but it did not say so: either node will
			    find out which of them has it (R7) */
	uint64_t no_identity; /* ours, and cannot be given: they stay */
	struct span waits;    /* why nothing moves; empty: nothing is wrong */
};
/* 0; -1: no such peer. */
int shadow_move_view(
	struct shadow *s, struct span peer, struct shadow_move_view *v_r);
/* How many messages shadow_move_start would give. */
uint64_t shadow_ours(const struct shadow *s);

/* How far copies are behind, for mta/pressure. */
struct shadow_load {
	int on;          /* there are peers that take copies */
	uint64_t lag;    /* ms that the oldest message has waited for its copy
			    on a peer before the 250 */
	unsigned stores; /* under way on the fullest link, of its window; no */
	unsigned window; /* window: no link is up */
};
void shadow_load(struct shadow *s, struct shadow_load *l_r);

/* --- for people ----------------------------------------------------------- */

struct shadow_counts { /* since the start, but for the first three */
	uint64_t held, held_bytes; /* copies for others, now */
	uint64_t bare; /* ours that should have a copy and has none */
	uint64_t level[LEVEL_DELAYED + 1];
	uint64_t refused;      /* require: no copy could be made */
	uint64_t takeovers[5]; /* by enum takeover_reason */
	uint64_t given;        /* to peers */
	uint64_t answers[6];   /* to STATUS, by enum wire_state */
	uint64_t stale_links, clones, digests, ceded;
	uint64_t strangers;      /* callers that are no peer */
	uint64_t oldest_waiting; /* ms that the oldest accept waits; 0 none */
};

enum takeover_reason {
	TAKE_NEW_DATABASE, /* the owner lost its disk */
	TAKE_UNKNOWN,      /* its database was rolled back */
	TAKE_SILENCE,      /* no proof of life for takeover_after */
	TAKE_OPERATOR,
	TAKE_GIVEN, /* its owner gave it to us */
	TAKE_REASONS,
};

struct shadow_view {
	int on;          /* it listens for peers */
	uint8_t sid[16]; /* of its database */
	uint64_t alone;  /* ms that no peer has taken copies; UINT64_MAX: one
			    does, or it is off */
};

struct shadow_peer_view {
	struct span name;
	int configured, witness;
	int takes;          /* it would take a copy now */
	const char *link;   /* our link to it: "up", "down", "connecting" */
	const char *serves; /* its link to us: "up", "down" */
	uint64_t heard; /* ms since the last proof of life; UINT64_MAX: never */
	uint64_t held, held_bytes; /* for it */
	uint64_t oldest_held;      /* ms; 0 none */
	uint64_t waiting; /* ours that wait for its answer (start barrier) */
	unsigned stores;  /* under way to it */
	unsigned window;
	const char *free;
	struct span trouble; /* why the link is down; empty: nothing known */
};
void shadow_view(struct shadow *s, struct shadow_view *v_r);
void shadow_counts(struct shadow *s, struct shadow_counts *c_r);
/* The i-th peer: 0, or -1 when there are not so many. */
int shadow_peer_view(
	struct shadow *s, unsigned i, struct shadow_peer_view *v_r);
/* An administrator says that a node is gone for good: what is held for it is
 * taken over now. How many copies; -1: no such peer. */
int64_t shadow_takeover(struct shadow *s, struct span node);
/* For listings of one message, by its tag in the queue (NULL: none). -1: it has
 * no identity, so no copy of it was ever made. The spans live until the next
 * call on the room. */
struct shadow_copy_view {
	char mid[MID_TEXT];
	uint32_t gen;
	struct span copy;  /* the peer that has one for sure; empty: none */
	const char *state; /* "live"; "accepting", "start barrier", "takeover",
			      "leaving"; "changing" */
};
int shadow_describe(const void *tag, struct shadow_copy_view *v_r);

/* --- the queue's events --------------------------------------------------- */

void *shadow_found(void *shadow, struct message *m, const struct envelope *e,
	const struct status *s);
void shadow_progress(void *shadow, void *tag, const unsigned *rcpt, unsigned n);
void shadow_gone(void *shadow, void *tag, enum err e);
struct store_op *shadow_leaving(void *shadow, void *tag);
int shadow_may_deliver(void *shadow, void *tag);
