/* disks - what lies on the disks of a world's relays, and the rules about it.
 *
 * A record is read as a relay would read it: whose message it is, and which
 * generation of owner that is. Words are those of queue/owner.h. Rules that
 * are broken are faults of the world.
 */
#pragma once

#include "tests/sim/world.h"

struct lying { /* one record on one disk */
	unsigned relay;
	struct msg_id id;
	struct mid mid; /* seq 0: no copy is ever made of it */
	uint32_t gen;
	int own;          /* that relay's to deliver */
	unsigned targets; /* bits of relays that may hold a copy */
};

struct disks {
	struct lying *v;
	size_t n;
};

void disks_read(struct disks *d, const struct world *w);
void disks_fini(struct disks *d);

/* One record on r's disk; -1: it is not there. */
int disks_by_id(const struct relay *r, struct msg_id id, struct lying *x_r);
int disks_by_mid(
	const struct relay *r, const struct mid *mid, struct lying *x_r);
/* The record of mid on r's disk; 0: none. */
struct msg_id disks_find(const struct relay *r, const struct mid *mid);
/* r's disk has mid as the mid of a record of that id. */
int disks_has_mid(
	const struct relay *r, struct msg_id id, const struct mid *mid);

/* Pairs of owners of one message. */
unsigned disks_twice_owned(const struct world *w);
/* Nobody else may own what somebody owns, in the same generation; at rest also
 * in no other. */
void disks_check_owners(struct world *w, int rest, const char *when);
/* What has an identity and an owner here lies on another disk as well, or is
 * known to be finished there (the owner's was rolled back); before:
 * what was read a while ago (what is younger may still be on its way). */
void disks_check_copies(
	struct world *w, const struct disks *before, const char *when);
/* Nothing at all is left. */
void disks_check_empty(struct world *w);
size_t disks_messages(const struct world *w);
