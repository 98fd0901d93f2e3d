/* lease - an attempt at some recipients of a message: who makes it, and what
 * became of each. For flow and mta/deliver.
 */
#pragma once

#include "queue/queue.h"

struct lease {
	struct nexthop *hop;
	const struct envelope *env;
	const unsigned *rcpt; /* indices into env->rcpt, pending ones */
	unsigned nrcpt;
	unsigned attempts; /* earlier attempts of this leg */
	uint64_t since;    /* loop_now of the lease */
	uint64_t expires;  /* wall, as it was then; 0: suspended */
	int removed;       /* of expired(): by an administrator, not by age */
	struct body *body; /* in memory or in a file; the lease's own ref */
	void *leg;         /* queue's own */
	struct list node;  /* the holder's */
	void *holder;      /* the holder's */
};

/* The oldest ready leg of h of the priority whose turn it is, at most max
 * recipients of it (the rest stays ready). NULL: nothing is ready, or h waits.
 * The body is loaded. */
struct lease *queue_lease(struct queue *q, struct nexthop *h, unsigned max);

enum verdict {
	VERDICT_FINAL,   /* done: delivered, or failed and reported */
	VERDICT_DEFER,   /* its own 4xx: again after message_interval */
	VERDICT_RELEASE, /* not its fault (connection): ready again as before,
			    to be taken when the hop may be tried */
};

struct settle {
	enum verdict verdict;
	uint16_t code; /* what was said last; 0: nothing new */
	uint16_t enh[3];
	struct span text, host;
};

/* The file of the lease's body is not there, or is not what was stored: once
 * everything of the message is back that is leased, it is set aside as damaged
 * instead of being tried again. The lease is settled as any other. (A body in
 * the database is looked at before it is leased.) */
void queue_bad_body(struct queue *q, struct lease *l);
/* One per lease->rcpt. Ends the lease. The message leaves the queue when its
 * last recipient is final. */
void queue_settle(
	struct queue *q, struct lease **take_l, const struct settle *s);
/* Takes the recipients with keep[i] == 0 out of l, as a lease of their own, so
 * that they can be settled while the others wait for a notice. There must be
 * some of both; l is not a reporter's. */
struct lease *queue_lease_split(
	struct queue *q, struct lease *l, const uint8_t *keep);
/* What is known of recipient l->rcpt[i] before this attempt: attempts, and
 * the last error, its own or, when it has none, that of its next hop. Spans
 * live as long as the lease. 0, or -1 when i is not in it. */
int queue_lease_status(struct queue *q, const struct lease *l, unsigned i,
	struct rcpt_status *out_r);
/* After delayed(): the notice is durable (or none was wanted). A notice lease
 * takes nothing away from delivery, names all pending recipients of the
 * message (hop is the next hop of some of them), has no leg, and is ended
 * by this call; or by queue_settle (which reads no s) when no notice could be
 * made: then it comes again. */
void queue_delay_noticed(struct queue *q, struct lease **take_l);
