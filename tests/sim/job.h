/* job - a message that somebody has to send, and what became of it so far. */
#pragma once

#include <stdint.h>

#include "mta/base/buf.h"
#include "mta/base/id.h"

/* An administrator removed it, perhaps: the order may not have become durable,
 * or come too late. */
enum job_removed { REMOVED_SILENT = 1, REMOVED_NOTIFY = 2 };

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
	unsigned removed; /* enum job_removed: some message of it was */
	struct {
		struct msg_id id;
		unsigned relay;
		unsigned rcpt; /* bits */
	} ack[JOB_ACKS];
	unsigned nack;
};

/* Somebody removed it, perhaps: then nothing needs to have arrived, but with a
 * notice (back: how many there are) its sender was told. */
int job_may_be_missing(const struct job *j, unsigned back);
/* Whose token the text carries, or NULL. */
struct job *job_find(struct job *job, unsigned njob, struct span text);
int job_rcpt(const struct job *j, struct span to); /* its index, or -1 */
/* The octets end with what the client sent; before it only our own field. */
int job_text_is_right(const struct job *j, struct span text);
