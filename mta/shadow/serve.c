/* serve - a peer's connection to us: verbs in, replies out, in order.
 *
 * Nothing is read before the peer has shown who it is. A reply that must wait
 * (a STORE's commit) keeps its place in a row of slots; those behind it wait
 * with it, and the commands go on being read: the commits of many STOREs are
 * one.
 */
#include "mta/shadow/serve.h"

#include <stdlib.h>

#include "mta/base/check.h"

enum {
	SERVE_MAGIC = 0x5e4e,
	STRANGERS_MOST = 64, /* connections that have not said HELLO */
	HELLO_MS = 10000,
	SILENCE_LEAST = 20000, /* ms that a client may be silent */
	ERRORS_MOST = 10,
	SLOTS_MOST = 10000,
	STRANGER_MS = 10000, /* between two lines about callers */
};

/* --- replies -------------------------------------------------------------- */

static void slot_free(struct serve *v, struct slot *o)
{
	list_del(&o->node);
	v->nslots--;
	buf_fini(&o->text);
	free(o);
}

static void write_ready(struct serve *v)
{
	while (!list_empty(&v->slots)) {
		struct slot *o = list_item(v->slots.next, struct slot, node);

		if (!o->ready)
			return;
		stream_write(v->st, buf_span(&o->text));
		slot_free(v, o);
	}
}

static void read_on(struct serve *v);

static void flush_slots(struct serve *v)
{
	write_ready(v);
	read_on(v);
}

struct slot *serve_slot(struct serve *v)
{
	struct slot *o = x_calloc(1, sizeof *o);

	buf_init(&o->text, 256 * 1024);
	list_append(&v->slots, &o->node);
	v->nslots++;
	return o;
}

void serve_ready(struct serve *v, struct slot *o, struct span text)
{
	check_obj(v, SERVE_MAGIC);
	if (v->slots.next == &o->node) {
		stream_write(v->st, text);
		slot_free(v, o);
		flush_slots(v);
	} else {
		buf_add(&o->text, text);
		o->ready = 1;
	}
}

static void say(struct serve *v, struct span text)
{
	if (list_empty(&v->slots))
		stream_write(v->st, text);
	else
		serve_ready(v, serve_slot(v), text);
}

static void say_reply(struct serve *v, uint16_t code, unsigned a, unsigned b,
	const char *text)
{
	struct buf *t = &v->s->text;
	struct enhanced enh = {
		(uint16_t)(code / 100), (uint16_t)a, (uint16_t)b};

	buf_clear(t);
	wire_reply_write(t, code, enh, span_str(text));
	say(v, buf_span(t));
	if (code >= 500)
		v->errors++;
}

/* --- HELLO, PING ---------------------------------------------------------- */

/* An older link of the same start, or the same one, is dead (R4). */
static int stale_link(const struct peer *p, const struct wire_hello *h)
{
	return p->served_inc == h->inc && h->link <= p->served_link;
}

static void end_session(struct serve *v, const char *why)
{
	v->closing = 1;
	v->why = why;
	stream_close(v->st);
}

static void refuse_identity(struct serve *v, enum err e)
{
	if (e == ERR_LIMIT) {
		say_reply(v, 550, 7, 1,
			"copies for too many lost databases of this node are "
			"still here");
		end_session(v, "too many databases");
	} else {
		say_reply(v, 550, 7, 1,
			"this database is connected already: "
			"was the data directory copied?");
		end_session(v, "a copied database");
	}
}

static void on_hello(struct serve *v, struct span rest)
{
	struct shadow *s = v->s;
	struct peer *p = v->p;
	struct wire_welcome w = {.inc = s->me.inc, .held = p->nheld};
	struct wire_hello h;
	const char *why = "";
	enum err e;

	if (wire_hello_read(rest, &h, &why) != 0) {
		say_reply(v, 501, 5, 4, why);
		return;
	}
	if (!p->configured) { /* not any more */
		say_reply(v, 550, 7, 1, "you are not a configured peer");
		end_session(v, "no longer a peer");
		return;
	}
	if (stale_link(p, &h)) {
		s->counts.stale_links++;
		say_reply(v, 550, 7, 1, "stale LINK");
		end_session(v, "stale LINK");
		return;
	}
	if ((e = peer_identify(p, h.sid, h.inc, &h.prev)) != ERR_OK) {
		refuse_identity(v, e);
		return;
	}
	if (p->serve && p->serve != v)
		serve_close(p->serve, "a newer link is there");
	p->serve = v;
	p->served_inc = h.inc;
	p->served_link = h.link;
	p->takeover = h.takeover;
	v->hello = 1;
	memcpy(w.sid, s->me.sid, sizeof w.sid);
	w.v = h.v < WIRE_VERSION ? h.v : WIRE_VERSION;
	w.window = s->conf->shadow.window;
	w.bytes = s->conf->shadow.window_bytes;
	w.free = s->free;
	buf_clear(&s->text);
	wire_welcome_write(&s->text, &w);
	say(v, buf_span(&s->text));
}

static void on_ping(struct serve *v, struct span rest)
{
	struct shadow *s = v->s;
	struct wire_pong pong = {.inc = s->me.inc, .held = v->p->nheld};
	struct wire_ping ping;
	const char *why = "";

	if (wire_ping_read(rest, &ping, &why) != 0) {
		say_reply(v, 501, 5, 4, why);
		return;
	}
	peer_seen(v->p, &ping.seen);
	memcpy(pong.sid, s->me.sid, sizeof pong.sid);
	pong.free = s->free;
	peers_seen(s, v->p, &pong.seen);
	buf_clear(&s->text);
	wire_pong_write(&s->text, &pong);
	say(v, buf_span(&s->text));
}

/* --- STORE ---------------------------------------------------------------- */

static int no_room(const struct shadow *s, uint64_t octets)
{
	uint64_t reserve = s->conf->shadow.reserve;

	return s->free == WIRE_FREE_FULL ||
	       (s->space.total &&
		       s->space.free < reserve + octets + octets / 2);
}

static void on_store(struct serve *v, struct span rest)
{
	struct wire_store w;
	const char *why = "";

	if (wire_store_read(rest, &w, &why) != 0) {
		/* How much follows is not known: out of step. */
		say_reply(v, 501, 5, 4, why);
		end_session(v, why);
		return;
	}
	if (w.env > ENV_MOST || w.env == 0) {
		say_reply(v, 552, 3, 4, "envelope record too large");
		end_session(v, "STORE too large");
		return;
	}
	if (!v->hash)
		v->hash = tls_hash_create();
	v->in = store_in_begin(v, v->p, &w);
	if (no_room(v->s, wire_payload(&w)))
		store_in_refuse(v->in, 452, 3, 1, "no room for copies");
}

/* --- DONE, STATUS, CLAIM -------------------------------------------------- */

static void on_done(struct serve *v, struct span rest)
{
	struct wire_done d;
	const char *why = "";
	unsigned n = 0;
	int more;

	while ((more = wire_done_next(&rest, &d, &why)) > 0) {
		holder_done(v->s, &d);
		n++;
	}
	if (more < 0) {
		say_reply(v, 501, 5, 4, why);
		return;
	}
	buf_clear(&v->s->text);
	wire_noted_write(&v->s->text, n);
	say(v, buf_span(&v->s->text));
}

static void on_status(struct serve *v, struct span rest)
{
	struct shadow *s = v->s;
	struct wire_answer a;
	const char *why = "";
	struct buf text;
	struct mid m;
	int more, bad = 0;

	buf_init(&text, 64 * 1024);
	while ((more = wire_status_next(&rest, &m, &why)) > 0 && !bad) {
		bad = holder_status(s, v->p, &m, &a);
		if (!bad) {
			s->counts.answers[a.state]++;
			wire_answer_add(&text, &a);
		}
	}
	buf_clear(&s->text);
	if (more < 0)
		wire_reply_write(&s->text, 501, (struct enhanced){5, 5, 4},
			span_str(why));
	else if (bad || text.full || !text.n)
		wire_reply_write(&s->text, 451, (struct enhanced){4, 3, 0},
			SPAN("cannot be read now"));
	else
		wire_reply_write(&s->text, 250, (struct enhanced){2, 0, 0},
			buf_span(&text));
	buf_fini(&text);
	say(v, buf_span(&s->text));
}

static void on_claim(struct serve *v, struct span rest)
{
	struct wire_claim c;
	const char *why = "";

	if (wire_claim_read(rest, &c, &why) != 0) {
		say_reply(v, 501, 5, 4, why);
		return;
	}
	buf_clear(&v->s->text);
	keeper_claim(v->s, v->p, &c, &v->s->text);
	say(v, buf_span(&v->s->text));
}

/* --- reading -------------------------------------------------------------- */

static void command(struct serve *v, struct span line)
{
	struct span rest;
	enum wire_verb verb = wire_verb_of(line, &rest);

	peer_alive(v->p);
	if (!v->hello && verb != WIRE_HELLO && verb != WIRE_QUIT &&
		verb != WIRE_NOOP && verb != WIRE_UNKNOWN) {
		say_reply(v, 503, 5, 1, "HELLO first");
		return;
	}
	switch (verb) {
	case WIRE_HELLO:
		on_hello(v, rest);
		break;
	case WIRE_STORE:
		on_store(v, rest);
		break;
	case WIRE_DONE:
		on_done(v, rest);
		break;
	case WIRE_STATUS:
		on_status(v, rest);
		break;
	case WIRE_CLAIM:
		on_claim(v, rest);
		break;
	case WIRE_PING:
		on_ping(v, rest);
		break;
	case WIRE_NOOP:
		say_reply(v, 250, 0, 0, "ok");
		break;
	case WIRE_QUIT:
		say_reply(v, 221, 0, 0, "bye");
		end_session(v, "quit");
		break;
	case WIRE_UNKNOWN:
		say_reply(v, 500, 5, 1, "command unknown");
	}
}

static size_t take_line(struct serve *v, struct span in)
{
	ptrdiff_t nl = span_chr(span_head(in, WIRE_LINE), '\n');

	if (nl < 0 && in.n < WIRE_LINE)
		return 0;
	if (nl < 1 || in.p[nl - 1] != '\r') {
		say_reply(v, 500, 5, 2, "line too long, or not ended by CRLF");
		end_session(v, "bad line");
		return 0;
	}
	command(v, span(in.p, (size_t)nl - 1));
	if (v->errors > ERRORS_MOST && !v->closing)
		end_session(v, "too many errors");
	return (size_t)nl + 1;
}

static void set_deadline(struct serve *v)
{
	uint64_t ms = 4 * shadow_beat(v->s);

	if (ms < SILENCE_LEAST)
		ms = SILENCE_LEAST;
	stream_deadline(v->st, v->hello ? ms : HELLO_MS);
}

/* One STORE of a peer is always taken in: two nodes that wait for each other's
 * memory would wait for ever. */
static int short_of_memory(struct serve *v)
{
	return v->nslots > 1 && budget_over(queue_budget(v->s->o.queue));
}

/* It sends and does not read what it is answered. */
static int behind(const struct serve *v)
{
	return v->nslots > SLOTS_MOST || stream_pending(v->st) > PENDING_MOST;
}

/* Memory is short for everybody, or this body waits for our disk. */
static void pace(struct serve *v)
{
	if (v->in && store_in_busy(v->in) && !v->waits_disk) {
		v->waits_disk = 1;
		stream_hold(v->st);
	}
	if (!v->waits_memory && short_of_memory(v)) {
		v->waits_memory = 1;
		stream_hold(v->st);
		budget_wait(queue_budget(v->s->o.queue), &v->memory);
	}
	if (!v->waits_peer && behind(v)) {
		v->waits_peer = 1;
		stream_hold(v->st);
	}
}

static void unhold(struct serve *v)
{
	if (v->waits_disk || v->waits_memory || v->waits_peer || v->closing)
		return;
	stream_release(v->st);
}

/* Something was answered, or what was answered has left. */
static void read_on(struct serve *v)
{
	int was = v->waits_memory || v->waits_peer;

	if (v->waits_memory && v->nslots <= 1) {
		budget_unwait(&v->memory);
		v->waits_memory = 0;
	}
	if (v->waits_peer && !behind(v))
		v->waits_peer = 0;
	if (was)
		unhold(v);
}

void serve_wake(struct serve *v)
{
	check_obj(v, SERVE_MAGIC);
	v->waits_disk = 0;
	unhold(v);
}

static void on_memory(struct budget_waiter *w)
{
	struct serve *v = container_of(w, struct serve, memory);

	v->waits_memory = 0;
	unhold(v);
}

static size_t on_data(void *arg, struct span unread)
{
	struct serve *v = arg;
	struct span in = unread;
	size_t used;
	int end;

	check_obj(v, SERVE_MAGIC);
	while (in.n && !v->closing && !v->waits_disk && !v->waits_memory &&
		!v->waits_peer) {
		if (v->in) {
			end = 0;
			used = store_in_data(v->in, in, &end);
			peer_alive(v->p);
			if (end) {
				store_in_end(v->in);
				v->in = NULL;
			}
		} else {
			used = take_line(v, in);
		}
		in = span_skip(in, used);
		if (used == 0)
			break;
		if (!v->closing)
			pace(v);
	}
	if (!v->closing)
		set_deadline(v);
	return v->closing ? unread.n : (size_t)(in.p - unread.p);
}

/* --- life ----------------------------------------------------------------- */

static struct peer *who(const struct serve *v)
{
	struct shadow *s = v->s;

	for (unsigned i = 0; i < s->npeer; i++)
		if (s->peer[i]->configured &&
			s->o.is_peer(s->o.arg, v->st, &s->peer[i]->conf))
			return s->peer[i];
	return NULL;
}

static void log_stranger(struct serve *v, const char *why)
{
	struct net_addr a = stream_peer(v->st);
	uint64_t now = shadow_now(v->s);
	char text[46];

	v->s->counts.strangers++;
	/* One that calls again and again says no more than one. */
	if (v->s->strangers_said && now - v->s->strangers_said < STRANGER_MS)
		return;
	v->s->strangers_said = now;
	log_event(v->s->o.log, EV_SHADOW_STRANGER_CALL,
		F_SPAN("client", net_addr_text(&a, text)),
		F_STR("reason", why));
}

static void on_tls(void *arg, enum err e)
{
	struct serve *v = arg;
	const struct tls_engine *t = stream_engine(v->st);

	check_obj(v, SERVE_MAGIC);
	if (e != ERR_OK) {
		log_stranger(v, t ? tls_engine_error(t) : "TLS failed");
		return; /* on_close follows */
	}
	v->p = who(v);
	if (!v->p) {
		log_stranger(v, "its certificate is not that of a peer");
		stream_write(v->st,
			SPAN("550 5.7.1 you are not a configured peer\r\n"));
		end_session(v, "not a peer");
		return;
	}
	buf_clear(&v->s->text);
	buf_addf(&v->s->text, "220 %.*s ESMTP shadow\r\n",
		SPAN_ARG(v->s->conf->node.name));
	stream_write(v->st, buf_span(&v->s->text));
	set_deadline(v);
}

static void on_deadline(void *arg)
{
	struct serve *v = arg;

	check_obj(v, SERVE_MAGIC);
	v->why = "silent";
	v->closing = 1;
	stream_abort(v->st);
}

static void on_drain(void *arg)
{
	struct serve *v = arg;

	check_obj(v, SERVE_MAGIC);
	read_on(v);
}

static void on_close(void *arg, enum err why)
{
	struct serve *v = arg;
	struct shadow *s = v->s;

	check_obj(v, SERVE_MAGIC);
	/* First: what is given back here may be what it waits for. */
	budget_unwait(&v->memory);
	v->closing = 1;
	if (v->p && v->p->serve == v)
		v->p->serve = NULL;
	if (v->hello)
		log_event(s->o.log, EV_SHADOW_SERVED, F_STR("peer", v->p->name),
			F_STR("reason", v->why ? v->why : err_text(why)));
	if (v->in)
		store_in_drop(v->in);
	store_in_orphan(s, v);
	while (!list_empty(&v->slots))
		slot_free(v, list_item(v->slots.next, struct slot, node));
	if (v->hash)
		tls_hash_destroy(&v->hash);
	list_del(&v->node);
	v->magic = 0;
	free(v);
	shadow_stream_gone(s);
}

void serve_close(struct serve *v, const char *why)
{
	check_obj(v, SERVE_MAGIC);
	if (v->p && v->p->serve == v)
		v->p->serve = NULL;
	if (v->closing)
		return;
	v->closing = 1;
	v->why = why;
	stream_abort(v->st);
}

void serve_stop(struct shadow *s)
{
	list_each (it, &s->serves) {
		struct serve *v = list_item(it, struct serve, node);

		if (!v->closing) {
			stream_write(
				v->st, SPAN("421 4.3.2 shutting down\r\n"));
			end_session(v, "stopping");
		}
	}
}

static const struct stream_events events = {
	.on_data = on_data,
	.on_drain = on_drain,
	.on_tls = on_tls,
	.on_deadline = on_deadline,
	.on_close = on_close,
};

static unsigned strangers(const struct shadow *s)
{
	unsigned n = 0;

	list_each (it, &s->serves)
		n += !list_item(it, struct serve, node)->hello;
	return n;
}

static int has_peers(const struct shadow *s)
{
	for (unsigned i = 0; i < s->npeer; i++)
		if (s->peer[i]->configured)
			return 1;
	return 0;
}

void serve_accept(struct shadow *s, struct stream *st)
{
	struct serve *v = x_calloc(1, sizeof *v);
	struct stream_events ev = events;
	/* Without peers there is no context for a handshake either. */
	int nobody = !has_peers(s);
	int many = s->stopping || strangers(s) >= STRANGERS_MOST;

	v->magic = SERVE_MAGIC;
	v->s = s;
	v->st = st;
	list_init(&v->slots);
	list_init(&v->memory.node);
	v->memory.fn = on_memory;
	list_append(&s->serves, &v->node);
	s->streams++;
	ev.arg = v;
	stream_set_events(st, &ev);
	if (nobody)
		log_stranger(v, "there are no shadow.peers");
	if (many || nobody) {
		v->closing = 1;
		v->why = nobody ? "no peers" : "too many connections";
		stream_abort(st);
		return;
	}
	stream_deadline(st, HELLO_MS);
	stream_start_tls(st, s->o.tls(s->o.arg), 1, NULL);
}
