/* client - a sending server of the simulated world, with troubles of its own.
 *
 * It does what RFC 5321 asks of one: what got 4xx, or a connection that ended
 * before the reply, is sent again later; what got 250 is never sent again. It
 * knows all relays of the world and goes to the next one after each trouble.
 * It speaks in lockstep or with PIPELINING, by DATA or BDAT, fast or slowly,
 * and now and then breaks the connection.
 *
 * It keeps the books that tests/sim/ledger.h checks: for each recipient of
 * each message the queue ids that were acknowledged, and how often a message
 * may have been taken without an answer (doubtful).
 */
#pragma once

#include "tests/sim/job.h"
#include "tests/sim/world.h"

struct client;

/* The jobs stay the caller's. No faults of its own when calm. */
struct client *client_create(
	struct world *w, const char *ip, struct job *job, unsigned njob);
void client_calm(struct client *c);
int client_done(const struct client *c); /* everything is acknowledged */
void client_destroy(struct client **c);  /* its connection has ended */
int client_idle(const struct client *c); /* no connection */
