/* scenario_net - the simulated network itself: links in one direction, a
 * handshake without TLS, a machine without power. */
#include <stdio.h>
#include <stdlib.h>

#include "mta/base/check.h"
#include "tests/sim/scenario.h"
#include "tests/sim/world.h"

struct end {
	struct stream *s;
	struct net_addr peer;
	char got[64];
	size_t n;
	int tls, closed;
	enum err why;
};

struct pair {
	struct world *w;
	struct loop *l[2];
	struct net_addr addr[2];
	struct sim_link *way[2]; /* from that one to the other */
	struct end end[2];
};

static size_t on_data(void *arg, struct span in)
{
	struct end *e = arg;

	must(e->n + in.n < sizeof e->got);
	memcpy(e->got + e->n, in.p, in.n);
	e->n += in.n;
	return in.n;
}

static void on_tls(void *arg, enum err why)
{
	struct end *e = arg;

	must(why == ERR_OK && !e->tls);
	e->tls = 1;
}

static void on_close(void *arg, enum err why)
{
	struct end *e = arg;

	e->closed++;
	e->why = why;
	e->s = NULL;
}

static void on_accepted(void *arg, struct stream *s)
{
	struct pair *p = arg;
	struct end *e = &p->end[1];
	const struct stream_events ev = {
		e, on_data, NULL, on_tls, NULL, on_close};

	e->s = s;
	e->peer = stream_peer(s);
	stream_set_events(s, &ev);
}

static void on_connected(void *arg, struct stream *s, enum err why)
{
	struct end *e = arg;

	e->s = s;
	e->why = why;
}

static void connect_pair(struct pair *p)
{
	const struct stream_events ev = {
		&p->end[0], on_data, NULL, on_tls, NULL, on_close};

	memset(p->end, 0, sizeof p->end);
	stream_connect(p->l[0], &p->addr[1], NULL, MINUTE, &ev, on_connected);
	sim_loop_step(p->w->loop, SECOND);
}

static void say(struct pair *p, unsigned i, const char *text)
{
	stream_write(p->end[i].s, span_str(text));
}

static void want(struct pair *p, unsigned i, const char *text)
{
	struct end *e = &p->end[i];

	sim_loop_step(p->w->loop, 10 * SECOND);
	if (!span_eq(span(e->got, e->n), span_str(text)))
		world_fault(p->w, "%u has \"%.*s\", not \"%s\"", i, (int)e->n,
			e->got, text);
}

static void hang_up(struct pair *p)
{
	for (unsigned i = 0; i < 2; i++)
		if (p->end[i].s)
			stream_abort(p->end[i].s);
	sim_net_calm(p->w->net);
	sim_loop_step(p->w->loop, MINUTE);
	if (sim_net_streams(p->w->net))
		world_fault(p->w, "streams are left");
}

static void one_way(struct pair *p)
{
	connect_pair(p);
	must(p->end[0].s && p->end[1].s);
	if (!net_addr_eq(&p->end[1].peer, &p->addr[0]))
		world_fault(p->w, "called from another address");
	p->way[0]->partition = 1;
	say(p, 0, "a");
	say(p, 1, "b");
	want(p, 1, "");
	want(p, 0, "b");
	p->way[0]->partition = 0;
	sim_net_heal(p->w->net);
	want(p, 1, "a");

	p->way[1]->drop = 1;
	say(p, 1, "c");
	want(p, 0, "b");
	p->way[1]->drop = 0;
	say(p, 1, "d");
	say(p, 0, "e");
	want(p, 0, "b"); /* never again on this connection */
	want(p, 1, "ae");
	hang_up(p);

	p->way[1]->partition = 1;
	connect_pair(p);
	sim_loop_step(p->w->loop, MINUTE);
	if (p->end[0].why != ERR_TIMEOUT)
		world_fault(p->w, "connected without an answer");
	hang_up(p);
}

/* 1000 octets a second: the window over the latency. */
static void slow(struct pair *p)
{
	char text[64] = "";

	p->way[0]->latency = 100;
	p->way[0]->window = 10;
	connect_pair(p);
	for (unsigned i = 0; i < 40; i++)
		text[i] = (char)('0' + i);
	say(p, 0, text);
	sim_loop_step(p->w->loop, 250);
	if (p->end[1].n != 20)
		world_fault(p->w, "%zu octets in 250 ms", p->end[1].n);
	want(p, 1, text);
	hang_up(p);
	p->way[0]->latency = 0;
}

static void handshake(struct pair *p)
{
	p->way[0]->latency = p->way[1]->latency = 50;
	connect_pair(p);
	say(p, 1, "go");
	stream_start_tls(p->end[1].s, NULL, 1, NULL);
	want(p, 0, "go");
	if (p->end[1].tls || stream_encrypted(p->end[1].s))
		world_fault(p->w, "one side alone is enough");
	stream_start_tls(p->end[0].s, NULL, 0, "peer");
	must(!p->end[0].tls);
	sim_loop_step(p->w->loop, 49);
	if (!p->end[0].tls || p->end[1].tls)
		world_fault(p->w, "the client is first");
	say(p, 0, "x");
	want(p, 1, "x");
	if (!p->end[1].tls || !stream_encrypted(p->end[1].s) ||
		!stream_encrypted(p->end[0].s) || stream_engine(p->end[0].s))
		world_fault(p->w, "both have begun, and nothing");
	hang_up(p);
}

static void power(struct pair *p)
{
	connect_pair(p);
	sim_net_vanish(p->w->net, SPAN("198.51.100.2"));
	say(p, 0, "x");
	sim_loop_step(p->w->loop, HOUR);
	if (p->end[0].closed || !p->end[1].closed)
		world_fault(p->w, "the end of a machine was told");
	hang_up(p);
}

int scenario_net(const struct scenario_options *o)
{
	struct pair p = {.w = world_create(o->seed, o->print)};
	struct listener *listener;
	struct buf why;
	int bad;

	buf_init(&why, 256);
	for (unsigned i = 0; i < 2; i++) {
		p.l[i] = sim_loop_view(p.w->loop, i);
		p.addr[i] = (struct net_addr){
			.b = {198, 51, 100, (uint8_t)(i + 1)}, .port = 25};
		sim_loop_set_user(p.l[i], SIM_USER_ADDR, &p.addr[i]);
	}
	p.way[0] = sim_net_pair(
		p.w->net, SPAN("198.51.100.1"), SPAN("198.51.100.2"));
	p.way[1] = sim_net_pair(
		p.w->net, SPAN("198.51.100.2"), SPAN("198.51.100.1"));
	must(listener_open(&listener, p.l[1], &p.addr[1], 1, on_accepted, &p,
		     &why) == ERR_OK);
	one_way(&p);
	slow(&p);
	handshake(&p);
	power(&p);
	bad = p.w->nfaults > 0;
	if (bad)
		fprintf(stderr, "sim: net:\n%s", buf_str(&p.w->faults));
	listener_close(&listener);
	buf_fini(&why);
	for (unsigned i = 0; i < 2; i++)
		loop_destroy(&p.l[i]);
	world_destroy(&p.w);
	return bad;
}
