/* stream_out - the writing side of a stream.
 *
 * Runs of bytes, copied or referenced, gather during a turn and leave in one
 * writev at its end. What the kernel does not take becomes a write request
 * that owns its memory, and the stream begins a new list.
 */
#include <stdlib.h>
#include <sys/socket.h>

#include "mta/base/check.h"
#include "mta/net/stream_private.h"

/* --- what is written ----------------------------------------------------- */

/* An out that nothing was written to is all zeros: an idle stream has no
 * buffers. */
static void out_begin(struct net *net, struct out *o)
{
	if (!o->capseg && net->nspare)
		*o = net->spare[--net->nspare];
}

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
	struct seg *g;

	out_begin(net, o);
	if (!o->copy.p && net->big.p) {
		o->copy = net->big;
		net->big = (struct buf){0};
	}
	g = o->nseg ? &o->seg[o->nseg - 1] : NULL;
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

void out_clear(struct net *net, struct out *o)
{
	for (unsigned i = o->first; i < o->nseg; i++)
		blob_unref(o->seg[i].ref);
	buf_clear(&o->copy);
	if (o->copy.cap > SPARE_KEEP) {
		if (!net->big.p && o->copy.cap <= BIG_KEEP)
			net->big = o->copy;
		else
			buf_fini(&o->copy);
		o->copy = (struct buf){0};
	}
	if (o->capseg && o->capseg <= SPARE_SEGS && net->nspare < SPARES) {
		net->spare[net->nspare++] = (struct out){
			.copy = o->copy, .seg = o->seg, .capseg = o->capseg};
	} else {
		buf_fini(&o->copy);
		free(o->seg);
	}
	*o = (struct out){0};
}

void out_forget(struct net *net)
{
	while (net->nspare) {
		struct out *o = &net->spare[--net->nspare];

		buf_fini(&o->copy);
		free(o->seg);
	}
	buf_fini(&net->big);
}

static unsigned out_bufs(const struct out *o, uv_buf_t *v, unsigned max)
{
	unsigned n = 0;

	for (unsigned i = o->first; i < o->nseg && n < max; i++) {
		const struct seg *g = &o->seg[i];
		const char *p;

		if (g->n == 0)
			continue;
		p = g->ref ? g->p : o->copy.p + g->off;
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

void stream_mark_dirty(struct stream *s)
{
	if (s->dirty.next == &s->dirty)
		list_append(&s->net->dirty, &s->dirty);
}

size_t out_open(struct stream *s)
{
	/* An empty copy makes the segment that is then filled. */
	out_copy(s->net, &s->out, span("", 0));
	return s->out.copy.n;
}

void out_close(struct stream *s, size_t before)
{
	s->out.seg[s->out.nseg - 1].n += s->out.copy.n - before;
	s->out.bytes += s->out.copy.n - before;
	stream_mark_dirty(s);
}

/* Everything is written: close, or, when the peer may still be sending,
 * wait a little so that a reset does not destroy our last reply on its
 * way. */
static void flushed(struct stream *s)
{
	int fd;

	if (!s->refused) {
		stream_shut(s);
		return;
	}
	s->state = LINGERING;
	if (uv_fileno(&s->h.handle, &fd) == 0)
		shutdown(fd, SHUT_WR);
	timer_start(&s->deadline, LINGER_MS);
}

static void on_written(uv_write_t *u, int status);

/* The kernel's buffer is full: the rest becomes a request of its own.
 */
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
	rc = uv_write(&w->uv, &s->h.stream, v, n, on_written);
	free(v);
	if (rc) {
		s->wreq = NULL;
		out_clear(s->net, &w->out);
		free(w);
		stream_finish(s, err_from_uv(rc));
	}
}

static void flush(struct stream *s)
{
	uv_buf_t v[SEGS_AT_ONCE];
	unsigned n;
	int rc;

	if (s->wreq || s->state == CONNECTING || s->state == CLOSING)
		return;
	while (s->out.bytes) {
		n = out_bufs(&s->out, v, SEGS_AT_ONCE);
		rc = uv_try_write(&s->h.stream, v, n);
		if (rc == UV_EAGAIN) {
			write_later(s);
			return;
		}
		if (rc < 0) {
			stream_finish(s, err_from_uv(rc));
			return;
		}
		out_gone(&s->out, (size_t)rc);
	}
	out_clear(s->net, &s->out);
	if (s->state == FLUSHING)
		flushed(s);
	else if (s->ev.on_drain)
		s->ev.on_drain(s->ev.arg);
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
		stream_finish(s, err_from_uv(status));
	else
		flush(s);
}

void stream_flush_dirty(struct hook *h)
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
	/* What on_drain wrote leaves in the next turn, which must come. */
	if (!list_empty(&net->dirty))
		net_wake(net);
}

void stream_write(struct stream *s, struct span data)
{
	check_obj(s, STREAM_MAGIC);
	if (s->state != OPEN || data.n == 0)
		return;
	if (s->tls_pending)
		return; /* nothing goes out in clear any more */
	if (s->tls) {
		size_t before = out_open(s);

		if (tls_engine_send(s->tls, data, &s->out.copy) != TLS_OPEN)
			s->out.copy.full = 1;
		out_close(s, before);
	} else {
		out_copy(s->net, &s->out, data);
	}
	if (s->out.copy.full) {
		stream_finish(s, s->tls ? ERR_TLS : ERR_LIMIT);
		return;
	}
	stream_mark_dirty(s);
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
	out_begin(s->net, &s->out);
	g = new_seg(&s->out);
	g->ref = blob_ref(b);
	g->p = part.p;
	g->n = part.n;
	s->out.bytes += part.n;
	stream_mark_dirty(s);
}

size_t stream_pending(const struct stream *s)
{
	return s->out.bytes + (s->wreq ? s->wreq->out.bytes : 0);
}
