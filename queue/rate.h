/* rate - how many in the last minute; in slots of five seconds. */
#pragma once

#include <stdint.h>

enum { RATE_SLOTS = 12, RATE_SLOT_MS = 5000 };

struct rate {
	uint64_t slot; /* the latest with a count: loop_now / RATE_SLOT_MS */
	uint32_t n[RATE_SLOTS];
};

/* To the present slot: those in between had nothing. */
static inline void rate_turn(struct rate *r, uint64_t now)
{
	uint64_t slot = now / RATE_SLOT_MS;

	if (slot - r->slot >= RATE_SLOTS) {
		*r = (struct rate){.slot = slot};
		return;
	}
	while (r->slot < slot)
		r->n[++r->slot % RATE_SLOTS] = 0;
}

static inline void rate_count(struct rate *r, uint64_t now)
{
	rate_turn(r, now);
	r->n[r->slot % RATE_SLOTS]++;
}

/* In the 55 to 60 s before now. */
static inline unsigned rate_minute(struct rate *r, uint64_t now)
{
	unsigned sum = 0;

	rate_turn(r, now);
	for (int i = 0; i < RATE_SLOTS; i++)
		sum += r->n[i];
	return sum;
}
