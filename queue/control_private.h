/* control_private - what the files of queue/ share about administrators'
 * orders; for them only.
 *
 *   control.c  messages: suspended, removed, redirected, ...
 *   orders.c   next hops that are suspended, and their notes
 *   change.c   who waits until changes are durable
 *   peek.c     what is seen without the disk
 *
 * Orders come first wherever a leg finds its place (leg_ready, leg_defer): a
 * leg of a message that is to be removed is LEG_EXPIRED, one of a message that
 * is suspended LEG_PARKED.
 */
#pragma once

#include "queue/message.h"

/* --- messages ------------------------------------------------------------- */

/* What its records say, before it has legs: at intake, at start. */
void message_orders(struct queue *q, struct message *m,
	const struct envelope *e, const struct status *s);
int message_leased(const struct message *m); /* some leg of it is */
/* A leg of it is in q->expired, and nobody is to hear of it: it goes, or l
 * waits for what is leased. */
void message_remove(struct queue *q, struct leg *l);
/* A lease of it was settled: what waited for that is removed. */
void message_removing(struct queue *q, struct message *m);

/* Suspends it at the start, when nothing of it is leased. An order to remove it
 * with notice is off: making that notice may be what crashes the program. What
 * is suspended already keeps its reason. */
enum changed message_poison(
	struct queue *q, struct msg_id id, struct span reason);

/* --- looking (peek.c, list.c) --------------------------------------------- */

/* The first message above id, or &q->messages; the next call goes on there. */
struct list *message_after(struct queue *q, struct msg_id id);
const char *leg_state_name(const struct leg *l);
uint64_t leg_due(const struct leg *l); /* loop_now; 0: none */

/* message.c: ours, and it is, or is not, to be delivered; its legs are the
 * caller's. */
void message_set_barred(struct queue *q, struct message *m, int barred);

/* --- legs and hops (nexthop.c) -------------------------------------------- */

void leg_count_in(struct queue *q, struct leg *l); /* rates */
void leg_count_out(struct queue *q, struct leg *l);
void message_set_priority(struct message *m, enum priority p);
struct leg *hop_next_ready(struct nexthop *h); /* whose turn it is, or NULL */
int hop_open(const struct nexthop *h);         /* may be leased from */
void hop_set_ready(struct queue *q, struct nexthop *h); /* tried at once */
void hop_set_suspended(struct queue *q, struct nexthop *h, int yes);

/* --- waiting for changes -------------------------------------------------- */

/* For a status_write; NULL for NULL. */
struct own *change_own(struct queue *q, struct message *m, struct change *c);
/* It waits for a delete, with the others (NULL: none) that do; then they hear
 * what came of it. */
struct waiter *change_wait(struct waiter *others, struct own *own);
void change_tell(struct waiter *w, enum err e);
/* It waits for the status of m that is on its way; there is one. */
void status_write_join(struct message *m, struct own *own);
void change_add(struct change *c); /* one more; c may be NULL in both */
void change_drop(struct change *c, enum err e);
void changes_run(struct queue *q);
void changes_fini(struct queue *q); /* all that are left are over */

/* --- next hops' notes ----------------------------------------------------- */

/* Before there is any hop. */
enum err orders_load(struct queue *q, struct buf *why) must_use;
void orders_fini(struct queue *q);
/* A write that found no room: once more, or given up. */
void orders_again(struct store_op *op);
void orders_drop(struct store_op *op);
int is_suspended_hop(struct queue *q, struct span key);

/* poison.c: messages at which the program crashed (doing.h). Says with what
 * the last run ended; is its record not to be read at all; suspends the
 * others; an administrator lets one go. */
void poison_begin(struct queue *q);
int poison_unreadable(struct queue *q, struct msg_id id);
void poison_suspend(struct queue *q);
void poison_forget(struct queue *q, struct msg_id id);
