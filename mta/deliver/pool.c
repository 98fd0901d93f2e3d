/* pool - everything that goes to one next hop: how many connections, to which
 * of its hosts, and what to do when hosts fail.
 *
 * The limit of connections starts small, grows by one with every full round
 * of messages that were taken, and is halved when a connection fails. A
 * further connection is opened only when the queue is long for those that
 * are open. A host that fails is passed over for a while and then returns to
 * its place. When no host is left and nothing is connected, the whole next
 * hop has failed: the queue's ladder decides when it is tried again, first by
 * one connection, and all hosts are in their places again then.
 */
#include "mta/deliver/client.h"

#include <stdlib.h>

#include "mta/base/check.h"

enum { POOL_MAGIC = 0x9001 };

static uint64_t now(const struct pool *p)
{
	return loop_now(p->d->o.loop);
}

/* --- leases that no client has tried -------------------------------------- */

/* Results of one kind for all of a lease, outside of any connection. */
static void give_back(struct pool *p, struct lease *l, enum result_kind k,
	const struct outcome *o)
{
	static const struct result_facts nowhere = {
		SPAN_INIT("none"), SPAN_INIT("none"), 0, 0};
	struct deliver *d = p->d;

	if (d->nr < l->nrcpt) {
		d->nr = l->nrcpt;
		d->r = x_realloc(d->r, d->nr * sizeof *d->r);
	}
	for (unsigned i = 0; i < l->nrcpt; i++) {
		d->r[i] = (struct result){.kind = k};
		if (o)
			d->r[i].outcome = *o;
	}
	result_log(d, l, d->r, &nowhere);
	d->o.attempted(d->o.arg, l, d->r);
}

struct lease *pool_take(struct pool *p, unsigned max)
{
	struct lease *l = list_first(&p->again, struct lease, node);

	if (p->closing || p->d->paused)
		return NULL;
	if (!l)
		return queue_lease(p->d->o.queue, p->hop, max);
	list_del(&l->node);
	p->nagain--;
	return l;
}

void pool_again(struct pool *p, struct lease *take_l)
{
	take_l->holder = p;
	list_append(&p->again, &take_l->node);
	p->nagain++;
	pool_kick(p);
}

static void release_again(struct pool *p)
{
	struct lease *l;

	while ((l = list_first(&p->again, struct lease, node))) {
		list_del(&l->node);
		p->nagain--;
		give_back(p, l, RESULT_RELEASED, NULL);
	}
}

/* --- hosts ---------------------------------------------------------------- */

static struct host *find_host(struct pool *p, const struct net_addr *a)
{
	for (unsigned i = 0; i < p->nhost; i++)
		if (net_addr_eq(&p->host[i].addr, a) &&
			p->host[i].addr.port == a->port)
			return &p->host[i];
	return NULL;
}

/* What was learnt about an address outlives a new resolution. */
static void take_hosts(struct pool *p, const struct hosts_answer *a)
{
	struct host *v = x_calloc(a->n, sizeof *v);
	struct arena names = {0};
	struct buf text;

	buf_init(&text, 512);
	for (unsigned i = 0; i < a->n; i++) {
		const struct host_addr *from = &a->v[i];
		const struct host *old = find_host(p, &from->addr);

		if (old)
			v[i] = *old;
		buf_clear(&text);
		host_text(&text, from->name, &from->addr);
		v[i].addr = from->addr;
		v[i].rank = from->rank;
		v[i].group = from->group;
		v[i].name = arena_span(&names, from->name);
		v[i].text = arena_span(&names, buf_span(&text));
	}
	buf_fini(&text);
	free(p->host);
	arena_fini(&p->names);
	p->names = names;
	p->host = v;
	p->nhost = a->n;
}

static unsigned connected(const struct pool *p, unsigned group)
{
	unsigned n = 0;

	list_each (it, &p->clients) {
		const struct client *c = list_item(it, struct client, node);

		for (unsigned i = 0; c->counted && i < p->nhost; i++)
			n += p->host[i].group == group &&
			     net_addr_eq(&p->host[i].addr, &c->addr) &&
			     p->host[i].addr.port == c->addr.port;
	}
	return n;
}

/* The first usable address of the best rank; among hosts of equal rank the
 * one with the fewest of our connections. */
static const struct host *pick(const struct pool *p)
{
	const struct host *best = NULL;
	unsigned best_n = 0;

	for (unsigned i = 0; i < p->nhost; i++) {
		const struct host *h = &p->host[i];
		unsigned n;

		if (h->bad_until > now(p))
			continue;
		if (best && (h->rank > best->rank || h->group == best->group))
			continue;
		n = connected(p, h->group);
		if (!best || n < best_n) {
			best = h;
			best_n = n;
		}
	}
	return best;
}

static void keep_last(struct pool *p, const struct outcome *o)
{
	p->last = *o;
	buf_clear(&p->last_text);
	buf_clear(&p->last_host);
	buf_add(&p->last_text, span_head(o->text, REPLY_TEXT));
	buf_add(&p->last_host, span_head(o->host, 512));
	p->last.text = buf_span(&p->last_text);
	p->last.host = buf_span(&p->last_host);
}

void pool_host_failed(struct pool *p, struct client *c, const struct outcome *o)
{
	struct host *h = find_host(p, &c->addr);

	check_obj(p, POOL_MAGIC);
	keep_last(p, o);
	/* Several connections that break at once are one failure. */
	if (h && h->bad_until <= now(p)) {
		h->penalty = h->penalty ? h->penalty * 2 : PENALTY_MIN;
		if (h->penalty > PENALTY_MAX)
			h->penalty = PENALTY_MAX;
		h->bad_until = now(p) + h->penalty;
		p->limit = p->limit > 1 ? p->limit / 2 : 1;
		p->successes = 0;
	}
	log_event(p->d->o.log, EV_HOST_FAILED, F_STR("hop", p->hop->key),
		F_SPAN("host", buf_span(&c->text)), F_U("code", o->code),
		F_SPAN("said", o->text), F_MS("pause", h ? h->penalty : 0));
}

void pool_host_clear(struct pool *p, struct client *c, const char *why)
{
	struct host *h = find_host(p, &c->addr);

	if (h)
		h->clear_until = now(p) + CLEAR_FOR;
	log_event(p->d->o.log, EV_HOST_FAILED, F_STR("hop", p->hop->key),
		F_SPAN("host", buf_span(&c->text)), F_STR("tls", why),
		F_STR("said", "TLS handshake failed, trying in clear"));
}

/* A command of a transaction was answered: this host works. */
void pool_client_proved(struct pool *p, struct client *c)
{
	struct host *h;

	if (c->proved)
		return;
	c->proved = 1;
	h = find_host(p, &c->addr);
	if (h)
		h->penalty = h->bad_until = 0;
	p->probing = 0;
	if (!p->closing && p->hop->failures)
		queue_hop_ok(p->d->o.queue, p->hop);
	pool_kick(p);
}

void pool_success(struct pool *p)
{
	if (++p->successes < p->limit)
		return;
	p->successes = 0;
	if (p->limit < p->conf->limits.connections)
		p->limit++;
}

/* A message that is in transfer whenever hosts fail, again and again, may be
 * the cause: then it waits by itself and lets the others pass. */
int pool_suspects(struct pool *p, struct msg_id id)
{
	unsigned hosts = p->nhost ? p->nhost : 1;

	if (p->suspect.v != id.v)
		p->suspected = 0;
	p->suspect = id;
	if (++p->suspected <= SUSPECT_MAX * hosts)
		return 0;
	p->suspected = 0;
	return 1;
}

/* --- what to do next ------------------------------------------------------ */

/* All hosts failed. The penalties give way to the queue's ladder. */
static void hop_failed(struct pool *p)
{
	const struct outcome *o = &p->last;
	const uint16_t enh[3] = {o->enh.class, o->enh.subject, o->enh.detail};

	for (unsigned i = 0; i < p->nhost; i++)
		p->host[i].bad_until = 0;
	p->probing = 1;
	queue_hop_failed(p->d->o.queue, p->hop, o->code, enh, o->text, o->host);
	release_again(p);
}

/* Nothing for this domain can ever be sent, as far as DNS says now. */
static void refuse_all(struct pool *p)
{
	struct lease *l;

	for (unsigned i = 0; i < FAIL_AT_ONCE; i++) {
		l = pool_take(p, UINT32_MAX);
		if (!l)
			return;
		give_back(p, l, RESULT_FAILED, &p->refuse);
	}
	timer_start(&p->kick, 1); /* others have their turn in between */
}

static void look(struct pool *p);

static void on_resolved(void *arg, const struct hosts_answer *a)
{
	struct pool *p = arg;

	check_obj(p, POOL_MAGIC);
	p->resolving = NULL;
	p->permit = 1; /* the lookup's: look() makes a connection of it */
	p->hosts_until = now(p) + a->ttl;
	p->refuse.code = 0;
	switch (a->verdict) {
	case HOSTS_OK:
		take_hosts(p, a);
		break;
	case HOSTS_DEFER:
		log_event(p->d->o.log, EV_DNS_TROUBLE,
			F_STR("hop", p->hop->key),
			F_SPAN("text", a->outcome.text));
		keep_last(p, &a->outcome);
		p->hosts_until = now(p) + PENALTY_MIN;
		if (p->nhost)
			break; /* the old addresses will do for now */
		p->hosts_until = 0;
		if (!p->open)
			hop_failed(p);
		permit_drop(p);
		return;
	case HOSTS_FAIL:
		buf_clear(&p->refuse_text);
		buf_add(&p->refuse_text, a->outcome.text);
		p->refuse = a->outcome;
		p->refuse.text = buf_span(&p->refuse_text);
		p->nhost = 0;
		break;
	}
	look(p);
}

static void resolve(struct pool *p)
{
	const struct hosts_options o = {
		.loop = p->d->o.loop,
		.dns = p->d->o.dns,
		.conf = p->conf,
		.node = buf_span(&p->d->node),
		.domain = buf_span(&p->domain),
		.is_self = p->d->o.is_self,
		.arg = p->d->o.arg,
	};

	p->resolving = hosts_resolve(&o, on_resolved, p);
}

static unsigned work(const struct pool *p)
{
	const struct nexthop *h = p->hop;
	int open = !h->suspended &&
		   (h->state == HOP_READY ||
			   (h->state == HOP_RETRY && h->retry_at <= now(p)));

	if (p->d->paused)
		return 0;
	return p->nagain + (open ? h->ready : 0);
}

static int wants_connection(const struct pool *p)
{
	unsigned n = work(p);

	if (n == 0 || p->open == 0)
		return n != 0;
	if (p->probing || p->open >= p->limit)
		return 0;
	return n > (uint64_t)p->conf->limits.extra_connection_at * p->open;
}

static void feed_idle(struct pool *p)
{
	while (!list_empty(&p->idle) && work(p)) {
		struct client *c = list_first(&p->idle, struct client, idle);

		client_run(c);
		if (c->in_idle)
			break; /* the queue had nothing after all */
	}
}

static void look(struct pool *p)
{
	const struct host *h;

	feed_idle(p);
	while (wants_connection(p) && !p->resolving) {
		if (p->refuse.code && now(p) < p->hosts_until) {
			refuse_all(p);
			break;
		}
		if (!permit_take(p))
			return;
		if (now(p) >= p->hosts_until) {
			resolve(p);
			break;
		}
		h = pick(p);
		if (!h) {
			p->permit = 1;
			if (p->open == 0)
				hop_failed(p);
			break;
		}
		client_open(p, h);
	}
	permit_drop(p);
}

static void end_pool(struct pool *p)
{
	void (*gone)(void *) = p->gone;
	void *arg = p->gone_arg;

	timer_stop(&p->kick);
	timer_stop(&p->deadline);
	p->d->pools--;
	free(p->host);
	arena_fini(&p->names);
	buf_fini(&p->domain);
	buf_fini(&p->refuse_text);
	buf_fini(&p->last_text);
	buf_fini(&p->last_host);
	p->magic = 0;
	free(p);
	if (gone)
		gone(arg);
}

static void on_kick(struct timer *t)
{
	struct pool *p = container_of(t, struct pool, kick);

	check_obj(p, POOL_MAGIC);
	if (!p->closing) {
		look(p);
		return;
	}
	release_again(p);
	if (list_empty(&p->clients))
		end_pool(p);
}

void pool_kick(struct pool *p)
{
	timer_start(&p->kick, 0);
}

void pool_client_done(struct pool *p, struct client *c)
{
	if (c->counted) {
		c->counted = 0;
		p->open--;
		permit_give(p->d);
	}
	pool_kick(p);
}

void pool_client_free(struct pool *p, struct client *c)
{
	(void)c;
	if (p->closing)
		pool_kick(p);
}

/* --- the room's door ------------------------------------------------------ */

static void on_deadline(struct timer *t)
{
	struct pool *p = container_of(t, struct pool, deadline);

	list_each_safe (it, &p->clients)
		client_lost(
			list_item(it, struct client, node), LOST_OURS, NULL);
}

struct pool *pool_create(struct deliver *d, struct nexthop *h,
	const struct conf_send *c, struct span domain)
{
	struct pool *p = x_calloc(1, sizeof *p);

	check_obj(d, DELIVER_MAGIC);
	p->magic = POOL_MAGIC;
	p->d = d;
	p->hop = h;
	p->conf = c;
	buf_init(&p->domain, DNS_NAME_MAX);
	buf_add(&p->domain, domain);
	buf_init(&p->refuse_text, 1024);
	buf_init(&p->last_text, REPLY_TEXT);
	buf_init(&p->last_host, 512);
	list_init(&p->clients);
	list_init(&p->idle);
	list_init(&p->again);
	list_init(&p->waiting);
	timer_init(&p->kick, d->o.loop, on_kick);
	timer_init(&p->deadline, d->o.loop, on_deadline);
	p->limit = c->limits.connections < LIMIT_START ? c->limits.connections
						       : LIMIT_START;
	if (p->limit == 0)
		p->limit = 1;
	d->pools++;
	return p;
}

void pool_ready(struct pool *p)
{
	check_obj(p, POOL_MAGIC);
	if (!p->closing)
		look(p);
}

void pool_close(struct pool **pp, uint64_t deadline_ms, void (*gone)(void *arg),
	void *arg)
{
	struct pool *p = *pp;

	check_obj(p, POOL_MAGIC);
	*pp = NULL;
	p->closing = 1;
	p->gone = gone;
	p->gone_arg = arg;
	p->permit |= p->resolving != NULL;
	hosts_cancel(&p->resolving);
	permit_drop(p);
	list_each_safe (it, &p->clients) {
		struct client *c = list_item(it, struct client, node);

		if (c->state != CLIENT_READY || (!c->newest && !c->preparing))
			client_quit(c);
	}
	timer_start(&p->deadline, deadline_ms);
	pool_kick(p);
}

static const char *state_word(const struct client *c)
{
	if (c->ended)
		return "closing";
	switch (c->state) {
	case CLIENT_CONNECTING:
		return "connecting";
	case CLIENT_SETUP:
		return "greeting";
	case CLIENT_READY:
		return c->newest ? "sending" : "idle";
	case CLIENT_QUITTING:
		break;
	}
	return "closing";
}

void pool_describe(const struct pool *p, struct buf *out)
{
	buf_addf(out, "connections %u of %u%s\n", p->open, p->limit,
		p->probing ? " (probing)" : "");
	if (!list_empty(&p->waiting))
		buf_addf(out,
			"waits: all %u outbound connections are in use "
			"(delivery.connections)\n",
			p->d->permits.most);
	for (unsigned i = 0; i < p->nhost; i++) {
		const struct host *h = &p->host[i];

		buf_addf(out, "host %.*s %s", SPAN_ARG(h->text),
			h->bad_until > now(p) ? "passed over" : "in place");
		if (h->bad_until > now(p))
			buf_addf(out, " for %llu s",
				(unsigned long long)((h->bad_until - now(p)) /
						     1000));
		buf_adds(out,
			h->clear_until > now(p) ? ", without TLS\n" : "\n");
	}
	list_each (it, &p->clients) {
		const struct client *c = list_item(it, struct client, node);

		buf_addf(out, "connection %.*s %s, tls %.*s, %u messages\n",
			SPAN_ARG(buf_span(&c->text)), state_word(c),
			SPAN_ARG(buf_span(&c->tls)), c->messages);
	}
	if (p->last.code)
		buf_addf(out, "last failure %.*s: %u %.*s\n",
			SPAN_ARG(p->last.host), (unsigned)p->last.code,
			SPAN_ARG(p->last.text));
}
