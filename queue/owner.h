/* owner - whose a message is, and which peers may hold a copy of it.
 *
 * Words:
 *   owner    the node that delivers a message. Whoever else has it on disk
 *            holds a copy for the owner.
 *   gen      generation of the ownership: 1 at birth, one more with every
 *            takeover. Of two owners the one with the higher gen is right.
 *   target   a peer that a copy was sent to, or was about to be sent to: it
 *            may hold one. The list is durable before the copy leaves (R2).
 *
 * A node is named as its peers know it (node.name), and by the identity of
 * its database (sid): a node whose sid is another one has lost its disk, and
 * proves nothing about what it held.
 *
 * docs/shadow.md has the protocol and its rules (R1-R17).
 */
#pragma once

#include <stdint.h>

#include "mta/base/arena.h"
#include "mta/base/id.h"
#include "queue/record.h"

struct ownership {
	struct span node; /* empty: this node */
	uint8_t sid[16];  /* of the owner's database then */
	uint32_t gen;     /* 0: no copy was ever made */
};

struct target {
	struct span node; /* empty: none */
	uint8_t sid[16];
};

enum { TARGETS_MAX = 8, NODE_NAME_MAX = 253 };

/* One field each: a run with this tag. */
void owner_encode(
	struct record_writer *w, uint8_t tag, const struct ownership *o);
void target_encode(
	struct record_writer *w, uint8_t tag, const struct target *t);
void mid_encode(struct record_writer *w, uint8_t tag, const struct mid *m);
/* 0, or -1 when it is damaged. Spans point into v. */
int owner_decode(struct span v, struct ownership *o_r);
int target_decode(struct span v, struct target *t_r);
int mid_decode(struct span v, struct mid *m_r);
