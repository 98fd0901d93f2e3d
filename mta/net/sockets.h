/* sockets - listening sockets that pass from one process to the next; not in
 * the simulator.
 *
 * A process that ends for another one keeps the address: the sockets stay
 * open in both, what connects meanwhile waits in the kernel, and nobody is
 * refused. The old process gives the descriptors to the new one when it starts
 * it (sockets_of); the new one takes them in (sockets_adopt) before it opens
 * its listeners, which find them by their address: the kernel says what a
 * descriptor is bound to, so nothing else need be passed on.
 */
#pragma once

#include "mta/base/loop.h"

/* Takes fd over. -1: it is no listening stream socket (and closed). */
int sockets_adopt(struct loop *l, int fd);
/* The descriptors of all open listeners, at most most; they stay theirs. */
unsigned sockets_of(struct loop *l, int *fd_r, unsigned most);
/* From now on closing a listener leaves the path of a UNIX socket alone: the
 * next process listens there. */
void sockets_leave_paths(struct loop *l, int leave);
