/* spool - where the octets of one incoming message go.
 *
 * Up to the queue's large_body they gather in one block of memory. Beyond it
 * they go to the message's body file, in pieces that are written on a pool
 * thread while the next piece fills: memory per message stays at two pieces.
 * When both are full, spool_busy is true and the session stops reading until
 * wake is called. The memory is accounted in the queue's budget.
 */
#pragma once

#include "mta/base/loop.h"
#include "queue/queue.h"

enum { SPOOL_FIRST = 8192, SPOOL_HINT = 16384, SPOOL_PIECE = 256 * 1024 };

struct spool {
	struct loop *loop;
	struct queue *queue;
	uint64_t file; /* name of the body file: the message's id */
	uint64_t large;
	struct blob *mem;     /* being filled */
	struct blob *writing; /* being written; NULL: nothing in flight */
	void *handle;         /* open body file */
	uint64_t written;     /* file offset of what comes next */
	uint64_t size;
	uint32_t crc;
	enum err err;    /* the first; later octets are dropped */
	enum err result; /* of the pool thread */
	uint8_t in_file, ended, abandoned, finishing, busy;
	struct work work;
	void (*wake)(struct spool *sp);             /* not busy any more */
	void (*done)(struct spool *sp, enum err e); /* after spool_end */
};

/* hint: the size that the client announced, or 0. */
void spool_init(struct spool *sp, struct loop *l, struct queue *q,
	struct msg_id id, uint64_t hint);
void spool_add(struct spool *sp, struct span data);
int spool_busy(const struct spool *sp);
/* All octets are in. 1: complete (in memory). 0: the file is being made
 * durable, or something is wrong: done fires later, once. */
int spool_end(struct spool *sp);
/* When complete, or after done with ERR_OK: the body, the caller's. */
struct body *spool_take(struct spool *sp);
/* Gives everything up. When it returns 0 a pool thread still works on it:
 * the spool must live until gone(sp); otherwise it is over now. */
int spool_abandon(struct spool *sp, void (*gone)(struct spool *sp));
