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

#include "mta/base/id.h"
#include "tests/sim/world.h"

enum { JOB_RCPTS = 4, JOB_ACKS = 8 };

struct job {
	unsigned token;
	char from[48];
	char rcpt[JOB_RCPTS][64];
	int bad[JOB_RCPTS]; /* the next hop refuses it for good */
	unsigned nrcpt;
	unsigned open;  /* bits: not acknowledged yet */
	struct buf raw; /* the message as it is sent */
	uint64_t due;
	unsigned doubtful, tries;
	struct {
		struct msg_id id;
		unsigned relay;
		unsigned rcpt; /* bits */
	} ack[JOB_ACKS];
	unsigned nack;
};

struct client;

/* The jobs stay the caller's. No faults of its own when calm. */
struct client *client_create(
	struct world *w, const char *ip, struct job *job, unsigned njob);
void client_calm(struct client *c);
int client_done(const struct client *c); /* everything is acknowledged */
void client_destroy(struct client **c);  /* its connection has ended */
int client_idle(const struct client *c); /* no connection */
