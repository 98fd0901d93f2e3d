/* ask - the small calls on our link: PING, STATUS, CLAIM and DONE. */
#include "mta/shadow/private.h"

#include <stdlib.h>

#include "mta/base/check.h"

static struct call *call_new(void (*heard)(struct call *c, struct peer *p,
	const struct reply *r, struct span text))
{
	struct call *c = x_calloc(1, sizeof *c);

	c->heard = heard;
	buf_init(&c->line, WIRE_LINE);
	return c;
}

static void nonsense(struct peer *p, const char *verb, const char *why)
{
	log_event(p->s->o.log, EV_SHADOW_NONSENSE, F_STR("peer", p->name),
		F_STR("verb", verb), F_STR("reason", why));
}

/* --- PING ----------------------------------------------------------------- */

static void on_pong(
	struct call *c, struct peer *p, const struct reply *r, struct span text)
{
	struct wire_pong pong;
	const char *why = "refused";

	free(c);
	if (!r)
		return;
	if (r->code != 250 || wire_pong_read(text, &pong, &why) != 0) {
		nonsense(p, "PING", why);
		return;
	}
	peer_seen(p, &pong.seen);
	p->gives = pong.gives;
	if (p->free == pong.free)
		return;
	p->free = pong.free;
	peers_changed(p->s);
}

void ask_ping(struct peer *p)
{
	struct wire_ping ping = {.next = p->s->me.seq};
	struct call *c = call_new(on_pong);

	peers_seen(p->s, p, &ping.seen);
	wire_ping_write(&c->line, &ping);
	link_call(p, c);
}

/* --- STATUS --------------------------------------------------------------- */

struct status_call {
	struct call call; /* first */
	unsigned n;
	struct mid mid[STATUS_ITEMS];
};

static void on_answers(struct call *call, struct peer *p, const struct reply *r,
	struct span text)
{
	struct status_call *sc = container_of(call, struct status_call, call);
	struct shadow *s = p->s;
	struct wire_answer a;
	const char *why = "refused";
	unsigned i = 0;

	if (p->asking)
		p->asking--;
	if (r && r->code == 250)
		for (; i < sc->n && wire_answer_next(&text, &a, &why) > 0;
			i++) {
			struct copy *c = copy_find(s, &sc->mid[i]);

			if (!c || c->moving || !c->m)
				continue;
			if (c->state == COPY_HELD)
				holder_answer(c, p, &a);
			else
				keeper_answer(c, p, &a);
		}
	if (r && i < sc->n)
		nonsense(p, "STATUS", why);
	free(sc);
	if (link_up(p))
		holder_tick(p);
}

void ask_status(struct peer *p, struct copy *const *v, unsigned n)
{
	struct status_call *sc = x_calloc(1, sizeof *sc);
	struct wire_batch b;

	must(n > 0 && n <= STATUS_ITEMS);
	sc->call.heard = on_answers;
	buf_init(&sc->call.line, WIRE_LINE);
	wire_batch_open(&b, WIRE_STATUS, &sc->call.line);
	for (unsigned i = 0; i < n; i++) {
		sc->mid[sc->n++] = v[i]->mid;
		must(wire_batch_status(&b, &v[i]->mid) == 0);
	}
	wire_batch_close(&b);
	p->asking++;
	link_call(p, &sc->call);
}

/* --- CLAIM ---------------------------------------------------------------- */

struct claim_call {
	struct call call; /* first */
	struct mid mid;
};

static void on_claimed(struct call *call, struct peer *p, const struct reply *r,
	struct span text)
{
	struct claim_call *cc = container_of(call, struct claim_call, call);
	struct copy *c = copy_find(p->s, &cc->mid);

	free(cc);
	p->claiming--; /* also when c has gone meanwhile */
	if (c)
		takeover_claimed(c, p, r, text);
}

void ask_claim(struct copy *c, struct peer *p, const struct wire_set *finished)
{
	struct claim_call *cc = x_calloc(1, sizeof *cc);
	struct wire_claim w = {.mid = c->mid, .gen = c->gen};
	struct buf set;

	p->claiming++;
	cc->call.heard = on_claimed;
	cc->mid = c->mid;
	buf_init(&cc->call.line, WIRE_LINE);
	buf_init(&set, WIRE_SET);
	if (finished && finished->n) {
		wire_set_write(&set, finished, 0, WIRE_SET);
		w.done = buf_span(&set);
	}
	wire_claim_write(&cc->call.line, &w);
	buf_fini(&set);
	link_call(p, &cc->call);
}

/* --- DONE ----------------------------------------------------------------- */

static void on_noted(
	struct call *c, struct peer *p, const struct reply *r, struct span text)
{
	(void)text;
	if (r && r->code != 250)
		nonsense(p, "DONE", "refused");
	free(c);
}

static void say_dones(struct peer *p)
{
	struct span rest = buf_span(&p->dones);

	/* Each line is a call of its own: it has its own reply. */
	while (rest.n) {
		ptrdiff_t nl = span_chr(rest, '\n');
		struct call *c = call_new(on_noted);

		must(nl >= 0);
		buf_add(&c->line, span_head(rest, (size_t)nl + 1));
		rest = span_skip(rest, (size_t)nl + 1);
		link_call(p, c);
		if (!link_up(p))
			break;
	}
	buf_clear(&p->dones);
}

void ask_done_flush(struct peer *p)
{
	if (p->batching)
		wire_batch_close(&p->batch);
	p->batching = 0;
	if (link_up(p))
		say_dones(p);
	buf_clear(&p->dones); /* else the holder will ask (R7) */
}

static void open_batch(struct peer *p)
{
	if (p->batching)
		wire_batch_close(&p->batch);
	wire_batch_open(&p->batch, WIRE_DONE, &p->dones);
	p->batching = 1;
}

/* Not durable, and need not be: who was not told asks (R6, R7). */
void ask_done(
	struct peer *p, const struct mid *m, const unsigned *rcpt, unsigned n)
{
	struct shadow *s = p->s;
	struct wire_set set = {.n = n};
	unsigned from = 0;

	if (!link_up(p) || p->dones.n > DONE_MOST)
		return;
	if (!p->batching)
		open_batch(p);
	if (!rcpt) {
		while (wire_batch_gone(&p->batch, m))
			open_batch(p);
	} else {
		set.v = arena_alloc(&s->scratch, n * sizeof *rcpt);
		memcpy(set.v, rcpt, n * sizeof *rcpt);
		while (wire_batch_done(&p->batch, m, &set, &from))
			open_batch(p);
		arena_fini(&s->scratch);
	}
	if (p->dones.n > DONE_BATCH)
		timer_start(&s->dones, 0);
	else if (!s->dones.armed)
		timer_start(&s->dones, DONE_AFTER);
}
