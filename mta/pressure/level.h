/* level - a meter's level: thresholds with hysteresis, and a history. Pure.
 *
 *   normal --medium--> medium --high--> high        on the way up, at or above
 *   normal <--back_to_normal-- medium <--back_to_medium-- high      below it
 *
 * Each threshold down is below the one up that it belongs to, so a value that
 * hovers at a threshold changes the level once. A value may pass two
 * thresholds in one sample.
 *
 * The history is Exchange's: so many samples in a row at medium or above
 * until the refusals of medium begin. What is milder (the delay) begins with
 * the first one, and high needs no history: a resource that is used up does
 * not get better by waiting.
 */
#pragma once

#include <stdint.h>

#define PRESSURE_UNKNOWN UINT64_MAX

enum pressure_level { PRESSURE_NORMAL, PRESSURE_MEDIUM, PRESSURE_HIGH };

struct thresholds { /* in the meter's unit */
	uint64_t medium, high;
	uint64_t internal; /* at high: internal and peer are refused from here
			      on; never below high */
	uint64_t back_to_medium, back_to_normal;
	uint64_t history; /* samples; at least 1 */
};

struct level {
	enum pressure_level level;
	int last;        /* high, and internal was reached */
	uint64_t streak; /* samples in a row at medium or above */
};

/* One sample. Without a value (PRESSURE_UNKNOWN) the level is normal. */
void level_step(struct level *l, const struct thresholds *t, uint64_t value);
/* The refusals of medium hold. */
int level_lasting(const struct level *l, const struct thresholds *t);
