/* ledger - who got what, and whether that was right.
 *
 * Written from three sides that do not know of each other: the clients (what
 * was acknowledged), the servers behind the relay (what they took, octet by
 * octet) and the relay's log (sent, in doubt). Words:
 *   parcel  one recipient of one queue id; what happened to it is in order.
 *   life    of the relay, between two crashes or failures; a server knows it
 *           by the connection that something came on.
 *
 * At the end (docs/message-life.md):
 *   - every acknowledged parcel was taken, or its sender got it back when the
 *     next hop refuses this recipient for good, and never both;
 *   - a parcel was taken again only when the relay had logged it in doubt
 *     (D1), or crashed before it could have recorded the delivery (D2);
 *   - a queue id that no client was told of is accounted for by a client that
 *     did not get an answer (D4);
 *   - the text is what the client sent, behind the relay's trace field.
 */
#pragma once

#include "tests/sim/client.h"
#include "tests/sim/scenario.h"

struct ledger;

struct ledger *ledger_create(struct world *w, struct job *job, unsigned njob);
void ledger_destroy(struct ledger **l);

void ledger_took(
	struct ledger *l, struct site *s, const struct peer_message *m);
void ledger_line(struct ledger *l, struct span line);
/* The relay is dead now. What was done since ms may not be on the disk. */
void ledger_crash(struct ledger *l, uint64_t ms);
void ledger_full(struct ledger *l, int yes); /* no status can be written */
/* Everything is over: finds faults, counts. */
void ledger_check(struct ledger *l, struct random_facts *facts_r);
