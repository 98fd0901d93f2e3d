/* link - our connection to a peer: we ask, it answers, in order. Its
 * handshake, what is heard on it, its end. A link is given up when something
 * is asked and nothing was heard, and nothing of a payload taken, for a while:
 * everything asked fails then, and the next link begins with a higher LINK
 * number, which makes the peer forget what is still on its way (R4).
 */
#include "mta/shadow/link_private.h"

#include <stdlib.h>

#include "mta/base/check.h"

enum {
	RETRY_FIRST = 200, /* ms */
};

int link_up(const struct peer *p)
{
	return p->link && p->link->at == LINK_UP && !p->link->closing;
}

const char *link_state(const struct peer *p)
{
	static const char *const name[] = {"down", "connecting", "connecting",
		"connecting", "connecting", "up"};

	return p->link ? name[p->link->at] : "none";
}

unsigned link_stores(const struct peer *p)
{
	return p->link ? p->link->nstores : 0;
}

/* --- calls ---------------------------------------------------------------- */

/* What was not answered hears that it never will be. */
static void lose(struct link *l, struct list *calls)
{
	struct list now;

	list_init(&now);
	list_splice(&now, calls);
	while (!list_empty(&now)) {
		struct call *c = list_item(now.next, struct call, node);

		list_del(&c->node);
		c->link = NULL;
		buf_fini(&c->line);
		c->heard(c, l->p, NULL, span("", 0));
	}
}

void link_call(struct peer *p, struct call *c)
{
	struct link *l = p->link;

	must(link_up(p));
	c->link = l;
	list_append(c->store ? &l->stores : &l->words, &c->node);
	link_run(l);
}

int link_unsay(struct call *c)
{
	struct store_call *sc = container_of(c, struct store_call, call);

	must(c->store);
	if (sc->begun || !c->link)
		return -1;
	list_del(&c->node);
	c->link = NULL;
	buf_fini(&c->line);
	return 0;
}

/* --- hearing -------------------------------------------------------------- */

/* What was answered had been sent: it lives since then, not since now (R11).
 * If it may have taken something over before, it must say first that it has
 * not. */
static void proof(struct peer *p, uint64_t sent)
{
	if (sent <= p->leased)
		return;
	p->term += fence_lapsed(p) != 0;
	p->leased = sent;
}

static void hear_call(struct link *l, const struct reply *r)
{
	struct call *c = list_item(l->asked.next, struct call, node);
	struct peer *p = l->p;

	list_del(&c->node);
	c->link = NULL;
	if (c->store) {
		struct store_call *sc =
			container_of(c, struct store_call, call);

		l->nstores--;
		l->octets -= sc->octets;
	}
	proof(p, c->sent);
	buf_clear(&l->text);
	wire_reply_text(r, &l->text);
	c->heard(c, p, r, buf_span(&l->text));
}

static void say_hello(struct link *l)
{
	struct shadow *s = l->p->s;
	struct wire_hello h = {.v = WIRE_VERSION,
		.inc = s->me.inc,
		.next = s->me.seq,
		.link = l->number,
		.takeover = s->conf->shadow.takeover_after};
	const struct store_start *v;
	struct buf line;
	unsigned n;

	v = store_starts(queue_store(s->o.queue), &n);
	for (; n > 1 && h.prev.n < WIRE_PREV; n--)
		h.prev.v[h.prev.n++] = v[n - 2].inc;
	memcpy(h.sid, s->me.sid, sizeof h.sid);
	buf_init(&line, WIRE_LINE);
	wire_hello_write(&line, &h);
	stream_write(l->st, buf_span(&line));
	buf_fini(&line);
	l->at = LINK_HELLO;
	l->hello = shadow_now(s);
	link_deadline(l);
}

static void welcome(struct link *l, const struct reply *r)
{
	struct peer *p = l->p;
	struct wire_welcome w;
	const char *why = "HELLO was refused";

	buf_clear(&l->text);
	wire_reply_text(r, &l->text);
	if (r->code != 250) {
		link_fail(l, buf_str(&l->text));
		return;
	}
	if (wire_welcome_read(buf_span(&l->text), &w, &why) != 0) {
		link_fail(l, why);
		return;
	}
	if (w.v != WIRE_VERSION) {
		link_fail(l, "it speaks another version");
		return;
	}
	if (peer_identify(p, w.sid, w.inc, NULL) != ERR_OK) {
		link_fail(l, "its database is a copy of another node's");
		return;
	}
	l->at = LINK_UP;
	l->backoff = 0;
	p->window = w.window ? w.window : 1;
	p->bytes = w.bytes;
	p->free = w.free;
	p->gives = w.gives;
	proof(p, l->hello);
	l->pinged = shadow_now(p->s);
	buf_clear(&p->trouble);
	log_event(p->s->o.log, EV_SHADOW_LINK_UP, F_STR("peer", p->name),
		F_U("held", w.held), F_U("link", l->number));
	peers_changed(p->s);
	holder_link_up(p);
	keeper_peer(p);
	link_run(l);
}

/* The reply is to a STORE of which not everything was said. */
static int too_early(const struct link *l)
{
	return l->sending && l->asked.next == &l->sending->call.node;
}

static void hear(struct link *l, const struct reply *r)
{
	peer_alive(l->p);
	if (l->at == LINK_GREETING && r->code == 220) {
		say_hello(l);
	} else if (l->at == LINK_HELLO) {
		welcome(l, r);
	} else if (l->at == LINK_UP && !list_empty(&l->asked) &&
		   r->code != 421 && !too_early(l)) {
		hear_call(l, r);
	} else {
		buf_clear(&l->text);
		wire_reply_text(r, &l->text);
		link_fail(l, buf_str(&l->text));
	}
}

static size_t on_data(void *arg, struct span unread)
{
	struct link *l = arg;
	size_t used = 0;

	check_obj(l, LINK_MAGIC);
	while (used < unread.n && !l->closing && l->at != LINK_DOWN) {
		const char *why = "";
		struct reply r;
		size_t n = 0;
		enum reply_got got =
			reply_take(span_skip(unread, used), &r, &n, &why);

		if (got == REPLY_MORE)
			break;
		if (got == REPLY_FAULT) {
			link_fail(l, why);
			return unread.n;
		}
		used += n;
		hear(l, &r);
	}
	if (l->closing || l->at == LINK_DOWN)
		return unread.n;
	if (used)
		link_deadline(l);
	link_run(l);
	return used;
}

static void on_drain(void *arg)
{
	struct link *l = arg;

	check_obj(l, LINK_MAGIC);
	if (l->closing)
		return;
	/* Only of a payload that goes on is it progress: a peer that is gone
	 * does not keep what is asked from leaving. */
	if (l->sending) {
		link_deadline(l);
		link_read_on(l);
	} else {
		link_run(l);
	}
}

/* --- beginning and end ---------------------------------------------------- */

static void on_tls(void *arg, enum err e)
{
	struct link *l = arg;
	struct shadow *s = l->p->s;
	const struct tls_engine *t = stream_engine(l->st);

	check_obj(l, LINK_MAGIC);
	if (e != ERR_OK) {
		link_fail(l, t ? tls_engine_error(t) : "TLS handshake failed");
		return;
	}
	if (!s->o.is_peer(s->o.arg, l->st, &l->p->conf)) {
		link_fail(l, "its certificate is not that of this peer");
		return;
	}
	l->at = LINK_GREETING;
	link_deadline(l);
}

static void on_deadline(void *arg)
{
	struct link *l = arg;

	check_obj(l, LINK_MAGIC);
	/* Our own disk is slow: the peer waits for us. Or what it is sent is
	 * long, and the way slow: some has left and not yet all. */
	if ((l->sending && l->sending->reading) ||
		(l->nstores && stream_pending(l->st) &&
			stream_pending(l->st) < l->unsent))
		link_deadline(l);
	else
		link_fail(l, "no answer in time");
}

static void try_later(struct link *l)
{
	uint64_t most = shadow_beat(l->p->s), ms;

	l->backoff = l->backoff ? l->backoff * 2 : RETRY_FIRST;
	if (l->backoff > most)
		l->backoff = most;
	ms = l->backoff;
	ms = ms - ms / 4 + rand_below(loop_rand(l->p->s->o.loop), ms / 2 + 1);
	timer_start(&l->retry, ms);
}

static void link_free(struct link *l)
{
	timer_stop(&l->retry);
	buf_fini(&l->text);
	l->magic = 0;
	free(l);
}

/* The connection is no use any more; what was asked fails. */
static void down(struct link *l, const char *why)
{
	struct peer *p = l->p;
	int was_up = l->at == LINK_UP;
	struct span said = span_head(span_str(why), p->trouble.max);

	l->at = LINK_DOWN;
	l->armed = 0;
	l->sending = NULL;
	l->nstores = 0;
	l->octets = 0;
	if (was_up)
		log_event(p->s->o.log, EV_SHADOW_LINK_DOWN,
			F_STR("peer", p->name), F_STR("reason", why));
	else if (!l->closing && !span_eq(buf_span(&p->trouble), said))
		log_event(p->s->o.log, EV_SHADOW_LINK_FAILED,
			F_STR("peer", p->name), F_STR("reason", why));
	buf_clear(&p->trouble);
	buf_add(&p->trouble, said);
	lose(l, &l->asked);
	lose(l, &l->words);
	lose(l, &l->stores);
	p->asking = 0;
	if (was_up)
		peers_changed(p->s);
}

static void on_close(void *arg, enum err why)
{
	struct link *l = arg;
	struct shadow *s = l->p->s;

	check_obj(l, LINK_MAGIC);
	l->st = NULL;
	if (l->at != LINK_DOWN)
		down(l, err_text(why == ERR_OK ? ERR_EOF : why));
	if (l->closing) {
		if (l->p->link == l)
			l->p->link = NULL;
		link_free(l);
	} else {
		try_later(l);
	}
	shadow_stream_gone(s);
}

void link_fail(struct link *l, const char *why)
{
	if (l->at == LINK_DOWN)
		return;
	/* why may be l->text or the engine's: read before the stream ends. */
	down(l, why);
	if (l->st)
		stream_abort(l->st);
}

static void on_connected(void *arg, struct stream *st, enum err e)
{
	struct link *l = arg;
	struct shadow *s = l->p->s;
	struct tls_context *t;

	check_obj(l, LINK_MAGIC);
	if (e != ERR_OK) {
		on_close(l, e);
		return;
	}
	must(st == l->st);
	t = s->o.tls(s->o.arg);
	l->at = LINK_TLS;
	link_deadline(l);
	stream_start_tls(st, t, 0, l->p->name);
}

static const struct stream_events events = {
	.on_data = on_data,
	.on_drain = on_drain,
	.on_tls = on_tls,
	.on_deadline = on_deadline,
	.on_close = on_close,
};

static void connect_now(struct link *l)
{
	struct shadow *s = l->p->s;
	struct stream_events ev = events;

	ev.arg = l;
	l->number = ++s->link_number;
	l->at = LINK_CONNECTING;
	s->streams++;
	l->st = stream_connect(
		s->o.loop, &l->p->addr, NULL, CONNECT_MS, &ev, on_connected);
}

static void on_retry(struct timer *t)
{
	struct link *l = container_of(t, struct link, retry);

	connect_now(l);
}

void link_open(struct peer *p)
{
	struct link *l = x_calloc(1, sizeof *l);

	must(!p->link);
	l->magic = LINK_MAGIC;
	l->p = p;
	list_init(&l->words);
	list_init(&l->stores);
	list_init(&l->asked);
	buf_init(&l->text, REPLY_BYTES); /* no reply is longer */
	timer_init(&l->retry, p->s->o.loop, on_retry);
	p->link = l;
	connect_now(l);
}

/* The stream may take a while to end: the peer forgets the link at once. */
void link_close(struct peer *p, const char *why)
{
	struct link *l = p->link;

	if (!l)
		return;
	p->link = NULL;
	l->closing = 1;
	timer_stop(&l->retry);
	if (!l->st) {
		link_free(l);
		return;
	}
	if (l->at == LINK_UP) {
		struct buf line;

		buf_init(&line, 64);
		wire_quit_write(&line);
		stream_write(l->st, buf_span(&line));
		buf_fini(&line);
		stream_close(l->st);
	} else {
		stream_abort(l->st);
	}
	if (l->at != LINK_DOWN)
		down(l, why);
}

void link_configure(struct peer *p)
{
	link_close(p, "its configuration has changed");
	if (p->configured && !p->s->stopping)
		link_open(p);
}

void link_tick(struct peer *p)
{
	struct link *l = p->link;
	uint64_t now = shadow_now(p->s);

	if (!link_up(p) || now - l->pinged < shadow_beat(p->s))
		return;
	l->pinged = now;
	ask_ping(p);
}
