/* import - messages of another database, taken over from it as if its node had
 * been a peer that is gone for good: the door for `umbra db import`.
 *
 * A message keeps its identity (MID). One that never had one gets one that no
 * node gives out: of that database, INC 0, and its queue id there. So it is
 * known again when it is imported twice, as long as it is here and for 7 days
 * after it is finished; and peers who hold it, took it over, or finished it in
 * the last 7 days are asked before it is delivered (R8, CLAIM).
 *
 * A run takes in what the client has put into import/ of our directory
 * (queue/staged.h), one run at a time, many messages at once, so that they
 * share commits. What blocks is done on pool threads. What is there takes up
 * room already, and is taken in at any level of pressure; the answer says
 * whether more may come, and the client waits before it puts more there.
 */
#pragma once

#include "mta/shadow/shadow.h"

/* --- a run (import_run.c) ------------------------------------------------- */

struct import_counts {     /* all but failed have left import/ */
	uint64_t taken;    /* in the queue, durable */
	uint64_t here;     /* was in the queue, ours or a copy that we hold */
	uint64_t finished; /* was here and is done with */
	uint64_t damaged;  /* not whole */
	uint64_t failed;   /* could not be taken in: why, of the first */
	enum err why;
	const char *waits; /* what is short ("disk space of the queue"; static),
			      so that no more is to come now; NULL: nothing */
};

/* done fires once, never inside the call. ERR_CANCELED: the node stops, some
 * were not begun; another error: import/ cannot be read. ERR_BUSY of the call:
 * there is a run. */
typedef void import_done(void *arg, enum err e, const struct import_counts *c);
enum err import_start(struct shadow *s, import_done *done, void *arg) must_use;
/* Nobody waits any more: done does not fire, what has begun ends, no more is
 * begun, and what is left is removed. Harmless without a run. */
void import_forget(struct shadow *s);

/* --- one message (import.c) ----------------------------------------------- */

enum import_known {
	IMPORT_NEW,      /* not known here; or lost here: damaged, set aside */
	IMPORT_HERE,     /* in the queue, ours or a copy that we hold */
	IMPORT_FINISHED, /* was here */
	IMPORT_BUSY,     /* coming in just now: it may still fail */
	IMPORT_UNKNOWN,  /* cannot be looked up now */
};

/* The identity of e, whose database is sid. */
struct mid import_mid(const struct envelope *e, const uint8_t sid[16]);

struct import {
	void (*done)(struct import *i, enum err e);
	struct shadow *s; /* from here on the room's own */
	struct copy *copy;
	struct intake intake;
	struct trace_id trace;
	uint64_t size;
};
/* IMPORT_NEW: it is coming in from now on (to all others IMPORT_BUSY), and
 * either shadow_import or import_cancel follows; the struct is the caller's
 * until then. Else there is nothing to follow. */
enum import_known import_begin(
	struct shadow *s, struct import *i, const struct mid *m) must_use;
void import_cancel(struct import *i);
/* The struct is the caller's until done, which fires once, never inside the
 * call; with an error nothing remains. e, st and body are read during the call
 * only. e->id is ours, e->mid that of import_begin. */
void shadow_import(struct import *i, struct envelope *e, struct status *st,
	struct body *body);
