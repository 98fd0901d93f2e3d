/* shadow_world - what the tests of mta/shadow share: one node's shadow room
 * with its queue, on a simulated loop, network and disk. It is 10.0.0.1 and
 * called "a.example"; its peers are 10.0.0.2, "b.example", and so on. Who a
 * caller is, its address says; nothing is encrypted.
 *
 * The simulated parts come first and so win over the real ones in the library.
 * Each test program includes this once, after cmocka's headers.
 */
#pragma once

#include "mta/shadow/private.h"
#include "tests/sim/sim_net.c"
#include "tests/sim/sim_stream.c"
#include "tests/unit/queue_world.h"

struct node {
	struct world w;
	struct sim_net *net;
	struct net_addr addr;
	struct shadow *s;
	struct conf *conf;
	unsigned may; /* may_deliver was asked */
	int stopped;
};

/* --- the queue's events --------------------------------------------------- */

static unused void node_progress(
	void *arg, void *tag, const unsigned *rcpt, unsigned n)
{
	shadow_progress(((struct node *)arg)->s, tag, rcpt, n);
}

static unused void node_gone(void *arg, void *tag, enum err e)
{
	shadow_gone(((struct node *)arg)->s, tag, e);
}

static unused int node_may(void *arg, void *tag)
{
	struct node *n = arg;

	n->may++;
	return shadow_may_deliver(n->s, tag);
}

static unused struct store_op *node_leaving(void *arg, void *tag)
{
	return shadow_leaving(((struct node *)arg)->s, tag);
}

static unused void *node_found(void *arg, struct message *m,
	const struct envelope *e, const struct status *st)
{
	return shadow_found(((struct node *)arg)->s, m, e, st);
}

static unused struct tls_context *node_tls(void *arg)
{
	(void)arg;
	return NULL;
}

static unused int node_is_peer(
	void *arg, struct stream *st, const struct conf_peer *p)
{
	struct net_addr at = stream_peer(st), want;

	(void)arg;
	return net_addr_parse(p->address.host, 0, &want) == 0 &&
	       net_addr_eq(&at, &want);
}

/* --- the node ------------------------------------------------------------- */

/* world comes first in it: what queue_world.h hands around is the node. */
static unused void node_start(struct node *n)
{
	struct queue_events ev = {.arg = n,
		.route = on_route,
		.hop_new = on_hop_new,
		.hop_gone = on_hop_gone,
		.ready = on_ready,
		.expired = on_expired,
		.delayed = on_delayed,
		.fatal = on_fatal_event,
		.progress = node_progress,
		.gone = node_gone,
		.may_deliver = node_may,
		.leaving = node_leaving,
		.found = node_found};
	struct shadow_options o = {.loop = n->w.loop,
		.log = n->w.log,
		.arg = n,
		.tls = node_tls,
		.is_peer = node_is_peer};
	struct buf why;

	buf_init(&why, 1000);
	if (queue_open(&n->w.q, &n->w.o, &ev, &why) != ERR_OK)
		fail_msg("%s", buf_str(&why));
	o.queue = n->w.q;
	n->s = shadow_create(&o);
	if (queue_recover(n->w.q, &why) != ERR_OK)
		fail_msg("%s", buf_str(&why));
	n->stopped = 0;
	buf_fini(&why);
}

static unused void on_node_stopped(void *arg)
{
	((struct node *)arg)->stopped = 1;
}

static unused void node_stop(struct node *n)
{
	while (n->w.nexpired)
		settle_all(
			&n->w, n->w.expired[--n->w.nexpired], VERDICT_RELEASE);
	if (n->s->conf) {
		shadow_stop(n->s, on_node_stopped, n);
		sim_loop_step(n->w.loop, 20000);
		assert_true(n->stopped);
	}
	queue_close(&n->w.q);
	shadow_destroy(&n->s);
	conf_unref(&n->conf);
}

static unused void node_restart(struct node *n)
{
	node_stop(n);
	node_start(n);
}

/* Of four peers at most the first npeer; the last is a witness if so wanted.
 * more: further lines of the section shadow. */
static unused void node_configure(
	struct node *n, unsigned npeer, int witness, const char *more)
{
	struct buf text, why;
	struct conf *c;

	buf_init(&text, 8192);
	buf_init(&why, 8192);
	buf_adds(&text, "node: { name: a.example, data: /d }\n"
			"receive_connectors:\n"
			"  - { name: in, bind: [\"0.0.0.0:25\"] }\n"
			"shadow:\n  listen: \"10.0.0.1:2526\"\n  cert: /c\n"
			"  key: /k\n  ca: /ca\n");
	buf_adds(&text, more);
	buf_adds(&text, npeer ? "  peers:\n" : "");
	for (unsigned i = 0; i < npeer; i++)
		buf_addf(&text,
			"    - { name: %c.example, address: \"10.0.0.%u\"%s "
			"}\n",
			(char)('b' + i), i + 2,
			witness && i + 1 == npeer ? ", witness: true" : "");
	if (conf_parse(&c, "t.yaml", buf_span(&text), &why) != ERR_OK ||
		shadow_configure(n->s, c, &why) != ERR_OK)
		fail_msg("%s", buf_str(&why));
	conf_unref(&n->conf);
	n->conf = c;
	buf_fini(&text);
	buf_fini(&why);
}

static unused int node_setup(void **state)
{
	struct node *n = x_calloc(1, sizeof *n);
	struct world *w = &n->w;

	w->loop = sim_loop_create(7);
	w->disk = sim_disk_create(11);
	w->disk->latency = 2;
	n->net = sim_net_create(w->loop);
	assert_int_equal(net_addr_parse(SPAN("10.0.0.1"), 0, &n->addr), 0);
	sim_loop_set_user(w->loop, SIM_USER_ADDR, &n->addr);
	buf_init(&w->lines, 64 << 20);
	if (log_create_sink(&w->log, on_line, w, log_wall, w) != ERR_OK)
		abort();
	w->o = (struct queue_options){.loop = w->loop,
		.log = w->log,
		.dir = sim_disk_dir(w->disk),
		.large_body = 256 << 10,
		.memory = 256 << 20,
		.retry = {4, 6, MINUTE, 5 * MINUTE, 10 * MINUTE, 15 * MINUTE},
		.expire_after = 2 * DAY,
		.delay_notice_after = 4 * HOUR};
	node_start(n);
	*state = n;
	return 0;
}

static unused int node_teardown(void **state)
{
	struct node *n = *state;

	node_stop(n);
	sim_net_destroy(&n->net);
	sim_disk_destroy(&n->w.disk);
	log_destroy(&n->w.log);
	loop_destroy(&n->w.loop);
	buf_fini(&n->w.lines);
	free(n);
	return 0;
}

static unused void node_step(struct node *n, uint64_t ms)
{
	sim_loop_step(n->w.loop, ms);
}

static unused struct peer *node_peer(struct node *n, char first)
{
	char name[] = "?.example";
	struct peer *p;

	name[0] = first;
	p = peer_find(n->s, span_str(name));
	assert_non_null(p);
	return p;
}

static unused struct mid mid_at(uint8_t sid, uint64_t inc, uint64_t seq)
{
	return (struct mid){.sid = {sid}, .inc = inc, .seq = seq};
}

#define TN(fn) cmocka_unit_test_setup_teardown(fn, node_setup, node_teardown)
