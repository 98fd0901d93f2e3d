/* stream_uv - the life of a stream on libuv, and its reading side.
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
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "mta/base/check.h"
#include "mta/net/stream_private.h"

static void on_released(struct post *p);

enum err err_from_uv(int rc)
{
	if (rc == UV_EOF)
		return ERR_EOF;
	return rc < 0 ? err_from_errno(-rc) : ERR_OK;
}

struct net *net_get(struct loop *l)
{
	uv_loop_t *uv = loop_uv(l);
	struct net *n = uv->data;

	if (!n) {
		n = x_calloc(1, sizeof *n);
		n->loop = l;
		n->hook.fn = stream_flush_dirty;
		n->post.fn = on_released;
		list_init(&n->listeners);
		list_init(&n->sockets);
		list_init(&n->dirty);
		list_init(&n->released);
		buf_init(&n->plain, STREAM_READ);
		loop_hook(l, &n->hook);
		uv->data = n;
	}
	n->users++;
	return n;
}

void net_put(struct net *n)
{
	/* A post that is under way needs the struct; on_released comes back
	 * here then. */
	if (--n->users || n->posted)
		return;
	hook_remove(&n->hook);
	out_forget(n);
	buf_fini(&n->plain);
	loop_uv(n->loop)->data = NULL;
	free(n);
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

void stream_shut(struct stream *s)
{
	if (uv_is_closing(&s->h.handle))
		return;
	s->state = CLOSING;
	timer_stop(&s->deadline);
	list_del(&s->dirty);
	list_del(&s->released);
	out_clear(s->net, &s->plain);
	out_clear(s->net, &s->out);
	buf_fini(&s->unread);
	tls_engine_destroy(&s->tls);
	uv_close(&s->h.handle, on_close);
}

/* --- what is read -------------------------------------------------------- */

static void on_alloc(uv_handle_t *h, size_t hint, uv_buf_t *b)
{
	struct stream *s = h->data;

	(void)hint;
	*b = uv_buf_init(s->net->read, sizeof s->net->read);
}

static void on_read(uv_stream_t *u, ssize_t n, const uv_buf_t *b);

void stream_reading(struct stream *s, int on)
{
	if (s->reading == on || (on && s->eof && s->state == OPEN))
		return;
	s->reading = (uint8_t)on;
	if (!on)
		uv_read_stop(&s->h.stream);
	else if (uv_read_start(&s->h.stream, on_alloc, on_read) != 0)
		stream_finish(s, ERR_SYSTEM);
}

/* Keeps what the user did not take, or cannot take now. */
static void keep(struct stream *s, struct span rest)
{
	if (rest.n == 0)
		return;
	s->unread.max = 2 * STREAM_UNREAD + STREAM_READ;
	buf_add(&s->unread, rest);
	if (s->unread.full)
		stream_finish(s, ERR_LIMIT);
	else if (s->unread.n > STREAM_UNREAD)
		stream_reading(s, 0);
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
	if (s->unread.n == 0)
		keep(s, span_skip(fresh, used));
	else
		buf_drop(&s->unread, used);
	if (s->state != OPEN)
		return;
	if (s->unread.n == 0)
		buf_fini(&s->unread);
	if (!s->held && s->unread.n > STREAM_UNREAD)
		stream_finish(s, ERR_LIMIT);
	else if (s->unread.n <= STREAM_UNREAD)
		stream_reading(s, 1);
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
		before = out_open(s);
		st = tls_engine_feed(s->tls, cipher, &net->plain, &s->out.copy);
		out_close(s, before);
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
		stream_finish(s, st == TLS_FAILED ? ERR_TLS : ERR_EOF);
}

/* The peer has shut one direction, not both. */
static int still_reads(const struct stream *s)
{
	struct pollfd p = {.events = 0};

	return uv_fileno(&s->h.handle, &p.fd) == 0 && poll(&p, 1, 0) >= 0 &&
	       !(p.revents & (POLLHUP | POLLERR));
}

static void half_closed(struct stream *s)
{
	s->eof = 1;
	stream_reading(s, 0);
	s->on_eof(s->ev.arg);
}

static void on_read(uv_stream_t *u, ssize_t n, const uv_buf_t *b)
{
	struct stream *s = u->data;

	if (n == 0)
		return;
	if (s->state == LINGERING) {
		s->lingered += n > 0 ? (size_t)n : 0;
		if (n < 0 || s->lingered > LINGER_BYTES)
			stream_shut(s);
		return;
	}
	if (n == UV_EOF && s->state == OPEN && s->on_eof && !s->tls &&
		still_reads(s)) {
		half_closed(s);
		return;
	}
	if (n < 0) {
		stream_finish(s, err_from_uv((int)n));
		return;
	}
	if (s->state != OPEN)
		return; /* flushing: what comes now is not for us */
	if (s->tls)
		feed_tls(s, span(b->base, (size_t)n));
	else
		feed_user(s, span(b->base, (size_t)n));
}

/* Another turn without blocking: for released streams, and for what was
 * written after this turn's flush. */
void net_wake(struct net *net)
{
	if (net->posted)
		return;
	net->posted = 1;
	loop_post(net->loop, &net->post);
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
			stream_reading(s, 1);
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
	net_wake(s->net);
}

/* --- life ---------------------------------------------------------------- */

static void on_deadline(struct timer *t)
{
	struct stream *s = container_of(t, struct stream, deadline);

	switch (s->state) {
	case CONNECTING:
		s->connect->err = ERR_TIMEOUT;
		stream_shut(s);
		break;
	case OPEN:
		if (s->ev.on_deadline)
			s->ev.on_deadline(s->ev.arg);
		break;
	default:
		stream_shut(s);
	}
}

struct stream *stream_new(struct loop *l, int local)
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
void stream_finish(struct stream *s, enum err why)
{
	if (s->state == CLOSING)
		return;
	if (s->state == OPEN)
		s->why = why;
	stream_shut(s);
}

/* What was written, then the word that nothing follows. What cannot be
 * encrypted is not: a peer must not take the rest for everything. */
static void close_tls(struct stream *s)
{
	size_t before;

	if (stream_seal(s) != ERR_OK)
		return;
	before = out_open(s);
	tls_engine_close(s->tls, &s->out.copy);
	out_close(s, before);
}

void stream_close(struct stream *s)
{
	check_obj(s, STREAM_MAGIC);
	if (s->state != OPEN)
		return;
	if (s->tls && !s->tls_pending)
		close_tls(s);
	s->refused = s->unread.n > 0;
	s->state = FLUSHING;
	s->held = 0;
	timer_start(&s->deadline, CLOSE_FLUSH_MS);
	stream_mark_dirty(s);
}

void stream_abort(struct stream *s)
{
	check_obj(s, STREAM_MAGIC);
	if (s->state == CONNECTING)
		s->connect->err = ERR_CANCELED;
	if (s->state == OPEN)
		s->why = ERR_OK;
	stream_shut(s);
}

static void cut(uv_handle_t *h, void *arg)
{
	struct stream *s = h->data;

	(void)arg;
	if ((h->type == UV_TCP || h->type == UV_NAMED_PIPE) && s &&
		s->magic == STREAM_MAGIC &&
		(s->state == FLUSHING || s->state == LINGERING))
		stream_shut(s);
}

void streams_cut(struct loop *l)
{
	uv_walk(loop_uv(l), cut, NULL);
}

void stream_set_events(struct stream *s, const struct stream_events *ev)
{
	check_obj(s, STREAM_MAGIC);
	s->ev = *ev;
}

void stream_on_eof(struct stream *s, void (*on_eof)(void *arg))
{
	check_obj(s, STREAM_MAGIC);
	s->on_eof = on_eof;
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
		stream_finish(s, ERR_NOMEM);
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
