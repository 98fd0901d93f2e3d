/* guess - "did you mean": the valid word nearest to a wrong one, by the number
 * of letters to insert, drop, change or swap; case does not count.
 *
 * Begin with { .wrong = the word }, try every valid one; best is the nearest,
 * or empty when none is near. best is one of the words tried.
 */
#pragma once

#include "mta/base/span.h"

struct guess {
	struct span wrong, best;
	unsigned distance;
};

void guess_try(struct guess *g, struct span name);
