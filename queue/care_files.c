/* care_files - directories that care makes: beside their place first, then put
 * there whole. */
#include "queue/care_private.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "mta/base/check.h"

#define INSIDE "umbra.part"

/* What may be in a directory that care made, in the order in which it is put
 * in place: with the last one it is whole. */
static const char *const parts[] = {
	COMPACT_FILE, LMDB_LOCK, "bodies", "damaged", DATA_FILE, CARE_MANIFEST};

enum err care_say(const char *dir, const char *name, int code, struct buf *why)
{
	buf_addf(
		why, "%s%s%s: %s", dir, *name ? "/" : "", name, strerror(code));
	if (code == ENOSPC || code == EDQUOT)
		buf_addf(why, "; make room on its file system (df %s)", dir);
	else if (code == EROFS)
		buf_adds(why, "; its file system is mounted read-only");
	return err_from_errno(code);
}

/* An administrator makes files for the user that the daemon runs as. */
static int give_to(int fd, struct care_owner o)
{
	return geteuid() == 0 ? fchown(fd, o.uid, o.gid) : 0;
}

struct care_owner care_owner_of(const char *dir)
{
	struct stat st;

	if (stat(dir, &st) != 0)
		return (struct care_owner){geteuid(), getegid()};
	return (struct care_owner){st.st_uid, st.st_gid};
}

int care_create(int dir, const char *name, struct care_owner o)
{
	int fd = openat(dir, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	if (fd >= 0 && (fchmod(fd, 0600) != 0 || give_to(fd, o) != 0)) {
		int code = errno;

		close(fd);
		unlinkat(dir, name, 0);
		errno = code;
		return -1;
	}
	return fd;
}

int care_write_all(int fd, struct span s)
{
	while (s.n) {
		ssize_t n = write(fd, s.p, s.n);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -1;
		s = span_skip(s, (size_t)n);
	}
	return 0;
}

int care_mkdir(int dir, const char *name, struct care_owner o)
{
	int fd, rc;

	if (mkdirat(dir, name, 0700) != 0)
		return errno == EEXIST ? 0 : -1;
	fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return -1;
	rc = fchmod(fd, 0700) == 0 ? give_to(fd, o) : -1;
	close(fd);
	return rc;
}

enum err care_give(const char *dir, struct care_owner o, struct buf *why)
{
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	int code = fd < 0 || give_to(fd, o) != 0 ? errno : 0;

	if (fd >= 0)
		close(fd);
	return code ? care_say(dir, "", code, why) : ERR_OK;
}

enum err care_write(const char *dir, const char *name, struct span text,
	struct care_owner o, struct buf *why)
{
	int at = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC), fd, code = 0;

	fd = at < 0 ? -1 : care_create(at, name, o);
	if (fd < 0 || care_write_all(fd, text) != 0 || fsync(fd) != 0)
		code = errno;
	if (fd >= 0)
		close(fd);
	if (at >= 0)
		close(at);
	return code ? care_say(dir, name, code, why) : ERR_OK;
}

/* --- walking -------------------------------------------------------------- */

/* Calls fn for each entry of the directory name of dir; a missing one has
 * none. 0 or an errno. A link is followed only where an administrator named
 * it: what is inside may be another user's, who must not lead us (root) to
 * where that user may not go. */
static int each(int dir, const char *name, int (*fn)(int dir, const char *name))
{
	int fd = openat(dir, name,
		    O_RDONLY | O_DIRECTORY | O_CLOEXEC |
			    (dir == AT_FDCWD ? 0 : O_NOFOLLOW)),
	    code;
	struct dirent *e;
	DIR *d;

	if (fd < 0)
		return errno == ENOENT ? 0 : errno;
	d = fdopendir(fd);
	if (!d) {
		code = errno;
		close(fd);
		return code;
	}
	code = 0;
	while (code == 0 && (e = readdir(d)))
		if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
			code = fn(dirfd(d), e->d_name);
	closedir(d);
	return code;
}

static int remove_file(int dir, const char *name)
{
	return unlinkat(dir, name, 0) == 0 || errno == ENOENT ? 0 : errno;
}

static int remove_dir(int dir, const char *name)
{
	return unlinkat(dir, name, AT_REMOVEDIR) == 0 || errno == ENOENT
		       ? 0
		       : errno;
}

static int remove_tree(int dir, const char *name)
{
	int code = each(dir, name, remove_file);

	return code == ENOTDIR ? remove_file(dir, name)
	       : code          ? code
			       : remove_dir(dir, name);
}

static int sync_one(int dir, const char *name)
{
	int fd = openat(
		    dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC),
	    code;

	if (fd < 0)
		return errno;
	code = fsync(fd) == 0 ? 0 : errno;
	close(fd);
	return code;
}

static int sync_up(const char *path)
{
	struct buf up;
	int code;

	buf_init(&up, 8192);
	buf_addf(&up, "%s/..", path);
	code = sync_one(AT_FDCWD, buf_str(&up));
	buf_fini(&up);
	return code;
}

enum err care_remove(const char *dir, struct buf *why)
{
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC),
	    code = 0;

	if (fd < 0 && errno == ENOENT)
		return ERR_OK;
	if (fd < 0)
		return care_say(dir, "", errno, why);
	code = each(fd, "bodies", remove_tree);
	if (code == ENOTDIR) /* it goes with the parts */
		code = 0;
	for (size_t i = 0; code == 0 && i < countof(parts); i++)
		code = remove_tree(fd, parts[i]);
	close(fd);
	if (code == 0)
		code = remove_dir(AT_FDCWD, dir);
	return code ? care_say(dir, "", code, why) : ERR_OK;
}

enum err care_sync(const char *dir, struct buf *why)
{
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC), code;

	if (fd < 0)
		return care_say(dir, "", errno, why);
	code = each(fd, "bodies", sync_one);
	for (size_t i = 0; code == 0 && i < countof(parts); i++) {
		code = sync_one(fd, parts[i]);
		if (code == ENOENT)
			code = 0;
	}
	if (code == 0)
		code = fsync(fd) == 0 ? 0 : errno;
	close(fd);
	return code ? care_say(dir, "", code, why) : ERR_OK;
}

/* --- putting in place ----------------------------------------------------- */

static int not_ours(int dir, const char *name)
{
	(void)dir;
	return strcmp(name, INSIDE) == 0 || strcmp(name, "lost+found") == 0
		       ? 0
		       : ENOTEMPTY;
}

/* Only the last part of the path is made: who may look into the others is not
 * ours to say. */
static enum err above(struct span dir, struct buf *why)
{
	struct buf up;
	enum err e = ERR_OK;

	while (dir.n && dir.p[dir.n - 1] != '/')
		dir.n--;
	while (dir.n > 1 && dir.p[dir.n - 1] == '/')
		dir.n--;
	if (!dir.n)
		return ERR_OK;
	buf_init(&up, dir.n + 1);
	buf_add(&up, dir);
	if (access(buf_str(&up), F_OK) != 0 && errno == ENOENT) {
		buf_addf(why,
			"there is no directory %s; type: install -d -m 700 %s",
			buf_str(&up), buf_str(&up));
		e = ERR_EXISTS;
	}
	buf_fini(&up);
	return e;
}

/* Beside a directory that is not there yet; inside of one that is, which may
 * be the root of a file system. */
enum err care_part(const char *dir, struct buf *part, struct buf *why)
{
	size_t n = strlen(dir);
	enum err e;
	int code;

	while (n > 1 && dir[n - 1] == '/')
		n--;
	buf_add(part, span(dir, n));
	if (access(dir, F_OK) != 0 && errno == ENOENT) {
		e = above(buf_span(part), why);
		if (e != ERR_OK)
			return e;
		buf_adds(part, ".part");
		return care_remove(buf_str(part), why);
	}
	code = each(AT_FDCWD, dir, not_ours);
	if (code == ENOTEMPTY) {
		buf_addf(why,
			"%s is not empty: name a directory that does not exist "
			"or has nothing in it",
			dir);
		return ERR_EXISTS;
	}
	if (code)
		return care_say(dir, "", code, why);
	buf_adds(part, "/" INSIDE);
	return care_remove(buf_str(part), why);
}

static int move_up(const char *part, const char *dir)
{
	int from = open(part, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int to = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int code = from < 0 || to < 0 ? errno : 0;

	for (size_t i = 0; code == 0 && i < countof(parts); i++)
		if (renameat(from, parts[i], to, parts[i]) != 0 &&
			errno != ENOENT)
			code = errno;
	if (code == 0)
		code = remove_dir(to, INSIDE);
	if (code == 0)
		code = fsync(to) == 0 ? 0 : errno;
	if (from >= 0)
		close(from);
	if (to >= 0)
		close(to);
	return code;
}

enum err care_place(const char *part, const char *dir, struct buf *why)
{
	int code;

	if (access(dir, F_OK) == 0)
		code = move_up(part, dir);
	else if (rename(part, dir) != 0)
		code = errno;
	else
		code = sync_up(dir);
	return code ? care_say(dir, "", code, why) : ERR_OK;
}
