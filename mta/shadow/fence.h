/* fence - who may take over, and who may deliver: decided here and nowhere
 * else.
 *
 * The local answer knows only what this node has heard (R8, R11). An engine
 * that several nodes share, a lease in it for each owner, can answer instead:
 * both questions are asked often and must be answered from memory.
 *
 * What makes the local lease safe: a holder takes over when it has heard
 * nothing of the owner for takeover_after. The owner counts from the time at
 * which it sent what the holder answered last, which was before the holder
 * heard it, and stops a margin earlier. Both use clocks that never jump; the
 * margin is for clocks that run at different speeds, and for the attempt that
 * was begun just before. After a silence that was longer nothing is delivered
 * of which the holder has not said that it did not take it over.
 *
 * What it cannot prevent: the owner delivers before it must stop, and cannot
 * tell the holder, who takes over and delivers again.
 */
#pragma once

struct shadow;
struct peer;
struct copy;

/* Everything that is held for owner may be taken over now. */
int fence_may_take_over(struct shadow *s, const struct peer *owner);
/* A delivery of c, which is ours, may begin now. */
int fence_may_deliver(struct shadow *s, struct copy *c);
/* p may have thought that we are dead. */
int fence_lapsed(const struct peer *p);
