/* flow_hops - what a next hop's name means: its delivery pool, or none.
 *
 * The owner of a next hop ties it to the snapshot that its pool was made
 * from. A reload closes the pool and makes a new one when the old one has
 * ended what was in flight.
 */
#include <stdlib.h>

#include "mta/base/check.h"
#include "mta/flow.h"

enum { OWNER_MAGIC = 0x0a7e, RELOAD_DEADLINE_MS = 600000 };

struct owner {
	unsigned magic;
	struct node *node;
	struct nexthop *h;   /* NULL: the hop is gone */
	struct pool *pool;   /* NULL: unreachable, failing, or closing */
	struct outcome fail; /* code set: everything here fails with it */
	struct conf *conf;
	struct node_tls *tls;
	int closing;
	int lmtp;
};

static void make_pool(struct owner *o)
{
	struct node *n = o->node;
	struct route_target t;
	struct span key = o->h->node.key;

	conf_unref(&o->conf);
	node_tls_unref(&o->tls);
	if (n->state != NODE_RUNNING)
		return; /* it waits for the next start */
	if (route_target(n->routes, key, &t) != 0 ||
		(!t.connector && !t.fail.code)) {
		if (o->h->state != HOP_UNREACHABLE)
			log_event(n->log, EV_MESSAGE_UNREACHABLE,
				F_SPAN("hop", key));
		queue_hop_unreachable(n->queue, o->h);
		return;
	}
	o->fail = t.fail;
	if (!t.connector)
		return;
	o->conf = conf_ref(n->conf);
	o->lmtp = t.connector->protocol == SEND_LMTP;
	o->tls = node_tls_ref(n->tls);
	o->pool = pool_create(n->deliver, o->h, t.connector, t.domain);
}

void flow_hop_new(void *arg, struct nexthop *h)
{
	struct node *n = arg;
	struct owner *o = x_calloc(1, sizeof *o);

	o->magic = OWNER_MAGIC;
	o->node = n;
	o->h = h;
	h->owner = o;
	n->pools++;
	make_pool(o);
}

static void owner_free(struct owner *o)
{
	struct node *n = o->node;

	conf_unref(&o->conf);
	node_tls_unref(&o->tls);
	o->magic = 0;
	free(o);
	n->pools--;
	flow_pool_gone(n);
}

static void on_pool_gone(void *arg)
{
	struct owner *o = arg;

	check_obj(o, OWNER_MAGIC);
	o->closing = 0;
	o->node->closing--;
	if (!o->h) {
		owner_free(o);
		return;
	}
	if (o->node->state != NODE_RUNNING) {
		flow_pool_gone(o->node);
		return;
	}
	make_pool(o);
	if (o->pool && o->h->ready)
		pool_ready(o->pool);
}

static void close_pool(struct owner *o, uint64_t deadline_ms)
{
	if (!o->pool)
		return;
	o->closing = 1;
	o->node->closing++;
	pool_close(&o->pool, deadline_ms, on_pool_gone, o);
	o->pool = NULL;
}

void flow_hop_gone(void *arg, struct nexthop *h)
{
	struct owner *o = h->owner;

	(void)arg;
	check_obj(o, OWNER_MAGIC);
	o->h = NULL;
	h->owner = NULL;
	close_pool(o, 0);
	if (!o->closing)
		owner_free(o);
}

/* A recipient that routing already knows to be impossible. */
static void fail_all(struct owner *o)
{
	struct node *n = o->node;
	struct lease *l;

	while ((l = queue_lease(n->queue, o->h, 1000))) {
		struct result *r = x_calloc(l->nrcpt, sizeof *r);

		for (unsigned i = 0; i < l->nrcpt; i++)
			r[i] = (struct result){
				.kind = RESULT_FAILED, .outcome = o->fail};
		flow_attempted(n, l, r);
		free(r);
	}
}

void flow_ready(void *arg, struct nexthop *h)
{
	struct owner *o = h->owner;

	(void)arg;
	check_obj(o, OWNER_MAGIC);
	if (o->node->state != NODE_RUNNING)
		return;
	if (o->pool)
		pool_ready(o->pool);
	else if (o->fail.code)
		fail_all(o);
}

int flow_hop_delivers(const struct nexthop *h)
{
	const struct owner *o = h->owner;

	return o && o->lmtp;
}

/* Every hop gets what its name means under the new snapshot. */
void flow_hops_reload(struct node *n)
{
	struct nexthop *h;

	for (h = queue_hop_next(n->queue, NULL); h;
		h = queue_hop_next(n->queue, h)) {
		struct owner *o = h->owner;

		if (o->pool)
			close_pool(o, RELOAD_DEADLINE_MS);
		else if (!o->closing)
			make_pool(o);
		if (o->pool && h->state == HOP_UNREACHABLE)
			queue_retry_now(n->queue, h);
	}
}

void flow_hops_kick(struct node *n)
{
	struct nexthop *h;

	for (h = queue_hop_next(n->queue, NULL); h;
		h = queue_hop_next(n->queue, h)) {
		struct owner *o = h->owner;

		/* Or what its pool has in hands, and shall try again. */
		if (o->pool && (h->ready || h->leased))
			pool_ready(o->pool);
	}
}

void flow_hops_stop(struct node *n, uint64_t deadline_ms)
{
	struct nexthop *h;

	for (h = queue_hop_next(n->queue, NULL); h;
		h = queue_hop_next(n->queue, h)) {
		struct owner *o = h->owner;

		close_pool(o, deadline_ms);
	}
}

/* Are pools still at work? Asked at the stop. */
int flow_hops_busy(struct node *n)
{
	return n->closing != 0;
}

void flow_describe(void *arg, const struct nexthop *h, struct buf *out)
{
	const struct owner *o = h->owner;

	(void)arg;
	if (o && o->pool)
		pool_describe(o->pool, out);
}

static struct tls_context *context_of(const struct conf *conf,
	const struct node_tls *tls, const struct conf_send *c)
{
	if (!conf || c < conf->send || c >= conf->send + conf->nsend)
		return NULL;
	return tls->send[c - conf->send];
}

/* A pool of an older snapshot asks with that snapshot's connector. */
struct tls_context *flow_send_tls(void *arg, const struct conf_send *c)
{
	struct node *n = arg;
	struct tls_context *t = context_of(n->conf, n->tls, c);
	struct nexthop *h;

	for (h = t ? NULL : queue_hop_next(n->queue, NULL); h && !t;
		h = queue_hop_next(n->queue, h)) {
		const struct owner *o = h->owner;

		t = context_of(o->conf, o->tls, c);
	}
	return t;
}
