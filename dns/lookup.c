/* lookup - from a name to an answer: cache, sharing, asking again.
 *
 *   dns_lookup -> question (shared by all who ask it) -> waiting -> in flight
 *       '-> known already ------------.                     ^  |
 *                                     v              again  |  v
 *                                   ready <------------ answered
 *                                     '-> callback, from the drain timer
 *
 * No callback of a caller runs inside the transport or inside dns_lookup:
 * finished queries gather in ready, and one timer of nought milliseconds hands
 * them out and sends what waits. The transport is silent about what messages
 * say, so SERVFAIL and its like are asked again here, and the next try goes to
 * the next server.
 */
#include <stdlib.h>

#include "dns/cache.h"
#include "dns/dns.h"
#include "dns/name.h"
#include "dns/transport.h"
#include "dns/wire.h"

enum {
	DNS_MAGIC = 0xd1150,
	QUERY_MAGIC = 0xd1151,
	FLIGHT = 256, /* questions at the resolver at one time */
};

struct dns_query {
	unsigned magic;
	struct list node; /* in a question's askers, or ready */
	void (*cb)(void *arg, const struct dns_answer *a);
	void *arg;
	struct dns_kept *kept;
	uint32_t ttl;
	int firing; /* its callback runs now */
};

/* What is being asked, by one or by many. */
struct question {
	struct dns *dns;
	struct map_node node; /* dns->asked, by key */
	struct list all;      /* dns->questions */
	struct list wait;     /* dns->waiting, or alone: in flight */
	struct list askers;
	enum dns_type type;
	unsigned tries; /* sent so often */
	uint64_t since; /* waiting, on the loop's clock */
	struct span key;
	char text[DNS_KEY_MAX + 1]; /* the type, the name, a NUL */
};

struct dns {
	unsigned magic;
	unsigned holds; /* its owner, a running drain */
	int closing;
	int moving; /* to another transport */
	struct loop *loop;
	struct dns_transport *transport;
	unsigned tries, patience_ms;
	unsigned flight;
	struct dns_cache cache;
	struct map asked;
	struct list questions, waiting, ready;
	struct timer drain;
};

static void put_dns(struct dns *d)
{
	must(d->holds > 0);
	if (--d->holds)
		return;
	dns_cache_fini(&d->cache);
	map_fini(&d->asked);
	d->magic = 0;
	free(d);
}

static void wake(struct dns *d)
{
	if (!d->drain.armed)
		timer_start(&d->drain, 0);
}

static void make_ready(struct dns *d, struct dns_query *q,
	struct dns_kept *take_kept, uint32_t ttl)
{
	q->kept = take_kept;
	q->ttl = ttl;
	list_append(&d->ready, &q->node);
	wake(d);
}

static const char *question_name(const struct question *qn)
{
	return qn->text + 1;
}

static void make_waiting(struct question *qn)
{
	qn->since = loop_now(qn->dns->loop);
	list_append(&qn->dns->waiting, &qn->wait);
}

/* Everybody who waits for qn gets k; qn ends. */
static void finish(struct question *qn, struct dns_kept *take_kept)
{
	struct dns *d = qn->dns;
	struct dns_query *q;

	while ((q = list_first(&qn->askers, struct dns_query, node))) {
		list_del(&q->node);
		make_ready(d, q, dns_kept_ref(take_kept), take_kept->a.ttl);
	}
	map_del(&d->asked, &qn->node);
	list_del(&qn->all);
	list_del(&qn->wait);
	free(qn);
	dns_kept_unref(&take_kept);
}

/* Another try, or the end of it. The try is not sent from in here: this runs
 * inside the transport. */
static void trouble(struct question *qn, const struct dns_head *h,
	const struct dns_answer *a)
{
	const char *name = question_name(qn);
	struct dns_kept *k;

	if (qn->tries < qn->dns->tries && !list_empty(&qn->askers)) {
		make_waiting(qn);
		wake(qn->dns);
		return;
	}
	if (h->rcode && !dns_rcode_name(h->rcode))
		k = dns_kept_verdict(DNS_TROUBLE,
			"rcode %u from the resolver for %s", h->rcode, name);
	else
		k = dns_kept_verdict(DNS_TROUBLE, "%s from the resolver for %s",
			a->why, name);
	finish(qn, k);
}

static void read_message(struct question *qn, struct span msg)
{
	struct dns *d = qn->dns;
	struct dns_ask ask = {.id = -1,
		.type = qn->type,
		.name = span_str(question_name(qn))};
	struct arena mem = {0};
	struct dns_answer a;
	struct dns_head h;
	struct dns_kept *k;

	dns_wire_read(msg, &ask, &mem, &a, &h);
	a.secure = a.secure && dns_transport_trusted(d->transport);
	if (a.verdict == DNS_TROUBLE) {
		trouble(qn, &h, &a);
	} else {
		k = dns_kept_copy(&a);
		dns_cache_put(&d->cache, qn->key, k, loop_now(d->loop));
		finish(qn, k);
	}
	arena_fini(&mem);
}

/* Without a message there is no other try: the transport has made them. */
static void on_message(void *arg, enum err e, const char *why, struct span msg)
{
	struct question *qn = arg;
	struct dns *d = qn->dns;

	check_obj(d, DNS_MAGIC);
	must(d->flight > 0);
	d->flight--;
	if (d->closing) /* dns_destroy finishes them all */
		return;
	if (d->moving) {
		qn->tries--;
		make_waiting(qn);
		return;
	}
	if (!list_empty(&d->waiting))
		wake(d); /* there is room for one more */
	if (e == ERR_OK)
		read_message(qn, msg);
	else
		finish(qn, dns_kept_verdict(DNS_TROUBLE, "%s for %s", why,
				   question_name(qn)));
}

/* Send what waits as far as there is room. A resolver that answers nothing
 * must not hold up those behind the first FLIGHT for ever. */
static void pump(struct dns *d)
{
	struct question *qn;

	while (d->flight < FLIGHT && !list_empty(&d->waiting)) {
		qn = list_first(&d->waiting, struct question, wait);
		list_del(&qn->wait);
		if (list_empty(&qn->askers)) {
			finish(qn, dns_kept_verdict(DNS_TROUBLE, "canceled"));
		} else if (loop_now(d->loop) - qn->since > d->patience_ms) {
			finish(qn, dns_kept_verdict(DNS_TROUBLE,
					   "too many questions before %s",
					   question_name(qn)));
		} else {
			qn->tries++;
			d->flight++;
			dns_transport_send(d->transport, qn->type,
				question_name(qn), on_message, qn);
		}
	}
}

/* Handing out. */

static void free_query(struct dns_query *q)
{
	dns_kept_unref(&q->kept);
	q->magic = 0;
	free(q);
}

static void deliver(struct dns_query *q)
{
	struct dns_answer a = q->kept->a;

	check_obj(q, QUERY_MAGIC);
	list_del(&q->node);
	a.ttl = q->ttl;
	q->firing = 1;
	q->cb(q->arg, &a);
	free_query(q);
}

/* Only as many as there are now: what callbacks ask for anew, and is known,
 * comes with the next round. Any callback may destroy d. */
static void on_drain(struct timer *t)
{
	struct dns *d = container_of(t, struct dns, drain);
	size_t n = 0;

	check_obj(d, DNS_MAGIC);
	d->holds++;
	list_each (it, &d->ready)
		n++;
	while (n-- && !list_empty(&d->ready))
		deliver(list_first(&d->ready, struct dns_query, node));
	if (!d->closing)
		pump(d);
	put_dns(d);
}

/* Asking. */

static void join(
	struct dns *d, struct dns_query *q, enum dns_type type, struct span key)
{
	struct map_node *n = map_get(&d->asked, key);
	struct question *qn;

	if (n) {
		qn = container_of(n, struct question, node);
		list_append(&qn->askers, &q->node);
		return;
	}
	qn = x_calloc(1, sizeof *qn);
	qn->dns = d;
	qn->type = type;
	memcpy(qn->text, key.p, key.n);
	qn->key = span(qn->text, key.n);
	list_init(&qn->askers);
	list_init(&qn->wait);
	list_append(&qn->askers, &q->node);
	list_append(&d->questions, &qn->all);
	map_put(&d->asked, &qn->node, qn->key);
	make_waiting(qn);
	pump(d);
}

/* RFC 6761 section 6.3: never asked, and no mail goes there by MX. */
static struct dns_kept *local_answer(enum dns_type type)
{
	struct dns_addr addr = {.v6 = type == DNS_AAAA};
	struct dns_answer a = {.verdict = DNS_NODATA};

	if (type == DNS_A || type == DNS_AAAA) {
		a.verdict = DNS_OK;
		a.n = 1;
		a.addr = &addr;
	}
	if (type == DNS_A)
		memcpy(addr.b, (uint8_t[]){127, 0, 0, 1}, 4);
	else
		addr.b[15] = 1;
	return dns_kept_copy(&a);
}

static struct dns_query *query_new(
	void (*cb)(void *arg, const struct dns_answer *a), void *arg)
{
	struct dns_query *q = x_calloc(1, sizeof *q);

	must(cb != NULL);
	q->magic = QUERY_MAGIC;
	q->cb = cb;
	q->arg = arg;
	list_init(&q->node);
	return q;
}

struct dns_query *dns_lookup(struct dns *d, enum dns_type type,
	struct span name, void (*cb)(void *arg, const struct dns_answer *a),
	void *arg)
{
	struct dns_query *q = query_new(cb, arg);
	char text[DNS_NAME_MAX + 1], key_text[DNS_KEY_MAX];
	struct dns_kept *k;
	struct span key;
	const char *why;
	uint32_t left = 0;

	check_obj(d, DNS_MAGIC);
	if (d->closing) { /* from a callback of dns_destroy, which goes on */
		q->kept = dns_kept_verdict(DNS_TROUBLE, "canceled");
		list_append(&d->ready, &q->node);
		return q;
	}
	if (dns_name_prepare(name, text, &why) != 0) {
		k = dns_kept_verdict(
			DNS_NXDOMAIN, "not a name of the DNS: %s", why);
		make_ready(d, q, k, 0);
		return q;
	}
	if (dns_name_local(span_str(text))) {
		make_ready(d, q, local_answer(type), 0);
		return q;
	}
	key = dns_cache_key(key_text, type, span_str(text));
	k = dns_cache_get(&d->cache, key, loop_now(d->loop), &left);
	if (k)
		make_ready(d, q, k, left);
	else
		join(d, q, type, key);
	return q;
}

/* The question goes on without asker; its answer is good for the cache. */
void dns_cancel(struct dns_query **qp)
{
	struct dns_query *q = *qp;

	*qp = NULL;
	if (!q)
		return;
	check_obj(q, QUERY_MAGIC);
	if (q->firing) /* deliver() frees it */
		return;
	list_del(&q->node);
	free_query(q);
}

void dns_flush_cache(struct dns *d)
{
	check_obj(d, DNS_MAGIC);
	dns_cache_flush(&d->cache);
}

/* Beginning and end. */

static void take_limits(struct dns *d, const struct dns_options *o)
{
	d->tries = dns_choose(o->tries, DNS_TRIES, DNS_TRIES_MAX);
	d->patience_ms = d->tries * dns_choose(o->timeout_ms, DNS_TIMEOUT_MS,
					    DNS_TIMEOUT_MS_MAX);
}

enum err dns_create(
	struct dns **d_r, struct loop *l, const struct dns_options *o)
{
	struct dns *d = x_calloc(1, sizeof *d);
	uint64_t key[2] = {rand_u64(loop_rand(l)), rand_u64(loop_rand(l))};
	enum err e;

	d->magic = DNS_MAGIC;
	d->holds = 1;
	d->loop = l;
	take_limits(d, o);
	dns_cache_init(&d->cache, key, DNS_CACHE, DNS_CACHE_BYTES);
	map_init(&d->asked, key);
	list_init(&d->questions);
	list_init(&d->waiting);
	list_init(&d->ready);
	timer_init(&d->drain, l, on_drain);
	e = dns_transport_create(&d->transport, l, o);
	if (e != ERR_OK)
		put_dns(d);
	else
		*d_r = d;
	return e;
}

enum err dns_configure(struct dns *d, const struct dns_options *o)
{
	struct dns_transport *old = d->transport, *t;
	enum err e;

	check_obj(d, DNS_MAGIC);
	must(!d->closing);
	e = dns_transport_create(&t, d->loop, o);
	if (e != ERR_OK)
		return e;
	take_limits(d, o);
	d->transport = t;
	d->moving = 1;
	dns_transport_destroy(&old);
	d->moving = 0;
	must(d->flight == 0);
	dns_cache_flush(&d->cache);
	wake(d);
	return ERR_OK;
}

void dns_destroy(struct dns **dp)
{
	struct dns *d = *dp;
	struct question *qn;
	struct dns_query *q;

	*dp = NULL;
	if (!d)
		return;
	check_obj(d, DNS_MAGIC);
	must(!d->closing);
	d->closing = 1;
	dns_transport_destroy(&d->transport);
	must(d->flight == 0);
	while ((qn = list_first(&d->questions, struct question, all)))
		finish(qn, dns_kept_verdict(DNS_TROUBLE, "canceled"));
	while ((q = list_first(&d->ready, struct dns_query, node))) {
		dns_kept_unref(&q->kept);
		q->kept = dns_kept_verdict(DNS_TROUBLE, "canceled");
		deliver(q);
	}
	timer_stop(&d->drain);
	put_dns(d);
}
