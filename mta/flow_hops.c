/* flow_hops - what a next hop's name means: its delivery pool, or none.
 *
 * The owner of a next hop ties it to the snapshot that its pool was made
 * from. A reload closes the pool and makes a new one when the old one has
 * ended what was in flight.
 */
#include <stdlib.h>

#include "mta/base/check.h"
#include "mta/flow.h"

enum { OWNER_MAGIC = 0x0a7e, RELOAD_DEADLINE_MS = 600000, TURN_HOPS = 500 };

/* What pools were made from, and still ask for. */
struct snapshot {
	struct list node; /* node->snapshots */
	unsigned refs;
	struct conf *conf;
	struct node_tls *tls;
};

struct owner {
	unsigned magic;
	struct node *node;
	struct nexthop *h;     /* NULL: the hop is gone */
	struct pool *pool;     /* NULL: unreachable, failing, or closing */
	struct outcome fail;   /* code set: everything here fails with it */
	struct snapshot *from; /* or NULL */
	int closing;
	int lmtp;
};

static int is_current(const struct node *n, const struct snapshot *s)
{
	return s && s->conf == n->conf && s->tls == n->tls;
}

static struct snapshot *snapshot_ref(struct node *n)
{
	struct snapshot *s = list_first(&n->snapshots, struct snapshot, node);

	if (!is_current(n, s)) {
		s = x_calloc(1, sizeof *s);
		s->conf = conf_ref(n->conf);
		s->tls = node_tls_ref(n->tls);
		list_prepend(&n->snapshots, &s->node);
	}
	s->refs++;
	return s;
}

static void snapshot_unref(struct snapshot **sp)
{
	struct snapshot *s = *sp;

	*sp = NULL;
	if (!s || --s->refs)
		return;
	list_del(&s->node);
	conf_unref(&s->conf);
	node_tls_unref(&s->tls);
	free(s);
}

static void make_pool(struct owner *o)
{
	struct node *n = o->node;
	struct route_target t;
	struct span key = o->h->node.key;

	snapshot_unref(&o->from);
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
	o->from = snapshot_ref(n);
	o->lmtp = t.connector->protocol == SEND_LMTP;
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

	snapshot_unref(&o->from);
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
	if (o->pool && !is_current(o->node, o->from))
		close_pool(o, RELOAD_DEADLINE_MS); /* its turn has not come */
	else if (o->pool)
		pool_ready(o->pool);
	else if (o->fail.code)
		fail_all(o);
}

int flow_hop_delivers(const struct nexthop *h)
{
	const struct owner *o = h->owner;

	return o && o->lmtp;
}

/* --- all of them ---------------------------------------------------------- */

/* h gets what its name means under the new snapshot. What was said to be ready
 * while it had no pool is said again. */
static void reload(struct node *n, struct nexthop *h)
{
	struct owner *o = h->owner;

	if (o->pool && is_current(n, o->from))
		return; /* its old pool was at its end */
	if (o->pool)
		close_pool(o, RELOAD_DEADLINE_MS);
	else if (!o->closing)
		make_pool(o);
	if (o->pool && h->state == HOP_UNREACHABLE)
		queue_retry_now(n->queue, h);
	if (h->ready)
		flow_ready(n, h);
}

/* Or what its pool has in hands, and shall try again. */
static void kick(struct node *n, struct nexthop *h)
{
	struct owner *o = h->owner;

	(void)n;
	if (o->pool && (h->ready || h->leased))
		pool_ready(o->pool);
}

/* 1: there are more. */
static int some(struct node *n, struct hop_walk *w,
	void (*fn)(struct node *n, struct nexthop *h))
{
	for (int i = 0; i < TURN_HOPS && w->at; i++) {
		struct nexthop *h = queue_hop_walked(n->queue, w);

		if (h)
			fn(n, h);
	}
	return w->at != NULL;
}

static void on_turn(struct timer *t)
{
	struct node *n = container_of(t, struct node, hops_turn);
	int more = some(n, &n->reloading, reload);

	more |= some(n, &n->kicking, kick);
	if (more)
		timer_start(t, 1); /* the others' turn */
}

static void begin(struct node *n, struct hop_walk *w)
{
	if (n->state != NODE_RUNNING)
		return;
	queue_hop_walk_end(w);
	queue_hop_walk(n->queue, w);
	on_turn(&n->hops_turn);
}

void flow_hops_init(struct node *n)
{
	list_init(&n->snapshots);
	timer_init(&n->hops_turn, n->loop, on_turn);
}

void flow_hops_reload(struct node *n)
{
	begin(n, &n->reloading);
}

void flow_hops_kick(struct node *n)
{
	begin(n, &n->kicking);
}

void flow_hops_fini(struct node *n)
{
	timer_stop(&n->hops_turn);
	queue_hop_walk_end(&n->reloading);
	queue_hop_walk_end(&n->kicking);
}

/* In one turn: who would wait is about to be closed as well. */
void flow_hops_stop(struct node *n, uint64_t deadline_ms)
{
	struct nexthop *h = NULL;

	flow_hops_fini(n);
	while ((h = queue_hop_next(n->queue, h)))
		close_pool(h->owner, deadline_ms);
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

	list_each (it, &n->snapshots) {
		const struct snapshot *s = list_item(it, struct snapshot, node);

		if (!t)
			t = context_of(s->conf, s->tls, c);
	}
	return t;
}
