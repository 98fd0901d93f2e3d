/* move - mail that is ours is given to a peer (R17): what move.c, give.c and
 * give_in.c share.
 *
 * States of a copy that is to be given (its peer is c->to):
 *
 *   QUEUED: in todo, to be looked at, or in later: not now (in somebody's
 *     hands, not acknowledged yet, not let go after the start); or, of an
 *     order that was stopped, in dropped: not to be given at all, whatever
 *     c->to says, which is put right when somebody comes to it
 *   COPYING: the peer does not hold it: becomes a target, gets a STORE
 *   CEDING: barred, and the peer as its owner is being written down
 *   SENT: the peer owns it, GIVE is on its way; in sent until the peer has
 *     claimed it, which shows that it knows
 *
 * COPYING, CEDING and SENT are what is under way (out). Whatever else happens
 * to the copy is heard by move_changed and ends this.
 */
#pragma once

#include "mta/shadow/private.h"
#include "mta/shadow/wire_give.h"

enum {
	GIVES_MOST = 128,       /* under way; less than CLAIMs may be (R8) */
	GIVE_TURN = 256,        /* looked at in one turn */
	LOOK_TURN = 2000,       /* asked in one turn whether they are ours */
	GIVE_SURE = 10000,      /* ms that a peer may take to claim it */
	GIVE_STATUS = 16 << 20, /* octets of a status that goes with it */
};

enum giving { GIVING_QUEUED, GIVING_COPYING, GIVING_CEDING, GIVING_SENT };

struct move {
	struct peer *p;
	struct list todo, later, sent, dropped; /* struct copy, give */
	uint32_t order; /* of QUEUED copies those of another are dropped */
	struct copy *at, *last; /* what is looked at for this order; at NULL:
				   all of it was */
	int looking;
	uint64_t found;        /* by it, and what there was */
	unsigned out, copying; /* of these: COPYING */
	uint64_t left, given, unsure;
	int all, go_on; /* as ordered; all ends when nothing is left */
	struct timer turn;
};

/* move.c */
void move_gone(struct copy *c); /* it is about to be freed */
/* c becomes st (also before it is freed). */
void move_changed(struct copy *c, enum copy_state st);
void move_claimed(struct copy *c); /* its new owner has shown that it knows */
void move_tick(struct peer *p);
void move_stop(struct peer *p); /* the node ends */
void move_free(struct peer *p);
/* Back among those that wait, from whatever was under way. */
void move_again(struct copy *c, int now);
void move_under_way(struct copy *c, enum giving g);
void move_unsure(struct copy *c); /* SENT, and nobody will say more */

/* give.c: the next step of c, which is QUEUED and in no list. 0: the peer can
 * have no more just now, c is as it was. */
int give_step(struct copy *c);
/* p, whose copy c we hold, asks about it: it does not know that c is its own.
 * 1: it must hear so by GIVE, which is said again when it can be (c may be
 * gone); 0: it may be told in any way. */
int give_again(struct copy *c, struct peer *p);

/* give_in.c: one GIVE that comes in on v. */
struct give_in;
struct give_in *give_in_begin(struct serve *v, const struct wire_give *w);
/* Takes what it wants of in; *end_r: it is complete and answered. */
size_t give_in_data(struct give_in *g, struct span in, int *end_r);
void give_in_free(struct give_in **g);
