/* wire_give - the line by which an owner gives a message away.
 *
 *   "XSHADOW GIVE MID=" mid " GEN=" n " STATUS=" octets, and so many octets:
 *   the giver's status record (queue/envelope.h), which has its own checksum.
 *
 * The giver has written down, before it says so, that the server owns the
 * message at GEN and that itself holds a copy (R17). The line saves time and
 * carries what happened so far: a holder that does not hear it is told
 * HELD/GEN/itself when it asks.
 *
 * "noted": it is being taken over; the CLAIM that follows on the taker's own
 * link says that this is durable. "gone", "none": finished, or not held here.
 */
#pragma once

#include "mta/shadow/wire.h"

struct wire_give {
	struct mid mid;
	uint32_t gen;    /* above one */
	uint64_t status; /* octets */
};

int wire_give_read(struct span rest, struct wire_give *g_r, const char **why);
void wire_give_write(struct buf *out, const struct wire_give *g);
