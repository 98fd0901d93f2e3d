/* db_stage - the way of imported messages into the daemon: put, some at a time,
 * into import/ of its directory (queue/staged.h), which it is asked to take in.
 * For mta/cli/db_import.c.
 *
 * The daemon is also asked before anything is put there. While something is
 * short (mta/pressure) that is said, and waited for. What is put there takes a
 * small part of the room that there is.
 */
#pragma once

#include "mta/cli/db.h"

/* In memory that the processes which read share. The first five are the
 * caller's to set, all else is nought. */
struct stage {
	const struct request *r;
	const char *data, *socket; /* the daemon's directory and door */
	struct db_walk *w;         /* that reads: hears why it ends */
	uint8_t sid[16];           /* of the database that is read */
	int at;                    /* data */
	struct care_owner owner;
	unsigned n; /* staged now */
	uint64_t octets, most;
	uint64_t taken, here, had, damaged; /* what the daemon said */
	int status;                         /* of asking it */
	int waits;                          /* that it waits was said */
};

/* Opens data and clears import/. 0; -1: cannot be opened; or an errno. */
int stage_open(struct stage *x);
/* Of a message that is whole; with m->fault set afterwards it was not, and is
 * not staged. ERR_CANCELED: why was said, or is in w; other errors: in w. */
enum err stage_put(struct stage *x, struct care *c, struct care_message *m);
/* Everything that is staged goes in. */
enum err stage_flush(struct stage *x);
/* It ends here, for now: EX_TEMPFAIL, with these words in w. ERR_CANCELED. */
enum err stage_end(struct stage *x, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
/* Calls fn; when it has ended, or this process and those that read have, by
 * whatever signal, import/ is cleared. What fn gave. */
int stage_sweep(struct stage *x, int (*fn)(void *arg), void *arg);
