/* hops - next hops where there may be very many: walks over all of them, and
 * what they have together. For flow and mta/ctl.
 */
#pragma once

#include "queue/queue.h"

/* A walk over all next hops that may take several turns: those that are there
 * at its begin, without those that go meanwhile. */
struct hop_walk {
	struct list node;   /* queue->walks */
	struct nexthop *at; /* the next one, or NULL */
	uint64_t last;      /* number of the last one that is in it */
};
void queue_hop_walk(struct queue *q, struct hop_walk *w);
/* NULL: there is none any more; the walk has ended then. */
struct nexthop *queue_hop_walked(struct queue *q, struct hop_walk *w);
/* Before its end, or after; also of one that is all zero. */
void queue_hop_walk_end(struct hop_walk *w);

/* What all hops of a kind have together. */
enum hop_kind {
	HOPS_READY, /* as enum hop_state: not suspended */
	HOPS_RETRY,
	HOPS_UNREACHABLE,
	HOPS_SUSPENDED, /* in whatever state they are */
	HOP_KINDS
};
struct hop_sums {
	uint64_t hops;
	uint64_t queued, ready, deferred, parked; /* legs, as in nexthop */
};
const struct hop_sums *queue_hop_sums(struct queue *q, enum hop_kind k);
/* The retry times (loop_now) of those of HOPS_RETRY that have some ready; 0:
 * there is none. */
void queue_hop_retries(struct queue *q, uint64_t *first_r, uint64_t *last_r);
