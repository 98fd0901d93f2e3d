/* care - looking after a queue's directory from outside the daemon: reading
 * it, copying it, changing a copy. For `umbra db` and its tests.
 *
 * A directory that no daemon has is opened under the daemon's own lock, which
 * keeps one from starting meanwhile; nothing in it is written (but with
 * CARE_CHANGE), so a file system that is mounted read-only will do. One that a
 * daemon has is opened beside it (live): each message is read in a short
 * transaction of its own.
 *
 * A file whose pages are damaged can make LMDB, and with it the calling
 * process, die of a signal. care_guard runs a function in a process of its own,
 * so that its caller lives to say so.
 *
 * Words:
 *   fault    what is wrong with a message (enum care_fault).
 *   orphan   a record or file that belongs to no message: does no harm, and is
 *            removed at the next start.
 *   aside    a damaged message that a start has set aside.
 *
 * One thread; files block. No loop is needed.
 */
#pragma once

#include <stdint.h>

#include "mta/base/arena.h"
#include "mta/base/buf.h"
#include "mta/base/err.h"
#include "queue/envelope.h"

// clang-format off
/* id, name, what it is, what it means and what to do */
#define CARE_FAULTS(X) \
	X(CARE_ENVELOPE, "envelope", "envelopes that cannot be read", \
		"the next start sets them aside; a peer that holds a copy delivers it") \
	X(CARE_STATUS, "status", "statuses that cannot be read", \
		"the next start sets them aside: who was delivered to is unknown; a peer that holds a copy delivers it") \
	X(CARE_BODY, "body", "bodies that are not whole", \
		"set aside when they are tried; a peer that holds a copy delivers it") \
	X(CARE_BODY_SUM, "body_checksum", "bodies whose octets are not those that came", \
		"delivered as they are unless removed; umbra db export writes the others out") \
	X(CARE_FILE, "file", "bodies whose file is missing or not whole", \
		"look for the file in lost+found; else as above") \
	X(CARE_FILE_SUM, "file_checksum", "body files whose octets are not those that came", \
		"as body_checksum")
// clang-format on

enum care_fault {
	CARE_FINE,
#define X(id, name, what, advice) id,
	CARE_FAULTS(X)
#undef X
		CARE_FAULT_COUNT
};

struct care_fault_row {
	const char *name, *what, *advice;
};
extern const struct care_fault_row care_fault_rows[CARE_FAULT_COUNT];

struct care; /* a directory that is open */

struct care_facts {
	const char *dir;
	int live;              /* a daemon has it */
	long pid;              /* of that daemon; 0: not known */
	unsigned owner, group; /* of the directory: uid and gid */
	unsigned schema;
	uint8_t sid[16];
	unsigned starts;
	uint64_t file;      /* octets of data.mdb */
	uint64_t truncated; /* octets that data.mdb lacks at its end */
};

enum care_open_how {
	CARE_ANY,     /* live if it must be */
	CARE_STOPPED, /* ERR_BUSY when a daemon has it */
	CARE_CHANGE,  /* the same, to be changed: the lock file is made when
			 there is none, so that no daemon starts meanwhile */
	CARE_PRIVATE, /* a copy that nobody else knows of: may be changed */
};

/* why: for a person, with what to type. ERR_NOTFOUND: no queue is there;
 * ERR_VERSION: of a newer Umbra; ERR_CORRUPT. */
enum err care_open(struct care **c_r, const char *dir, enum care_open_how how,
	struct buf *why) must_use;
void care_close(struct care **c);
const struct care_facts *care_facts(const struct care *c);

/* A message as it is on disk; everything lives until the next call on c. */
struct care_message {
	struct msg_id id;
	enum care_fault fault; /* of its records, or what care_body found */
	const char *why;       /* with a fault */
	struct span record, status_record; /* as stored; status: n 0 none */
	struct envelope env;               /* without CARE_ENVELOPE */
	struct status status; /* without CARE_STATUS; rcpt NULL: all pending */
	int copy;             /* another node's */
	unsigned pending;
};
/* The first message with an id above after; ERR_NOTFOUND at the end;
 * ERR_CORRUPT: the tree cannot be followed from there. */
enum err care_next(
	struct care *c, struct msg_id after, struct care_message *m_r) must_use;
int care_gone(struct care *c, struct msg_id id); /* it has left by now */

/* Its body piece by piece to fn (NULL: only looked at), which ends it with an
 * error of its own. Then m->fault is what is wrong: with one of the sums all of
 * it has been given, with the others a part. ERR_OK also with a fault. */
enum err care_body(struct care *c, struct care_message *m,
	enum err (*fn)(void *arg, struct span piece), void *arg) must_use;

struct care_rest {
	uint64_t statuses, bodies, files; /* orphans; files: none when live,
			 for they may be messages that are coming in */
	uint64_t aside;                   /* messages set aside */
	uint64_t notes;
	uint64_t used, free; /* octets of pages in use, and of those that can
				be used again */
};
enum err care_rest(struct care *c, struct care_rest *r_r) must_use;

/* Runs fn(arg) in a process of its own, on memory that is a copy except what
 * care_shared gave. Its result; ERR_CORRUPT when a signal ended it (*signal_r;
 * 0: none). What it printed is flushed. */
enum err care_guard(
	enum err (*fn)(void *arg), void *arg, int *signal_r) must_use;
void *care_shared(size_t n); /* zeroed; lives as long as the process */

struct care_owner { /* of what is made; only root can give away */
	unsigned uid, gid;
};

/* Whom files of dir are to belong to: who has dir. */
struct care_owner care_owner_of(const char *dir);
/* A new file in the directory at (a descriptor), 0600; -1 and errno. */
int care_create(int at, const char *name, struct care_owner o);
int care_write_all(int fd, struct span s); /* 0; -1 and errno */
/* The directory, 0700, unless it is there. 0; -1 and errno. */
int care_mkdir(int at, const char *name, struct care_owner o);

/* --- copies --------------------------------------------------------------- */

struct care_copied {
	uint64_t messages, copies; /* of the node; held for others */
	uint64_t files, octets;    /* body files; octets of all files */
	uint64_t left;   /* messages that left while a live one was copied */
	uint64_t faults; /* messages with a fault, copied as they are */
};

/* Writes the database of c and its body files to the new directory to
 * (compacted; synced, but for the directory above). They belong to o, the new
 * directory itself to us until care_give: nobody else reaches into it before it
 * is whole. Of a live one: the messages of one moment, less some that left
 * since. On an error to is as far as it came: care_remove. */
enum err care_copy(struct care *c, const char *to, struct care_owner o,
	struct care_copied *r_r, struct buf *why) must_use;
/* dir, which is ours, belongs to o from now on. */
enum err care_give(
	const char *dir, struct care_owner o, struct buf *why) must_use;
/* Everything in it but the entry in the directory above is durable. */
enum err care_sync(const char *dir, struct buf *why) must_use;
/* Removes a directory that care_copy made; one with something else in it
 * stays. */
enum err care_remove(const char *dir, struct buf *why) must_use;

/* A small file in dir, written and synced. */
enum err care_write(const char *dir, const char *name, struct span text,
	struct care_owner o, struct buf *why) must_use;

/* A directory is made under another name, part, and gets its own when it is
 * whole. dir must not exist or be empty (ERR_EXISTS); what an earlier try left
 * under that name is removed. */
#define CARE_MANIFEST "umbra.manifest" /* is put in place last */
enum err care_part(const char *dir, struct buf *part, struct buf *why) must_use;
enum err care_place(
	const char *part, const char *dir, struct buf *why) must_use;

/* Another identity for a CARE_PRIVATE one: a new SID and no starts; what was
 * this node's own and may have copies elsewhere is owned from now on as if it
 * had been taken over (docs/shadow.md). sid: 16 random octets. *n_r: so many
 * messages. */
enum err care_new_identity(struct care *c, const uint8_t sid[16], uint64_t *n_r,
	struct buf *why) must_use;

/* The status of a message that this node takes over from its owner: of the
 * database sid, one generation higher. 0, or -1: it does not fit. */
int care_take_over(struct care_message *m, const uint8_t sid[16],
	struct arena *a, struct buf *out);

/* Writes data.mdb of a CARE_CHANGE one anew without its free pages. c is as
 * before, of the old file: close it. */
enum err care_compact(
	struct care *c, uint64_t *file_r, struct buf *why) must_use;
