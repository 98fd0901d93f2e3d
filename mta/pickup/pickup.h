/* pickup - mail from directories.
 *
 * Two of them, each optional: in the pickup directory a file is a message, and
 * its header says from whom and to whom (mta/smtp/prepare.h); in the replay
 * directory an envelope stands in front (mta/smtp/replay.h). Every
 * `interval` the files whose name ends in .eml are taken, as many as the rate
 * allows.
 * (Looking costs one directory read; a notification from the kernel would need
 * this as well, for what came before it.)
 *
 * A file's name says what became of it:
 *
 *   X.eml      complete: a writer makes it under another name and renames it
 *   X.claimed  in our hands
 *   (gone)     the message is as safe as the policy wants it, or a notice to
 *              its sender is that says why it was refused
 *   X.bad      nobody can be told: the log says why
 *
 * When the relay cannot take it now the file is X.eml again. What is X.claimed
 * when a directory is opened, at the start or later, was in somebody's hands,
 * who may have taken the message or not. When the queue had the message at the
 * start, or this run has taken it, the file is removed; else it is taken (D6 of
 * docs/message-life.md). So that they can be told apart, HELO in the envelope
 * is the file's identity.
 *
 * Whoever can write to such a directory can send under any name, so one that
 * everybody may write to is not used. One process uses it at a time.
 *
 * One loop owns it; directories are read on pool threads (dropdir.h).
 */
#pragma once

#include "mta/base/log.h"
#include "mta/base/loop.h"
#include "mta/conf/conf.h"
#include "mta/shadow/shadow.h"
#include "queue/queue.h"

struct pickup;

struct pickup_options {
	struct loop *loop;
	struct log *log;
	struct queue *queue;
	struct shadow *shadow;
	void *arg;
	/* Why nothing is to be taken now (static), or NULL. */
	const char *(*closed)(void *arg);
};

struct pickup_counts {     /* since the start */
	uint64_t taken;    /* messages */
	uint64_t returned; /* refused, and the sender was told */
	uint64_t bad;      /* set aside */
	uint64_t again;    /* of an earlier run, taken once more */
};

struct pickup *pickup_create(const struct pickup_options *o);
/* For every message that the queue has at the start, before pickup_configure:
 * the file it came from, if it is found claimed at any later time, is removed
 * and not taken once more. */
void pickup_found(struct pickup *p, const struct envelope *e);
/* Applies a snapshot. A directory that cannot be used is in the log, and is
 * tried again at every poll. */
void pickup_configure(struct pickup *p, struct conf *c);
/* Begins with no more files; done(arg) when those in hand are finished, never
 * inside the call. */
void pickup_stop(struct pickup *p, void (*done)(void *arg), void *arg);
/* After done, or when nothing was ever configured. */
void pickup_destroy(struct pickup **p);

void pickup_counts(const struct pickup *p, struct pickup_counts *c_r);
