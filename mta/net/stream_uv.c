/* stream_uv - streams and listeners on libuv.
 *
 * What pays here (measured): one shared read buffer per loop and none per
 * idle stream; everything written in a turn leaves in one try_write at its
 * end, and only what the kernel did not take becomes a write request with
 * memory of its own; TCP_NODELAY is inherited from the listener.
 *
 * A stream is freed in the close callback of its handle; on_close fires
 * there, so never inside a call. libuv's loop->data points at the struct net
 * that all streams of a loop share; it lives as long as any of them.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "mta/base/check.h"
#include "mta/base/loop_uv.h"
#include "mta/net/stream.h"

enum {
	STREAM_MAGIC = 0x57e4,
	LISTENER_MAGIC = 0x115e,
	SEGS_AT_ONCE = 64,
	OUT_MAX = 64 << 20, /* callers wait for on_drain long before */
	SPARE_KEEP = 64 << 10,
	CLOSE_FLUSH_MS = 5000,
	LINGER_MS = 2000,
	LINGER_BYTES = 4 << 20,
};

/* One run of bytes to be written: a part of a blob, or of the out buffer. */
struct seg {
	struct blob *ref;
	const char *p; /* in the blob */
	size_t off;    /* in the out buffer, when there is no blob */
	size_t n;
};

struct out {
	struct buf copy;
	struct seg *seg;
	unsigned nseg, capseg, first; /* segments before first are gone */
	size_t bytes;
};

struct net {
	struct loop *loop;
	unsigned users;
	struct hook hook;
	struct list dirty;    /* streams with something to flush */
	struct list released; /* streams to be given their unread data */
	struct post post;     /* runs released; posted flag below */
	int posted;
	struct buf spare; /* an out buffer for the next who writes */
	struct buf plain; /* decrypted bytes on their way to on_data */
	char read[STREAM_READ];
};

enum stream_state { CONNECTING, OPEN, FLUSHING, LINGERING, CLOSING };

struct stream {
	unsigned magic;
	uint8_t state; /* enum stream_state */
	uint8_t held, reading, in_data, tls_pending, drain_owed, refused;
	struct net *net;
	struct stream_events ev;
	union {
		uv_handle_t handle;
		uv_stream_t stream;
		uv_tcp_t tcp;
		uv_pipe_t pipe;
	} h;
	struct timer deadline;
	struct list dirty, released;
	struct buf unread;
	struct out out;
	struct wreq *wreq; /* what the kernel did not take at once */
	size_t lingered;
	struct tls_engine *tls;
	enum err why;
	struct net_addr peer;
	struct connect *connect;
};

struct wreq {
	uv_write_t uv;
	struct stream *s;
	struct out out;
};

struct connect {
	uv_connect_t uv;
	void (*cb)(void *arg, struct stream *s, enum err e);
	enum err err;
};

static void on_hook(struct hook *h);
static void on_released(struct post *p);
static void feed_user(struct stream *s, struct span fresh);
static void finish(struct stream *s, enum err why);

static enum err err_from_uv(int rc)
{
	if (rc == UV_EOF)
		return ERR_EOF;
	return rc < 0 ? err_from_errno(-rc) : ERR_OK;
}

static struct net *net_get(struct loop *l)
{
	uv_loop_t *uv = loop_uv(l);
	struct net *n = uv->data;

	if (!n) {
		n = x_calloc(1, sizeof *n);
		n->loop = l;
		n->hook.fn = on_hook;
		n->post.fn = on_released;
		list_init(&n->dirty);
		list_init(&n->released);
		buf_init(&n->plain, STREAM_READ);
		loop_hook(l, &n->hook);
		uv->data = n;
	}
	n->users++;
	return n;
}

static void net_put(struct net *n)
{
	/* A post that is under way needs the struct; on_released comes back
	 * here then. */
	if (--n->users || n->posted)
		return;
	hook_remove(&n->hook);
	buf_fini(&n->spare);
	buf_fini(&n->plain);
	loop_uv(n->loop)->data = NULL;
	free(n);
}

/* --- what is written ----------------------------------------------------- */

static struct seg *new_seg(struct out *o)
{
	if (o->nseg == o->capseg) {
		o->capseg = o->capseg ? o->capseg * 2 : 8;
		o->seg = x_realloc(o->seg, o->capseg * sizeof *o->seg);
	}
	o->seg[o->nseg] = (struct seg){0};
	return &o->seg[o->nseg++];
}

static void out_copy(struct net *net, struct out *o, struct span data)
{
	struct seg *g = o->nseg ? &o->seg[o->nseg - 1] : NULL;

	if (!o->copy.p && net->spare.p) {
		o->copy = net->spare;
		net->spare = (struct buf){0};
	}
	o->copy.max = OUT_MAX;
	if (!g || g->ref || o->first == o->nseg) {
		g = new_seg(o);
		g->off = o->copy.n;
	}
	buf_add(&o->copy, data);
	if (o->copy.full)
		return;
	g->n += data.n;
	o->bytes += data.n;
}

static void out_clear(struct net *net, struct out *o)
{
	for (unsigned i = o->first; i < o->nseg; i++)
		blob_unref(o->seg[i].ref);
	if (!net->spare.p && o->copy.p && o->copy.cap <= SPARE_KEEP) {
		net->spare = o->copy;
		buf_clear(&net->spare);
		o->copy = (struct buf){0};
	}
	buf_fini(&o->copy);
	free(o->seg);
	*o = (struct out){0};
}

static unsigned out_bufs(const struct out *o, uv_buf_t *v, unsigned max)
{
	unsigned n = 0;

	for (unsigned i = o->first; i < o->nseg && n < max; i++) {
		const struct seg *g = &o->seg[i];
		const char *p = g->ref ? g->p : o->copy.p + g->off;

		/* libuv's buffers are not const; it only reads these. */
		memcpy(&v[n].base, &p, sizeof p);
		v[n++].len = g->n;
	}
	return n;
}

static void out_gone(struct out *o, size_t n)
{
	o->bytes -= n;
	while (n) {
		struct seg *g = &o->seg[o->first];
		size_t k = n < g->n ? n : g->n;

		g->p += g->ref ? k : 0;
		g->off += g->ref ? 0 : k;
		g->n -= k;
		n -= k;
		if (g->n == 0) {
			blob_unref(g->ref);
			o->first++;
		}
	}
}

static void mark_dirty(struct stream *s)
{
	if (s->dirty.next == &s->dirty)
		list_append(&s->net->dirty, &s->dirty);
}

static void on_close(uv_handle_t *h)
{
	struct stream *s = h->data;
	struct net *net = s->net;
	struct connect *c = s->connect;

	s->magic = 0;
	if (c)
		c->cb(s->ev.arg, NULL, c->err);
	else if (s->ev.on_close)
		s->ev.on_close(s->ev.arg, s->why);
	free(c);
	free(s);
	net_put(net);
}

static void shut(struct stream *s)
{
	if (uv_is_closing(&s->h.handle))
		return;
	s->state = CLOSING;
	timer_stop(&s->deadline);
	list_del(&s->dirty);
	list_del(&s->released);
	out_clear(s->net, &s->out);
	buf_fini(&s->unread);
	tls_engine_destroy(&s->tls);
	uv_close(&s->h.handle, on_close);
}

/* Everything is written: close, or, when the peer may still be sending, wait
 * a little so that a reset does not destroy our last reply on its way. */
static void flushed(struct stream *s)
{
	int fd;

	if (!s->refused) {
		shut(s);
		return;
	}
	s->state = LINGERING;
	if (uv_fileno(&s->h.handle, &fd) == 0)
		shutdown(fd, SHUT_WR);
	timer_start(&s->deadline, LINGER_MS);
}

static void on_written(uv_write_t *u, int status);

/* The kernel's buffer is full: the rest becomes a request of its own. */
static void write_later(struct stream *s)
{
	struct wreq *w = x_calloc(1, sizeof *w);
	uv_buf_t *v;
	unsigned n;
	int rc;

	w->s = s;
	w->uv.data = w;
	w->out = s->out;
	s->out = (struct out){0};
	n = w->out.nseg - w->out.first;
	v = x_calloc(n, sizeof *v);
	n = out_bufs(&w->out, v, n);
	s->wreq = w;
	s->drain_owed = 1;
	rc = uv_write(&w->uv, &s->h.stream, v, n, on_written);
	free(v);
	if (rc) {
		s->wreq = NULL;
		out_clear(s->net, &w->out);
		free(w);
		finish(s, err_from_uv(rc));
	}
}

static void flush(struct stream *s)
{
	uv_buf_t v[SEGS_AT_ONCE];
	unsigned n;
	int rc;

	if (s->wreq || s->state == CONNECTING || s->state == CLOSING)
		return;
	while ((n = out_bufs(&s->out, v, SEGS_AT_ONCE))) {
		rc = uv_try_write(&s->h.stream, v, n);
		if (rc == UV_EAGAIN) {
			write_later(s);
			return;
		}
		if (rc < 0) {
			finish(s, err_from_uv(rc));
			return;
		}
		out_gone(&s->out, (size_t)rc);
	}
	out_clear(s->net, &s->out);
	if (s->state == FLUSHING) {
		flushed(s);
	} else if (s->drain_owed) {
		s->drain_owed = 0;
		if (s->ev.on_drain)
			s->ev.on_drain(s->ev.arg);
	}
}

static void on_written(uv_write_t *u, int status)
{
	struct wreq *w = u->data;
	struct stream *s = w->s;

	out_clear(s->net, &w->out);
	free(w);
	s->wreq = NULL;
	if (s->state == CLOSING)
		return;
	if (status < 0)
		finish(s, err_from_uv(status));
	else
		flush(s);
}

static void on_hook(struct hook *h)
{
	struct net *net = container_of(h, struct net, hook);
	struct list todo;

	if (list_empty(&net->dirty))
		return;
	list_init(&todo);
	list_splice(&todo, &net->dirty);
	while (!list_empty(&todo)) {
		struct stream *s = list_item(todo.next, struct stream, dirty);

		list_del(&s->dirty);
		flush(s);
	}
}

void stream_write(struct stream *s, struct span data)
{
	check_obj(s, STREAM_MAGIC);
	if (s->state != OPEN || data.n == 0)
		return;
	if (s->tls && !s->tls_pending) {
		struct buf *b;

		/* An empty copy makes the segment that is then filled. */
		out_copy(s->net, &s->out, span("", 0));
		b = &s->out.copy;
		size_t before = b->n;
		if (tls_engine_send(s->tls, data, b) != TLS_OPEN)
			b->full = 1;
		s->out.seg[s->out.nseg - 1].n += b->n - before;
		s->out.bytes += b->n - before;
	} else {
		out_copy(s->net, &s->out, data);
	}
	if (s->out.copy.full) {
		finish(s, s->tls ? ERR_TLS : ERR_LIMIT);
		return;
	}
	mark_dirty(s);
}

void stream_write_ref(struct stream *s, struct blob *b, struct span part)
{
	struct seg *g;

	check_obj(s, STREAM_MAGIC);
	if (s->state != OPEN || part.n == 0)
		return;
	if (s->tls) {
		stream_write(s, part);
		return;
	}
	g = new_seg(&s->out);
	g->ref = blob_ref(b);
	g->p = part.p;
	g->n = part.n;
	s->out.bytes += part.n;
	mark_dirty(s);
}

size_t stream_pending(const struct stream *s)
{
	return s->out.bytes + (s->wreq ? s->wreq->out.bytes : 0);
}

/* --- what is read -------------------------------------------------------- */

static void on_alloc(uv_handle_t *h, size_t hint, uv_buf_t *b)
{
	struct stream *s = h->data;

	(void)hint;
	*b = uv_buf_init(s->net->read, sizeof s->net->read);
}

static void on_read(uv_stream_t *u, ssize_t n, const uv_buf_t *b);

static void set_reading(struct stream *s, int on)
{
	if (s->reading == on)
		return;
	s->reading = (uint8_t)on;
	if (!on)
		uv_read_stop(&s->h.stream);
	else if (uv_read_start(&s->h.stream, on_alloc, on_read) != 0)
		finish(s, ERR_SYSTEM);
}

/* Keeps what the user did not take. */
static void keep(struct stream *s, struct span rest)
{
	if (rest.n == 0)
		return;
	s->unread.max = 2 * STREAM_UNREAD + STREAM_READ;
	buf_add(&s->unread, rest);
	if (s->unread.full || (!s->held && s->unread.n > STREAM_UNREAD))
		finish(s, ERR_LIMIT);
	else if (s->unread.n > STREAM_UNREAD)
		set_reading(s, 0);
}

/* Shows the user what is unread and what is fresh until it takes no more. */
static void feed_user(struct stream *s, struct span fresh)
{
	size_t used;

	if (s->held || s->in_data) {
		keep(s, fresh);
		return;
	}
	if (s->unread.n) {
		keep(s, fresh);
		if (s->state != OPEN)
			return;
		fresh = buf_span(&s->unread);
	}
	s->in_data = 1;
	used = s->ev.on_data(s->ev.arg, fresh);
	s->in_data = 0;
	must(used <= fresh.n);
	if (s->state == FLUSHING)
		s->refused = used < fresh.n;
	if (s->state != OPEN)
		return;
	if (s->unread.n == 0) {
		keep(s, span_skip(fresh, used));
	} else {
		buf_drop(&s->unread, used);
		if (s->unread.n == 0)
			buf_fini(&s->unread);
		else if (!s->held && s->unread.n > STREAM_UNREAD)
			finish(s, ERR_LIMIT);
	}
	if (s->state == OPEN && s->unread.n <= STREAM_UNREAD)
		set_reading(s, 1);
}

/* One feed of the TLS engine can give plain text, bytes for the peer, the end
 * of the handshake, or all of them. */
static void feed_tls(struct stream *s, struct span cipher)
{
	struct net *net = s->net;
	enum tls_state st;

	for (;;) {
		size_t before;

		buf_clear(&net->plain);
		out_copy(net, &s->out, span("", 0));
		before = s->out.copy.n;
		st = tls_engine_feed(s->tls, cipher, &net->plain, &s->out.copy);
		s->out.seg[s->out.nseg - 1].n += s->out.copy.n - before;
		s->out.bytes += s->out.copy.n - before;
		mark_dirty(s);
		if (s->tls_pending && st != TLS_HANDSHAKE) {
			s->tls_pending = 0;
			if (s->ev.on_tls)
				s->ev.on_tls(s->ev.arg,
					st == TLS_FAILED ? ERR_TLS : ERR_OK);
			if (s->state != OPEN)
				return;
		}
		if (net->plain.n)
			feed_user(s, buf_span(&net->plain));
		if (s->state != OPEN || st != TLS_OPEN ||
			net->plain.n < net->plain.max)
			break;
		cipher = span(NULL, 0);
	}
	if (s->state == OPEN && (st == TLS_FAILED || st == TLS_CLOSED))
		finish(s, st == TLS_FAILED ? ERR_TLS : ERR_EOF);
}

static void on_read(uv_stream_t *u, ssize_t n, const uv_buf_t *b)
{
	struct stream *s = u->data;

	if (n == 0)
		return;
	if (s->state == LINGERING) {
		s->lingered += n > 0 ? (size_t)n : 0;
		if (n < 0 || s->lingered > LINGER_BYTES)
			shut(s);
		return;
	}
	if (n < 0) {
		finish(s, err_from_uv((int)n));
		return;
	}
	if (s->state != OPEN)
		return; /* flushing: what comes now is not for us */
	if (s->tls)
		feed_tls(s, span(b->base, (size_t)n));
	else
		feed_user(s, span(b->base, (size_t)n));
}

static void on_released(struct post *p)
{
	struct net *net = container_of(p, struct net, post);
	struct list todo;

	net->posted = 0;
	list_init(&todo);
	list_splice(&todo, &net->released);
	while (!list_empty(&todo)) {
		struct stream *s =
			list_item(todo.next, struct stream, released);

		list_del(&s->released);
		if (s->state != OPEN || s->held)
			continue;
		if (s->unread.n)
			feed_user(s, span(NULL, 0));
		else
			set_reading(s, 1);
	}
	net->users++;
	net_put(net);
}

void stream_hold(struct stream *s)
{
	check_obj(s, STREAM_MAGIC);
	s->held = 1;
}

void stream_release(struct stream *s)
{
	check_obj(s, STREAM_MAGIC);
	if (!s->held)
		return;
	s->held = 0;
	if (s->state != OPEN || (s->unread.n == 0 && s->reading))
		return;
	if (list_empty(&s->released))
		list_append(&s->net->released, &s->released);
	if (!s->net->posted) {
		s->net->posted = 1;
		loop_post(s->net->loop, &s->net->post);
	}
}

/* --- life ---------------------------------------------------------------- */

static void on_deadline(struct timer *t)
{
	struct stream *s = container_of(t, struct stream, deadline);

	switch (s->state) {
	case CONNECTING:
		s->connect->err = ERR_TIMEOUT;
		shut(s);
		break;
	case OPEN:
		if (s->ev.on_deadline)
			s->ev.on_deadline(s->ev.arg);
		break;
	default:
		shut(s);
	}
}

static struct stream *stream_new(struct loop *l, int local)
{
	struct stream *s = x_calloc(1, sizeof *s);

	s->magic = STREAM_MAGIC;
	s->net = net_get(l);
	list_init(&s->dirty);
	list_init(&s->released);
	timer_init(&s->deadline, l, on_deadline);
	if (local)
		must(uv_pipe_init(loop_uv(l), &s->h.pipe, 0) == 0);
	else
		must(uv_tcp_init(loop_uv(l), &s->h.tcp) == 0);
	s->h.handle.data = s;
	return s;
}

/* The stream ends by itself: the reason is told in on_close. */
static void finish(struct stream *s, enum err why)
{
	if (s->state == CLOSING)
		return;
	if (s->state == OPEN)
		s->why = why;
	shut(s);
}

void stream_close(struct stream *s)
{
	check_obj(s, STREAM_MAGIC);
	if (s->state != OPEN)
		return;
	if (s->tls && !s->tls_pending) {
		size_t before;

		out_copy(s->net, &s->out, span("", 0));
		before = s->out.copy.n;
		tls_engine_close(s->tls, &s->out.copy);
		s->out.seg[s->out.nseg - 1].n += s->out.copy.n - before;
		s->out.bytes += s->out.copy.n - before;
	}
	s->refused = s->unread.n > 0;
	s->state = FLUSHING;
	s->held = 0;
	timer_start(&s->deadline, CLOSE_FLUSH_MS);
	mark_dirty(s);
}

void stream_abort(struct stream *s)
{
	check_obj(s, STREAM_MAGIC);
	if (s->state == CONNECTING)
		s->connect->err = ERR_CANCELED;
	if (s->state == OPEN)
		s->why = ERR_OK;
	shut(s);
}

void stream_set_events(struct stream *s, const struct stream_events *ev)
{
	check_obj(s, STREAM_MAGIC);
	s->ev = *ev;
}

void stream_deadline(struct stream *s, uint64_t ms)
{
	check_obj(s, STREAM_MAGIC);
	if (s->state != OPEN)
		return;
	if (ms)
		timer_start(&s->deadline, ms);
	else
		timer_stop(&s->deadline);
}

void stream_start_tls(
	struct stream *s, struct tls_context *c, int server, const char *name)
{
	check_obj(s, STREAM_MAGIC);
	if (s->state != OPEN)
		return;
	must(!s->tls);
	s->tls = server ? tls_engine_server(c) : tls_engine_client(c, name);
	if (!s->tls) {
		finish(s, ERR_NOMEM);
		return;
	}
	s->tls_pending = 1;
	if (!server)
		feed_tls(s, span(NULL, 0));
}

int stream_encrypted(const struct stream *s)
{
	return s->tls && !s->tls_pending;
}

const struct tls_engine *stream_engine(const struct stream *s)
{
	return s->tls;
}

size_t stream_unread(const struct stream *s)
{
	return s->unread.n;
}

static struct net_addr addr_from_sock(const struct sockaddr_storage *ss)
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

static struct sockaddr_storage sock_from_addr(const struct net_addr *a)
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

/* --- connecting ---------------------------------------------------------- */

static void on_connect(uv_connect_t *u, int status)
{
	struct connect *c = container_of(u, struct connect, uv);
	struct stream *s = u->data;

	if (s->state == CLOSING)
		return; /* on_close tells */
	if (status < 0) {
		c->err = err_from_uv(status);
		shut(s);
		return;
	}
	s->connect = NULL;
	s->state = OPEN;
	timer_stop(&s->deadline);
	c->cb(s->ev.arg, s, ERR_OK);
	free(c);
	if (s->state == OPEN)
		set_reading(s, 1);
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
		shut(s);
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
	int local;
	struct net *net;
	void (*accepted)(void *arg, struct stream *s);
	void *arg;
};

static void on_connection(uv_stream_t *u, int status)
{
	struct listener *l = u->data;
	struct stream *s;
	struct sockaddr_storage ss = {0};
	int len = sizeof ss;

	if (status < 0)
		return; /* EMFILE and the like: libuv tries again later */
	s = stream_new(l->net->loop, l->local);
	if (uv_accept(u, &s->h.stream) != 0 ||
		(!l->local && uv_tcp_getpeername(&s->h.tcp,
				      (struct sockaddr *)&ss, &len) != 0)) {
		s->state = OPEN;
		finish(s, ERR_RESET);
		return;
	}
	s->peer = addr_from_sock(&ss);
	s->state = OPEN;
	l->accepted(l->arg, s);
	if (s->state == OPEN)
		set_reading(s, 1);
}

static void on_listener_closed(uv_handle_t *h)
{
	struct listener *l = h->data;

	net_put(l->net);
	free(l);
}

void listener_close(struct listener **lp)
{
	struct listener *l = *lp;

	if (!l)
		return;
	check_obj(l, LISTENER_MAGIC);
	*lp = NULL;
	uv_close(&l->h.handle, on_listener_closed);
}

static int listen_on(struct listener *l, const struct net_addr *at, int backlog)
{
	struct sockaddr_storage ss = sock_from_addr(at);
	int one = 1, fd, rc;

	rc = uv_tcp_init_ex(
		loop_uv(l->net->loop), &l->h.tcp, at->v6 ? AF_INET6 : AF_INET);
	if (rc)
		return rc;
	uv_fileno(&l->h.handle, &fd);
	/* Accepted sockets inherit it: a system call saved per connection. */
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	rc = uv_tcp_bind(&l->h.tcp, (const struct sockaddr *)&ss,
		at->v6 ? UV_TCP_IPV6ONLY : 0);
	if (rc)
		return rc;
	return uv_listen(&l->h.stream, backlog, on_connection);
}

enum err listener_open(struct listener **l_r, struct loop *loop,
	const struct net_addr *at, int backlog,
	void (*accepted)(void *arg, struct stream *s), void *arg,
	struct buf *why)
{
	struct listener *l = x_calloc(1, sizeof *l);
	char text[46];
	int rc;

	l->magic = LISTENER_MAGIC;
	l->net = net_get(loop);
	l->accepted = accepted;
	l->arg = arg;
	l->h.handle.data = l;
	rc = listen_on(l, at, backlog);
	if (rc == 0) {
		*l_r = l;
		return ERR_OK;
	}
	net_addr_text(at, text);
	buf_addf(why, "cannot listen on %s%s%s:%u: %s%s", at->v6 ? "[" : "",
		text, at->v6 ? "]" : "", at->port, uv_strerror(rc),
		rc == UV_EADDRINUSE ? " (find the other program: ss -ltnp)"
		: rc == UV_EACCES
			? " (ports below 1024 need CAP_NET_BIND_SERVICE)"
		: rc == UV_EADDRNOTAVAIL
			? " (no interface has this address: ip addr)"
			: "");
	listener_close(&l);
	return err_from_uv(rc);
}

enum err listener_open_local(struct listener **l_r, struct loop *loop,
	const char *path, unsigned mode,
	void (*accepted)(void *arg, struct stream *s), void *arg,
	struct buf *why)
{
	struct listener *l = x_calloc(1, sizeof *l);
	int rc;

	l->magic = LISTENER_MAGIC;
	l->net = net_get(loop);
	l->local = 1;
	l->accepted = accepted;
	l->arg = arg;
	l->h.handle.data = l;
	must(uv_pipe_init(loop_uv(loop), &l->h.pipe, 0) == 0);
	unlink(path);
	rc = uv_pipe_bind(&l->h.pipe, path);
	if (rc == 0 && chmod(path, mode) != 0)
		rc = -errno;
	if (rc == 0)
		rc = uv_listen(&l->h.stream, 64, on_connection);
	if (rc == 0) {
		*l_r = l;
		return ERR_OK;
	}
	buf_addf(why, "cannot listen on %s: %s", path, uv_strerror(rc));
	listener_close(&l);
	return err_from_uv(rc);
}

struct net_addr listener_addr(const struct listener *l)
{
	return tcp_local(&l->h.tcp);
}
