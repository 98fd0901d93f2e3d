/* control - what administrators see and change in the queue: the part of its
 * door that mta/ctl, pressure and drain use.
 *
 * Words:
 *   suspended  a message (or a next hop) that is not delivered until somebody
 *              resumes it. A message that is suspended does not expire, and no
 *              notice of delay is sent for it; the time that it was suspended,
 *              in whole hours, is added to its life when it is resumed.
 *   pending    what is in somebody's hands (a lease) is let be: a message that
 *              is being delivered is suspended or removed when the attempt is
 *              over and something of it is left ("pending suspend", "pending
 *              remove").
 *   removed    it leaves the queue: silently, or failed and reported to its
 *              sender, by the same way as what expires.
 *   redirect   an override of the routing table for one message: the name of a
 *              send connector, for all its recipients, whatever its address
 *              spaces and limits say. A connector of that name that is gone
 *              later: the message waits at a next hop that is unreachable.
 *   priority   which of a hop's ready messages goes first. Of 16 leases 12 go
 *              to high, 3 to normal, 1 to low; whose turn finds nothing leaves
 *              it to the highest that is there. So nobody starves.
 *
 * All of it is durable: a status record of the message, or a note of the store
 * for a next hop, and kept over restarts and moves to another version.
 * docs/message-life.md has what is on disk.
 */
#pragma once

#include "queue/queue.h"

/* --- looking -------------------------------------------------------------- */

/* What is in memory of a message that is ours: no disk is read. */
struct message_peek {
	struct msg_id id;
	uint64_t received, expires; /* wall; expires 0: not while suspended */
	uint64_t size;
	unsigned nrcpt, pending; /* pending: recipients that are not final */
	unsigned attempts;       /* of the leg with the most */
	enum priority priority;
	uint8_t suspended; /* or will be, see active */
	uint8_t removing;  /* will be removed; see active, waiting */
	uint8_t active;    /* some of it is in somebody's hands */
	uint8_t waiting;   /* barred: for peers (copies.h) */
	void *tag;         /* whose copies somebody looks after: his own */
	const struct leg *legs;
};
/* 0, or -1 when there is no such message of ours. */
int queue_peek(struct queue *q, struct msg_id id, struct message_peek *p_r);
/* The first message with an id above after: 0, or -1 at the end. A walk costs
 * one step per call, also when the queue changes meanwhile. */
int queue_peek_next(
	struct queue *q, struct msg_id after, struct message_peek *p_r);

/* Recipients of a message that share a next hop; names as in queue_view. */
struct leg_peek {
	const struct nexthop *hop;
	const char *state; /* "active", "pending suspend", "pending remove",
			      "suspended", "hop suspended", "unreachable",
			      "retry", "ready" */
	uint64_t due;      /* loop_now; 0: now, or nobody knows */
	unsigned nrcpt, attempts;
};
/* *at begins as p.legs, in the same turn. 1, or 0 at the end. */
int queue_peek_leg(
	struct queue *q, const struct leg **at, struct leg_peek *l_r);

/* Of a hop: "active" (mail is being sent), "connecting" (mail is ready and none
 * is being sent yet), "ready" (nothing to do), "retry", "suspended" or
 * "unreachable". */
const char *queue_hop_state(const struct nexthop *h);
/* When the oldest of its messages that are ready or wait for a retry time was
 * received (wall), 0: there is none. Exact, unless more than 256 of them wait
 * for their own. */
uint64_t queue_hop_oldest(const struct nexthop *h);
/* How many messages came in and left in the last minute; here a message counts
 * once per hop, and only when it is taken in and when it is done with. */
struct queue_rates {
	unsigned in, out;
};
void queue_hop_rates(
	struct queue *q, const struct nexthop *h, struct queue_rates *r_r);
void queue_rates(struct queue *q, struct queue_rates *r_r);

/* --- changing messages ---------------------------------------------------- */

/* Several changes whose durability somebody waits for. */
struct change;
struct change *queue_change(
	struct queue *q, void (*done)(void *arg, enum err e), void *arg);
/* How many of its changes are not durable yet: in bulk, begin no new ones while
 * this is above some thousands. */
unsigned queue_change_behind(const struct change *c);
/* No further ones come. done fires once, when all are durable (ERR_OK), or one
 * cannot be any more; never inside the call. */
void queue_change_end(struct change **take_c);
/* Nobody waits: done will not fire. In any state, instead of queue_change_end.
 */
void queue_change_forget(struct change **take_c);

/* c may be NULL in all of these. What is changed is in force at once. */
enum changed {
	CHANGED,
	CHANGED_LATER,  /* noted, durably; in force when the attempt is over, or
			   the message waits for peers no more */
	CHANGED_NOT,    /* it is so already; c waits until that is durable */
	CHANGED_GONE,   /* there is no such message */
	CHANGED_FAILED, /* it cannot be read now: memory, or set aside (log) */
};
/* reason: for people, 255 octets at most ("administrator", "hold rule X"). */
enum changed queue_message_suspend(struct queue *q, struct msg_id id,
	struct span reason, struct change *c);
enum changed queue_message_resume(
	struct queue *q, struct msg_id id, struct change *c);
/* notify: failed, and reported to its sender; else nobody hears of it. Also of
 * what is suspended. */
enum changed queue_message_remove(
	struct queue *q, struct msg_id id, int notify, struct change *c);
enum changed queue_message_priority(struct queue *q, struct msg_id id,
	enum priority priority, struct change *c);
/* connector empty: by the routing table again. The caller has checked that
 * there is one. What is in somebody's hands ends there first. */
enum changed queue_message_redirect(struct queue *q, struct msg_id id,
	struct span connector, struct change *c);
/* Routed anew by the table (a redirect is forgotten), and tried at once. For
 * all messages of a hop: walk with queue_peek_next. */
enum changed queue_message_resubmit(
	struct queue *q, struct msg_id id, struct change *c);
/* Its own retry times are forgotten, and a hop that waits for its retry time
 * is tried. CHANGED_NOT: nothing of it waits for a time. */
enum changed queue_message_retry(struct queue *q, struct msg_id id);

/* --- changing next hops --------------------------------------------------- */

/* New mail still comes in, what is in flight ends; nothing new is begun. A hop
 * need not exist: it is suspended when it does. Not CHANGED_LATER or _GONE;
 * CHANGED_FAILED: too many are suspended (10,000), or the key is too long. */
enum changed queue_hop_suspend(
	struct queue *q, struct span key, struct change *c);
enum changed queue_hop_resume(
	struct queue *q, struct span key, struct change *c);
/* All that are suspended, in no order; NULL at first and at the end. */
struct hop_order {
	struct map_node node; /* the hop's key */
	uint64_t since;       /* wall */
	uint32_t number;      /* of the note */
	int on;               /* 0: resumed, which is not durable yet */
	unsigned made, kept;  /* times it was changed; as the store has it */
	unsigned writes;      /* under way */
	char key[];
};
const struct hop_order *queue_hop_suspended(
	struct queue *q, const struct hop_order *after);
/* The one of this key, also when it is no longer on; or NULL. */
const struct hop_order *queue_hop_order(struct queue *q, struct span key);
