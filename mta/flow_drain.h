/* flow_drain - taking a node out of service, and putting it back.
 *
 * Words:
 *   draining  an administrator's order: nothing new is taken in (clients get
 *             421, copies of peers and other sources are refused), what has
 *             begun is finished, what is queued goes on being delivered.
 *   to        the peer that what is queued is given to, if one was named
 *             (shadow.h, moving mail to a peer).
 *   drained   draining, and nothing is left that would go by itself: no
 *             session, no message but those that stand still by order.
 *   recorded  the order is in the store: the next start is in it too.
 *
 *   OFF --drain_begin--> ON <--(nothing left / something came)--> DONE
 *   ON, DONE --drain_end--> OFF
 *
 * The order counts from the call on; that it is recorded may take a commit, or
 * longer when the disk is full (it is tried again until it succeeds). What is
 * left is looked at once a second while draining; its end and its coming back
 * are one log line each. A message that a peer loses may be taken over while
 * draining: then there is something left again.
 */
#pragma once

#include "mta/base/log.h"
#include "mta/base/loop.h"
#include "mta/receive/receive.h"
#include "mta/shadow/shadow.h"
#include "queue/queue.h"

enum drain_state { DRAIN_OFF, DRAIN_ON, DRAIN_DONE };

enum { DRAIN_TEXT = 253 }; /* octets of by and reason; longer ones are cut */

struct drain;

struct drain_options {
	struct loop *loop;
	struct log *log;
	struct queue *queue;
	struct receive *receive;
	struct shadow *shadow;
	void *arg;
	/* It was ordered, looked at, or ended: what is left may be another. */
	void (*looked)(void *arg);
};

/* Before receive_configure, so that no listener is open without it. */
struct drain *drain_create(const struct drain_options *o);
/* After queue_recover: draining goes on when it is recorded. */
enum err drain_recover(struct drain *d, struct buf *why) must_use;
/* by: who ordered it; to: a peer, or empty. Again: the same since; what is
 * empty stays as it was, and when both are, so does by: typed to look.
 * An error (why: text for people) is the peer's, see shadow_move_start: then
 * nothing has changed. */
struct drain_order {
	struct span by, reason, to;
};
enum err drain_begin(
	struct drain *d, const struct drain_order *o, struct buf *why) must_use;
void drain_end(struct drain *d, struct span by);
/* The node is about to stop: no more looking. What was ordered stays. */
void drain_stop(struct drain *d);
/* After queue_close: a record may be under way until then. */
void drain_destroy(struct drain **d);

/* An order counts now. */
int drain_ordered(const struct drain *d);

struct drain_view {
	enum drain_state state;
	int recorded, recording;    /* neither: no room, tried again */
	uint64_t since;             /* wall; 0: not draining */
	struct span by, reason, to; /* live until the next order */
	/* What is left; filled in in every state. */
	uint64_t sessions;        /* open; with the message in them, if any */
	uint64_t messages, bytes; /* ours */
	uint64_t barred;          /* of them: wait for answers of peers */
	/* Messages at next hops, each in one of these: */
	uint64_t ready, active;
	uint64_t retry;       /* the hop cannot be reached for now */
	uint64_t deferred;    /* their own retry time */
	uint64_t suspended;   /* the message or the hop, by order */
	uint64_t unreachable; /* no send connector takes them */
	uint64_t next_try; /* wall of the first retry of a next hop; 0: none */
	uint64_t last_try; /* wall of the last of those */
	uint64_t held, held_bytes;    /* copies kept for peers */
	struct shadow_move_view move; /* to it, if there is one */
};
void drain_view(struct drain *d, struct drain_view *v_r);
enum drain_state drain_state(const struct drain *d);
const char *drain_state_name(enum drain_state s); /* "draining" */
