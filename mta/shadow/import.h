/* import - messages of another database, taken over from it as if its node had
 * been a peer that is gone for good: the door for `umbra db import`.
 *
 * A message keeps its identity (MID). One that never had one gets one that no
 * node gives out: of that database, INC 0, and its queue id there. So it is
 * known again when it is imported twice, as long as it is here and for 7 days
 * after it is finished; and peers who hold it, took it over, or finished it in
 * the last 7 days are asked before it is delivered (R8, CLAIM).
 */
#pragma once

#include "mta/shadow/shadow.h"

enum import_known {
	IMPORT_NEW,      /* not known here */
	IMPORT_HERE,     /* in the queue, ours or a copy that we hold */
	IMPORT_FINISHED, /* was here */
	IMPORT_BUSY,     /* coming in just now: it may still fail */
	IMPORT_UNKNOWN,  /* cannot be looked up now */
};

/* The identity of e, whose database is sid. */
struct mid import_mid(const struct envelope *e, const uint8_t sid[16]);
enum import_known import_known(struct shadow *s, const struct mid *m);

/* The struct is the caller's until done, which fires once, never inside the
 * call; with an error nothing remains. e, st and body are read during the call
 * only. e->id is ours, e->mid is import_known's IMPORT_NEW. */
struct import {
	void (*done)(struct import *i, enum err e);
	struct shadow *s; /* from here on the room's own */
	struct copy *copy;
	struct intake intake;
	struct trace_id trace;
	uint64_t size;
};
void shadow_import(struct shadow *s, struct import *i, struct envelope *e,
	struct status *st, struct body *body);
