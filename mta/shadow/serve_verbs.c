/* serve_verbs - what a peer asks on its connection to us, and the answers. */
#include "mta/base/check.h"
#include "mta/shadow/move.h"
#include "mta/shadow/serve.h"

/* --- HELLO, PING ---------------------------------------------------------- */

/* An older link of the same start, or the same one, is dead (R4). */
static int stale_link(const struct peer *p, const struct wire_hello *h)
{
	return p->served_inc == h->inc && h->link <= p->served_link;
}

static void refuse_identity(struct serve *v, enum err e)
{
	if (e == ERR_LIMIT) {
		serve_reply(v, 550, 7, 1,
			"copies for too many lost databases of this node are "
			"still here");
		serve_end(v, "too many databases");
	} else {
		serve_reply(v, 550, 7, 1,
			"this database is connected already: "
			"was the data directory copied?");
		serve_end(v, "a copied database");
	}
}

static enum wire_gives may_give(const struct shadow *s)
{
	return s->draining || s->free == WIRE_FREE_FULL ? WIRE_GIVES_NO
							: WIRE_GIVES_OK;
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
		serve_reply(v, 501, 5, 4, why);
		return;
	}
	if (!p->configured) { /* not any more */
		serve_reply(v, 550, 7, 1, "you are not a configured peer");
		serve_end(v, "no longer a peer");
		return;
	}
	if (stale_link(p, &h)) {
		s->counts.stale_links++;
		serve_reply(v, 550, 7, 1, "stale LINK");
		serve_end(v, "stale LINK");
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
	w.gives = may_give(s);
	buf_clear(&s->text);
	wire_welcome_write(&s->text, &w);
	serve_say(v, buf_span(&s->text));
}

static void on_ping(struct serve *v, struct span rest)
{
	struct shadow *s = v->s;
	struct wire_pong pong = {.inc = s->me.inc, .held = v->p->nheld};
	struct wire_ping ping;
	const char *why = "";

	if (wire_ping_read(rest, &ping, &why) != 0) {
		serve_reply(v, 501, 5, 4, why);
		return;
	}
	peer_seen(v->p, &ping.seen);
	memcpy(pong.sid, s->me.sid, sizeof pong.sid);
	pong.free = s->free;
	pong.gives = may_give(s);
	peers_seen(s, v->p, &pong.seen);
	buf_clear(&s->text);
	wire_pong_write(&s->text, &pong);
	serve_say(v, buf_span(&s->text));
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
	struct pressure_answer press;
	struct wire_store w;
	const char *why = "";

	if (wire_store_read(rest, &w, &why) != 0) {
		/* How much follows is not known: out of step. */
		serve_reply(v, 501, 5, 4, why);
		serve_end(v, why);
		return;
	}
	if (w.env > ENV_MOST || w.env == 0) {
		serve_reply(v, 552, 3, 4, "envelope record too large");
		serve_end(v, "STORE too large");
		return;
	}
	if (!v->hash)
		v->hash = tls_hash_create();
	v->in = store_in_begin(v, v->p, &w);
	if (v->s->draining)
		store_in_refuse(v->in, 452, 3, 2, "draining: no new copies");
	/* One that is held already costs nothing. */
	else if ((!copy_find(v->s, &w.mid) && !pressure_admit(v->s->o.pressure,
						      SOURCE_COPY, &press)) ||
		 no_room(v->s, wire_payload(&w)))
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
		serve_reply(v, 501, 5, 4, why);
		return;
	}
	buf_clear(&v->s->text);
	wire_noted_write(&v->s->text, n);
	serve_say(v, buf_span(&v->s->text));
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
	serve_say(v, buf_span(&s->text));
}

static void on_claim(struct serve *v, struct span rest)
{
	struct wire_claim c;
	const char *why = "";

	if (wire_claim_read(rest, &c, &why) != 0) {
		serve_reply(v, 501, 5, 4, why);
		return;
	}
	buf_clear(&v->s->text);
	keeper_claim(v->s, v->p, &c, &v->s->text);
	serve_say(v, buf_span(&v->s->text));
}

static void on_give(struct serve *v, struct span rest)
{
	struct wire_give w;
	const char *why = "";
	int end = 0;

	if (wire_give_read(rest, &w, &why) != 0) {
		/* How much follows is not known. */
		serve_reply(v, 501, 5, 4, why);
		serve_end(v, why);
		return;
	}
	if (w.status > GIVE_STATUS) {
		serve_reply(v, 552, 3, 4, "status record too large");
		serve_end(v, "GIVE too large");
		return;
	}
	v->give = give_in_begin(v, &w);
	give_in_data(v->give, span("", 0), &end);
	if (end)
		give_in_free(&v->give);
}

/* --- one line ------------------------------------------------------------- */

void serve_command(struct serve *v, struct span line)
{
	struct span rest;
	enum wire_verb verb = wire_verb_of(line, &rest);

	peer_alive(v->p);
	if (!v->hello && verb != WIRE_HELLO && verb != WIRE_QUIT &&
		verb != WIRE_NOOP && verb != WIRE_UNKNOWN) {
		serve_reply(v, 503, 5, 1, "HELLO first");
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
	case WIRE_GIVE:
		on_give(v, rest);
		break;
	case WIRE_PING:
		on_ping(v, rest);
		break;
	case WIRE_NOOP:
		serve_reply(v, 250, 0, 0, "ok");
		break;
	case WIRE_QUIT:
		serve_reply(v, 221, 0, 0, "bye");
		serve_end(v, "quit");
		break;
	case WIRE_UNKNOWN:
		serve_reply(v, 500, 5, 1, "command unknown");
	}
}
