/* serve - a peer's connection to us: lines in, replies out, in order.
 *
 * Nothing is read before the peer has shown who it is. A reply that must wait
 * (a STORE's commit) keeps its place in a row of slots; those behind it wait
 * with it, and the commands go on being read: the commits of many STOREs are
 * one.
 */
#include "mta/shadow/serve.h"

#include <stdlib.h>

#include "mta/base/check.h"
#include "mta/shadow/move.h"

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
		write_ready(v);
		read_on(v);
	} else {
		buf_add(&o->text, text);
		o->ready = 1;
	}
}

void serve_say(struct serve *v, struct span text)
{
	if (list_empty(&v->slots))
		stream_write(v->st, text);
	else
		serve_ready(v, serve_slot(v), text);
}

void serve_reply(struct serve *v, uint16_t code, unsigned a, unsigned b,
	const char *text)
{
	struct buf *t = &v->s->text;
	struct enhanced enh = {
		(uint16_t)(code / 100), (uint16_t)a, (uint16_t)b};

	buf_clear(t);
	wire_reply_write(t, code, enh, span_str(text));
	serve_say(v, buf_span(t));
	if (code >= 500)
		v->errors++;
}

void serve_end(struct serve *v, const char *why)
{
	v->closing = 1;
	v->why = why;
	stream_close(v->st);
}

/* --- reading -------------------------------------------------------------- */

static size_t take_line(struct serve *v, struct span in)
{
	ptrdiff_t nl = span_chr(span_head(in, WIRE_LINE), '\n');

	if (nl < 0 && in.n < WIRE_LINE)
		return 0;
	if (nl < 1 || in.p[nl - 1] != '\r') {
		serve_reply(
			v, 500, 5, 2, "line too long, or not ended by CRLF");
		serve_end(v, "bad line");
		return 0;
	}
	serve_command(v, span(in.p, (size_t)nl - 1));
	if (v->errors > ERRORS_MOST && !v->closing)
		serve_end(v, "too many errors");
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

static size_t take_copy(struct serve *v, struct span in)
{
	int end = 0;
	size_t used = store_in_data(v->in, in, &end);

	peer_alive(v->p);
	if (end) {
		store_in_end(v->in);
		v->in = NULL;
	}
	return used;
}

static size_t take_gift(struct serve *v, struct span in)
{
	int end = 0;
	size_t used = give_in_data(v->give, in, &end);

	if (end)
		give_in_free(&v->give);
	return used;
}

static size_t on_data(void *arg, struct span unread)
{
	struct serve *v = arg;
	struct span in = unread;
	size_t used;

	check_obj(v, SERVE_MAGIC);
	while (in.n && !v->closing && !v->waits_disk && !v->waits_memory &&
		!v->waits_peer) {
		if (v->in)
			used = take_copy(v, in);
		else if (v->give)
			used = take_gift(v, in);
		else
			used = take_line(v, in);
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
		serve_end(v, "not a peer");
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
	give_in_free(&v->give);
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
			serve_end(v, "stopping");
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
