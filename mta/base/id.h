/* id - names of things, each its own type so that none passes for another.
 *
 * msg_id: the sequence number of a message in this node's queue, unique in a
 * queue database for ever. People see it in base 32 without I, L, O and U
 * (Crockford), e.g. "1GZ3K8Q2".
 * trace_id: 128 random bits given to a message when it is accepted; the same
 * in every log line on every node and in every fork ("network message id").
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "mta/base/span.h"

struct msg_id {
	uint64_t v; /* nought: none */
};

struct trace_id {
	uint8_t b[16];
};

enum { MSG_ID_TEXT = 14, TRACE_ID_TEXT = 33 }; /* with the NUL */

struct span msg_id_text(struct msg_id id, char out[static MSG_ID_TEXT]);
int msg_id_parse(struct span s, struct msg_id *id_r); /* 0, or -1 */
struct span trace_id_text(struct trace_id id, char out[static TRACE_ID_TEXT]);
int trace_id_parse(struct span s, struct trace_id *id_r);
