/* store_private - what the files behind queue/store.h share (internal).
 *
 *   store_lmdb.c   the cover of LMDB, the only file that knows it
 *   store.c        opening, the identity, closing
 *   store_write.c  what the writer's thread does
 *   store_read.c   reads, the scan at the start, setting aside
 *   store_dir.c    the directory around it: lock, reserve
 *   store_doing.c  what a crash leaves behind
 *   bodyfile.c     bodies that have files of their own
 *   lmdb_care.c    opening beside a daemon, copies (queue/care.h)
 */
#pragma once

#include <stdatomic.h>
#include <stdint.h>

#include "mta/base/be.h"
#include "mta/base/buf.h"
#include "queue/store.h"
#include "queue/writer.h"

enum {
	STORE_MAGIC = 0x57023,
	STORE_CHUNK = 4080, /* with its head, exactly a page of LMDB */
	STORE_SCHEMA = 3,
	STORE_ID_SKIP = 65536,
	RESERVE_SIZE = 1 << 20,
	SUBDIRS = 256, /* of bodies/ */
	KEY_ID = 8,
	KEY_PIECE = 12,
};

#define DATA_FILE "data.mdb"
#define LMDB_LOCK "lock.mdb" /* its own, beside that */
#define LOCK_FILE "umbra.lock"

enum { DB_ENV, DB_BODY, DB_STATUS, DB_META, DB_DAMAGED, DB_NOTES, DB_COUNT };

struct MDB_env;
struct MDB_txn;
struct MDB_cursor;
struct MDB_stat;

/* store_dir - the directory, held by one process. */
struct store_dir {
	char *path;
	int fd, lock;
	int fresh;   /* the directory was made now */
	int reserve; /* the reserve file has its size */
};

enum err dir_open(
	struct store_dir *d, const char *path, struct buf *why) must_use;
void dir_close(struct store_dir *d);
/* The reserve file keeps 1 MiB of the device, so that starting, and deleting,
 * which needs new pages before it frees old ones, work when all else is full.
 */
void dir_reserve(struct store_dir *d); /* makes it, when there is room */
int dir_release(struct store_dir *d);  /* 1: space was given back */
enum err dir_space(
	const struct store_dir *d, struct store_space *sp_r) must_use;
/* Says in words why a file cannot be used: owner, mode, our uid. */
void dir_explain(
	const struct store_dir *d, const char *file, int err, struct buf *why);

struct store {
	unsigned magic;
	struct store_options o;
	struct store_dir dir;
	struct MDB_env *env;
	struct MDB_txn *read; /* the loop's, reset between uses */
	unsigned db[DB_COUNT];
	struct store_identity identity;
	struct writer *writer;
	uint64_t next, seq; /* the writer's: as stored */
	struct store_start *start;
	unsigned nstart;
	struct store_op **dead; /* the writer's: deletes, to be sorted */
	unsigned ndead, dead_cap;
	int turned; /* the writer's: the last commit was one of nothing */
	/* enum err: nothing can be written any more. The text is complete
	 * before it is set. */
	atomic_int failed;
	char fail_text[512];
	int told; /* the loop's: fatal was called */
	atomic_uint_least64_t commits, ops;
	/* loop_clock when the commit under way began, 0: none; the longest
	 * since it was asked for, ms; the last one, 0: long ago. */
	atomic_uint_least64_t commit_began, commit_most, commit_last;
	atomic_int full; /* 1: the device was full, 2: the map */
	atomic_uchar subdir_known[SUBDIRS]; /* bodies/xx is durable */
	struct doing doing;
	const struct culprit *crashed; /* in doing, or NULL */
	int doing_fd;                  /* umbra.doing, or -1 */
};

/* The cover of LMDB. A transaction is never used after db_end. Spans that are
 * given back live until the next change in a write transaction, until
 * db_read_end in a read one. */
enum err db_open(struct store *s, struct buf *why) must_use;
/* Only to look, with s->read begun; ERR_NOTFOUND: there is none. */
enum err db_peek(struct store *s, struct buf *why) must_use;
void db_close(struct store *s);
enum err db_table(
	struct store *s, struct MDB_txn *t, unsigned db, int create) must_use;
enum err db_empty(struct MDB_txn *t, int *empty_r) must_use;
enum err db_count(struct MDB_txn *t, unsigned db, uint64_t *n_r) must_use;

/* Fills what is about pages and readers. */
enum err db_load(struct store *s, struct store_load *l_r) must_use;

enum err db_begin(struct store *s, struct MDB_txn **t_r) must_use;
/* Commits when e is ERR_OK, else aborts; gives e or what came of the commit.
 * Any failure but ERR_NOSPACE ends all writing. */
enum err db_end(struct store *s, struct MDB_txn *t, enum err e) must_use;
enum err db_read(struct store *s) must_use; /* s->read is usable */
void db_read_end(struct store *s);
/* What is read soon lies near: a scan, after which it does not any more. */
void db_read_ahead(struct store *s, int on);

enum err db_get(struct MDB_txn *t, unsigned db, struct span key,
	struct span *v_r) must_use;
enum err db_put(struct MDB_txn *t, unsigned db, struct span key,
	struct span v) must_use;
/* The same, quicker when key is above all others. */
enum err db_append(struct MDB_txn *t, unsigned db, struct span key,
	struct span v) must_use;
enum err db_del(struct MDB_txn *t, unsigned db, struct span key) must_use;

enum db_move { DB_FIRST, DB_LAST, DB_NEXT, DB_PREV, DB_SEEK };
struct db_cursor {
	struct MDB_cursor *c;
	struct span key, v;
};
enum err db_cursor_open(
	struct MDB_txn *t, unsigned db, struct db_cursor *c_r) must_use;
void db_cursor_close(struct db_cursor *c);
/* ERR_NOTFOUND at the end. DB_SEEK goes to c->key or the next after it. */
enum err db_move(struct db_cursor *c, enum db_move how) must_use;

/* lmdb_care.c: for queue/care.h. A shell of a store, without a writer: dir is
 * open, magic is set. */
enum db_look { DB_ALONE, DB_BESIDE, DB_PRIVATE }; /* who else has it open */
/* Opens the file and those of its tables that are there (bits in have_r). */
enum err db_look(struct store *s, enum db_look how, unsigned *have_r,
	struct buf *why) must_use;
struct db_pages {
	uint64_t size, used, free; /* octets of a page; pages */
};
enum err db_whole(struct store *s, uint64_t *size_r) must_use; /* octets that
				       the file has when nothing is missing */
enum err db_pages(
	struct store *s, unsigned have, struct db_pages *p_r) must_use;
/* Everything in use now, page behind page, to fd. */
enum err db_copy(struct store *s, int fd) must_use;
enum err db_err(int rc);
uint64_t db_tree_pages(const struct MDB_stat *st);
void db_explain(struct store *s, int rc, struct buf *why);

/* store_doing.c; without the file there is only nothing to be learned. */
void doing_open(struct store *s);
void doing_close(struct store *s);

struct key {
	uint8_t b[KEY_PIECE];
};
struct span id_key(struct key *k, uint64_t id);
struct span piece_key(struct key *k, uint64_t id, uint64_t piece);

/* store_write.c */
void store_commit(void *arg, struct store_op *first);
void store_committed(void *arg);
/* For a store without a writer: one operation in a transaction of its own; a
 * status in one that is under way. */
enum err store_apply(struct store *s, struct store_op *op) must_use;
enum err store_put_status(
	struct store *s, struct MDB_txn *t, const struct store_op *op) must_use;

/* bodyfile.c */
enum { BODY_NAME = 40 };
void bodyfile_subdir(uint64_t file, char out[static BODY_NAME]);
void bodyfile_name(uint64_t file, char out[static BODY_NAME]);
int bodyfile_make_subdir(struct store *s, uint64_t file); /* 0, or an errno */
/* The file's entry is durable. done, zeroed at first, is of one commit: each
 * directory is synced once in it. */
enum err bodyfile_sync(
	struct store *s, uint64_t file, uint8_t done[static SUBDIRS]) must_use;
enum err bodyfile_unlink(struct store *s, uint64_t file);
/* A damaged message's file goes to damaged/. */
enum err bodyfile_set_aside(struct store *s, uint64_t file);
/* Removes the files for which wanted() is 0; counts them. */
enum err bodyfile_sweep(struct store *s,
	int (*wanted)(void *arg, uint64_t file), void *arg, uint64_t *gone_r);
