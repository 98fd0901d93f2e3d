/* load_state - what the queue counts for queue/load.h as it goes (internal). */
#pragma once

#include <stdint.h>

#include "mta/base/list.h"

struct load_state {
	struct list active;    /* hops with some ready, longest first */
	uint64_t ready;        /* legs that wait for nothing but us */
	uint64_t cached_bytes; /* of the budget: of what is in queue->cached */
	int squeezed;          /* there is no memory for bodies */
};
