/* hops_state - what the queue keeps of all its next hops (internal). */
#pragma once

#include "queue/hops.h"

struct hops_state {
	struct list all;      /* hops, oldest first */
	uint64_t last_number; /* of the youngest */
	struct list walks;    /* struct hop_walk */
	struct list hurried;  /* hops with legs_hurried */
	unsigned told;        /* hops that are ready, since the last turn that
				 the queue wanted */
	struct hop_sums sums[HOP_KINDS];
	/* Hops whose retry time is waited for, by it and from the last on. */
	struct heap first_retry, last_retry;
};

/* h goes: every walk on to the one behind it. */
void walks_pass(struct queue *q, struct nexthop *h);
/* Some of what was ordered to be tried now; once a turn. */
void hop_run_hurried(struct queue *q);
