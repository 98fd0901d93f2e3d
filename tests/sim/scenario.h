/* scenario - the stories that the simulator tells; each gives 0 when the
 * relay did what it should, else it has said what was wrong. */
#pragma once

#include <stdint.h>

struct scenario_options {
	uint64_t seed;
	int print; /* the log */
};

/* What a run of the random world looked like. */
struct random_facts {
	uint64_t hash, lines, bytes;
	unsigned messages, copies, crashes, failures, doubts, bounces, stops;
};

int scenario_ladder(const struct scenario_options *o);
int scenario_recovery(const struct scenario_options *o);
int scenario_message_retry(const struct scenario_options *o);
int scenario_two(const struct scenario_options *o);
int scenario_net(const struct scenario_options *o);
int scenario_pressure(const struct scenario_options *o);
/* A story for each row of the failure table; NULL: no more of them. */
const char *scenario_table(
	unsigned row, const struct scenario_options *o, int *bad_r);
int scenario_random(
	const struct scenario_options *o, struct random_facts *facts_r);
int scenario_same(const struct scenario_options *o);
