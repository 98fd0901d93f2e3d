/* users - the names of this machine's users, asked for as seldom as possible.
 *
 * A name may come from a directory over the network, which takes as long as it
 * takes, and whoever asks has a pool thread meanwhile, which large messages
 * need as well. So everybody who wants to know the same user waits for one
 * look-up, at most LOOKUPS are under way, the others in the order in which they
 * were wanted, and a name is kept for a minute. That a user has none is not
 * kept: the directory may be back at the next try.
 *
 * Internal to receive; one loop owns it.
 */
#pragma once

#include "mta/base/list.h"
#include "mta/base/loop.h"
#include "mta/net/user.h"

enum { LOOKUPS = 2, NAMES_KEPT = 256, NAME_LIFE = 60000 };

struct users;

struct user_wait { /* the caller's, until known or users_forget */
	struct list node;
	char name[USER_NAME]; /* "": none that can be found */
	void (*known)(struct user_wait *w);
};

/* pending(arg, 1) when something begins that the end must wait for,
 * pending(arg, -1) when it is over. */
struct users *users_create(
	struct loop *l, void (*pending)(void *arg, int n), void *arg);
/* Fires known once, never inside the call. */
void users_ask(struct users *u, struct user_wait *w, uint32_t uid);
/* It does not want to know any more; harmless after known. */
void users_forget(struct user_wait *w);
/* Nobody waits, and nothing is pending. */
void users_destroy(struct users **u);
