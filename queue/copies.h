/* copies - messages of which more than one node knows: the part of the queue's
 * door that the shadow room uses.
 *
 * A message with a tag (struct intake, or found() at the start) is somebody's
 * business beside the queue's: its handle m is good until gone(), or until
 * leaving(). It is ours and scheduled, ours and barred (no legs), or a copy of
 * another node's (queue/owner.h). docs/message-life.md: S1 to S4.
 */
#pragma once

#include "queue/queue.h"

void *queue_tag(const struct message *m);
struct msg_id queue_id(const struct message *m);
/* All below that give an enum err read the message's records first. When they
 * are damaged the message is set aside and gone() has been called; when memory
 * is short nothing has changed. */
/* Barred and ours, and not being given away (queue_own): from now on it is
 * delivered. */
enum err queue_unbar(struct queue *q, struct message *m) must_use;
/* Ours: taken out of the schedule. 0; -1 when a part of it is in somebody's
 * hands: nothing has changed, try again when that one is settled. */
int queue_bar(struct queue *q, struct message *m);
/* Its delay notice is being made. */
int queue_noticing(const struct message *m);
/* An administrator has ordered its end. */
int queue_removing(const struct message *m);
/* Barred, or a copy: deletes it, whatever is pending; gone() follows. */
void queue_discard(struct queue *q, struct message *m);

/* A change of who owns m, and of the targets beside the envelope's. done fires
 * once, after it is durable, unless gone() comes first; with an error the node
 * ends. With another owner m is a copy when done is called, and barred and
 * ours with none (node empty). m is barred or a copy at the call, or keeps its
 * owner (o NULL). The struct is the caller's until done. */
struct own {
	struct list node; /* these six are the queue's own */
	struct queue *q;
	struct message *m;
	int set, copy;
	int waits; /* hears of the delete as well: change.c */
	void (*done)(struct own *w, enum err e);
	/* With o: the status that another owner had, to be m's from now on,
	 * but for owner and targets; what is final here stays so. Empty: m
	 * keeps its own. Read during the call. */
	struct span status;
};
enum err queue_own(struct queue *q, struct message *m, struct own *w,
	const struct ownership *o, const struct target *target,
	unsigned ntarget) must_use;
/* Whether record can be m's status in struct own: ERR_OK, and how many
 * recipients would be pending; ERR_SYNTAX with a reason: it cannot, m is as
 * before; others as above. */
enum err queue_own_fits(struct queue *q, struct message *m, struct span record,
	unsigned *pending_r, const char **why_r) must_use;
/* Recipients that were finished by another owner. m is barred or a copy. Not
 * waited for. How many are pending; when none is, it is to be discarded. */
enum err queue_finished(struct queue *q, struct message *m,
	const unsigned *rcpt, unsigned n, unsigned *pending_r) must_use;

/* m's records and body, for somebody who sends it on; must be given back. */
struct copy_view {
	const struct envelope *env;
	const struct status *status; /* rcpt may be NULL: all pending */
	struct blob *record;         /* env as it is stored */
	struct body *body; /* the view's own reference; NULL: not asked for */
	void *held;        /* the queue's own */
};
enum err queue_read(struct queue *q, struct message *m, int with_body,
	struct copy_view *v_r) must_use;
void queue_read_end(struct queue *q, struct copy_view *v);
/* The file of m's body is not there, or is not what was stored: who wants the
 * body next finds m damaged, when nobody has a lease of it (then: ERR_BUSY). */
void queue_bad_copy(struct queue *q, struct message *m);
