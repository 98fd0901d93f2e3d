/* load - how much the queue has to do, for whoever holds new work back
 * (mta/pressure), and the two things that it can ask for.
 *
 * Taking it costs the reading of a few pages of the database and a look at
 * the next hops that have something ready, 1024 of them at most.
 */
#pragma once

#include "queue/queue.h"

struct queue_load {
	uint64_t bodies_used; /* octets that nobody could drop now */
	uint64_t bodies_cached, bodies_limit;
	/* Deliveries that wait for nothing but us: ready ones of hops that may
	 * be tried. */
	uint64_t ready;
	uint64_t oldest; /* ms that the oldest of them has waited. A hop that
			    has had some all the time counts from when it
			    began, a message from when it came. */
	struct store_load store;
	int store_known; /* its pages are */
};
void queue_load(struct queue *q, struct queue_load *l_r);

/* Bodies that are only kept in case they are needed again leave the memory;
 * later attempts read them from the disk. */
void queue_drop_cached(struct queue *q);
/* on: there is no memory for bodies: who sends one is not read from. Who may
 * begin to is not decided here. What is under way to the next hops goes on. */
void queue_squeeze(struct queue *q, int on);
/* How much memory the process may have, 0: not known. Bodies get no more than
 * half of it, whatever their limit is. */
void queue_set_memory(struct queue *q, uint64_t octets);
