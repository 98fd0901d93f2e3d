/* sim_loop - the loop of mta/base/loop.h on a fake clock.
 *
 * Everything is deterministic: time stands still until somebody steps; then
 * it jumps to the next due timer. Turns are as in the real loop: due timers,
 * posts in their order, finished work, then the hooks; again while those made
 * new posts.
 *
 * Many nodes may share one simulated loop. Each then gets a view of it: the
 * same time, timers, posts and hooks, but random numbers, a wall clock and
 * attached pointers of its own. What belongs to all is done on either.
 *
 * loop_run runs until loop_stop, or until nothing is due any more.
 */
#pragma once

#include <stdint.h>

#include "mta/base/loop.h"

enum { SIM_NOW = 1000 };                 /* loop_now at the start */
#define SIM_WALL UINT64_C(1790000000000) /* loop_wall at the start */

struct loop *sim_loop_create(uint64_t seed);
/* A view of base; it goes before base, by loop_destroy. */
struct loop *sim_loop_view(struct loop *base, uint64_t seed);

/* Whether anything is to be done, and when: loop_now of the next turn. */
uint64_t sim_loop_next(const struct loop *l); /* UINT64_MAX: nothing */
/* One turn; time moves to it. 0: there was nothing to do. */
int sim_loop_turn(struct loop *l);
/* Turns until loop_now is ms, and everything due then is done; or until
 * loop_stop. */
void sim_loop_step_until(struct loop *l, uint64_t ms);
void sim_loop_step(struct loop *l, uint64_t ms); /* from now */
/* The wall clock is set (a view's: for it alone, else for all); timers do not
 * notice. */
void sim_loop_shift_wall(struct loop *l, int64_t ms);
uint64_t sim_loop_turns(const struct loop *l);

/* What the other simulated parts attach to a loop, so that they need no
 * globals: each of them has one pointer. A view that has none of its own shows
 * its base's. SIM_USER_ADDR: struct net_addr, the machine's own. */
enum sim_user {
	SIM_USER_NET,
	SIM_USER_DNS,
	SIM_USER_WORLD,
	SIM_USER_ADDR,
	SIM_USER_RELAY,
	SIM_USERS
};
void *sim_loop_user(const struct loop *l, enum sim_user which);
void sim_loop_set_user(struct loop *l, enum sim_user which, void *user);
