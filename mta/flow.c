/* flow - THE page: how a node is put together, and how it ends.
 *
 * receive hands messages to the queue; the queue asks route_recipients where
 * they go and tells flow_ready when a next hop has something; its pool takes
 * leases and gives each back through flow_attempted, which reports and
 * settles. Everything else here is start and stop; flow_reload.c changes what
 * runs.
 */
#include "mta/flow.h"

#include <stdlib.h>

#include "mta/base/check.h"

static void stop_delivery(void *arg);

/* --- the bolts ----------------------------------------------------------- */

static int accepts(void *arg, struct span domain)
{
	struct node *n = arg;

	return route_accepted(n->routes, domain) != NULL;
}

/* The address is taken apart where it was authorised: at its last '@'. */
static struct span domain_of(struct span address)
{
	ptrdiff_t at = span_rchr(address, '@');

	return at < 0 ? span(NULL, 0) : span_skip(address, (size_t)at + 1);
}

static void route_recipients(void *arg, const struct envelope *e,
	struct span redirect, struct span *key, struct arena *scratch)
{
	struct node *n = arg;
	struct route_choice c;

	if (n->state == NODE_STARTING)
		pickup_found(n->pickup, e);
	for (unsigned i = 0; i < e->nrcpt; i++) {
		struct span domain = domain_of(e->rcpt[i].address);

		if (redirect.n)
			route_by(n->routes, redirect, domain, scratch, &c);
		else
			route_choose(n->routes, domain, e->size, scratch, &c);
		key[i] = c.key;
	}
}

static struct tls_context *receive_tls(void *arg, unsigned connector)
{
	struct node *n = arg;

	return n->tls->receive[connector];
}

/* Ourselves: an address that a receive connector is bound to, or, when one is
 * bound to all of them, any address of this machine. */
static int is_self(void *arg, const struct net_addr *addr)
{
	static const uint8_t any[16];
	struct node *n = arg;
	struct net_addr a = net_addr_unmapped(addr), mine;
	int all = 0;

	for (unsigned i = 0; i < n->conf->nreceive; i++)
		for (unsigned j = 0; j < n->conf->receive[i].nbind; j++) {
			const struct conf_endpoint *at =
				&n->conf->receive[i].bind[j];

			if (net_addr_parse(at->host, at->port, &mine) != 0)
				continue;
			if (net_addr_eq(&a, &mine))
				return 1;
			all |= memcmp(mine.b, any, sizeof any) == 0;
		}
	return all && net_addr_ours(&a);
}

static void on_queue_fatal(void *arg, enum err e, const char *text)
{
	struct node *n = arg;

	(void)e; /* the queue has logged it */
	(void)text;
	n->failed = 1;
	node_stop(n);
}

/* What the queue says of messages that have copies. */
static void on_progress(
	void *arg, void *tag, const unsigned *rcpt, unsigned nrcpt)
{
	struct node *n = arg;

	shadow_progress(n->shadow, tag, rcpt, nrcpt);
}

static void on_gone(void *arg, void *tag, enum err e)
{
	struct node *n = arg;

	shadow_gone(n->shadow, tag, e);
}

static int may_deliver(void *arg, void *tag)
{
	struct node *n = arg;

	return shadow_may_deliver(n->shadow, tag);
}

static struct store_op *on_leaving(void *arg, void *tag)
{
	struct node *n = arg;

	return shadow_leaving(n->shadow, tag);
}

static void *on_found(void *arg, struct message *m, const struct envelope *e,
	const struct status *s)
{
	struct node *n = arg;

	pickup_found(n->pickup, e);
	return shadow_found(n->shadow, m, e, s);
}

/* Does a rule of the administrator hold it? */
static int on_hold(void *arg, const struct envelope *e, struct buf *reason)
{
	struct node *n = arg;

	return hold_check(n->hold, e, reason);
}

static struct conf *ctl_conf(void *arg)
{
	struct node *n = arg;

	return n->conf;
}

static const struct route_table *ctl_routes(void *arg)
{
	struct node *n = arg;

	return n->routes;
}

static void ctl_receive(void *arg, struct receive_counts *c_r)
{
	struct node *n = arg;

	receive_counts(n->receive, c_r);
}

static void ctl_health(void *arg, struct node_health *h_r)
{
	struct node *n = arg;
	struct ctl_upgrade u = {.busy = 0};

	if (n->upgrade.view)
		n->upgrade.view(n->upgrade.arg, &u);
	*h_r = (struct node_health){
		/* The next process takes who connects now. */
		.stopping = n->state > NODE_RUNNING && !u.busy,
		.failed = n->failed,
	};
}

static void ctl_delivery(void *arg, struct delivery_counts *c_r)
{
	struct node *n = arg;
	struct deliver_load l = deliver_load(n->deliver);

	*c_r = (struct delivery_counts){
		.outbound = l.connections,
		.outbound_limit = l.limit,
		.outbound_waiting = l.waiting,
		.sent = n->results[RESULT_SENT],
		.deferred = n->results[RESULT_DEFERRED],
		.failed = n->results[RESULT_FAILED],
		.released = n->results[RESULT_RELEASED],
		.reports_failed = n->reports.failed,
		.reports_delayed = n->reports.delayed,
		.reports_sent = n->reports.sent,
		.reports_dropped = n->reports.dropped,
	};
}

static uint64_t ctl_sessions(void *arg, struct span connector)
{
	struct node *n = arg;

	return receive_sessions(n->receive, connector);
}

static enum err ctl_upgrade(void *arg, const char *binary, struct buf *why)
{
	struct node *n = arg;

	if (n->state != NODE_RUNNING || !n->upgrade.begin) {
		buf_adds(why, "the node is about to stop");
		return ERR_BUSY;
	}
	return n->upgrade.begin(n->upgrade.arg, binary, why);
}

static void ctl_upgrade_view(void *arg, struct ctl_upgrade *v_r)
{
	struct node *n = arg;

	*v_r = (struct ctl_upgrade){.state = "none"};
	if (n->upgrade.view)
		n->upgrade.view(n->upgrade.arg, v_r);
}

static struct loading *ctl_load(void *arg, const char *file, struct buf *why)
{
	return node_load(arg, file, NULL, NULL, why);
}

static enum err ctl_reload(
	void *arg, struct loading *l, unsigned *changes_r, struct buf *why)
{
	return node_reload(arg, l, changes_r, why);
}

/* --- start --------------------------------------------------------------- */

enum err flow_open_queue(struct node *n, struct buf *why)
{
	const struct conf *c = n->conf;
	struct arena mem = {0};
	struct queue_options o = {
		.loop = n->loop,
		.log = n->log,
		.dir = arena_str(&mem, c->node.data),
		.large_body = c->queue.large_body,
		.memory = c->queue.memory,
		.retry =
			{
				.glitch_count = c->queue.retry.glitch_count,
				.transient_count =
					c->queue.retry.transient_count,
				.glitch_interval =
					c->queue.retry.glitch_interval,
				.transient_interval =
					c->queue.retry.transient_interval,
				.interval = c->queue.retry.interval,
				.message_interval =
					c->queue.retry.message_interval,
			},
		.expire_after = c->queue.expire_after,
		.delay_notice_after = c->queue.delay_notice_after,
		.poison_after = c->queue.poison_after,
	};
	struct queue_events ev = {
		.arg = n,
		.route = route_recipients,
		.hold = on_hold,
		.hop_new = flow_hop_new,
		.hop_gone = flow_hop_gone,
		.ready = flow_ready,
		.expired = flow_expired,
		.delayed = flow_delayed,
		.progress = on_progress,
		.gone = on_gone,
		.may_deliver = may_deliver,
		.leaving = on_leaving,
		.found = on_found,
		.fatal = on_queue_fatal,
	};
	enum err e;

	if (n->queue) { /* a reload */
		queue_set_options(n->queue, &o);
		e = ERR_OK;
	} else {
		e = queue_open(&n->queue, &o, &ev, why);
	}
	arena_fini(&mem);
	return e;
}

enum err flow_open_dns(struct node *n, const struct conf *c, struct buf *why)
{
	struct arena mem = {0};
	struct dns_options o = {
		.servers = c->dns.servers.n ? arena_str(&mem, c->dns.servers)
					    : NULL,
		.timeout_ms = (unsigned)c->dns.timeout,
		.tries = c->dns.tries,
	};
	enum err e = n->dns ? dns_configure(n->dns, &o)
			    : dns_create(&n->dns, n->loop, &o);

	if (e != ERR_OK)
		buf_addf(why, "dns: cannot start the resolver: %s\n",
			err_text(e));
	arena_fini(&mem);
	return e;
}

static void make_delivery(struct node *n)
{
	struct deliver_options o = {
		.loop = n->loop,
		.log = n->log,
		.dns = n->dns,
		.queue = n->queue,
		.node = n->conf->node.name,
		.connections = n->conf->delivery.connections,
		.arg = n,
		.attempted = flow_attempted,
		.tls = flow_send_tls,
		.is_self = is_self,
	};

	n->deliver = deliver_create(&o);
}

static void make_shadow(struct node *n)
{
	struct shadow_options o = {
		.loop = n->loop,
		.log = n->log,
		.queue = n->queue,
		.pressure = n->pressure,
		.arg = n,
		.tls = flow_peer_tls,
		.is_peer = flow_peer_is,
	};

	n->shadow = shadow_create(&o);
}

static void make_receive(struct node *n)
{
	struct receive_options o = {
		.loop = n->loop,
		.log = n->log,
		.queue = n->queue,
		.shadow = n->shadow,
		.pressure = n->pressure,
		.arg = n,
		.accepts = accepts,
		.tls = receive_tls,
	};

	n->receive = receive_create(&o);
}

static void on_looked(void *arg)
{
	struct node *n = arg;

	if (n->drained)
		n->drained(n);
}

static const char *pickup_closed(void *arg)
{
	struct node *n = arg;
	struct pressure_answer a;

	if (drain_ordered(n->drain))
		return "the node is draining";
	return pressure_admit(n->pressure, SOURCE_PICKUP, &a) ? NULL : a.what;
}

static void make_pickup(struct node *n)
{
	struct pickup_options o = {
		.loop = n->loop,
		.log = n->log,
		.queue = n->queue,
		.shadow = n->shadow,
		.arg = n,
		.closed = pickup_closed,
	};

	n->pickup = pickup_create(&o);
}

static void make_drain(struct node *n)
{
	struct drain_options o = {
		.loop = n->loop,
		.log = n->log,
		.queue = n->queue,
		.receive = n->receive,
		.shadow = n->shadow,
		.arg = n,
		.looked = on_looked,
	};

	n->drain = drain_create(&o);
}

enum err flow_open_ctl(struct node *n, struct buf *why)
{
	struct arena mem = {0};
	struct ctl_options o = {
		.loop = n->loop,
		.log = n->log,
		.queue = n->queue,
		.shadow = n->shadow,
		.hold = n->hold,
		.pickup = n->pickup,
		.drain = n->drain,
		.pressure = n->pressure,
		.socket = arena_str(&mem, n->conf->control.socket),
		.arg = n,
		.conf = ctl_conf,
		.routes = ctl_routes,
		.receive = ctl_receive,
		.sessions = ctl_sessions,
		.health = ctl_health,
		.delivery = ctl_delivery,
		.load = ctl_load,
		.reload = ctl_reload,
		.diff = node_diff,
		.upgrade = ctl_upgrade,
		.upgrade_view = ctl_upgrade_view,
		.describe = flow_describe,
		.started = n->started,
	};
	enum err e;

	n->http = http_create(&o);
	e = http_configure(n->http, n->conf, why);
	if (e == ERR_OK && n->conf->control.socket.n)
		e = ctl_open(&n->ctl, &o, why);
	arena_fini(&mem);
	return e;
}

enum err node_start(struct node **n_r, struct loop *l, struct log *log,
	struct conf *conf, const char *file, void (*stopped)(struct node *n),
	struct buf *why)
{
	struct node *n = x_calloc(1, sizeof *n);
	enum err e;

	*n_r = n;
	n->loop = l;
	n->log = log;
	n->file = file;
	n->conf = conf_ref(conf);
	n->stopped = stopped;
	n->started = loop_wall(l);
	flow_hops_init(n);
	if ((e = node_tls_load(&n->tls, conf, why)) != ERR_OK)
		return e;
	n->routes = route_table_create(conf);
	/* The lock first, then the sockets, so that clients wait instead of
	 * being refused while a long queue is read. */
	if ((e = flow_open_queue(n, why)) != ERR_OK ||
		(e = node_listen(l, conf, why)) != ERR_OK ||
		(e = flow_open_dns(n, conf, why)) != ERR_OK)
		return e;
	n->hold = hold_create(l, log, n->queue);
	flow_make_pressure(n);
	make_delivery(n);
	make_shadow(n);
	make_receive(n);
	make_drain(n);
	make_pickup(n);
	if ((e = queue_recover(n->queue, why)) != ERR_OK ||
		(e = hold_load(n->hold, why)) != ERR_OK ||
		(e = drain_recover(n->drain, why)) != ERR_OK)
		return e;
	pressure_configure(n->pressure, conf); /* before anything comes in */
	if ((e = shadow_configure(n->shadow, conf, why)) != ERR_OK ||
		(e = receive_configure(n->receive, conf, why)) != ERR_OK ||
		(e = flow_open_ctl(n, why)) != ERR_OK)
		return e;
	if (n->failed)
		return ERR_IO;
	/* Nothing can fail any more: what recovery found gets its pools. */
	n->state = NODE_RUNNING;
	flow_hops_reload(n);
	pickup_configure(n->pickup, conf);
	return ERR_OK;
}

/* --- stop ---------------------------------------------------------------- */

static void maybe_stopped(struct node *n);

static void on_unlinked(void *arg)
{
	struct node *n = arg;

	n->unlinked = 1;
	maybe_stopped(n);
}

static void on_silent(void *arg)
{
	struct node *n = arg;

	n->stopped(n);
}

/* Links last until receiving and delivering have ended: both need peers. */
static void maybe_stopped(struct node *n)
{
	if (n->state != NODE_STOPPING || !n->received || !n->picked_up ||
		flow_hops_busy(n))
		return;
	if (!n->unlinking) {
		n->unlinking = 1;
		shadow_stop(n->shadow, on_unlinked, n);
	}
	if (!n->unlinked)
		return;
	n->state = NODE_STOPPED;
	if (n->http)
		http_stop(n->http, on_silent, n);
	else
		n->stopped(n);
}

void flow_pool_gone(struct node *n)
{
	maybe_stopped(n);
}

static void stop_delivery(void *arg)
{
	struct node *n = arg;

	n->received = 1; /* its numbers are asked for until the end */
	maybe_stopped(n);
}

static void stop_pickup(void *arg)
{
	struct node *n = arg;

	n->picked_up = 1;
	maybe_stopped(n);
}

/* Receiving and delivering end side by side: what is in flight may finish
 * until the deadline, nothing new begins. */
void node_stop(struct node *n)
{
	uint64_t ms = n->failed ? 0 : n->conf->node.stop_timeout;

	if (n->state != NODE_RUNNING)
		return;
	n->state = NODE_STOPPING;
	log_event(n->log, EV_NODE_STOPPING,
		F_STR("reason", n->failed ? "failure" : "asked"));
	ctl_close(&n->ctl);
	drain_stop(n->drain);
	shadow_hurry(n->shadow);
	flow_hops_stop(n, ms);
	receive_stop(n->receive, ms, stop_delivery, n);
	pickup_stop(n->pickup, stop_pickup, n);
}

/* Also for a node that did not start completely. */
void node_free(struct node **np)
{
	struct node *n = *np;

	if (!n)
		return;
	ctl_close(&n->ctl);
	http_close(&n->http);
	listener_unreserve(n->loop);
	receive_destroy(&n->receive);
	pickup_destroy(&n->pickup);
	pressure_destroy(&n->pressure); /* it looks at all of the others */
	flow_hops_fini(n);
	queue_close(&n->queue);
	hold_destroy(&n->hold); /* the queue's last callbacks were for it */
	drain_destroy(&n->drain);
	shadow_destroy(&n->shadow);
	deliver_destroy(&n->deliver);
	dns_destroy(&n->dns);
	route_table_destroy(&n->routes);
	node_tls_unref(&n->tls);
	conf_unref(&n->conf);
	free(n);
	*np = NULL;
}
