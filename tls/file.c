/* file - reading a certificate or key, and saying exactly why it failed.
 *
 * The person who reads these messages has a service that does not start and
 * cannot see what its user may read. So every one names the file, its owner
 * and mode, who we run as, the system's error and, where we know, the command
 * that mends it. Permission trouble is often not in the file but in a
 * directory above it: the first one that stops us is named.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/crypto.h>

#include "mta/base/check.h"
#include "tls/tls_private.h"

void tls_note(struct buf *why)
{
	if (why->n > 0 && why->p[why->n - 1] != ' ' &&
		why->p[why->n - 1] != '\n')
		buf_adds(why, "; ");
}

void tls_add_quoted(struct buf *why, const char *path)
{
	static const char plain[] = "abcdefghijklmnopqrstuvwxyz"
				    "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
				    "0123456789/._-+=:@%,";

	if (*path && *path != '-' && path[strspn(path, plain)] == '\0') {
		buf_adds(why, path);
		return;
	}
	buf_addc(why, '\'');
	for (; *path; path++) {
		if (*path == '\'')
			buf_adds(why, "'\\''");
		else
			buf_addc(why, *path);
	}
	buf_addc(why, '\'');
}

static void add_user(struct buf *why, uid_t uid)
{
	struct passwd pw, *found = NULL;
	char mem[2048];

	if (getpwuid_r(uid, &pw, mem, sizeof mem, &found) == 0 && found)
		buf_adds(why, pw.pw_name);
	else
		buf_addu(why, uid);
}

static void add_group(struct buf *why, gid_t gid)
{
	struct group gr, *found = NULL;
	char mem[8192];

	if (getgrgid_r(gid, &gr, mem, sizeof mem, &found) == 0 && found)
		buf_adds(why, gr.gr_name);
	else
		buf_addu(why, gid);
}

/* "(owner root:root, mode 0600; running as uid 998)" */
static void add_facts(struct buf *why, const struct stat *st)
{
	buf_adds(why, "(owner ");
	add_user(why, st->st_uid);
	buf_addc(why, ':');
	add_group(why, st->st_gid);
	buf_addf(why, ", mode %04o; running as uid %u)",
		(unsigned)st->st_mode & 07777, (unsigned)geteuid());
}

/* The first directory on the way to path that we cannot go through: its errno
 * and its name in dir; 0 when the way is free. */
static int find_blocked(const char *path, char dir[PATH_MAX])
{
	size_t n = strlen(path);

	if (n >= PATH_MAX)
		return 0;
	for (size_t i = 1; i < n; i++) {
		if (path[i] != '/')
			continue;
		memcpy(dir, path, i);
		dir[i] = '\0';
		if (faccessat(AT_FDCWD, dir, X_OK, AT_EACCESS) != 0)
			return errno;
	}
	return 0;
}

static int in_our_groups(gid_t gid)
{
	gid_t list[256];
	int n;

	if (gid == getegid())
		return 1;
	n = getgroups((int)countof(list), list);
	for (int i = 0; i < n; i++) {
		if (list[i] == gid)
			return 1;
	}
	return 0;
}

/* The command that lets us read (a file) or enter (a directory): what is
 * missing of owner, group and mode, and no more. */
static void add_remedy(
	struct buf *why, const char *path, const struct stat *st, int secret)
{
	int dir = S_ISDIR(st->st_mode);
	unsigned bit = dir ? 1 : 4;
	int owner = st->st_uid == geteuid();
	int ours = in_our_groups(st->st_gid);
	unsigned class = owner ? 6 : ours ? 3 : 0;

	if (st->st_mode & bit << class) {
		/* Not the mode, then: a list or a policy above it. */
		buf_adds(why, " although its mode allows it: an access list, "
			      "AppArmor, SELinux or a sandbox of the service "
			      "forbids it. Type: getfacl ");
		tls_add_quoted(why, path);
		return;
	}
	buf_adds(why, ". Type: ");
	if (secret && !owner && !ours) {
		buf_adds(why, "chgrp ");
		add_group(why, getegid());
		buf_addc(why, ' ');
		tls_add_quoted(why, path);
		buf_adds(why, " && ");
	}
	buf_adds(why, "chmod ");
	if (owner)
		buf_adds(why, dir ? "u+x" : "u+r");
	else if (dir)
		buf_adds(why, secret ? "750" : "755");
	else
		buf_adds(why, secret ? "640" : "644");
	buf_addc(why, ' ');
	tls_add_quoted(why, path);
}

static void explain_denied(struct buf *why, const char *path, int secret)
{
	char dir[PATH_MAX];
	struct stat st;

	if (find_blocked(path, dir)) {
		buf_addf(why, ": directory %s ", dir);
		if (stat(dir, &st) == 0) {
			add_facts(why, &st);
			buf_addf(why, ": %s", strerror(EACCES));
			add_remedy(why, dir, &st, secret);
			return;
		}
	} else if (stat(path, &st) == 0) {
		buf_addc(why, ' ');
		add_facts(why, &st);
		buf_addf(why, ": %s", strerror(EACCES));
		add_remedy(why, path, &st, secret);
		return;
	}
	/* A symbolic link into a place that is closed to us. */
	buf_addf(why,
		" (running as uid %u): %s somewhere on the way. Type: "
		"namei -l ",
		(unsigned)geteuid(), strerror(EACCES));
	tls_add_quoted(why, path);
}

static void explain_missing(struct buf *why, const char *path)
{
	char dir[PATH_MAX], link[PATH_MAX];
	const char *slash = strrchr(path, '/');
	ssize_t n = readlink(path, link, sizeof link - 1);

	if (find_blocked(path, dir)) {
		buf_addf(why, ": the directory %s does not exist", dir);
		return;
	}
	if (n > 0) {
		buf_addf(why,
			": it is a symbolic link to %.*s, which does not "
			"exist",
			(int)n, link);
		return;
	}
	buf_addf(why, ": %s. Type: ls -l ", strerror(ENOENT));
	if (slash && slash > path && (size_t)(slash - path) < sizeof dir) {
		memcpy(dir, path, (size_t)(slash - path));
		dir[slash - path] = '\0';
		tls_add_quoted(why, dir);
	} else {
		buf_adds(why, slash ? "/" : ".");
	}
}

static enum err cannot_read(const char *what, const char *path, int secret,
	int code, struct buf *why)
{
	tls_note(why);
	buf_addf(why, "cannot read %s %s", what, path);
	if (code == EACCES)
		explain_denied(why, path, secret);
	else if (code == ENOENT)
		explain_missing(why, path);
	else
		buf_addf(why, " (running as uid %u): %s", (unsigned)geteuid(),
			strerror(code));
	return ERR_CONFIG;
}

static enum err check_kind(const char *what, const char *path,
	const struct stat *st, struct buf *why)
{
	const char *text = NULL;

	if (S_ISDIR(st->st_mode))
		text = "it is a directory; name the file in it";
	else if (!S_ISREG(st->st_mode))
		text = "it is not a regular file";
	else if (st->st_size == 0)
		text = "it is empty";
	else if (st->st_size > TLS_FILE_MAX)
		text = "it is larger than 4 MiB";
	if (!text)
		return ERR_OK;
	tls_note(why);
	buf_addf(why, "cannot use %s %s: %s", what, path, text);
	return ERR_CONFIG;
}

/* One allocation of the right size: growing would leave copies of a key in
 * freed memory. */
static enum err read_all(struct tls_file *f, int fd, size_t size, int *code)
{
	f->p = malloc(size);
	if (!f->p)
		return ERR_NOMEM;
	while (f->n < size) {
		ssize_t n = read(fd, f->p + f->n, size - f->n);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			*code = errno;
			return ERR_IO;
		}
		if (n == 0)
			break;
		f->n += (size_t)n;
	}
	return ERR_OK;
}

enum err tls_file_read(struct tls_file *f, const char *what, const char *path,
	int secret, struct buf *why)
{
	enum err e;
	struct stat st;
	int code = 0;
	/* O_NONBLOCK: a FIFO put there must not hang the start. */
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);

	*f = (struct tls_file){0};
	if (fd < 0)
		return cannot_read(what, path, secret, errno, why);
	if (fstat(fd, &st) != 0) {
		e = cannot_read(what, path, secret, errno, why);
		close(fd);
		return e;
	}
	e = check_kind(what, path, &st, why);
	if (e == ERR_OK) {
		e = read_all(f, fd, (size_t)st.st_size, &code);
		if (e == ERR_IO)
			e = cannot_read(what, path, secret, code, why);
	}
	close(fd);
	f->mode = (unsigned)st.st_mode & 07777;
	if (e != ERR_OK)
		tls_file_free(f);
	return e;
}

void tls_file_free(struct tls_file *f)
{
	if (f->p)
		OPENSSL_cleanse(f->p, f->n);
	free(f->p);
	*f = (struct tls_file){0};
}
