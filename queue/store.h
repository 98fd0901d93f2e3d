/* store - durable records of the queue; a seam.
 *
 * store_lmdb.c keeps them in LMDB behind a writer thread, tests/sim/
 * sim_store.c in memory under a simulated disk. Nothing above knows which.
 *
 * Words: an operation (op) puts a message, deletes one, or replaces its
 * status. Operations submitted in one call are committed in one transaction,
 * in their order; a commit takes everything that is ready (natural group
 * commit: the writer commits as soon as the previous commit is done; no
 * timer). done fires on the loop, once, after the commit is durable or has
 * failed, never inside store_submit. With ERR_OK the operation survives any
 * crash.
 *
 * Failures: ERR_NOSPACE (the transaction is gone, the store goes on; deletes
 * keep working, except one submitted in the same call as a put: such a call
 * succeeds or fails as a whole. Notes go with whatever they were submitted
 * with); ERR_IO and every other: the outcome is
 * unknown, all further operations fail with the same, the node must stop
 * (fatal callback).
 *
 * LMDB: default sync flags + NOMEMINIT + NOTLS + NORDAHEAD, 1 TiB map, never
 * resized. Databases env, body, status, notes, meta (schema version, database
 * identity SID, starts, sequences). Keys: 8-byte big-endian id; body: id
 * and 4-byte big-endian chunk number, values of at most 4080 octets.
 * env and status: a record of more than 4080 octets goes on under id + 4-byte
 * piece number, so that no value ever needs two pages side by side.
 */
#pragma once

#include <stdint.h>

#include "mta/base/arena.h"
#include "mta/base/buf.h"
#include "mta/base/err.h"
#include "mta/base/id.h"
#include "mta/base/loop.h"
#include "queue/body.h"
#include "queue/doing.h"

struct store;

enum store_verb { STORE_PUT, STORE_DELETE, STORE_STATUS, STORE_NOTE };

enum { NOTE_KEY_MOST = 64, NOTE_MOST = 4080 };

struct store_op {
	struct store_op *next;
	enum store_verb verb;
	uint8_t in_file; /* PUT: the body is in file id; DELETE: also unlink
			    it */
	uint8_t urgent;  /* somebody waits: as quick as a PUT */
	uint8_t joined;  /* the store's own: next is of the same call */
	struct msg_id id;
	struct span record; /* PUT: envelope, STATUS: status, NOTE: its value
			       (empty: the note goes; NOTE_MOST octets at
			       most); kept by the caller until done */
	union {
		struct {
			struct blob *mem; /* PUT: the body, or NULL (file or
			      none); kept by the caller until done */
			uint64_t size;    /* PUT, DELETE: octets of the body in
					     chunks */
		};
		struct span key; /* NOTE: its name, NOTE_KEY_MOST octets at
				    most; kept by the caller until done */
	};
	uint64_t seq; /* PUT: the number of a message that has copies; 0 none */
	enum err result;
	void (*done)(struct store_op *op); /* on the loop; may free op; NULL:
				 nobody waits, the store frees nothing */
	void *arg;
};

struct store_identity {
	uint8_t sid[16]; /* made with the database */
	uint64_t inc;    /* this start: at random, so that two starts of a
			    copied database are told apart */
	uint64_t next;   /* first free id */
	uint64_t seq;    /* first free sequence number */
};

/* One start of the database: its sequence numbers begin at first and end
 * before the next start's first. seq is written in the transaction of the
 * message that has it, and PUTs are committed in the order of their calls: so
 * every number below the next start's first, and no other, was committed. */
struct store_start {
	uint64_t inc, first;
};

struct store_options {
	const char *dir; /* existing directory; made 0700 if missing */
	struct loop *loop;
	/* On the loop, once: nothing can be written any more. text names the
	 * file and what to do. */
	void (*fatal)(void *arg, enum err e, const char *text);
	void *arg;
};

/* why: for a person: a second process on the directory (its pid), no
 * permission (owner, mode, our uid), a damaged or newer database, no space;
 * each names the file and what to type. */
enum err store_open(struct store **s_r, const struct store_options *o,
	struct buf *why) must_use;
/* Waits for what was submitted, then closes. done callbacks that are still
 * owed fire before it returns. */
void store_close(struct store **s);

void store_identity(const struct store *s, struct store_identity *id_r);
/* Every start of this database, oldest first; the last is this one. */
const struct store_start *store_starts(const struct store *s, unsigned *n_r);

/* The messages that were at work at crashes of this database; what is changed
 * is kept by store_doing_save. crashed_r: of these the one that the last run
 * ended with, or NULL. */
struct doing *store_doing(struct store *s, const struct culprit **crashed_r);
void store_doing_save(struct store *s);

/* first: a list through next. At most one hand-over to the writer per loop
 * turn. Deletes and statuses alone do not wake an idle writer at once: they
 * ride along with the next put, at the latest 20 ms later. */
void store_submit(struct store *s, struct store_op *first);

struct store_stats {
	uint64_t commits, ops; /* transactions, operations in them */
	const char *full;      /* why a put got ERR_NOSPACE last, or NULL */
};
void store_stats(const struct store *s, struct store_stats *st_r);

/* What the store has to do, and the room inside its file. A read of a few
 * pages. ERR_IO: the pages are not known (0), the others are. */
struct store_load {
	uint64_t uncommitted; /* operations that are not on disk yet */
	uint64_t commit_ms;   /* the slowest commit since the last call; one
				 that is under way counts with its time so far,
				 and no less than the one before it, as long as
				 one follows the other: what has only begun
				 proves nothing better */
	uint64_t page_size, pages_file; /* of the file, in use or free */
	uint64_t pages_used, pages_map; /* of these in use; the most there
					   can be */
	uint64_t reader; /* commits since the oldest reader began */
};
enum err store_load(struct store *s, struct store_load *l_r) must_use;

struct store_space { /* octets of the file system */
	uint64_t free, total;
};
enum err store_space(struct store *s, struct store_space *sp_r) must_use;

/* Short read transactions; nothing is held after return. rec_r and the like
 * are copied to a. ERR_NOTFOUND, ERR_CORRUPT, ERR_IO. */
enum err store_read_env(struct store *s, struct msg_id id, struct buf *rec_r);
enum err store_read_status(
	struct store *s, struct msg_id id, unsigned nrcpt, struct buf *rec_r);
enum err store_read_note(struct store *s, struct span key, struct buf *rec_r);
/* The first note whose key is above after (empty: of all); ERR_NOTFOUND at the
 * end. */
enum err store_next_note(struct store *s, struct span after, struct buf *key_r,
	struct buf *rec_r);
/* The whole body in chunks, size octets. */
enum err store_read_body(
	struct store *s, struct msg_id id, uint64_t size, struct blob **mem_r);

/* Whether a store in dir could be opened, as far as that can be seen while
 * another process has it open: ERR_VERSION when it is newer than this program.
 * Changes nothing; no store there is fine. */
enum err store_check(const char *dir, struct buf *why) must_use;
/* Another process has the store in dir open, or what is left of one that dies
 * has: a process with threads has no parent any more before it has closed its
 * files. */
int store_in_use(const char *dir);

/* Start: calls fn for every envelope in id order with its status record
 * (empty: none); fn gives back how many octets of the body are in chunks. Then
 * removes body chunks, status records and body files without an envelope:
 * *orphans_r counts them. */
#define STORE_SIZE_UNKNOWN UINT64_MAX
enum err store_scan(struct store *s,
	uint64_t (*fn)(void *arg, struct msg_id id, struct span env,
		struct span status),
	void *arg, uint64_t *orphans_r) must_use;

/* Puts a damaged message out of the way: its records move to the "damaged"
 * database for later inspection. With it goes the note NOTE_ASIDE: how many
 * starts there were until then (8 octets, big-endian). */
#define NOTE_ASIDE SPAN("d")
enum err store_set_aside(struct store *s, struct msg_id id);

/* Body files: <dir>/bodies/xx/ID. These block; they are called in a
 * loop_work, except unlink which a delete op does. */
enum err store_file_create(struct store *s, uint64_t file, void **h_r);
/* In order: off is where the last write ended. */
enum err store_file_write(void *h, uint64_t off, struct span s);
/* fdatasync, close: the octets are durable; the name is with the commit of the
 * STORE_PUT of the same id. *h is NULL afterwards in any case; with an error
 * the file is still there: store_file_abandon. */
enum err store_file_finish(void **h);
void store_file_abandon(struct store *s, uint64_t file, void **h);
enum err store_file_read(struct store *s, uint64_t file, uint64_t off, char *p,
	size_t n, size_t *got_r);
