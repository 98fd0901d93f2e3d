/* store_lmdb - the cover of LMDB; no other file knows it.
 *
 * A commit of LMDB is an fdatasync of the data and a write of a meta page
 * through a descriptor opened with O_DSYNC. A failed one is never tried again:
 * what a file system says about the same pages the second time cannot be
 * believed. The exception is a full device, which LMDB meets before it has
 * synced anything.
 */
#include <errno.h>
#include <fcntl.h>
#include <lmdb.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "mta/base/check.h"
#include "queue/store_private.h"

#define MAP_SIZE ((size_t)1 << 40)

enum { LMDB_LOCK_SIZE = 8192 }; /* with its default number of readers */

struct span id_key(struct key *k, uint64_t id)
{
	put_be(k->b, id, KEY_ID);
	return span((const char *)k->b, KEY_ID);
}

struct span piece_key(struct key *k, uint64_t id, uint64_t piece)
{
	put_be(k->b, id, KEY_ID);
	put_be(k->b + KEY_ID, piece, KEY_PIECE - KEY_ID);
	return span((const char *)k->b, KEY_PIECE);
}

/* LMDB only reads through the pointer of a value that it is given. */
static MDB_val val(struct span s)
{
	union {
		const char *in;
		void *out;
	} u = {s.p};

	return (MDB_val){s.n, u.out};
}

enum err db_err(int rc)
{
	switch (rc) {
	case 0:
		return ERR_OK;
	case MDB_MAP_FULL:
		return ERR_NOSPACE;
	case MDB_NOTFOUND:
		return ERR_NOTFOUND;
	case MDB_CORRUPTED:
	case MDB_PAGE_NOTFOUND:
	case MDB_INVALID:
	case MDB_INCOMPATIBLE:
	case MDB_BAD_VALSIZE:
		return ERR_CORRUPT;
	case MDB_VERSION_MISMATCH:
		return ERR_VERSION;
	case MDB_PANIC:
		return ERR_IO;
	case MDB_TXN_FULL:
		return ERR_LIMIT;
	default:
		return rc > 0 ? err_from_errno(rc) : ERR_INTERNAL;
	}
}

void db_explain(struct store *s, int rc, struct buf *why)
{
	const char *dir = s->dir.path;

	switch (rc) {
	case MDB_INVALID:
	case MDB_CORRUPTED:
	case MDB_PAGE_NOTFOUND:
	case EINVAL:
	case ENOMEM: /* a page number that is garbage asks for a huge map */
		buf_addf(why,
			"%s/" DATA_FILE " is damaged (%s). Restore %s from a "
			"backup, or keep it for recovery and start with an "
			"empty queue: mv %s %s.damaged",
			dir, mdb_strerror(rc), dir, dir, dir);
		break;
	case MDB_VERSION_MISMATCH:
		buf_addf(why,
			"%s/" DATA_FILE " was written by another version of "
			"LMDB; drain the queue with the version that wrote it",
			dir);
		break;
	default:
		if (rc < 0)
			buf_addf(why, "%s/" DATA_FILE ": %s", dir,
				mdb_strerror(rc));
		else
			dir_explain(&s->dir, DATA_FILE, rc, why);
	}
}

/* LMDB's first write is two pages. A file that is shorter was never a
 * database: the creation of it was cut off, before anything was accepted. */
static void drop_unborn(const struct store *s)
{
	struct stat st;
	struct buf path;

	buf_init(&path, 4200);
	buf_addf(&path, "%s/data.mdb", s->dir.path);
	if (stat(buf_str(&path), &st) == 0 && S_ISREG(st.st_mode) &&
		st.st_size < 2 * sysconf(_SC_PAGESIZE))
		unlink(buf_str(&path));
	buf_fini(&path);
}

/* LMDB opens its data file so that programs which are started inherit it. */
static int keep_to_ourselves(const struct store *s)
{
	int fd, rc = mdb_env_get_fd(s->env, &fd);

	if (rc == 0 && fcntl(fd, F_SETFD, FD_CLOEXEC) != 0)
		rc = errno;
	return rc;
}

/* LMDB makes its lock file a hole and writes to it through a map, which on a
 * full device ends the process by SIGBUS. So it gets its octets before: 0, or
 * the errno of no room. What else is wrong with it LMDB will say; some file
 * systems cannot do this at all. (Before LMDB has it open: its locks are
 * POSIX's, and would end with this descriptor.) */
static int allocate_lock(const struct store *s)
{
	int fd = openat(s->dir.fd, LMDB_LOCK,
		O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600);
	int rc = fd < 0 ? errno : posix_fallocate(fd, 0, LMDB_LOCK_SIZE);

	if (fd >= 0)
		close(fd);
	return rc == ENOSPC || rc == EDQUOT ? rc : 0;
}

static int make_lock(struct store *s, struct buf *why)
{
	int rc = allocate_lock(s);

	if (rc && dir_release(&s->dir))
		rc = allocate_lock(s);
	if (rc)
		dir_explain(&s->dir, LMDB_LOCK, rc, why);
	return rc;
}

enum err db_open(struct store *s, struct buf *why)
{
	int rc = make_lock(s, why), dead;

	if (rc)
		return db_err(rc);
	drop_unborn(s);
	if ((rc = mdb_env_create(&s->env)) == 0 &&
		(rc = mdb_env_set_mapsize(s->env, MAP_SIZE)) == 0 &&
		(rc = mdb_env_set_maxdbs(s->env, DB_COUNT)) == 0 &&
		(rc = mdb_env_open(s->env, s->dir.path,
			 MDB_NOMEMINIT | MDB_NOTLS | MDB_NORDAHEAD, 0600)) ==
			0 &&
		(rc = keep_to_ourselves(s)) == 0)
		rc = mdb_reader_check(s->env, &dead);
	if (rc == 0)
		rc = mdb_txn_begin(s->env, NULL, MDB_RDONLY, &s->read);
	if (rc) {
		db_explain(s, rc, why);
		return rc == EINVAL || rc == ENOMEM ? ERR_CORRUPT : db_err(rc);
	}
	mdb_txn_reset(s->read);
	return ERR_OK;
}

enum err db_peek(struct store *s, struct buf *why)
{
	struct stat st;
	struct buf path;
	int rc;

	buf_init(&path, 4200);
	buf_addf(&path, "%s/data.mdb", s->dir.path);
	rc = stat(buf_str(&path), &st);
	buf_fini(&path);
	if (rc != 0 || st.st_size < 2 * sysconf(_SC_PAGESIZE))
		return ERR_NOTFOUND;
	if ((rc = mdb_env_create(&s->env)) == 0 &&
		(rc = mdb_env_set_maxdbs(s->env, DB_COUNT)) == 0 &&
		(rc = mdb_env_open(s->env, s->dir.path,
			 MDB_RDONLY | MDB_NOTLS | MDB_NORDAHEAD, 0600)) == 0)
		rc = mdb_txn_begin(s->env, NULL, MDB_RDONLY, &s->read);
	if (rc)
		db_explain(s, rc, why);
	return db_err(rc);
}

void db_close(struct store *s)
{
	if (s->read)
		mdb_txn_abort(s->read);
	if (s->env)
		mdb_env_close(s->env);
	s->read = NULL;
	s->env = NULL;
}

enum err db_table(struct store *s, struct MDB_txn *t, unsigned db, int create)
{
	static const char *const name[DB_COUNT] = {
		"env", "body", "status", "meta", "damaged", "notes"};

	return db_err(
		mdb_dbi_open(t, name[db], create ? MDB_CREATE : 0, &s->db[db]));
}

enum err db_empty(struct MDB_txn *t, int *empty_r)
{
	MDB_dbi all;
	MDB_stat st = {0};
	int rc = mdb_dbi_open(t, NULL, 0, &all);

	if (rc == 0)
		rc = mdb_stat(t, all, &st);
	*empty_r = st.ms_entries == 0;
	return db_err(rc);
}

/* A reader that is no reader is "-"; the others say the commit that they read
 * as the third word of a line. */
static int on_reader(const char *line, void *arg)
{
	uint64_t *oldest = arg, v;
	struct span s = span_str(line), word = {0};

	for (int i = 0; i < 3; i++) {
		size_t n = 0;

		while (s.n && (*s.p == ' ' || *s.p == '\n'))
			s = span_skip(s, 1);
		while (n < s.n && s.p[n] != ' ' && s.p[n] != '\n')
			n++;
		word = span_head(s, n);
		s = span_skip(s, n);
	}
	if (span_u64(word, UINT64_MAX, &v) == 0 && v < *oldest)
		*oldest = v;
	return 0;
}

uint64_t db_tree_pages(const MDB_stat *st)
{
	return st->ms_branch_pages + st->ms_leaf_pages + st->ms_overflow_pages;
}

/* The pages in use are those of all trees, the two of the head and the free
 * list's own; what else the file has is free. */
static int count_pages(struct store *s, struct store_load *l)
{
	MDB_stat st;
	int rc = 0;

	l->pages_used = 2;
	for (MDB_dbi i = 0; rc == 0 && i < 2; i++) { /* free list, names */
		rc = mdb_stat(s->read, i, &st);
		l->pages_used += rc ? 0 : db_tree_pages(&st);
	}
	for (unsigned i = 0; rc == 0 && i < DB_COUNT; i++) {
		rc = mdb_stat(s->read, s->db[i], &st);
		l->pages_used += rc ? 0 : db_tree_pages(&st);
	}
	return rc;
}

enum err db_load(struct store *s, struct store_load *l_r)
{
	uint64_t oldest = UINT64_MAX;
	MDB_envinfo info;
	MDB_stat st;
	int dead, rc = mdb_env_info(s->env, &info);

	/* A reader that was killed would keep its pages for ever. */
	if (rc == 0)
		rc = mdb_reader_check(s->env, &dead);
	/* Before our own reading begins. */
	if (rc == 0 && (rc = mdb_env_stat(s->env, &st)) == 0)
		rc = mdb_reader_list(s->env, on_reader, &oldest) < 0;
	if (rc == 0 && (rc = mdb_txn_renew(s->read)) == 0) {
		rc = count_pages(s, l_r);
		mdb_txn_reset(s->read);
	}
	if (rc) {
		l_r->pages_used = 0;
		return ERR_IO;
	}
	l_r->page_size = st.ms_psize;
	l_r->pages_file = info.me_last_pgno + 1;
	l_r->pages_map = info.me_mapsize / st.ms_psize;
	if (oldest < info.me_last_txnid)
		l_r->reader = info.me_last_txnid - oldest;
	return ERR_OK;
}

static void fail(struct store *s, enum err e, const char *said)
{
	struct buf b;

	if (atomic_load(&s->failed) != ERR_OK)
		return;
	buf_init(&b, sizeof s->fail_text);
	buf_addf(&b,
		"%s/" DATA_FILE ": %s; whether the last write is on disk is "
		"unknown; look at the kernel's log (dmesg) and start again: "
		"what was acknowledged is recovered",
		s->dir.path, said);
	if (b.full) /* of a very long path */
		buf_adds((buf_clear(&b), &b), said);
	memcpy(s->fail_text, buf_str(&b), b.n);
	buf_fini(&b);
	atomic_store(&s->failed, e);
}

enum err db_count(struct MDB_txn *t, unsigned db, uint64_t *n_r)
{
	MDB_stat st = {0};
	int rc = mdb_stat(t, db, &st);

	*n_r = st.ms_entries;
	return db_err(rc);
}

enum err db_begin(struct store *s, struct MDB_txn **t_r)
{
	int rc = mdb_txn_begin(s->env, NULL, 0, t_r);

	if (rc)
		fail(s, db_err(rc), mdb_strerror(rc));
	return db_err(rc);
}

/* A short write is how a device gets full, or a quota is used up; at that point
 * nothing has been synced, and the transaction is as if it had never been. LMDB
 * calls it EIO, but no call has failed: errno is as it was. After an error that
 * the device tells, also from the sync, it is EIO. How much room there is now
 * would be no answer: somebody may have made some since. (A short write of a
 * meta page leaves LMDB's environment unusable: the next transaction says so.)
 */
static int commit(struct MDB_txn *t)
{
	int rc;

	errno = 0;
	rc = mdb_txn_commit(t);
	return rc == EIO && errno == 0 ? ENOSPC : rc;
}

enum err db_end(struct store *s, struct MDB_txn *t, enum err e)
{
	int rc;

	if (e != ERR_OK) {
		mdb_txn_abort(t);
		if (e == ERR_NOSPACE) /* only the map can be full before */
			atomic_store(&s->full, 2);
		else
			fail(s, e, err_text(e));
		return e;
	}
	rc = commit(t);
	e = db_err(rc);
	if (e == ERR_NOSPACE)
		atomic_store(&s->full, rc == MDB_MAP_FULL ? 2 : 1);
	else if (e != ERR_OK)
		fail(s, e, mdb_strerror(rc));
	return e;
}

void db_read_ahead(struct store *s, int on)
{
	MDB_envinfo info;
	MDB_stat st;

	if (mdb_env_info(s->env, &info) != 0 || mdb_env_stat(s->env, &st) != 0)
		return;
	if (info.me_mapaddr)
		(void)madvise(info.me_mapaddr,
			(info.me_last_pgno + 1) * st.ms_psize,
			on ? MADV_NORMAL : MADV_RANDOM);
}

enum err db_read(struct store *s)
{
	return db_err(mdb_txn_renew(s->read));
}

void db_read_end(struct store *s)
{
	mdb_txn_reset(s->read);
}

enum err db_get(
	struct MDB_txn *t, unsigned db, struct span key, struct span *v_r)
{
	MDB_val k = val(key), v;
	int rc = mdb_get(t, db, &k, &v);

	if (rc == 0)
		*v_r = span(v.mv_data, v.mv_size);
	return db_err(rc);
}

enum err db_put(struct MDB_txn *t, unsigned db, struct span key, struct span v)
{
	MDB_val k = val(key), data = val(v);

	return db_err(mdb_put(t, db, &k, &data, 0));
}

enum err db_append(
	struct MDB_txn *t, unsigned db, struct span key, struct span v)
{
	MDB_val k = val(key), data = val(v);
	int rc = mdb_put(t, db, &k, &data, MDB_APPEND);

	if (rc == MDB_KEYEXIST) /* not above all others */
		return db_put(t, db, key, v);
	return db_err(rc);
}

enum err db_del(struct MDB_txn *t, unsigned db, struct span key)
{
	MDB_val k = val(key);

	return db_err(mdb_del(t, db, &k, NULL));
}

enum err db_cursor_open(struct MDB_txn *t, unsigned db, struct db_cursor *c_r)
{
	*c_r = (struct db_cursor){0};
	return db_err(mdb_cursor_open(t, db, &c_r->c));
}

void db_cursor_close(struct db_cursor *c)
{
	if (c->c)
		mdb_cursor_close(c->c);
	c->c = NULL;
}

enum err db_move(struct db_cursor *c, enum db_move how)
{
	static const MDB_cursor_op op[] = {
		[DB_FIRST] = MDB_FIRST,
		[DB_LAST] = MDB_LAST,
		[DB_NEXT] = MDB_NEXT,
		[DB_PREV] = MDB_PREV,
		[DB_SEEK] = MDB_SET_RANGE,
	};
	MDB_val k = val(c->key), v;
	int rc = mdb_cursor_get(c->c, &k, &v, op[how]);

	if (rc == 0) {
		c->key = span(k.mv_data, k.mv_size);
		c->v = span(v.mv_data, v.mv_size);
	}
	return db_err(rc);
}
