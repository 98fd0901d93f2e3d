/* store_out - sending a copy: one STORE, its payload, and what came of it. */
#include "mta/shadow/private.h"

#include <stdlib.h>

#include "mta/base/check.h"

void store_call_free(struct store_call *sc)
{
	if (sc->reading) {
		sc->abandoned = 1;
		return;
	}
	if (sc->own_hash)
		tls_hash_destroy(&sc->hash);
	blob_unref(sc->piece);
	blob_unref(sc->record);
	body_unref(&sc->body);
	buf_fini(&sc->call.line);
	free(sc);
}

void store_forget(struct copy *c)
{
	struct store_call *sc = c->storing;

	c->storing = NULL;
	if (!sc)
		return;
	sc->copy = NULL;
	if (link_unsay(&sc->call) == 0)
		store_call_free(sc);
}

/* What a reply means: held, or why not. */
static int understand(
	struct store_call *sc, const struct reply *r, struct span text)
{
	struct shadow *s = sc->peer->s;
	struct wire_held h;
	const char *why = "";

	if (!r)
		return 0;
	if (r->code == 250 && wire_held_read(text, &h, &why) == 0 &&
		mid_eq(&h.mid, &sc->mid)) {
		sc->gone = h.gone;
		if (!h.gone && memcmp(h.dig, sc->digest, WIRE_DIGEST) == 0)
			return 1;
		if (!h.gone)
			s->counts.digests++;
		return 0;
	}
	if (r->code == 550)
		(void)!wire_stale_read(text, &sc->stale, &why);
	if (r->code == 452)
		sc->peer->free = WIRE_FREE_FULL; /* until it says otherwise */
	if (r->code == 554)
		s->counts.digests++;
	log_event(s->o.log, EV_SHADOW_REFUSED, F_STR("peer", sc->peer->name),
		F_U("code", r->code), F_SPAN("said", text));
	return 0;
}

static void on_heard(struct call *call, struct peer *p, const struct reply *r,
	struct span text)
{
	struct store_call *sc = container_of(call, struct store_call, call);
	struct copy *c = sc->copy;
	int held = understand(sc, r, text);

	(void)p;
	/* Ceded or taken over meanwhile: what is held is of another time. */
	held = held && c && c->gen == sc->gen;
	if (c)
		c->storing = NULL;
	sc->copy = NULL;
	sc->done(sc, c, held);
	if (r && r->code == 452)
		peers_changed(sc->peer->s);
	store_call_free(sc);
}

void store_start(struct copy *c, struct peer *p, struct blob *record,
	struct body *body, const struct wire_set *finished,
	void (*done)(struct store_call *sc, struct copy *c, int held))
{
	struct store_call *sc = x_calloc(1, sizeof *sc);
	struct wire_store w = {.mid = c->mid,
		.gen = c->gen,
		.env = record->n,
		.size = body->size};
	struct buf set;

	must(!c->storing && link_up(p));
	buf_init(&set, WIRE_SET);
	if (finished && finished->n) {
		wire_set_write(&set, finished, 0, WIRE_SET);
		w.done = buf_span(&set);
	}
	sc->call.store = 1;
	sc->call.heard = on_heard;
	sc->copy = c;
	sc->peer = p;
	sc->mid = c->mid;
	sc->gen = c->gen;
	sc->record = blob_ref(record);
	sc->body = body_ref(body);
	sc->octets = wire_payload(&w);
	sc->done = done;
	buf_init(&sc->call.line, WIRE_LINE);
	wire_store_write(&sc->call.line, &w);
	buf_fini(&set);
	c->storing = sc;
	c->elsewhere &= ~(1u << p->index);
	link_call(p, &sc->call);
}
