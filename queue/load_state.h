/* load_state - what the queue counts for queue/load.h as it goes (internal). */
#pragma once

#include <stdint.h>

#include "mta/base/list.h"
#include "mta/base/loop.h"

struct load_state {
	struct list active; /* hops with some ready, longest first */
	uint64_t ready;     /* legs that wait for nothing but us */
	uint64_t memory;    /* that there is at all; 0: not known */
	struct timer pass;  /* while somebody waits for memory */
	int squeezed;       /* bodies are not read */
};

struct queue;
void load_init(struct queue *q);
void load_fini(struct queue *q);
/* Whatever it follows from has changed: the limit of the budget. */
void load_set_budget(struct queue *q);
