/* queue - the only door to the queue: intake, next hops, listing; and
 * queue/lease.h for deliveries, queue/copies.h for messages of which several
 * nodes know, queue/control.h for what administrators see and change.
 *
 * The queue knows messages and next hops by name; what a name means, how mail
 * is sent and what a notice looks like are its callers' business. It calls
 * upward only through struct queue_events, which flow.c installs.
 *
 * Words:
 *   intake    handing in a message; done after it is durable.
 *   next hop  where a message goes next, under a key that routing gave
 *             ("mailbox-servers|example.org"); each has its own queue.
 *   leg       the recipients of one message that share a next hop.
 *   lease     a leg in somebody's hands: nobody else gets it until it is
 *             settled. Memory only: a crash ends all leases.
 *   settle    saying what became of each recipient of a lease.
 *   copy      a message that another node owns: durable here, in no schedule,
 *             listed and counted nowhere as ours (queue/owner.h).
 *   barred    ours, and not to be delivered yet: no legs.
 *   suspended nothing of it is leased until an administrator resumes it.
 *
 * docs/message-life.md has the states and what is on disk in each.
 *
 * One loop owns a queue; the only thread behind it is the store's.
 */
#pragma once

#include <stdint.h>

#include "mta/base/arena.h"
#include "mta/base/heap.h"
#include "mta/base/list.h"
#include "mta/base/log.h"
#include "mta/base/loop.h"
#include "mta/base/map.h"
#include "queue/body.h"
#include "queue/envelope.h"
#include "queue/rate.h"
#include "queue/store.h"

struct queue;
struct message; /* a handle of one that has copies, until its gone() */
struct leg;
struct held;

struct queue_retry { /* ms; reference: Exchange's ladder */
	unsigned glitch_count, transient_count; /* 4, 6 */
	uint64_t glitch_interval;               /* 1 m */
	uint64_t transient_interval;            /* 5 m */
	uint64_t interval;                      /* 10 m */
	uint64_t message_interval; /* 15 m: after a message's own 4xx */
};

struct queue_options {
	struct loop *loop;
	struct log *log;
	const char *dir;
	uint64_t large_body, memory;
	struct queue_retry retry;
	uint64_t expire_after;       /* 2 d */
	uint64_t delay_notice_after; /* 4 h; 0: never */
	unsigned poison_after;       /* crashes: 2; 0: never */
};

enum hop_state {
	HOP_READY,       /* may be tried */
	HOP_RETRY,       /* a connection failure delays all of it until due */
	HOP_UNREACHABLE, /* nothing in the configuration takes its mail */
};

struct nexthop {
	struct map_node node; /* key: the name */
	enum hop_state state;
	int suspended;   /* by an administrator, in whatever state it is */
	unsigned queued; /* legs here, in any state */
	unsigned ready;  /* of these: wait for nothing but the hop */
	unsigned leased;
	unsigned deferred;                /* wait for their own retry time */
	unsigned parked;                  /* of messages that are suspended */
	unsigned by_priority[PRIORITIES]; /* legs here */
	unsigned failures;                /* of the connection, in a row */
	uint64_t retry_at; /* loop_now of the next try, in HOP_RETRY */
	uint64_t last_try, first_failed; /* wall; of the failures in a row */
	struct arena text;               /* holds last */
	uint16_t last_code;              /* last error, 0 none */
	struct span last_text, last_host;
	void *owner; /* flow's: the delivery pool */
	struct list legs_ready[PRIORITIES], legs_waiting; /* queue's own */
	struct list legs_hurried;     /* they wait as well, but not for long */
	struct leg *near[PRIORITIES]; /* ready, after a wait, last; or NULL */
	unsigned turns;      /* leases given, which choose a priority */
	struct rate in, out; /* legs of mail taken in; done with */
	struct heap_node due;
	struct heap_node first, last; /* queue->first_retry, last_retry */
	struct list all, hurried;     /* hurried: while there are such legs */
	struct list notify;
	struct list idle;
	uint64_t idle_since;
	struct list active; /* while it may be tried and has some ready */
	uint64_t active_since;
	unsigned counted; /* of ready, in the queue's count */
	uint64_t number;  /* in the order of their births */
	struct leg *gather[2];
	char key[];
};

struct lease; /* queue/lease.h */
struct queue_events {
	void *arg;
	/* Gives every recipient its next hop's key. Keys live in scratch (or
	 * longer). Called at intake, at start and when routing changed.
	 * redirect: the connector that an administrator chose, or empty. */
	void (*route)(void *arg, const struct envelope *e, struct span redirect,
		struct span *key, struct arena *scratch);
	/* At intake, of what is ours: 1: it begins suspended; reason, of at
	 * most REASON_MAX octets, says why. NULL: nothing does. */
	int (*hold)(void *arg, const struct envelope *e, struct buf *reason);
	/* A next hop came into being: set owner, say when nothing can be
	 * delivered (queue_hop_unreachable). Called before ready. */
	void (*hop_new)(void *arg, struct nexthop *h);
	/* Empty for 3 minutes and idle: it goes away after this call. */
	void (*hop_gone)(void *arg, struct nexthop *h);
	/* There is something to lease, and there may not have been before. At
	 * most once per hop and turn, from a hook or a timer. Of very many hops
	 * some hear it in a later turn. */
	void (*ready)(void *arg, struct nexthop *h);
	/* The lease's recipients are too old, or removed by an administrator
	 * (lease.removed); whoever takes it reports and settles them as final.
	 * last: their last error is in the status. */
	void (*expired)(void *arg, struct lease *take_l);
	/* A delay notice is due for the lease's recipients; afterwards
	 * queue_delay_noticed. */
	void (*delayed)(void *arg, struct lease *take_l);
	/* The three below are about messages with a tag (queue_tag).
	 * progress: recipients became final and the message stays. gone: it is
	 * deleted, durably (ERR_OK), or could not be read and was set aside
	 * (ERR_CORRUPT), or the node ends (ERR_CANCELED: it may still be on
	 * disk); the handle is dead.
	 * may_deliver: asked before each lease, expired ones as well; 0: not
	 * now, again in a few seconds. */
	void (*progress)(
		void *arg, void *tag, const unsigned *rcpt, unsigned n);
	void (*gone)(void *arg, void *tag, enum err e);
	int (*may_deliver)(void *arg, void *tag);
	/* A tagged message is about to be deleted: an operation to be done in
	 * the same transaction, or NULL. Its handle may not be used after
	 * this. Asked again when there was no space for both (the operation's
	 * done has fired with ERR_NOSPACE then). */
	struct store_op *(*leaving)(void *arg, void *tag);
	/* At the start: a message that has an identity; it is barred, or a
	 * copy. Gives its tag, or NULL: nobody cares, ours is scheduled. The
	 * records are only there during the call. */
	void *(*found)(void *arg, struct message *m, const struct envelope *e,
		const struct status *s);
	/* Nothing can be written any more: stop accepting and exit. */
	void (*fatal)(void *arg, enum err e, const char *text);
};

enum err queue_open(struct queue **q_r, const struct queue_options *o,
	const struct queue_events *ev, struct buf *why) must_use;
/* Reads the database and rebuilds the schedule; logs queue.recovered. */
enum err queue_recover(struct queue *q, struct buf *why) must_use;
/* All leases must be settled or released; waits for the store. */
void queue_close(struct queue **q);
void queue_set_options(struct queue *q, const struct queue_options *o);

/* The id of the next message: for its Received field and its 250. */
struct msg_id queue_next_id(struct queue *q);
/* The one that queue_next_id would give: what begins from now on has it, or one
 * above. */
struct msg_id queue_first_free_id(const struct queue *q);
/* A body file could not be written. ERR_NOSPACE is logged (at most once a
 * minute) and passes; an I/O error means that the outcome of a sync is unknown:
 * the node must stop, as after a failed commit. */
void queue_file_trouble(struct queue *q, enum err e);
struct budget *queue_budget(struct queue *q);
struct store *queue_store(struct queue *q);
uint64_t queue_large_body(const struct queue *q);

/* A number for env->mid.seq, for the intake that follows at once. */
uint64_t queue_next_seq(struct queue *q);
/* How many of the starts of the database, from the oldest on, may have had
 * records that were set aside as damaged: that there is no record of a number
 * of theirs proves nothing. */
uint64_t queue_suspect(const struct queue *q);
/* The one that queue_next_seq would give. */
uint64_t queue_first_free_seq(const struct queue *q);

/* Intake: env (its spans and recipients) and body are only read during the
 * call, except that body is referenced. done(i, e) fires once, after the
 * commit (ERR_OK: durable), never inside the call; the message is routed and
 * can be leased right after done returns, unless it is barred or a copy
 * (env->owner.node is set, and env->mid). With an error nothing remains. */
struct intake {
	struct store_op op;
	struct held *held; /* these three are the queue's own */
	struct body *body;
	struct queue *q;
	void *tag;  /* the caller's, NULL: none; see queue_tag */
	int barred; /* ours, but only to be delivered after queue_unbar */
	struct message *message; /* with a tag: the handle, set before done */
	void (*done)(struct intake *i, enum err e);
	void *arg;
};
void queue_intake(struct queue *q, struct intake *i, const struct envelope *env,
	struct body *body);
/* The same for a message of another database that is taken over with what had
 * become of its recipients, in one transaction: barred, s->owner is this node.
 * env->mid is no number of ours. */
void queue_intake_again(struct queue *q, struct intake *i,
	const struct envelope *env, const struct status *s, struct body *body);
/* env as it is being stored, right after queue_intake: a reference for the
 * caller; NULL when it cannot be stored (done comes with an error). */
struct blob *queue_intake_record(const struct intake *i);

/* A body that no intake will be made of: its file, if it has one, goes. */
void queue_abandon_body(struct queue *q, const struct body *body);

/* The connection to a hop failed (all hosts): the ladder decides the next
 * time, with jitter; what is ready waits. */
void queue_hop_failed(struct queue *q, struct nexthop *h, uint16_t code,
	const uint16_t enh[3], struct span text, struct span host);
void queue_hop_ok(struct queue *q, struct nexthop *h);
/* Nothing takes its mail: it waits, and expires, until it is reachable. */
void queue_hop_unreachable(struct queue *q, struct nexthop *h);
void queue_hop_reachable(struct queue *q, struct nexthop *h);

/* Everything that waits at h now is tried: h is reachable at once; messages
 * that wait for their own retry time become ready, in their order, in this and
 * the following turns (1000 a turn of all hops together), whatever h comes to
 * meanwhile. What begins to wait after the call is not among them. A hop that
 * is suspended keeps what it has. Returns how many legs, with ready ones. */
unsigned queue_retry_now(struct queue *q, struct nexthop *h);
/* Asks route again for everything that is not leased (the routing changed).
 * Works in slices of a few ms per turn. */
void queue_reroute(struct queue *q);

/* Listing. */
struct nexthop *queue_hop(struct queue *q, struct span key);
/* In the order of their births; NULL at first and at the end. See hops.h. */
struct nexthop *queue_hop_next(struct queue *q, struct nexthop *h);

struct queue_counts {
	uint64_t messages, bytes, legs, leased, deferred;
	uint64_t unreachable; /* legs */
	uint64_t suspended;   /* legs: the message is, or the hop */
	uint64_t suspended_messages, suspended_hops;
	uint64_t barred; /* messages; all others have legs */
	/* Since the start; removed: without a notice, else they are done. */
	uint64_t intake, done, removed;
	uint64_t oldest; /* wall of the oldest message; 0 none */
	uint64_t memory_used, memory_limit;
	uint64_t index_bytes;        /* heap used by the schedule */
	uint64_t commits, committed; /* transactions, operations in them */
};
void queue_counts(struct queue *q, struct queue_counts *c_r);

/* One message as listed; spans live until the next call on the queue. */
struct message_view {
	struct msg_id id;
	const struct envelope *env;
	const struct status *status;
	const struct nexthop **hop; /* per recipient; NULL when final, barred */
	const char **state;         /* per recipient: as in struct leg_peek,
				       "final"; "waiting" while it is barred */
	const void *tag;
	uint64_t due;     /* wall of the next try; 0: now/unknown */
	uint64_t expires; /* wall; 0: not while it is suspended */
	int suspended, removing;
	enum priority priority;
	struct span reason;   /* why it is suspended */
	struct span redirect; /* connector; empty: none */
};
/* 0, or -1 when there is no such message. */
int queue_view(struct queue *q, struct msg_id id, struct message_view *v_r);
/* The body of the one that queue_view gave last, for somebody who writes it
 * out; a reference. A body in a file may go while it is being read. */
enum err queue_view_body(struct queue *q, struct body **b_r) must_use;
/* The first message with an id above after; id 0 at the end. Cheap. */
struct msg_id queue_next_message(struct queue *q, struct msg_id after);
