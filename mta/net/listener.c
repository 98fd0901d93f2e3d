/* listener - connecting, listening, and addresses as the kernel has them. */
#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "mta/base/check.h"
#include "mta/net/stream_private.h"

enum { LISTENER_MAGIC = 0x115e };

struct net_addr addr_from_sock(const struct sockaddr_storage *ss)
{
	struct net_addr a = {0};

	if (ss->ss_family == AF_INET) {
		const struct sockaddr_in *in = (const void *)ss;

		memcpy(a.b, &in->sin_addr, 4);
		a.port = ntohs(in->sin_port);
	} else if (ss->ss_family == AF_INET6) {
		const struct sockaddr_in6 *in = (const void *)ss;

		a.v6 = !IN6_IS_ADDR_V4MAPPED(&in->sin6_addr);
		if (a.v6)
			memcpy(a.b, &in->sin6_addr, 16);
		else
			memcpy(a.b, (const char *)&in->sin6_addr + 12, 4);
		a.port = ntohs(in->sin6_port);
	}
	return a;
}

struct sockaddr_storage sock_from_addr(const struct net_addr *a)
{
	struct sockaddr_storage ss = {0};

	if (a->v6) {
		struct sockaddr_in6 *in = (void *)&ss;

		in->sin6_family = AF_INET6;
		in->sin6_port = htons(a->port);
		memcpy(&in->sin6_addr, a->b, 16);
	} else {
		struct sockaddr_in *in = (void *)&ss;

		in->sin_family = AF_INET;
		in->sin_port = htons(a->port);
		memcpy(&in->sin_addr, a->b, 4);
	}
	return ss;
}

struct net_addr stream_peer(const struct stream *s)
{
	return s->peer;
}

static struct net_addr tcp_local(const uv_tcp_t *tcp)
{
	struct sockaddr_storage ss = {0};
	int len = sizeof ss;

	if (uv_tcp_getsockname(tcp, (struct sockaddr *)&ss, &len) != 0)
		return (struct net_addr){0};
	return addr_from_sock(&ss);
}

struct net_addr stream_local(const struct stream *s)
{
	return tcp_local(&s->h.tcp);
}

int net_addr_ours(const struct net_addr *addr)
{
	struct net_addr a = net_addr_unmapped(addr);
	struct ifaddrs *list, *it;
	int ours = 0;

	if (getifaddrs(&list) != 0)
		return 0;
	for (it = list; it && !ours; it = it->ifa_next) {
		struct sockaddr_storage ss = {0};
		struct net_addr mine;

		if (!it->ifa_addr ||
			(it->ifa_addr->sa_family != AF_INET &&
				it->ifa_addr->sa_family != AF_INET6))
			continue;
		memcpy(&ss, it->ifa_addr,
			it->ifa_addr->sa_family == AF_INET
				? sizeof(struct sockaddr_in)
				: sizeof(struct sockaddr_in6));
		mine = addr_from_sock(&ss);
		ours = net_addr_eq(&a, &mine);
	}
	freeifaddrs(list);
	return ours;
}

/* --- connecting ---------------------------------------------------------- */

static void on_connect(uv_connect_t *u, int status)
{
	struct connect *c = container_of(u, struct connect, uv);
	struct stream *s = u->data;

	if (s->state == CLOSING)
		return; /* on_close tells */
	if (status < 0) {
		c->err = err_from_uv(status);
		stream_shut(s);
		return;
	}
	s->connect = NULL;
	s->state = OPEN;
	timer_stop(&s->deadline);
	c->cb(s->ev.arg, s, ERR_OK);
	free(c);
	if (s->state == OPEN)
		stream_reading(s, 1);
}

struct stream *stream_connect(struct loop *l, const struct net_addr *to,
	const struct net_addr *source, uint64_t timeout_ms,
	const struct stream_events *ev,
	void (*connected)(void *arg, struct stream *s, enum err e))
{
	struct stream *s = stream_new(l, 0);
	struct connect *c = x_calloc(1, sizeof *c);
	struct sockaddr_storage ss;
	int rc = 0;

	s->state = CONNECTING;
	s->ev = *ev;
	s->peer = *to;
	s->connect = c;
	c->cb = connected;
	c->uv.data = s;
	if (source) {
		ss = sock_from_addr(source);
		rc = uv_tcp_bind(&s->h.tcp, (const struct sockaddr *)&ss, 0);
	}
	ss = sock_from_addr(to);
	if (rc == 0)
		rc = uv_tcp_connect(&c->uv, &s->h.tcp,
			(const struct sockaddr *)&ss, on_connect);
	if (rc != 0) {
		c->err = err_from_uv(rc);
		stream_shut(s);
		return s;
	}
	uv_tcp_nodelay(&s->h.tcp, 1);
	timer_start(&s->deadline, timeout_ms);
	return s;
}

/* --- listening ----------------------------------------------------------- */

struct listener {
	unsigned magic;
	union {
		uv_handle_t handle;
		uv_stream_t stream;
		uv_tcp_t tcp;
		uv_pipe_t pipe;
	} h;
	char *path; /* of a UNIX socket, else NULL */
	struct path_id id;
	struct net *net;
	struct list node;
	void (*accepted)(void *arg, struct stream *s);
	void *arg;
};

/* s has its socket. */
static void take_in(struct listener *l, struct stream *s)
{
	struct sockaddr_storage ss = {0};
	int len = sizeof ss;

	s->state = OPEN;
	if (!l->path && uv_tcp_getpeername(
				&s->h.tcp, (struct sockaddr *)&ss, &len) != 0) {
		stream_finish(s, ERR_RESET);
		return;
	}
	s->peer = addr_from_sock(&ss);
	l->accepted(l->arg, s);
	if (s->state == OPEN)
		stream_reading(s, 1);
}

static void on_connection(uv_stream_t *u, int status)
{
	struct listener *l = u->data;
	struct stream *s;

	if (status < 0)
		return; /* EMFILE and the like: libuv tries again later */
	s = stream_new(l->net->loop, l->path != NULL);
	if (uv_accept(u, &s->h.stream) == 0) {
		take_in(l, s);
		return;
	}
	s->state = OPEN;
	stream_finish(s, ERR_RESET);
}

static void on_listener_closed(uv_handle_t *h)
{
	struct listener *l = h->data;

	net_put(l->net);
	free(l->path);
	free(l);
}

void listener_close(struct listener **lp)
{
	struct listener *l = *lp;

	if (!l)
		return;
	check_obj(l, LISTENER_MAGIC);
	*lp = NULL;
	list_del(&l->node);
	/* Somebody may listen there since, under another name of the path. */
	if (l->path && !l->net->leave_paths && path_is(l->path, l->id))
		unlink(l->path);
	uv_close(&l->h.handle, on_listener_closed);
}

void listener_retire(struct listener **lp)
{
	struct listener *l = *lp;
	int fd, got, rc;

	check_obj(l, LISTENER_MAGIC);
	must(uv_fileno(&l->h.handle, &fd) == 0);
	while ((got = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)) >=
			0 ||
		errno == EINTR || errno == ECONNABORTED) {
		struct stream *s;

		if (got < 0)
			continue;
		s = stream_new(l->net->loop, l->path != NULL);
		rc = l->path ? uv_pipe_open(&s->h.pipe, got)
			     : uv_tcp_open(&s->h.tcp, got);
		if (rc == 0) {
			take_in(l, s);
			continue;
		}
		close(got);
		s->state = OPEN;
		stream_finish(s, ERR_SYSTEM);
	}
	listener_close(lp);
}

static struct listener *listener_new(struct loop *loop, const char *path,
	void (*accepted)(void *arg, struct stream *s), void *arg)
{
	struct listener *l = x_calloc(1, sizeof *l);

	l->magic = LISTENER_MAGIC;
	l->net = net_get(loop);
	l->path = path ? x_strdup(path) : NULL;
	l->accepted = accepted;
	l->arg = arg;
	l->h.handle.data = l;
	list_init(&l->node);
	/* The socket is ours already. uv_tcp_init_ex would make one here, but
	 * after its failure the handle must not be closed. */
	if (path)
		must(uv_pipe_init(loop_uv(loop), &l->h.pipe, 0) == 0);
	else
		must(uv_tcp_init(loop_uv(loop), &l->h.tcp) == 0);
	return l;
}

/* fd: a socket that listens, or -errno. */
static int listen_with(struct listener *l, int fd, int backlog)
{
	int rc;

	if (fd < 0)
		return fd;
	rc = l->path ? uv_pipe_open(&l->h.pipe, fd)
		     : uv_tcp_open(&l->h.tcp, fd);
	if (rc) {
		close(fd);
		return rc;
	}
	rc = uv_listen(&l->h.stream, backlog, on_connection);
	if (rc == 0)
		list_append(&l->net->listeners, &l->node);
	if (rc == 0 && l->path)
		l->id = path_id(l->path);
	return rc;
}

enum err listener_open(struct listener **l_r, struct loop *loop,
	const struct net_addr *at, int backlog,
	void (*accepted)(void *arg, struct stream *s), void *arg,
	struct buf *why)
{
	struct listener *l = listener_new(loop, NULL, accepted, arg);
	int fd = socket_take(l->net, at), rc;

	rc = listen_with(l, fd < 0 ? socket_make(at, backlog) : fd, backlog);
	if (rc == 0) {
		*l_r = l;
		return ERR_OK;
	}
	socket_explain(at, rc, why);
	listener_close(&l);
	return err_from_uv(rc);
}

enum err listener_open_local(struct listener **l_r, struct loop *loop,
	const char *path, unsigned mode,
	void (*accepted)(void *arg, struct stream *s), void *arg,
	struct buf *why)
{
	struct listener *l = listener_new(loop, path, accepted, arg);
	int fd = socket_local(l->net, path, mode, why);
	int rc = listen_with(l, fd, LOCAL_BACKLOG);

	if (rc == 0) {
		*l_r = l;
		return ERR_OK;
	}
	if (fd >= 0)
		buf_addf(why, "cannot listen on %s: %s", path, uv_strerror(rc));
	listener_close(&l);
	return err_from_uv(rc);
}

int listener_local_mode(const char *path, unsigned mode)
{
	return chmod(path, mode);
}

int stream_user(const struct stream *s, uint32_t *uid_r)
{
	struct ucred cred;
	socklen_t n = sizeof cred;
	int fd;

	if (uv_fileno(&s->h.handle, &fd) != 0 ||
		getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &n) != 0 ||
		cred.pid == 0) /* nought for what is no UNIX socket */
		return -1;
	*uid_r = cred.uid;
	return 0;
}

struct net_addr listener_addr(const struct listener *l)
{
	return tcp_local(&l->h.tcp);
}

int listener_is_at(
	const struct net *net, const struct net_addr *at, const char *path)
{
	list_each (it, &net->listeners) {
		struct listener *l = list_item(it, struct listener, node);
		struct net_addr mine;

		if (path ? l->path && (strcmp(l->path, path) == 0 ||
					      path_is(path, l->id))
			 : !l->path && (mine = listener_addr(l),
					       net_addr_same(&mine, at)))
			return 1;
	}
	return 0;
}

int listener_overlaps(const struct net *net, const struct net_addr *at,
	struct net_addr *ours_r)
{
	list_each (it, &net->listeners) {
		struct listener *l = list_item(it, struct listener, node);

		if (l->path)
			continue;
		*ours_r = listener_addr(l);
		if (net_addr_overlaps(ours_r, at))
			return 1;
	}
	return 0;
}

unsigned listener_sockets(const struct net *net, int *fd_r, unsigned most)
{
	unsigned n = 0;

	list_each (it, &net->listeners) {
		struct listener *l = list_item(it, struct listener, node);

		if (n < most && uv_fileno(&l->h.handle, &fd_r[n]) == 0)
			n++;
	}
	return n;
}
