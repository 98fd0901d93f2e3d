/* lmdb_care - opening a database beside or instead of its daemon, how full it
 * is, and copies of it. */
#include <errno.h>
#include <fcntl.h>
#include <lmdb.h>
#include <sys/fsuid.h>
#include <sys/stat.h>
#include <unistd.h>

#include "queue/store_private.h"

#define MAP_SIZE ((size_t)1 << 40)

static int open_tables(struct store *s, unsigned *have_r, enum err *e_r)
{
	MDB_txn *t;
	int rc = mdb_txn_begin(s->env, NULL, MDB_RDONLY, &t);

	*have_r = 0;
	*e_r = ERR_OK;
	if (rc)
		return rc;
	for (unsigned i = 0; *e_r == ERR_OK && i < DB_COUNT; i++) {
		*e_r = db_table(s, t, i, 0);
		if (*e_r == ERR_OK)
			*have_r |= 1u << i;
		else if (*e_r == ERR_NOTFOUND)
			*e_r = ERR_OK;
	}
	/* Handles that a transaction opened stay open only when it commits. */
	return mdb_txn_commit(t);
}

/* LMDB opens its lock file for writing, makes it when there is none, and
 * follows links. The directory may belong to another user than us (root), who
 * must not choose which file that is: it is opened with that user's rights. */
static int open_beside(struct store *s, unsigned flags)
{
	int rc, uid, gid;
	struct stat st;

	if (fstatat(s->dir.fd, LMDB_LOCK, &st, AT_SYMLINK_NOFOLLOW) != 0) {
		if (errno != ENOENT || fstat(s->dir.fd, &st) != 0)
			return errno;
	} else if (!S_ISREG(st.st_mode) || st.st_nlink != 1) {
		return ELOOP;
	}
	gid = setfsgid(st.st_gid);
	uid = setfsuid(st.st_uid); /* without the right: stays as it is */
	rc = mdb_env_open(s->env, s->dir.path, flags, 0600);
	setfsuid((uid_t)uid);
	setfsgid((gid_t)gid);
	return rc;
}

/* LMDB follows links: what it has opened must be what is in the directory. (Who
 * opened that before looked whether it is a file, which may have changed.) */
static int check_opened(struct store *s)
{
	struct stat ours, there;
	int fd, rc = mdb_env_get_fd(s->env, &fd);

	if (rc == 0 &&
		(fstat(fd, &ours) != 0 || fstatat(s->dir.fd, DATA_FILE, &there,
						  AT_SYMLINK_NOFOLLOW) != 0))
		rc = errno;
	if (rc == 0 &&
		(!S_ISREG(there.st_mode) || ours.st_dev != there.st_dev ||
			ours.st_ino != there.st_ino))
		rc = ELOOP;
	return rc;
}

/* Without LMDB's own lock file when nobody else can have the database: it
 * would have to be made, by whoever looks. */
enum err db_look(
	struct store *s, enum db_look how, unsigned *have_r, struct buf *why)
{
	static const unsigned flags[] = {
		[DB_ALONE] = MDB_RDONLY | MDB_NOLOCK,
		[DB_BESIDE] = MDB_RDONLY,
		[DB_PRIVATE] = MDB_NOMEMINIT | MDB_NOLOCK,
	};
	unsigned flag = flags[how] | MDB_NOTLS | MDB_NORDAHEAD;
	enum err e = ERR_OK;
	int rc;

	if ((rc = mdb_env_create(&s->env)) == 0 &&
		(rc = mdb_env_set_mapsize(s->env, MAP_SIZE)) == 0 &&
		(rc = mdb_env_set_maxdbs(s->env, DB_COUNT)) == 0 &&
		(rc = how == DB_BESIDE ? open_beside(s, flag)
				       : mdb_env_open(s->env, s->dir.path, flag,
						 0600)) == 0 &&
		(rc = check_opened(s)) == 0)
		rc = open_tables(s, have_r, &e);
	if (rc == 0)
		rc = mdb_txn_begin(s->env, NULL, MDB_RDONLY, &s->read);
	if (rc) {
		db_explain(s, rc, why);
		return rc == EINVAL || rc == ENOMEM ? ERR_CORRUPT : db_err(rc);
	}
	mdb_txn_reset(s->read);
	return e;
}

/* The list of free pages is table 0: a value is a count and so many numbers.
 */
static enum err free_pages(MDB_txn *t, uint64_t *n_r)
{
	struct db_cursor c;
	size_t n;
	enum err e = db_cursor_open(t, 0, &c);

	*n_r = 0;
	if (e != ERR_OK)
		return e;
	for (e = db_move(&c, DB_FIRST); e == ERR_OK; e = db_move(&c, DB_NEXT)) {
		if (c.v.n < sizeof n)
			continue;
		memcpy(&n, c.v.p, sizeof n);
		*n_r += n;
	}
	db_cursor_close(&c);
	return e == ERR_NOTFOUND ? ERR_OK : e;
}

enum err db_whole(struct store *s, uint64_t *size_r)
{
	MDB_envinfo info;
	MDB_stat st;
	int rc = mdb_env_info(s->env, &info);

	if (rc == 0)
		rc = mdb_env_stat(s->env, &st);
	if (rc == 0)
		*size_r = (info.me_last_pgno + 1) * st.ms_psize;
	return db_err(rc);
}

enum err db_pages(struct store *s, unsigned have, struct db_pages *p_r)
{
	MDB_stat st;
	MDB_dbi all;
	enum err e = db_read(s);

	*p_r = (struct db_pages){0};
	if (e != ERR_OK)
		return e;
	e = db_err(mdb_dbi_open(s->read, NULL, 0, &all));
	if (e == ERR_OK)
		e = db_err(mdb_stat(s->read, all, &st));
	if (e == ERR_OK) {
		p_r->size = st.ms_psize;
		p_r->used = db_tree_pages(&st);
	}
	for (unsigned i = 0; e == ERR_OK && i < DB_COUNT; i++) {
		if (!(have >> i & 1))
			continue;
		e = db_err(mdb_stat(s->read, s->db[i], &st));
		p_r->used += db_tree_pages(&st);
	}
	if (e == ERR_OK)
		e = free_pages(s->read, &p_r->free);
	db_read_end(s);
	return e;
}

/* Pages that a crash of an old program lost for ever make the compacting copy
 * refuse; the plain one takes them along. */
enum err db_copy(struct store *s, int fd)
{
	int rc = mdb_env_copyfd2(s->env, fd, MDB_CP_COMPACT);

	if (rc == MDB_INCOMPATIBLE) {
		if (ftruncate(fd, 0) != 0 || lseek(fd, 0, SEEK_SET) != 0)
			return err_from_errno(errno);
		rc = mdb_env_copyfd2(s->env, fd, 0);
	}
	return db_err(rc);
}
