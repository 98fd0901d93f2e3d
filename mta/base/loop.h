/* loop - the seam for time, timers, posts and blocking work.
 *
 * One loop is one thread. loop_uv.c is the real one; tests/sim/sim_loop.c has
 * the same functions on a fake clock. Code above never calls libuv, time() or
 * a thread function.
 *
 * Words:
 *   turn    one round of the loop: events of streams, due timers, posts, then
 *           the hooks. "Now" is read once per turn and does not move in it.
 *   now     milliseconds on a clock that never jumps (CLOCK_MONOTONIC); for
 *           every interval.
 *   wall    milliseconds since 1970; for what people read and what is stored.
 *   post    a call handed to another thread's loop, embedded in the caller's
 *           struct; the only way between threads.
 *   hook    a function called at the end of every turn, so that what a turn
 *           has gathered is handed over once (writes, queue operations).
 *   work    a blocking function run on a pool thread, then done() on the loop.
 *
 * Callbacks never run inside the call that asks for them.
 */
#pragma once

#include <stdint.h>

#include "mta/base/err.h"
#include "mta/base/heap.h"
#include "mta/base/list.h"
#include "mta/base/rand.h"

struct loop; /* opaque */

enum err loop_create(struct loop **l_r) must_use;
void loop_run(struct loop *l);  /* until loop_stop() */
void loop_stop(struct loop *l); /* from its own thread, or a post */
/* Everything opened on it must be closed by now: aborts when not. Closes are
 * completed by running the loop until nothing is left. */
void loop_destroy(struct loop **l);

uint64_t loop_now(const struct loop *l);
uint64_t loop_wall(const struct loop *l);
/* Milliseconds read at the call, not once per turn: what a call has cost. */
uint64_t loop_clock(const struct loop *l);
struct rand *loop_rand(struct loop *l);

/* Timer: one shot, embedded. Re-arming a running timer to a later time costs
 * no heap operation. fn may re-arm or free the timer. */
struct timer {
	struct heap_node node;
	uint64_t due; /* what is wanted now; node.key may lie earlier */
	struct loop *loop;
	void (*fn)(struct timer *t);
	int armed;
};

void timer_init(struct timer *t, struct loop *l, void (*fn)(struct timer *));
void timer_start(struct timer *t, uint64_t ms); /* from now, replaces */
void timer_stop(struct timer *t);               /* harmless when not armed */

/* Post: fn(p) runs on l's thread; p is free for use again when fn starts.
 * Posts from one thread keep their order. Thread safe. */
struct post {
	struct post *next;
	void (*fn)(struct post *p);
};

void loop_post(struct loop *l, struct post *p);

/* Hook: fn(h) at the end of each turn until removed. A hook may remove itself
 * from its own fn, but no other hook. */
struct hook {
	struct list node;
	void (*fn)(struct hook *h);
};

void loop_hook(struct loop *l, struct hook *h);
void hook_remove(struct hook *h); /* harmless when not in */

/* Work: run(w) on a pool thread, then done(w) on the loop. Cannot be
 * cancelled; w lives until done. */
struct work {
	void *impl; /* the loop's own */
	struct loop *loop;
	void (*run)(struct work *w);
	void (*done)(struct work *w);
};

void loop_work(struct loop *l, struct work *w);

/* Shared by the real loop and the simulated one (timers.c). */
struct timers {
	struct heap heap;
};
uint64_t timers_next(const struct timers *ts); /* UINT64_MAX: none */
void timers_run(struct timers *ts, uint64_t now);
struct timers *loop_timers(struct loop *l);
