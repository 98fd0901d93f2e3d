/* doing - messages that the program was at work on when it crashed, so that one
 * that crashes it is known at the next start and set aside (poison) instead of
 * crashing it for ever.
 *
 * What a thread is at work on is noted with crash_at (mta/base/crash.h) and
 * one of the words below. When the program crashes, the store writes that into
 * umbra.doing in its directory, without a sync: the octets outlive the
 * process, and a power cut, which loses them, is no message's fault. kill -9
 * leaves no trace, and the out-of-memory killer's choice says nothing about a
 * message either.
 *
 * At the next start the message is a culprit, with the number of crashes; one
 * that has as many as queue.poison_after says is poison.
 */
#pragma once

#include <stdint.h>

#include "mta/base/crash.h"
#include "mta/base/id.h"
#include "mta/base/span.h"

enum work_on {
	WORK_NONE,
	WORK_RECOVERY, /* its records are read at the start */
	WORK_READING,  /* its records are read */
	WORK_ROUTING,
	WORK_DELIVERY, /* it is converted or sent, a reply about it is read */
	WORK_REPORT,   /* a notice about it is made */
	WORKS,
};

enum { DOING_MAGIC = 0xd014, CULPRITS = 32 };

struct culprit {
	uint64_t id;   /* 0: none */
	uint64_t wall; /* of the start after the last crash */
	uint32_t crashes, what, signal, spare;
};

struct doing {                  /* as it is in the file */
	uint32_t magic, signal; /* signal 0: no crash since */
	struct crash_at at;
	struct culprit culprit[CULPRITS]; /* the newest first */
};

/* What a file held, or nothing: d is ready for use. When it tells of a crash
 * the message is entered among the culprits, and given back; else NULL. */
const struct culprit *doing_init(
	struct doing *d, struct span file, uint64_t wall);
/* How often and how it was at work at a crash, or NULL. */
const struct culprit *doing_culprit(const struct doing *d, struct msg_id id);
/* Somebody looked at it: it starts from nought. 1: it was there. */
int doing_forget(struct doing *d, struct msg_id id);
/* "while it was sent to its next hop" */
const char *work_text(uint32_t what);
/* "SIGSEGV" */
const char *signal_text(uint32_t signal);
