/* every - all next hops, over as many slices as it takes; and those that are
 * named by their domain.
 */
#pragma once

#include "mta/base/map.h"
#include "mta/ctl/fields.h"
#include "queue/hops.h"

enum { EVERY_SLICE = 4096 }; /* hops that are looked at in one slice, at most */

/* Every next hop that is there at the begin, and every one that is suspended
 * and has no mail, once; without what goes meanwhile. */
struct every {
	struct hop_walk walk;
	struct span *key; /* suspended at the begin */
	struct map_node *node;
	struct map map; /* of these keys */
	unsigned n, i;
};
/* Twice is wrong; all zero is one that has ended. */
void every_begin(struct every *e, struct answer *a);
/* 1: r is the next, for this turn; 0: there is none. */
int every_next(struct every *e, struct hop_row *r);
void every_end(struct every *e);

/* Before a verb begins: for each argument of the request, and its --hop, that
 * is the domain of next hops with mail, looks for their key. EX_OK;
 * ANSWER_MORE; or a status (said): there are several for one. */
int names_step(struct answer *a);
void names_end(struct answer *a);
/* What an argument, or --hop, stands for: itself when no next hop is for it. */
struct span named_key(const struct answer *a, const char *arg);
