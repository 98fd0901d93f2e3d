/* stream_out - the writing side of a stream.
 *
 * Runs of bytes, copied or referenced, gather during a turn and leave in one
 * writev at its end. What the kernel does not take becomes a write request
 * that owns its memory, and the stream begins a new list. With TLS they gather
 * as they are and are encrypted at the end of the turn: a record costs about
 * the same for 40 octets as for 4,000.
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

static const char *seg_at(const struct out *o, const struct seg *g)
{
	return g->ref ? g->p : o->copy.p + g->off;
}

static void out_ref(
	struct net *net, struct out *o, struct blob *b, struct span part)
{
	struct seg *g;

	out_begin(net, o);
	g = new_seg(o);
	g->ref = blob_ref(b);
	g->p = part.p;
	g->n = part.n;
	o->bytes += part.n;
}

static unsigned out_bufs(const struct out *o, uv_buf_t *v, unsigned max)
{
	unsigned n = 0;

	for (unsigned i = o->first; i < o->nseg && n < max; i++) {
		const struct seg *g = &o->seg[i];
		const char *p;

		if (g->n == 0)
			continue;
		p = seg_at(o, g);
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

/* --- encryption ---------------------------------------------------------- */

static int seal_some(struct stream *s, struct span plain)
{
	struct buf *to = &s->out.copy;

	return tls_engine_send(s->tls, plain, to) == TLS_OPEN && !to->full;
}

/* Fills up the record that gathers in net->record; *have of it is there.
 * Whole records, and what comes alone, go past it. */
static int seal_run(struct stream *s, struct span run, int last, size_t *have)
{
	while (run.n) {
		size_t n = run.n;
		int ok = 1;

		if (*have == 0 && !last)
			n -= n % RECORD;
		if (*have == 0 && n) {
			ok = seal_some(s, span_head(run, n));
		} else {
			n = run.n < RECORD - *have ? run.n : RECORD - *have;
			memcpy(s->net->record + *have, run.p, n);
			*have += n;
		}
		if (*have == RECORD) {
			ok = seal_some(s, span(s->net->record, RECORD));
			*have = 0;
		}
		if (!ok)
			return -1;
		run = span_skip(run, n);
	}
	return 0;
}

enum err stream_seal(struct stream *s)
{
	const struct out *o = &s->plain;
	size_t have = 0, before;
	int bad = 0;

	if (!o->bytes)
		return ERR_OK;
	before = out_open(s);
	for (unsigned i = 0; i < o->nseg && !bad; i++)
		bad = seal_run(s, span(seg_at(o, &o->seg[i]), o->seg[i].n),
			i + 1 == o->nseg, &have);
	if (have && !bad)
		bad = !seal_some(s, span(s->net->record, have));
	out_close(s, before);
	out_clear(s->net, &s->plain);
	return bad ? ERR_TLS : ERR_OK;
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
	enum err e;
	int rc;

	if (s->wreq || s->state == CONNECTING || s->state == CLOSING)
		return;
	e = stream_seal(s);
	if (e != ERR_OK) {
		stream_finish(s, e);
		return;
	}
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
	struct out *o = s->tls ? &s->plain : &s->out;

	check_obj(s, STREAM_MAGIC);
	if (s->state != OPEN || data.n == 0)
		return;
	if (s->tls_pending)
		return; /* nothing goes out in clear any more */
	out_copy(s->net, o, data);
	if (o->copy.full)
		stream_finish(s, ERR_LIMIT);
	else
		stream_mark_dirty(s);
}

void stream_write_ref(struct stream *s, struct blob *b, struct span part)
{
	check_obj(s, STREAM_MAGIC);
	if (s->state != OPEN || part.n == 0 || s->tls_pending)
		return;
	out_ref(s->net, s->tls ? &s->plain : &s->out, b, part);
	stream_mark_dirty(s);
}

size_t stream_pending(const struct stream *s)
{
	return s->plain.bytes + s->out.bytes +
	       (s->wreq ? s->wreq->out.bytes : 0);
}
