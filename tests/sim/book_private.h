/* book_private - what book.c writes and the checks read. */
#pragma once

#include "tests/sim/book.h"

enum {
	PARCEL_EVENTS = 64,
	BOOK_PERIODS = 128,
	/* SENT in the log to its record on the disk: D2. Two commits may lie
	 * in between, and 20 ms of waiting for company. */
	RECORD_MS = 20 + 3 * 200,
	/* Whoever is back waits so long for those who may have taken over. */
	BARRIER_MS = 59 * SECOND,
	/* An attempt that had begun may go on to another host. */
	IN_HANDS_MS = 5 * MINUTE,
	/* After a full disk has room again: until the status is written. */
	FULL_MS = 90 * SECOND
};

enum what { TAKEN, SENT };

struct event {
	uint64_t at, begun;
	enum what what;
	unsigned relay, life;
};

/* Which relay took it in, under which id there. */
struct origin {
	uint64_t key;
	unsigned relay;
	struct msg_id id; /* 0: a notice */
};

struct parcel {
	struct origin o;
	char to[64];
	const struct job *job; /* NULL: a notice */
	struct event e[PARCEL_EVENTS];
	unsigned n;
};

struct notice { /* one recipient in one notice of failure */
	uint64_t key;
	struct origin about;
	char to[64];
	const struct job *job;
};

struct doubt {
	uint64_t key, at;
	unsigned relay, life;
	char hop[64];
};

struct move {
	uint64_t key, at;
	unsigned relay; /* whose it is now */
	unsigned gen;
	int silence;   /* because nothing was heard of the owner */
	int given;     /* by its owner: never the reason of a copy */
	unsigned from; /* given: by whom */
};

enum shadowed { COPY_OFF, COPY_PEER, COPY_SOLO };

struct accepted { /* a line of the log, and whether a client read the 250 */
	unsigned relay;
	struct msg_id id;
	uint64_t key, at;
	const struct job *job;
	enum shadowed shadowed;
	int acked;
};

struct refusal { /* 4xx after the data */
	unsigned relay;
	struct msg_id id;
	uint64_t at;
	const struct job *job;
};

struct solo_notice {
	unsigned relay;
	uint64_t at;
	const struct job *job;
};

struct death {
	uint64_t at;
	unsigned connections[WORLD_SITES]; /* ever, at that time */
};

struct period {
	uint64_t from, to;
};

struct change { /* of a disk */
	uint64_t at, since;
	int lost;
};

struct contact { /* a relay's link to another one came up; from itself to
		    itself: it started */
	uint64_t at;
	unsigned from, to;
};

struct machine_book {
	struct death death[BOOK_PERIODS];
	struct period full[BOOK_PERIODS];
	struct change change[BOOK_PERIODS];
	unsigned ndeath, nfull, nchange;
};

struct book {
	struct world *w;
	struct job *job;
	unsigned njob;
	int lease;
	uint64_t hopeless; /* until then nothing is promised */
	unsigned rots;     /* bits of relays */
	struct machine_book m[WORLD_RELAYS];
	struct parcel *parcel;
	struct notice *notice;
	struct doubt *doubt;
	struct move *move;
	struct accepted *accepted;
	struct refusal *refusal;
	struct solo_notice *solo;
	struct contact *contact;
	size_t nparcel, nnotice, ndoubt, nmove, naccepted, nrefusal, nsolo,
		ncontact;
	unsigned copies;
};

struct parcel *book_find(const struct book *b, uint64_t key, struct span to);
/* book_copies.c: extra copies of p, by their reasons. */
void book_check_copies(
	struct book *b, const struct parcel *p, struct pair_facts *f);
