/* hold - rules that an administrator made: mail that fits one begins
 * suspended, and waits until somebody has looked at it.
 *
 * A rule is a name and a filter over the fields of an envelope
 * (mta/policy/fields.h). Rules are notes of the store, one each: they last
 * until they are removed, over restarts and upgrades. They are asked at the
 * intake of mail that is ours, in the order in which they were made; the first
 * that fits names the reason, "hold rule NAME", and the message is suspended in
 * the same transaction that takes it in. What is in the queue already is not
 * touched by a new rule, nor is what it has held by its removal.
 *
 * A rule whose note cannot be read, or whose filter is none in this version, is
 * broken: it holds nothing, is logged as hold.broken at each start, and stays
 * until it is removed.
 */
#pragma once

#include "mta/base/list.h"
#include "mta/base/log.h"
#include "mta/base/loop.h"
#include "queue/queue.h"

enum { HOLD_RULES_MAX = 64, HOLD_NAME_MAX = 32 };

struct hold;

struct hold_rule {
	struct list node;
	struct span name, where;
	uint64_t made; /* wall */
	uint64_t held; /* messages, since the start */
	int broken;
	struct filter *filter; /* these three are the room's own */
	struct arena mem;
	int changing;
};

struct hold *hold_create(struct loop *l, struct log *log, struct queue *q);
void hold_destroy(struct hold **h);
/* Reads the rules. ERR_IO: why. */
enum err hold_load(struct hold *h, struct buf *why) must_use;

/* struct queue_events, hold: 1 and the reason; 0. */
int hold_check(void *hold, const struct envelope *e, struct buf *reason);

/* In the order in which they were made; NULL at first and at the end. */
const struct hold_rule *hold_next(
	const struct hold *h, const struct hold_rule *after);
const struct hold_rule *hold_find(const struct hold *h, struct span name);
/* "hold rule NAME" */
void hold_reason(struct span name, struct buf *out);

/* What a name or a filter must be: 0, or -1 and why. f_r's memory is in a. */
int hold_check_name(struct span name, struct buf *why);
int hold_compile(struct filter **f_r, struct span where, struct arena *a,
	struct buf *why);

/* A change that somebody waits for; the struct is the caller's until done,
 * which fires once, not inside the call. A rule is in force from the call on.
 * One that is removed holds until its note is gone from the disk; at done with
 * ERR_OK it holds no more, and all that it held is in the queue. With an error
 * (ERR_NOSPACE) all is as it was. */
struct hold_change {
	struct store_op op; /* these five are the room's own */
	struct hold *h;
	struct hold_rule *rule;
	struct buf key, record;
	void (*done)(struct hold_change *c, enum err e);
	void *arg;
};
/* ERR_EXISTS, ERR_LIMIT (too many), ERR_SYNTAX (and why): nothing was begun. */
enum err hold_add(struct hold *h, struct hold_change *c, struct span name,
	struct span where, struct buf *why) must_use;
/* ERR_NOTFOUND; ERR_BUSY: it is being added or removed. */
enum err hold_remove(
	struct hold *h, struct hold_change *c, struct span name) must_use;
