/* link - our connection to a peer: we ask, it answers, in order.
 *
 * What is to be said waits in two lists: words (lines that answer themselves
 * in one reply each) and stores (a line with its payload, as many under way as
 * the peer's window allows). Words go first, between two stores, never inside
 * one. What was said and not answered yet is the list asked. A link is given
 * up when something is asked and nothing was heard, and nothing of a payload
 * taken, for a while: everything asked fails then, and the next link begins
 * with a higher LINK number, which makes the peer forget what is still on its
 * way (R4).
 */
#include "mta/shadow/private.h"

#include <stdlib.h>

#include "mta/base/check.h"

enum {
	LINK_MAGIC = 0x11a4,
	RETRY_FIRST = 200, /* ms */
	CONNECT_MS = 10000,
	READ_PIECE = 256 * 1024,
};

enum link_at { AT_DOWN, AT_CONNECTING, AT_TLS, AT_GREETING, AT_HELLO, AT_UP };

struct link {
	unsigned magic;
	struct peer *p;
	struct stream *st; /* NULL: none */
	enum link_at at;
	int closing; /* for good: freed when the stream is gone */
	int armed;   /* the deadline runs */
	uint64_t number, pinged, backoff;
	struct timer retry;
	struct list words, stores, asked; /* struct call */
	struct store_call *sending;       /* its payload is on its way */
	unsigned nstores;                 /* asked */
	uint64_t octets;                  /* of them */
	struct buf text;
};

static void run(struct link *l);
static void fail(struct link *l, const char *why);

int link_up(const struct peer *p)
{
	return p->link && p->link->at == AT_UP && !p->link->closing;
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

/* --- the deadline
 * --------------------------------------------------------------- */

static void set_deadline(struct link *l)
{
	const struct shadow *s = l->p->s;
	uint64_t ms = 2 * shadow_beat(s);

	if (!l->st || l->at <= AT_CONNECTING)
		return;
	if (l->nstores || l->sending)
		ms = s->conf->shadow.store_timeout;
	else if (list_empty(&l->asked) && l->at == AT_UP)
		ms = 0;
	else if (ms < 1000 || l->at != AT_UP)
		ms = l->at == AT_UP ? 1000 : CONNECT_MS;
	l->armed = ms != 0;
	stream_deadline(l->st, ms);
}

/* --- saying
 * ----------------------------------------------------------------------- */

static void say_words(struct link *l)
{
	struct shadow *s = l->p->s;

	while (!list_empty(&l->words)) {
		struct call *c = list_item(l->words.next, struct call, node);

		stream_write(l->st, buf_span(&c->line));
		buf_fini(&c->line);
		c->sent = shadow_now(s);
		list_del(&c->node);
		list_append(&l->asked, &c->node);
	}
}

static int window_open(const struct link *l, const struct store_call *sc)
{
	const struct peer *p = l->p;

	if (l->nstores == 0)
		return 1; /* one is always allowed, however large */
	return l->nstores < p->window && l->octets + sc->octets <= p->bytes;
}

static void payload_ends(struct link *l)
{
	struct store_call *sc = l->sending;

	tls_hash_end(sc->hash, sc->digest);
	stream_write(l->st, span((const char *)sc->digest, sizeof sc->digest));
	l->sending = NULL;
	blob_unref(sc->piece);
	sc->piece = NULL;
}

static void run_read(struct work *w)
{
	struct store_call *sc = container_of(w, struct store_call, work);

	sc->err = store_file_read(sc->store, sc->body->file, sc->at,
		sc->piece->p, sc->piece->cap, &sc->got);
}

static void on_read(struct work *w)
{
	struct store_call *sc = container_of(w, struct store_call, work);
	struct link *l = sc->call.link;

	sc->reading = 0;
	shadow_stream_gone(sc->peer->s);
	if (sc->abandoned) {
		store_call_free(sc);
		return;
	}
	check_obj(l, LINK_MAGIC);
	if (sc->err != ERR_OK || sc->got == 0) {
		/* It was announced, so that the link must end. The message
		 * itself shows its trouble when it is delivered. */
		fail(l, "a body cannot be read here");
		return;
	}
	sc->piece->n = sc->got;
	sc->at += sc->got;
	tls_hash_add(sc->hash, blob_span(sc->piece));
	stream_write_ref(l->st, sc->piece, blob_span(sc->piece));
	set_deadline(l);
	if (sc->at == sc->body->size)
		payload_ends(l);
	run(l);
}

/* The next piece of a body in a file, when the one before has left. */
static void read_on(struct link *l)
{
	struct store_call *sc = l->sending;
	uint64_t left = sc->body->size - sc->at;

	if (sc->reading || stream_pending(l->st))
		return;
	blob_unref(sc->piece);
	sc->piece = blob_create(left < READ_PIECE ? (size_t)left : READ_PIECE);
	if (!sc->piece) {
		fail(l, "out of memory");
		return;
	}
	sc->store = queue_store(l->p->s->o.queue);
	sc->work.run = run_read;
	sc->work.done = on_read;
	sc->reading = 1;
	sc->peer->s->streams++; /* the store stays open until then */
	loop_work(l->p->s->o.loop, &sc->work);
}

static void say_store(struct link *l, struct store_call *sc)
{
	struct blob *mem = sc->body->mem;

	list_del(&sc->call.node);
	list_append(&l->asked, &sc->call.node);
	sc->begun = 1;
	sc->call.sent = shadow_now(l->p->s);
	l->nstores++;
	l->octets += sc->octets;
	stream_write(l->st, buf_span(&sc->call.line));
	buf_fini(&sc->call.line);
	stream_write_ref(l->st, sc->record, blob_span(sc->record));
	sc->hash = mem ? l->p->s->hash : tls_hash_create();
	sc->own_hash = !mem;
	tls_hash_start(sc->hash);
	tls_hash_add(sc->hash, blob_span(sc->record));
	l->sending = sc;
	if (mem) {
		tls_hash_add(sc->hash, blob_span(mem));
		stream_write_ref(l->st, mem, blob_span(mem));
	}
	if (mem || sc->body->size == 0)
		payload_ends(l);
	else
		read_on(l);
}

static void run(struct link *l)
{
	if (l->at != AT_UP || l->closing)
		return;
	while (l->at == AT_UP && !l->sending) {
		struct store_call *sc;

		say_words(l);
		if (list_empty(&l->stores) ||
			stream_pending(l->st) > PENDING_MOST)
			break;
		sc = container_of(list_item(l->stores.next, struct call, node),
			struct store_call, call);
		if (!window_open(l, sc))
			break;
		say_store(l, sc);
	}
	/* What is asked now does not put off the answer that is due. */
	if (l->at == AT_UP && !l->armed)
		set_deadline(l);
}

/* --- calls
 * -------------------------------------------------------------------------- */

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
	run(l);
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

/* --- hearing
 * ------------------------------------------------------------------------- */

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
	/* What was answered had been sent: the peer lives since then. */
	if (c->sent > p->leased)
		p->leased = c->sent;
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
	l->at = AT_HELLO;
	set_deadline(l);
}

static void welcome(struct link *l, const struct reply *r)
{
	struct peer *p = l->p;
	struct wire_welcome w;
	const char *why = "HELLO was refused";

	buf_clear(&l->text);
	wire_reply_text(r, &l->text);
	if (r->code != 250) {
		fail(l, buf_str(&l->text));
		return;
	}
	if (wire_welcome_read(buf_span(&l->text), &w, &why) != 0 ||
		w.v != WIRE_VERSION) {
		fail(l, why);
		return;
	}
	if (peer_identify(p, w.sid, w.inc, NULL) != ERR_OK) {
		fail(l, "its database is a copy of another node's");
		return;
	}
	l->at = AT_UP;
	l->backoff = 0;
	p->window = w.window ? w.window : 1;
	p->bytes = w.bytes;
	p->free = w.free;
	p->leased = shadow_now(p->s);
	l->pinged = p->leased;
	buf_clear(&p->trouble);
	log_event(p->s->o.log, EV_SHADOW_LINK_UP, F_STR("peer", p->name),
		F_U("held", w.held), F_U("link", l->number));
	peers_changed(p->s);
	holder_link_up(p);
	keeper_peer(p);
	run(l);
}

static void hear(struct link *l, const struct reply *r)
{
	peer_alive(l->p);
	if (l->at == AT_GREETING && r->code == 220) {
		say_hello(l);
	} else if (l->at == AT_HELLO) {
		welcome(l, r);
	} else if (l->at == AT_UP && !list_empty(&l->asked) && r->code != 421) {
		hear_call(l, r);
	} else {
		buf_clear(&l->text);
		wire_reply_text(r, &l->text);
		fail(l, buf_str(&l->text));
	}
}

static size_t on_data(void *arg, struct span unread)
{
	struct link *l = arg;
	size_t used = 0;

	check_obj(l, LINK_MAGIC);
	while (used < unread.n && !l->closing && l->at != AT_DOWN) {
		const char *why = "";
		struct reply r;
		size_t n = 0;
		enum reply_got got =
			reply_take(span_skip(unread, used), &r, &n, &why);

		if (got == REPLY_MORE)
			break;
		if (got == REPLY_FAULT) {
			fail(l, why);
			return unread.n;
		}
		used += n;
		hear(l, &r);
	}
	if (l->closing || l->at == AT_DOWN)
		return unread.n;
	if (used)
		set_deadline(l);
	run(l);
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
		set_deadline(l);
		read_on(l);
	} else {
		run(l);
	}
}

/* --- beginning and end
 * ------------------------------------------------------------------- */

static void on_tls(void *arg, enum err e)
{
	struct link *l = arg;
	struct shadow *s = l->p->s;
	const struct tls_engine *t = stream_engine(l->st);

	check_obj(l, LINK_MAGIC);
	if (e != ERR_OK) {
		fail(l, t ? tls_engine_error(t) : "TLS handshake failed");
		return;
	}
	if (!s->o.is_peer(s->o.arg, l->st, &l->p->conf)) {
		fail(l, "its certificate is not that of this peer");
		return;
	}
	l->at = AT_GREETING;
	set_deadline(l);
}

static void on_deadline(void *arg)
{
	struct link *l = arg;

	check_obj(l, LINK_MAGIC);
	/* Our own disk is slow: the peer waits for us. */
	if (l->sending && l->sending->reading)
		set_deadline(l);
	else
		fail(l, "no answer in time");
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
	int was_up = l->at == AT_UP;

	l->at = AT_DOWN;
	l->armed = 0;
	l->sending = NULL;
	l->nstores = 0;
	l->octets = 0;
	if (was_up)
		log_event(p->s->o.log, EV_SHADOW_LINK_DOWN,
			F_STR("peer", p->name), F_STR("reason", why));
	else if (!l->closing && !span_eq(buf_span(&p->trouble), span_str(why)))
		log_event(p->s->o.log, EV_SHADOW_LINK_FAILED,
			F_STR("peer", p->name), F_STR("reason", why));
	buf_clear(&p->trouble);
	buf_adds(&p->trouble, why);
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
	if (l->at != AT_DOWN)
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

static void fail(struct link *l, const char *why)
{
	struct stream *st = l->st;

	if (l->at == AT_DOWN)
		return;
	/* why may be l->text, which a call may use. */
	if (st)
		stream_abort(st);
	down(l, why);
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
	l->at = AT_TLS;
	set_deadline(l);
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
	l->at = AT_CONNECTING;
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
	buf_init(&l->text, WIRE_LINE * 2);
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
	if (l->at == AT_UP) {
		struct buf line;

		buf_init(&line, 64);
		wire_quit_write(&line);
		stream_write(l->st, buf_span(&line));
		buf_fini(&line);
		stream_close(l->st);
	} else {
		stream_abort(l->st);
	}
	if (l->at != AT_DOWN)
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
