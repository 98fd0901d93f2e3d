/* select - which messages a command is about: ids, a filter, the next hops
 * that were named, or all; walked in slices.
 *
 * A slice ends after SELECT_MS, or sooner when records were read. The walk is
 * in the order of ids and never looks back, so messages that leave or come
 * meanwhile do no harm; those that began to come in after its begin are not in
 * it, whatever the clock says.
 */
#pragma once

#include "mta/ctl/answer.h"
#include "mta/ctl/fields.h"

enum { SELECT_MS = 2 };

struct select {
	struct message_row row;   /* the one that select_next found */
	struct filter *filter;    /* of messages, or NULL */
	struct filter *hop_where; /* of their next hops, or NULL */
	struct span *hop;         /* keys of next hops */
	unsigned nhop;
	struct msg_id *id; /* ids, nid of them; NULL: all messages */
	unsigned nid, next_id;
	struct msg_id at;
	struct msg_id end; /* from here on they are left out; 0: none are */
	uint64_t seen;     /* looked at */
	uint64_t total;    /* to look at, about */
	uint64_t said;     /* loop_now of the last progress note */
	uint64_t ends;     /* loop_clock, of this slice */
	unsigned unread;   /* could not be read, and were left out */
};

void select_init(struct select *s, struct answer *a);
void select_fini(struct select *s);

/* --where for messages: 0, or a status (said). */
int select_where(struct select *s, struct answer *a);
/* Arguments from first on are ids; exactly one of ids, --where and --all must
 * be there. 0, or a status (said): also when one of the ids is not there. */
int select_messages(struct select *s, struct answer *a, unsigned first);
/* Arguments are next hops; or --where for hops, or --all: messages of which
 * some wait there. */
int select_hops(struct select *s, struct answer *a);

/* 1: s->row is the next; 0: this slice is over; -1: there is none. A slice
 * begins with select_slice. */
void select_slice(struct select *s);
int select_next(struct select *s);
/* For people, every few seconds, when it takes long. */
void select_progress(struct select *s, struct answer *a, uint64_t matched);

/* Compiles --where for l: 0 and the filter (NULL: no --where), or a status. */
int where_compile(
	struct answer *a, const struct filter_language *l, struct filter **f_r);
