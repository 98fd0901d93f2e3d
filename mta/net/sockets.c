/* sockets - making listening sockets, and keeping those that nobody has
 * opened a listener for yet: reserved ones, and those of the process before
 * this one. */
#include "mta/net/sockets.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "mta/base/check.h"
#include "mta/net/stream_private.h"

struct spare {
	struct list node;
	int fd;
	struct net_addr at;
	char *path; /* of a UNIX socket, else NULL */
	struct path_id id;
};

/* --- making -------------------------------------------------------------- */

static int set(int fd, int level, int option)
{
	int one = 1;

	return setsockopt(fd, level, option, &one, sizeof one);
}

/* TCP_NODELAY: accepted sockets inherit it, a system call saved for each. */
int socket_make(const struct net_addr *at, int backlog)
{
	struct sockaddr_storage ss = sock_from_addr(at);
	int fd = socket(
		ss.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int err;

	if (fd < 0)
		return -errno;
	if (set(fd, SOL_SOCKET, SO_REUSEADDR) == 0 &&
		(!at->v6 || set(fd, IPPROTO_IPV6, IPV6_V6ONLY) == 0) &&
		set(fd, IPPROTO_TCP, TCP_NODELAY) == 0 &&
		bind(fd, (const struct sockaddr *)&ss,
			at->v6 ? sizeof(struct sockaddr_in6)
			       : sizeof(struct sockaddr_in)) == 0 &&
		listen(fd, backlog) == 0)
		return fd;
	err = errno;
	close(fd);
	return -err;
}

struct path_id path_id(const char *path)
{
	struct path_id id = {0};
	struct stat st;

	if (lstat(path, &st) == 0 && S_ISSOCK(st.st_mode)) {
		id.dev = st.st_dev;
		id.ino = st.st_ino;
	}
	return id;
}

int path_is(const char *path, struct path_id id)
{
	struct path_id now = path_id(path);

	return id.ino && now.dev == id.dev && now.ino == id.ino;
}

/* 0 or an errno. Who connects is told whether somebody listens. */
static int dial(const struct sockaddr_un *un)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int err = 0;

	if (fd < 0)
		return errno;
	if (connect(fd, (const struct sockaddr *)un, sizeof *un) != 0)
		err = errno;
	close(fd);
	return err == EAGAIN ? 0 : err; /* many others wait */
}

/* What a process left behind that was killed goes, and nothing else: neither a
 * file that is none of ours nor the socket of a process that listens. The one
 * of our own listener goes too: the new one takes its place. 0 or an errno. */
static int make_way(
	struct net *net, const struct sockaddr_un *un, struct buf *why)
{
	const char *path = un->sun_path;
	struct stat st;
	int err = ECONNREFUSED;

	if (lstat(path, &st) != 0)
		return 0; /* bind says what else may be wrong */
	if (!S_ISSOCK(st.st_mode)) {
		buf_adds(why, "there is a file already, which is no socket: "
			      "move it away, or name another path");
		return EEXIST;
	}
	if (!listener_is_at(net, NULL, path))
		err = dial(un);
	if (err == 0) {
		buf_addf(why,
			"another process does (ss -lxp | grep -F %s): stop it, "
			"or name another path",
			path);
		return EADDRINUSE;
	}
	if (err != ECONNREFUSED && err != ENOENT) {
		buf_addf(why,
			"whether another process does cannot be seen (%s); if "
			"not: rm %s",
			strerror(err), path);
		return err;
	}
	return unlink(path) == 0 || errno == ENOENT ? 0 : errno;
}

/* The socket, or -errno, and perhaps why. */
static int make_local(
	struct net *net, const char *path, unsigned mode, struct buf *why)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	int fd, err;

	if (strlen(path) >= sizeof un.sun_path)
		return -ENAMETOOLONG;
	memcpy(un.sun_path, path, strlen(path));
	err = make_way(net, &un, why);
	if (err)
		return -err;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	if (bind(fd, (const struct sockaddr *)&un, sizeof un) == 0 &&
		chmod(path, mode) == 0 && listen(fd, LOCAL_BACKLOG) == 0)
		return fd;
	err = errno;
	close(fd);
	return -err;
}

static void add_addr(struct buf *out, const struct net_addr *a)
{
	char text[46];

	net_addr_text(a, text);
	buf_addf(out, a->v6 ? "[%s]:%u" : "%s:%u", text, a->port);
}

void socket_explain(const struct net_addr *at, int rc, struct buf *why)
{
	buf_adds(why, "cannot listen on ");
	add_addr(why, at);
	buf_addf(why, ": %s%s", uv_strerror(rc),
		rc == UV_EADDRINUSE ? " (find the other program: ss -ltnp)"
		: rc == UV_EACCES
			? " (ports below 1024 need CAP_NET_BIND_SERVICE)"
		: rc == UV_EADDRNOTAVAIL
			? " (no interface has this address: ip addr)"
			: "");
}

/* --- keeping ------------------------------------------------------------- */

static struct spare *find(
	struct net *net, const struct net_addr *at, const char *path)
{
	list_each (it, &net->sockets) {
		struct spare *s = list_item(it, struct spare, node);

		if (path ? s->path && (strcmp(s->path, path) == 0 ||
					      path_is(path, s->id))
			 : !s->path && net_addr_same(&s->at, at))
			return s;
	}
	return NULL;
}

/* Each holds the net. */
static void keep(
	struct loop *l, int fd, const struct net_addr *at, const char *path)
{
	struct spare *s = x_calloc(1, sizeof *s);

	s->fd = fd;
	s->path = path ? x_strdup(path) : NULL;
	if (path)
		s->id = path_id(path);
	if (at)
		s->at = *at;
	list_append(&net_get(l)->sockets, &s->node);
}

static void drop(struct net *net, struct spare *s)
{
	list_del(&s->node);
	free(s->path);
	free(s);
	net_put(net);
}

int socket_take(struct net *net, const struct net_addr *at)
{
	struct spare *s = find(net, at, NULL);
	int fd = s ? s->fd : -1;

	if (s)
		drop(net, s);
	return fd;
}

/* One that was reserved, or of another process, which may have made it with
 * other permissions. -1: there is none, or its file is gone, so that nobody can
 * find it. */
static int take_local(struct net *net, const char *path)
{
	struct spare *s = find(net, NULL, path);
	int fd = s ? s->fd : -1;

	if (s && !path_is(path, s->id)) {
		close(fd);
		fd = -1;
	}
	if (s)
		drop(net, s);
	return fd;
}

/* The owner of the file may be another one (systemd); then its permissions must
 * be right as they are. 0 or an errno. */
static int set_mode(const char *path, unsigned mode, struct buf *why)
{
	struct stat st;
	int err;

	if ((lstat(path, &st) == 0 && (st.st_mode & 07777) == mode) ||
		chmod(path, mode) == 0)
		return 0;
	err = errno;
	buf_addf(why, "its permissions must be %04o: %s", mode, strerror(err));
	return err;
}

int socket_local(
	struct net *net, const char *path, unsigned mode, struct buf *why)
{
	struct buf more;
	int fd = take_local(net, path), err;

	buf_init(&more, 1024);
	if (fd < 0) {
		fd = make_local(net, path, mode, &more);
	} else if ((err = set_mode(path, mode, &more)) != 0) {
		close(fd);
		fd = -err;
	}
	if (fd < 0)
		buf_addf(why, "cannot listen on %s: %s", path,
			more.n ? buf_str(&more) : uv_strerror(fd));
	buf_fini(&more);
	return fd;
}

static int is_there(struct loop *l, const struct net_addr *at, const char *path)
{
	struct net *net = net_get(l);
	int there = find(net, at, path) || listener_is_at(net, at, path);

	net_put(net);
	return there;
}

/* All addresses instead of one of them, or the other way round: the kernel
 * does not let us have both. */
static int explain_ours(
	struct loop *l, const struct net_addr *at, struct buf *why)
{
	struct net *net = net_get(l);
	struct net_addr ours;
	int overlaps = listener_overlaps(net, at, &ours);

	list_each (it, &net->sockets) {
		struct spare *s = list_item(it, struct spare, node);

		if (!overlaps && !s->path && net_addr_overlaps(&s->at, at)) {
			ours = s->at;
			overlaps = 1;
		}
	}
	net_put(net);
	if (!overlaps)
		return 0;
	buf_adds(why, "cannot listen on ");
	add_addr(why, at);
	buf_adds(why, " while this relay itself listens on ");
	add_addr(why, &ours);
	buf_adds(why, ": nobody can have both; a change from one to the other "
		      "takes a restart");
	return 1;
}

enum err listener_reserve(
	struct loop *l, const struct net_addr *at, int backlog, struct buf *why)
{
	int fd;

	if (at->port == 0 || is_there(l, at, NULL))
		return ERR_OK;
	fd = socket_make(at, backlog);
	if (fd < 0) {
		if (fd != UV_EADDRINUSE || !explain_ours(l, at, why))
			socket_explain(at, fd, why);
		return err_from_uv(fd);
	}
	keep(l, fd, at, NULL);
	return ERR_OK;
}

enum err listener_reserve_local(
	struct loop *l, const char *path, unsigned mode, struct buf *why)
{
	struct net *net;
	int fd;

	if (is_there(l, NULL, path))
		return ERR_OK;
	net = net_get(l);
	fd = socket_local(net, path, mode, why);
	if (fd >= 0)
		keep(l, fd, NULL, path);
	net_put(net);
	return fd < 0 ? err_from_uv(fd) : ERR_OK;
}

void listener_unreserve(struct loop *l)
{
	struct net *net = net_get(l);
	struct spare *s;

	while ((s = list_first(&net->sockets, struct spare, node))) {
		if (s->path && !net->leave_paths && path_is(s->path, s->id))
			unlink(s->path);
		close(s->fd);
		drop(net, s);
	}
	net_put(net);
}

/* --- from and to another process ----------------------------------------- */

static int listens(int fd)
{
	int v = 0, type = 0;
	socklen_t n = sizeof v, m = sizeof type;

	return getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &v, &n) == 0 && v &&
	       getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &m) == 0 &&
	       type == SOCK_STREAM;
}

int sockets_adopt(struct loop *l, int fd)
{
	union {
		struct sockaddr_storage ss;
		struct sockaddr_un un;
	} u = {0};
	char path[sizeof u.un.sun_path + 1] = "";
	socklen_t n = sizeof u - 1;
	struct net_addr at;

	if (!listens(fd) || fcntl(fd, F_SETFD, FD_CLOEXEC) != 0 ||
		getsockname(fd, (struct sockaddr *)&u.ss, &n) != 0) {
		close(fd);
		return -1;
	}
	at = addr_from_sock(&u.ss);
	if (u.ss.ss_family == AF_UNIX)
		memcpy(path, u.un.sun_path, sizeof u.un.sun_path);
	keep(l, fd, &at, u.ss.ss_family == AF_UNIX ? path : NULL);
	return 0;
}

unsigned sockets_of(struct loop *l, int *fd_r, unsigned most)
{
	struct net *net = net_get(l);
	unsigned n = listener_sockets(net, fd_r, most);

	net_put(net);
	return n;
}

void sockets_leave_paths(struct loop *l, int leave)
{
	struct net *net = net_get(l);

	net->leave_paths = leave;
	net_put(net);
}
