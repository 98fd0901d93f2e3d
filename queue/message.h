/* message - the queue's schedule in memory; for the files of queue/ only.
 *
 * A struct message is what stays in memory of every queued message: small and
 * of a fixed size. It holds its first leg itself; further legs (more than one
 * next hop, or a leg split by a lease) are allocated. Sizes on a 64-bit
 * machine, held by static assertions in message.c and by
 * test_queue_store.c, as queue_counts.index_bytes (without malloc's own, which
 * is 8 to 16 octets a block):
 *   struct message, one leg included    184 bytes
 *   a further leg                        88 bytes (+ 4 per recipient above 1)
 *   marks                                 8 bytes per 32 messages
 *   a deferred leg's place in the heap    8 bytes
 *
 * Record, envelope, status and body live in a struct held, only while somebody
 * has a lease, or until the first attempt is over.
 *
 * All messages are in one list in id order. Ids are given when a message
 * begins and committed when it ends, so most arrive at the tail, some a little
 * before it. There is no table by id: nothing on the hot path looks for one.
 * queue_view and queue_next_message search the marks, a sorted array of about
 * every 32nd message, by bisection and walk at most some 60 nodes from there.
 */
#pragma once

#include "queue/control.h"
#include "queue/copies.h"
#include "queue/hops_state.h"
#include "queue/lease.h"
#include "queue/load_state.h"

enum {
	QUEUE_MAGIC = 0x90e0e,
	MESSAGE_MAGIC = 0x3e55a9e,
	GRANT_MAGIC = 0x96a47,
};

enum {
	MARK_EVERY = 32,   /* messages between two marks */
	TURN_SLICE = 64,   /* messages per turn that need the disk */
	TURN_LEGS = 1000,  /* legs per turn that become due */
	REPORTS_OUT = 200, /* expired and delayed leases out at a time */
	HOP_IDLE_MS = 180000,
	AGAIN_MS = 1000,         /* a refused delete or status is tried again */
	STATUS_TEXT = 1024,      /* kept of what was said */
	OVERTIME_UNIT = 3600000, /* of message.overtime, ms */
};

enum leg_state {
	LEG_NEW,      /* in no list */
	LEG_READY,    /* in hop->legs_ready */
	LEG_DEFERRED, /* in hop->legs_waiting or _hurried, and q->due_legs */
	LEG_LEASED,   /* in no list, grant set */
	LEG_EXPIRED,  /* in queue->expired: too old, or to be removed */
	LEG_PARKED,   /* in no list: the message is suspended */
};

struct leg {
	struct list node;
	struct heap_node due;
	struct message *m; /* NULL: not in use (the embedded one) */
	struct nexthop *hop;
	struct leg *next; /* of the message */
	struct grant *grant;
	union {
		unsigned one; /* nrcpt == 1 */
		unsigned *v;  /* else; NULL: all of the message, in order */
	} rcpt;
	unsigned nrcpt;
	uint16_t attempts;
	uint8_t state;
};

struct message {
	unsigned magic;
	unsigned nrcpt;
	struct msg_id id;
	uint64_t received;
	uint64_t size;
	struct list node; /* queue->messages */
	struct leg *legs;
	struct held *held; /* or NULL */
	union {
		struct status_write *write; /* on its way, or NULL */
		struct waiter *waiting;     /* for its delete, or NULL */
	};
	struct grant *notice; /* delay notice on its way, or NULL */
	unsigned pending;     /* recipients that are not final */
	uint8_t in_file : 1, noticed : 1, mark : 1;
	uint8_t copy : 1;   /* another node's: in queue->copies, uncounted */
	uint8_t barred : 1; /* ours, without legs */
	uint8_t suspended : 1;
	uint8_t removal : 2;                /* enum removal */
	uint8_t priority : 2, bad_body : 1; /* enum priority; queue_bad_body */
	uint16_t overtime; /* hours of life beside expire_after */
	void *tag;         /* whose copies somebody looks after, or NULL */
	union {
		struct leg leg;      /* the first leg, while there are any */
		struct store_op del; /* then the delete */
	};
};

/* What was read of a message. refs: leases and views. */
struct held {
	struct list node;            /* queue->cached, while refs == 0 */
	struct message *m;           /* NULL: it left the queue */
	unsigned refs, keep, cached; /* keep: its first attempt is to come */
	struct blob *record;
	struct arena arena;
	struct envelope env;
	struct status status; /* rcpt NULL: nothing happened yet */
	struct body *body;    /* or NULL */
	uint64_t cost;        /* of the budget, without the body */
};

struct grant {
	struct lease l; /* first */
	unsigned magic;
	unsigned generation; /* of the routing */
	struct message *m;   /* NULL: a notice whose message went away */
	struct held *held;
	uint8_t notice, expired;
	unsigned rcpt[];
};

/* A status on its way to the store; at most one per message. */
struct status_write {
	struct store_op op;
	struct queue *q;
	struct message *m; /* NULL: the message is done, nobody cares */
	struct buf now;    /* in flight */
	struct buf newer;  /* to go next; n == 0: none */
	struct list now_own, newer_own; /* struct own: who waits for them */
};

enum queue_cursor {
	CURSOR_NOTICE,
	CURSOR_EXPIRE,
	CURSOR_LATE, /* those that have overtime, behind CURSOR_EXPIRE */
	CURSOR_REROUTE,
	CURSORS
};
struct queue {
	unsigned magic;
	struct queue_options o;
	char *dir; /* our own copy of o.dir */
	struct queue_events ev;
	struct store *store;
	struct budget budget;
	uint64_t next_id, next_seq, suspect;
	int stopped;         /* fatal was called, or is about to be */
	enum err late_error; /* about to be */
	const char *late_text;

	/* Messages; see above. cursor: &messages means at the end. */
	struct list messages;
	struct list copies; /* of others', in no order */
	struct list *cursor[CURSORS];
	struct list *walk;     /* queue_next_message was here, or &messages */
	struct message **mark; /* mark[mark_first .. mark_first + nmark) */
	size_t mark_first, nmark, mark_cap;
	unsigned unmarked;        /* appended since the last mark */
	struct map hops, orders;  /* hops; struct hop_order */
	struct hops_state set;    /* of all hops */
	struct nexthop *last_hop; /* found last, or NULL */
	struct list idle;         /* hops, longest first */
	struct list notify;       /* hops to call ready for */
	struct heap due_hops, due_legs;
	struct list expired; /* legs */
	struct list cached;  /* held, oldest first */
	unsigned reports_out;
	unsigned generation;

	/* Ends every turn: what the turn has gathered. The timer is for what
	 * comes up after our hook ran in the last round of a turn. */
	struct hook hook;
	struct timer turn;
	int turn_wanted;
	struct timer due_timer, age_timer, idle_timer, again_timer;
	struct timer reroute_timer;
	struct store_op *again, **again_tail;     /* refused, to go again */
	struct store_op *refused, **refused_tail; /* intakes: done is owed */

	struct list changes; /* struct change, those that are over first */
	int late;            /* CURSOR_LATE has something to come back for */
	uint64_t late_at;    /* loop_now */

	struct arena scratch; /* of one call */
	struct buf tmp;
	struct held *viewed;
	struct arena view;

	uint64_t full_said, memory_said; /* loop_now of the line, + 1 */
	uint64_t bytes, nmessages, legs, leased, deferred;
	uint64_t unreachable, suspended, nsuspended, nbarred; /* n: messages */
	uint64_t taken, done, removed, index_bytes, hops_suspended;
	struct rate in, out;
	struct load_state load;
};

static inline struct message *message_at(struct list *n)
{
	return list_item(n, struct message, node);
}

static inline unsigned leg_rcpt(const struct leg *l, unsigned i)
{
	if (l->nrcpt == 1 && i == 0)
		return l->rcpt.one;
	return l->rcpt.v ? l->rcpt.v[i] : i;
}

/* message.c: the list and the marks, legs. */
struct message *message_new(
	struct queue *q, const struct envelope *e, int copy);
/* Ours from now on, barred; or another's. */
void message_set_copy(struct queue *q, struct message *m, int copy);
/* Cuts every tie except the store's; the memory stays. */
void message_leave(struct queue *q, struct message *m);
void message_free(struct queue *q, struct message *m);
/* What goes with its delete, or NULL. */
struct store_op *message_leaving(struct queue *q, struct message *m);
/* The last recipient is final: it leaves the queue. */
void message_done(struct queue *q, struct message *m);
/* It leaves the queue and the disk, whatever is pending. */
void message_delete(struct queue *q, struct message *m);
/* Whoever looks after it hears that it is gone; m is freed. */
void message_deleted(struct queue *q, struct message *m, enum err e);
/* It cannot be read: out of the queue and set aside. */
void message_damaged(struct queue *q, struct message *m, const char *why);
/* The last message with an id of at most id, or &q->messages. */
struct list *message_find(struct queue *q, struct msg_id id);
uint64_t message_age(const struct queue *q, const struct message *m);
/* What is suspended is not. */
int message_too_old(const struct queue *q, const struct message *m);
uint64_t message_expires(const struct queue *q, const struct message *m);

struct leg *leg_new(struct queue *q, struct message *m);
void leg_free(struct queue *q, struct leg *l); /* of no state, off its hop */
/* Sets the recipients; v is copied. */
void leg_set_rcpt(
	struct queue *q, struct leg *l, const unsigned *v, unsigned n);

/* held.c. The message's held with one more reference; with_body: the body as
 * well. why_r is set with ERR_CORRUPT. */
enum err held_get(struct queue *q, struct message *m, int with_body,
	struct held **h_r, const char **why_r) must_use;
/* For a message just taken in: takes over the record. */
enum err held_make(struct queue *q, struct blob *take_record, struct held **h_r,
	const char **why_r) must_use;
void held_put(struct queue *q, struct held *h);
/* In nobody's hands: to the cache, or away. */
void held_rest(struct queue *q, struct held *h);
/* budget->over. */
void held_drop_some(void *queue);
void held_drop_all(struct queue *q);

/* nexthop.c: hops and the places of legs. */
struct nexthop *hop_get(struct queue *q, struct span key);
void hop_free(struct queue *q, struct nexthop *h);
/* Puts a new leg on its hop; leaves it. */
void leg_attach(struct queue *q, struct leg *l, struct nexthop *h);
void leg_detach(struct queue *q, struct leg *l);
void leg_ready(struct queue *q, struct leg *l); /* or expired, or parked */
void leg_defer(struct queue *q, struct leg *l, uint64_t ms); /* or parked */
void leg_park(struct queue *q, struct leg *l);
void leg_take(struct queue *q, struct leg *l, struct grant *g);
void leg_expire(struct queue *q, struct leg *l);
uint64_t queue_jitter(struct queue *q, uint64_t ms); /* +-10 % */
void hop_run_ready(struct queue *q); /* some; the others want a turn */
void on_due(struct timer *t);
void on_idle_hops(struct timer *t);
/* The end of this turn shall do what was noted. */
void queue_want_turn(struct queue *q);

/* intake.c: mode: per recipient; NULL: all ready. */
enum route_mode { ROUTE_SKIP, ROUTE_READY, ROUTE_DEFERRED };
void message_route(struct queue *q, struct message *m, const struct envelope *e,
	const uint8_t *mode, uint64_t due_ms, const struct span *keys);
struct span *route_keys(
	struct queue *q, const struct envelope *e, struct span redirect);
void message_reroute(struct queue *q, struct message *m);
void intake_run_refused(struct queue *q);
/* A delete of no message, only of a body file: allocated by itself. */
int intake_unlinks(const struct store_op *op);
void on_reroute(struct timer *t);

/* recover.c: how many recipients are pending; the legs of what is. */
unsigned message_pending(const struct status *s, unsigned nrcpt);
void message_schedule(struct queue *q, struct message *m,
	const struct envelope *e, const struct status *s);

/* status_write.c: own (or NULL) hears when the status of m is in the store. */
void status_write(
	struct queue *q, struct message *m, struct held *h, struct own *own);
void status_write_forget(struct message *m); /* it leaves */
void on_again(struct timer *t);
/* At close: what was refused to the end is given up. */
void again_drop(struct queue *q);
void queue_submit_again(struct queue *q, struct store_op *op);

/* lease.c */
void status_ensure(struct held *h);
/* 1: it may not be leased now, and is put off. */
int leg_fenced(struct queue *q, struct leg *l);
/* A lease of all of the leg for a reporter; NULL: it could not be read. */
struct grant *grant_leg(struct queue *q, struct leg *l);
struct grant *grant_notice(struct queue *q, struct message *m);

/* copy.c: w's status is durable, or will never be. */
void own_done(struct own *w, enum err e);

/* expire.c */
void on_age(struct timer *t);
/* It was resumed, and is older than expire_after. */
void expire_late(struct queue *q);
void expire_inserted(struct queue *q, struct message *m);
/* A notice could not be made: again within a minute. */
void expire_notice_again(struct queue *q, struct message *m);
void expire_restart(struct queue *q); /* the times changed */
void expire_run(struct queue *q);     /* hands out expired legs */

/* list.c */
void view_end(struct queue *q);

/* queue.c */
void queue_fatal(struct queue *q, enum err e, const char *text);
/* From inside somebody's call; text is static. */
void queue_fatal_later(struct queue *q, enum err e, const char *text);
void queue_say_full(struct queue *q);
