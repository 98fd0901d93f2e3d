/* book - who got what from which of several relays, and whether that was right.
 *
 * The ledger (tests/sim/ledger.h) of a world in which a message may be
 * delivered by another relay than the one that took it. It is written from
 * the same three sides, and by the world about disks. Words:
 *   key      a message as one relay took it in: a digest of the trace field
 *            that it was given then (of a notice: of its Message-ID). It stays
 *            the same on every disk and with every server.
 *   parcel   one recipient of one key; what happened to it is in order.
 *   life     of one relay, between two of its deaths.
 *   move     a relay took a message over from another one; or was given it,
 *            which is no reason for another copy.
 *
 * At the end (docs/message-life.md; I1, I4, I5 and I6 of the protocol):
 *   - every acknowledged recipient was delivered, or its sender was told when
 *     the next hop refuses it for good; but not when the log said that only
 *     one disk had it (solo) and that disk was lost or rolled back later;
 *   - each extra copy of a parcel has one reason of its own: a doubt that was
 *     logged (D1), a death before the delivery could have been recorded (D2),
 *     a logged move, a disk that was rolled back behind the delivery; with a
 *     lease, no delivery that its old owner began after a move by silence;
 *   - what got 4xx is never delivered, unless the relay died or its disk was
 *     rolled back before that was certain, or the message was moved;
 *   - a key that no client was told of is accounted for by a client that did
 *     not get an answer (D4);
 *   - the text is what the client sent, behind one trace field.
 *
 * At once: a 250 that a client reads was logged before; what was logged as
 * accepted lies on the disks that the line names (I2); what is logged as
 * delivered lies on the disk.
 */
#pragma once

#include "tests/sim/client.h"

struct pair_facts {
	uint64_t hash, lines, bytes;
	unsigned messages, copies, bounces;
	unsigned crashes, failures, losses, restores, rots;
	unsigned moves, solo, solo_lost, refused;
	unsigned drains, drained_starts;
	unsigned given, orders; /* messages; of relays to give all */
	unsigned again[5];      /* extra copies: D1, D2, move, restore, rot */
};

struct book;

/* lease: who may have been taken over by silence delivers nothing. */
struct book *book_create(
	struct world *w, struct job *job, unsigned njob, int lease);
void book_destroy(struct book **b);

void book_took(struct book *b, struct site *s, const struct peer_message *m);
void book_line(struct book *b, struct relay *r, struct span line);
void book_acked(struct book *b, struct relay *r, struct msg_id id);
/* r is dead now. What was done since ms may not be on the disk. */
void book_death(struct book *b, struct relay *r, uint64_t ms);
void book_full(struct book *b, struct relay *r, int yes);
/* r's disk is another one, or is as it was at since. */
void book_lost(struct book *b, struct relay *r);
void book_restored(struct book *b, struct relay *r, uint64_t since);
/* All that was accepted up to now may be lost: no disk is left that has it. */
void book_hopeless(struct book *b);
/* What the relay finds damaged from now on is damaged. */
void book_rots(struct book *b, struct relay *r);
/* Everything is over: finds faults, counts. */
void book_check(struct book *b, struct pair_facts *facts_r);
