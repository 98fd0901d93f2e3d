/* fields - what filters can ask of an envelope, by name.
 *
 * These fields are known from the moment a message comes in, so hold rules can
 * use them; the fields of a queued message (mta/ctl/fields.h) begin with them.
 */
#pragma once

#include "mta/base/filter.h"
#include "queue/envelope.h"

/* Where a value comes from; what filter_field.cost says. */
enum field_cost {
	COST_MEMORY,
	COST_WALK = 1, /* over parts of it in memory */
	COST_DISK = 8, /* a record is read */
};

// clang-format off
/* id, name, kind, cost in the queue, meaning */
#define ENVELOPE_FIELDS(X) \
	X(M_SENDER, "sender", TEXT, DISK, "the sender's address; <> for notices") \
	X(M_RECIPIENT, "recipient", TEXT, DISK, "any of its recipients' addresses") \
	X(M_RECIPIENTS, "recipients", NUMBER, MEMORY, "how many recipients it has") \
	X(M_SIZE, "size", SIZE, MEMORY, "octets of header and body") \
	X(M_CONNECTOR, "connector", TEXT, DISK, "the receive connector that took it") \
	X(M_CLIENT, "client", TEXT, DISK, "the address of the client that sent it") \
	X(M_HELO, "helo", TEXT, DISK, "the name the client gave in EHLO or HELO") \
	X(M_MESSAGE_ID, "message_id", TEXT, DISK, "its Message-ID") \
	X(M_TRACE, "trace", TEXT, DISK, "its trace: the same on every node, in every fork") \
	X(M_NOTICE, "notice", FLAG, DISK, "a delivery status notification made here")
// clang-format on

enum envelope_field {
#define X(id, name, kind, cost, what) id,
	ENVELOPE_FIELDS(X)
#undef X
		ENVELOPE_FIELD_COUNT
};

/* As filter_source.get; keep holds what has no memory of its own. */
struct field_keep {
	char text[TRACE_ID_TEXT];
};
int envelope_field(const struct envelope *e, unsigned field, unsigned n,
	struct field_keep *keep, struct filter_value *v_r);
