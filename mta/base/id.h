/* id - names of things, each its own type so that none passes for another.
 *
 * msg_id: the sequence number of a message in this node's queue, unique in a
 * queue database for ever. People see it in base 32 without I, L, O and U
 * (Crockford), e.g. "1GZ3K8Q2".
 * trace_id: 128 random bits given to a message when it is accepted; the same
 * in every log line on every node and in every fork ("network message id").
 * mid: which message a shadow copy is a copy of, on every node and for ever:
 * the database it was accepted into, the run of the program that did it, and
 * its number in that run.
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

struct mid {
	uint8_t sid[16]; /* the queue database, random when it is made */
	uint64_t inc;    /* incarnation: random at each start of the node */
	uint64_t seq;    /* nought: none */
};

enum { MSG_ID_TEXT = 14, TRACE_ID_TEXT = 33, MID_TEXT = 67 }; /* with the NUL */

struct span msg_id_text(struct msg_id id, char out[static MSG_ID_TEXT]);
int msg_id_parse(struct span s, struct msg_id *id_r); /* 0, or -1 */
struct span trace_id_text(struct trace_id id, char out[static TRACE_ID_TEXT]);
int trace_id_parse(struct span s, struct trace_id *id_r);

/* "<sid: 32 hex>:<inc: 16 hex>:<seq: 1 to 16 hex, no leading nought>", lower
 * case. Read in either case; a seq of nought is refused. */
struct span mid_text(const struct mid *m, char out[static MID_TEXT]);
int mid_parse(struct span s, struct mid *m_r); /* 0, or -1: *m_r is as it was */
int mid_eq(const struct mid *a, const struct mid *b);
/* The bytes of *m, as a key of a map in memory (not on disk or in a line:
 * their order is this machine's). Lives as long as *m. */
struct span mid_key(const struct mid *m);
