/* pair - several relays that hold copies for each other, and everything that
 * can happen to them, from a seed.
 *
 * Clients send to any of them and go to another one after trouble. Times of
 * trouble take turns with times of calm: then machines and what is between
 * them are well (servers and clients need not be), and after a while the rules
 * of tests/sim/disks.h hold. Between two calms at most one disk is lost or put
 * back from a backup: what is on that disk alone is not promised to survive.
 * In the end everything is healed, runs until it is quiet, and the book is
 * checked (tests/sim/book.h).
 */
#pragma once

#include "tests/sim/book.h"
#include "tests/sim/scenario.h"

int scenario_pair(const struct scenario_options *o, struct pair_facts *facts_r);
int scenario_pair_same(const struct scenario_options *o);
