/* wait - waiting for changes of the queue to be durable, for a verb that may
 * be left by its client in between. */
#pragma once

#include "mta/base/err.h"
#include "queue/control.h"

struct wait;

/* wait_change: what is given to queue_message_suspend and the like. */
struct wait *wait_begin(struct queue *q);
struct change *wait_change(struct wait *w);
/* Too many are under way: begin no more in this slice. */
int wait_behind(const struct wait *w);
/* 1: all are durable, or e_r says why not; 0: not yet, ask again. No further
 * changes may be made after the first call. */
int wait_end(struct wait *w, enum err *e_r);
/* In any state; *w is NULL afterwards. */
void wait_drop(struct wait **w);
