/* defaults - the thresholds that a meter has: derived from the size of its
 * resource, and what the configuration sets of them. Pure.
 *
 * The formulas are Exchange's where it has the resource; their distances
 * between the four thresholds are used for the others too. docs/pressure.md
 * has them in words.
 */
#pragma once

#include "mta/conf/conf.h"
#include "mta/pressure/level.h"

struct sizes { /* 0: not known */
	uint64_t disk, inodes, memory;
};

/* Always in order: back_to_normal < medium < high <= internal and
 * back_to_normal <= back_to_medium < high, and none is 0 (so with medium 1
 * back_to_normal is 1 as well). A set threshold that cannot be kept beside a
 * derived one gives way. */
void pressure_thresholds(enum meter_id m, const struct sizes *s,
	const struct conf_meter *set, struct thresholds *t_r);
