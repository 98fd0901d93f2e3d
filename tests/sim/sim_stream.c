/* sim_stream - a network in memory.
 *
 * Each stream holds what arrived and was not used (unread), what was written
 * and has not left (out), and the segments on their way to it (line). Flushes
 * happen at the end of a turn through a post, like the real stream's; every
 * callback comes from a timer or that post, so never inside a call.
 */
#include "tests/sim/sim_stream.h"

#include <stdlib.h>

#include "mta/base/check.h"
#include "tests/sim/sim_net_private.h"

enum {
	STREAM_MAGIC = 0x515d,
	WINDOW = 256 * 1024,
	SLICE = 16 * 1024,
	OUT_LIMIT = 64 << 20,
	FLUSH_MS = 5000,
	KEEPALIVE_MS = 2 * 3600 * 1000 /* until a lost one is noticed */
};

/* SEG_TLS: the other side has begun the handshake that is none. */
enum seg_kind { SEG_DATA, SEG_EOF, SEG_RESET, SEG_TLS };

struct seg {
	struct list node;
	enum seg_kind kind;
	uint64_t due;
	struct buf data;
};

enum state { CONNECTING, OPEN, FLUSHING, CLOSED };

struct stream {
	unsigned magic;
	enum state state;
	struct sim_net *net;
	struct list node;
	struct stream *peer;               /* NULL: gone */
	const struct sim_link *way, *back; /* for what leaves, for what comes */
	uint64_t begun;
	uint64_t lost; /* nothing comes any more; noticed then; 0: no */
	int client, held, in_data, dirty;
	int owing; /* on_drain, when the last of out has left */
	struct stream_events ev;
	void (*connected)(void *arg, struct stream *s, enum err e);
	struct net_addr to, from;
	struct buf out, unread;
	size_t left;      /* of out: this much has left already */
	struct list line; /* struct seg, on their way to us */
	size_t under_way; /* of ours, on their way to the peer */
	uint64_t sent;
	struct timer arrive, deadline, end, feed;
	enum err why;
	int ending;
	struct tls_engine *tls;
	int tls_pending;
	int plain_tls, plain_heard; /* without an engine: begun here, there */
};

static void end_with(struct stream *s, enum err why);
static void flush(struct stream *s);

void sim_stream_flush(struct post *p)
{
	struct sim_net *n = container_of(p, struct sim_net, post);

	n->posted = 0;
	list_each_safe (it, &n->streams) {
		struct stream *s = list_item(it, struct stream, node);

		if (s->dirty) {
			s->dirty = 0;
			flush(s);
		}
	}
}

static void mark(struct stream *s)
{
	struct sim_net *n = s->net;

	s->dirty = 1;
	if (n->posted)
		return;
	n->posted = 1;
	loop_post(n->loop, &n->post);
}

void sim_net_heal(struct sim_net *n)
{
	list_each (it, &n->streams) {
		struct stream *s = list_item(it, struct stream, node);

		if (!list_empty(&s->line))
			timer_start(&s->arrive, 0);
		mark(s);
	}
}

/* --- segments ------------------------------------------------------------- */

static void lose(struct stream *s)
{
	if (s->lost)
		return;
	s->lost = loop_now(s->net->loop) + KEEPALIVE_MS;
	if (!s->arrive.armed)
		timer_start(&s->arrive, KEEPALIVE_MS);
}

static void put_seg(struct stream *to, enum seg_kind kind, struct span data)
{
	uint64_t now = loop_now(to->net->loop);
	struct seg *g;

	if (to->back->drop)
		lose(to);
	if (to->lost)
		return;
	g = x_calloc(1, sizeof *g);
	g->kind = kind;
	g->due = now + to->back->latency;
	buf_init(&g->data, OUT_LIMIT);
	buf_add(&g->data, data);
	list_append(&to->line, &g->node);
	if (!to->arrive.armed)
		timer_start(&to->arrive, to->back->latency);
}

static void free_seg(struct seg *g)
{
	list_del(&g->node);
	buf_fini(&g->data);
	free(g);
}

static int resets(const struct stream *s)
{
	return s->way->reset_after && (s->client || s->way != s->back);
}

static void send_slice(struct stream *s, size_t n)
{
	const struct sim_link *k = s->way;

	if (s->peer)
		put_seg(s->peer, SEG_DATA, span(s->out.p + s->left, n));
	s->under_way += s->peer ? n : 0;
	s->sent += n;
	s->left += n;
	if (s->left == s->out.n) {
		buf_fini(&s->out);
		s->left = 0;
	}
	if (resets(s) && s->sent >= k->reset_after) {
		if (s->peer)
			put_seg(s->peer, SEG_RESET, span(NULL, 0));
		end_with(s, ERR_RESET);
	}
}

/* At the end of a turn: as much as the window lets through. */
static void flush(struct stream *s)
{
	const struct sim_link *k = s->way;
	size_t window = k->window ? k->window : WINDOW;
	size_t slice = k->slice ? k->slice : SLICE;

	if (s->state != OPEN && s->state != FLUSHING)
		return;
	s->owing |= s->out.n > 0;
	while (s->out.n && !s->ending && s->under_way < window) {
		size_t n = s->out.n - s->left;

		n = n < slice ? n : slice;

		if (resets(s) && s->sent + n > k->reset_after)
			n = k->reset_after > s->sent
				    ? (size_t)(k->reset_after - s->sent)
				    : 0;
		if (n > window - s->under_way)
			n = window - s->under_way;
		send_slice(s, n);
	}
	if (s->ending)
		return;
	if (s->out.n)
		return;
	if (s->state == FLUSHING) {
		if (s->peer)
			put_seg(s->peer, SEG_EOF, span(NULL, 0));
		end_with(s, ERR_OK);
	} else if (s->owing) {
		s->owing = 0;
		if (s->ev.on_drain)
			s->ev.on_drain(s->ev.arg);
	}
}

/* --- arriving ------------------------------------------------------------- */

static void show(struct stream *s)
{
	size_t used;

	if (s->held || s->in_data || s->state != OPEN || s->ending ||
		s->unread.n == 0 || !s->ev.on_data)
		return;
	s->in_data = 1;
	used = s->ev.on_data(s->ev.arg, buf_span(&s->unread));
	s->in_data = 0;
	must(used <= s->unread.n);
	buf_drop(&s->unread, used);
	if (s->state == OPEN && !s->held && s->unread.n > STREAM_UNREAD)
		end_with(s, ERR_LIMIT);
	if (s->unread.n == 0)
		buf_fini(&s->unread);
}

static void feed_tls(struct stream *s, struct span cipher)
{
	struct buf plain;
	enum tls_state st;

	do {
		buf_init(&plain, STREAM_READ);
		st = tls_engine_feed(s->tls, cipher, &plain, &s->out);
		mark(s);
		if (s->tls_pending && st != TLS_HANDSHAKE) {
			s->tls_pending = 0;
			if (s->ev.on_tls)
				s->ev.on_tls(s->ev.arg,
					st == TLS_FAILED ? ERR_TLS : ERR_OK);
		}
		cipher = span(NULL, 0);
		buf_add(&s->unread, buf_span(&plain));
		if (plain.n < plain.max)
			cipher.p = "";
		buf_fini(&plain);
	} while (st == TLS_OPEN && !cipher.p);
	show(s);
	if (s->state == OPEN && (st == TLS_FAILED || st == TLS_CLOSED))
		end_with(s, st == TLS_FAILED ? ERR_TLS : ERR_EOF);
}

static void take_seg(struct stream *s, struct seg *g)
{
	struct stream *from = s->peer;

	sim_net_arrived(s->net, &s->to, &s->from, buf_span(&g->data));
	if (from) {
		from->under_way -= g->data.n;
		mark(from);
	}
	if (s->state != OPEN || s->ending)
		return;
	if (s->tls) {
		feed_tls(s, buf_span(&g->data));
		return;
	}
	buf_add(&s->unread, buf_span(&g->data));
	show(s);
}

/* Both have begun: that is all. */
static void plain_open(struct stream *s)
{
	if (!s->plain_tls || !s->plain_heard || !s->tls_pending)
		return;
	s->tls_pending = 0;
	if (s->ev.on_tls)
		s->ev.on_tls(s->ev.arg, ERR_OK);
}

static void heard_tls(struct stream *s)
{
	s->plain_heard = 1;
	if (s->state == OPEN && !s->ending)
		plain_open(s);
}

static void on_arrive(struct timer *t)
{
	struct stream *s = container_of(t, struct stream, arrive);
	uint64_t now = loop_now(s->net->loop);
	struct seg *g;

	while ((g = list_first(&s->line, struct seg, node))) {
		if (s->back->partition || s->begun < s->back->stuck)
			return; /* sim_net_heal starts it again */
		if (g->due > now) {
			timer_start(&s->arrive, g->due - now);
			return;
		}
		if (g->kind == SEG_DATA && s->state == OPEN &&
			s->unread.n > STREAM_UNREAD)
			return; /* the reader is behind: stream_release */
		if (g->kind == SEG_DATA)
			take_seg(s, g);
		else if (g->kind == SEG_TLS)
			heard_tls(s);
		else if (s->state == OPEN)
			end_with(s, g->kind == SEG_EOF ? ERR_EOF : ERR_RESET);
		free_seg(g);
	}
	if (s->lost && s->lost > now)
		timer_start(&s->arrive, s->lost - now);
	else if (s->lost)
		end_with(s, ERR_TIMEOUT);
}

/* --- life ----------------------------------------------------------------- */

static void free_stream(struct stream *s)
{
	struct seg *g;

	if (s->peer) {
		/* Whoever still sends here will be told. */
		s->peer->peer = NULL;
		if (s->peer->state == OPEN && list_empty(&s->peer->line) &&
			s->state != CONNECTING)
			put_seg(s->peer, SEG_EOF, span(NULL, 0));
		s->peer->under_way = 0;
		mark(s->peer);
	}
	while ((g = list_first(&s->line, struct seg, node)))
		free_seg(g);
	timer_stop(&s->arrive);
	timer_stop(&s->deadline);
	timer_stop(&s->end);
	timer_stop(&s->feed);
	buf_fini(&s->out);
	buf_fini(&s->unread);
	tls_engine_destroy(&s->tls);
	list_del(&s->node);
	s->net->nstreams--;
	s->magic = 0;
	free(s);
}

static void on_end(struct timer *t)
{
	struct stream *s = container_of(t, struct stream, end);
	struct stream_events ev = s->ev;
	void (*connected)(void *, struct stream *, enum err) =
		s->state == CONNECTING ? s->connected : NULL;
	enum err why = s->why;

	free_stream(s);
	if (connected)
		connected(ev.arg, NULL, why);
	else if (ev.on_close)
		ev.on_close(ev.arg, why);
}

/* The stream is over; its owner hears of it in a moment. */
static void end_with(struct stream *s, enum err why)
{
	if (s->ending)
		return;
	s->ending = 1;
	s->why = why;
	if (s->state != CONNECTING)
		s->state = CLOSED;
	timer_stop(&s->deadline);
	timer_start(&s->end, 0);
}

static void on_deadline(struct timer *t)
{
	struct stream *s = container_of(t, struct stream, deadline);

	if (s->state == CONNECTING)
		end_with(s, ERR_TIMEOUT);
	else if (s->state == FLUSHING)
		end_with(s, ERR_OK);
	else if (s->state == OPEN && s->ev.on_deadline)
		s->ev.on_deadline(s->ev.arg);
}

static void on_feed(struct timer *t)
{
	struct stream *s = container_of(t, struct stream, feed);

	if (s->state == OPEN && !s->ending)
		plain_open(s);
	show(s);
	if (!list_empty(&s->line))
		on_arrive(&s->arrive);
}

static struct stream *stream_new(struct sim_net *n)
{
	struct stream *s = x_calloc(1, sizeof *s);

	s->magic = STREAM_MAGIC;
	s->net = n;
	s->begun = loop_now(n->loop);
	buf_init(&s->out, OUT_LIMIT);
	buf_init(&s->unread, OUT_LIMIT);
	list_init(&s->line);
	timer_init(&s->arrive, n->loop, on_arrive);
	timer_init(&s->deadline, n->loop, on_deadline);
	timer_init(&s->end, n->loop, on_end);
	timer_init(&s->feed, n->loop, on_feed);
	list_append(&n->streams, &s->node);
	n->nstreams++;
	return s;
}

static int silent(const struct sim_link *k)
{
	return k->blackhole || k->partition || k->drop;
}

static void on_syn(struct timer *t)
{
	struct stream *s = container_of(t, struct stream, feed), *o;
	struct listener *l = sim_net_listener(s->net, &s->to);

	if (s->ending || silent(s->way) || silent(s->back))
		return; /* the deadline decides */
	if (s->way->refuse || !l) {
		end_with(s, ERR_REFUSED);
		return;
	}
	timer_stop(&s->deadline);
	s->feed.fn = on_feed;
	o = stream_new(s->net);
	o->way = s->back;
	o->back = s->way;
	o->peer = s;
	s->peer = o;
	o->to = s->from;
	o->from = s->to;
	s->state = o->state = OPEN;
	l->accepted(l->arg, o);
	s->connected(s->ev.arg, s, ERR_OK);
}

struct stream *stream_connect(struct loop *l, const struct net_addr *to,
	const struct net_addr *source, uint64_t timeout_ms,
	const struct stream_events *ev,
	void (*connected)(void *arg, struct stream *s, enum err e))
{
	const struct net_addr *mine = sim_loop_user(l, SIM_USER_ADDR);
	struct sim_net *n = sim_net_of(l);
	struct stream *s = stream_new(n);

	s->client = 1;
	s->to = *to;
	s->from = (struct net_addr){.b = {198, 51, 100, 1}};
	if (source || mine)
		s->from = source ? *source : *mine;
	s->from.port = n->port =
		n->port == UINT16_MAX ? FIRST_PORT : (uint16_t)(n->port + 1);
	sim_net_tried(n, &s->from, to);
	s->way = sim_net_way(n, &s->from, to, to);
	s->back = sim_net_way(n, to, &s->from, to);
	s->ev = *ev;
	s->connected = connected;
	s->feed.fn = on_syn;
	timer_start(&s->feed, s->way->latency + s->back->latency);
	timer_start(&s->deadline, timeout_ms);
	return s;
}

void stream_close(struct stream *s)
{
	check_obj(s, STREAM_MAGIC);
	if (s->state != OPEN)
		return;
	if (s->tls && !s->tls_pending)
		tls_engine_close(s->tls, &s->out);
	s->state = FLUSHING;
	mark(s);
	timer_start(&s->deadline, FLUSH_MS);
}

void stream_abort(struct stream *s)
{
	check_obj(s, STREAM_MAGIC);
	if (s->state == CLOSED)
		return;
	if (s->peer && s->state != CONNECTING)
		put_seg(s->peer, s->unread.n ? SEG_RESET : SEG_EOF,
			span(NULL, 0));
	end_with(s, s->state == CONNECTING ? ERR_CANCELED : ERR_OK);
}

/* --- the rest of the seam ------------------------------------------------- */

void stream_set_events(struct stream *s, const struct stream_events *ev)
{
	check_obj(s, STREAM_MAGIC);
	s->ev = *ev;
}

void stream_hold(struct stream *s)
{
	check_obj(s, STREAM_MAGIC);
	s->held = 1;
}

void stream_release(struct stream *s)
{
	check_obj(s, STREAM_MAGIC);
	s->held = 0;
	if (s->state == OPEN)
		timer_start(&s->feed, 0);
}

void stream_write(struct stream *s, struct span data)
{
	check_obj(s, STREAM_MAGIC);
	if (s->state != OPEN)
		return;
	if (s->tls && !s->tls_pending)
		(void)tls_engine_send(s->tls, data, &s->out);
	else
		buf_add(&s->out, data);
	mark(s);
}

void stream_write_ref(struct stream *s, struct blob *b, struct span part)
{
	must(part.p >= b->p && part.p + part.n <= b->p + b->n);
	stream_write(s, part);
}

size_t stream_pending(const struct stream *s)
{
	return s->out.n - s->left;
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
	must(!s->tls && !s->plain_tls);
	s->tls_pending = 1;
	if (!c) {
		s->plain_tls = 1;
		if (s->peer)
			put_seg(s->peer, SEG_TLS, span(NULL, 0));
		timer_start(&s->feed, 0);
		return;
	}
	s->tls = server ? tls_engine_server(c) : tls_engine_client(c, name);
	must(s->tls);
	if (!server)
		feed_tls(s, span(NULL, 0));
}

int stream_encrypted(const struct stream *s)
{
	return (s->tls || s->plain_tls) && !s->tls_pending;
}

const struct tls_engine *stream_engine(const struct stream *s)
{
	return s->tls;
}

size_t stream_unread(const struct stream *s)
{
	return s->unread.n;
}

struct net_addr stream_peer(const struct stream *s)
{
	return s->to;
}

struct net_addr stream_local(const struct stream *s)
{
	return s->from;
}

unsigned sim_net_older(struct sim_net *n, const struct net_addr *from,
	const struct net_addr *to, uint64_t ms)
{
	uint64_t now = loop_now(n->loop);
	unsigned k = 0;

	list_each (it, &n->streams) {
		const struct stream *s = list_item(it, struct stream, node);

		k += !s->client && s->state == OPEN && !s->ending &&
		     s->begun + ms < now && net_addr_eq(&s->to, from) &&
		     net_addr_eq(&s->from, to) && s->from.port == to->port;
	}
	return k;
}

/* Nobody hears of it when the machine is gone. */
static void cut(struct stream *s, int vanish)
{
	if (s->ending)
		return;
	if (s->peer && vanish)
		lose(s->peer);
	else if (s->peer && s->state != CONNECTING)
		put_seg(s->peer, SEG_RESET, span(NULL, 0));
	buf_clear(&s->out);
	end_with(s, ERR_RESET);
}

static void cut_all(struct sim_net *n, struct span ip, int vanish)
{
	struct net_addr a;

	check_obj(n, NET_MAGIC);
	must(net_addr_parse(ip, 0, &a) == 0);
	list_each_safe (it, &n->streams) {
		struct stream *s = list_item(it, struct stream, node);

		if (net_addr_eq(&s->from, &a))
			cut(s, vanish);
	}
}

void sim_net_cut(struct sim_net *n, struct span ip)
{
	cut_all(n, ip, 0);
}

void sim_net_vanish(struct sim_net *n, struct span ip)
{
	cut_all(n, ip, 1);
}
