/* hosts - resolving a next hop: MX, then A and AAAA of every host at once.
 *
 * The list is built in three moves: names with their rank (from the
 * configuration or the MX answer), addresses of each name, and the loop rule
 * of RFC 5321 5.1: a host that is ourselves is dropped together with all of
 * equal or worse preference.
 */
#include "mta/deliver/hosts.h"

#include <stdio.h>
#include <stdlib.h>

#include "mta/base/check.h"
#include "mta/base/rand.h"

enum { HOSTS_MAGIC = 0x4057, TTL_MIN = 30, TTL_MAX = 3600, ADDRS = 8 };

struct name { /* one host */
	struct hosts *h;
	struct span name;
	uint16_t rank, port;
	int self;                   /* its name is ours */
	struct dns_query *query[2]; /* A, AAAA */
	enum dns_verdict verdict[2];
	struct net_addr addr[2][ADDRS];
	unsigned naddr[2];
};

struct hosts {
	unsigned magic;
	struct hosts_options o;
	void (*done)(void *arg, const struct hosts_answer *a);
	void *arg;
	int mx; /* the rules about loops hold */
	struct dns_query *query;
	struct timer timer; /* an answer that needs no question */
	struct arena arena;
	struct name name[HOSTS_NAMES_MAX];
	unsigned nname, waiting;
	uint32_t ttl;
	char trouble[256];
	struct hosts_answer answer;
};

static void finish(struct hosts *h)
{
	struct hosts_answer *a = &h->answer;

	if (h->ttl < TTL_MIN)
		h->ttl = TTL_MIN;
	a->ttl = (uint64_t)(h->ttl < TTL_MAX ? h->ttl : TTL_MAX) * 1000;
	h->done(h->arg, a);
	hosts_cancel(&h);
}

static void end_with(struct hosts *h, enum hosts_verdict v, struct outcome o)
{
	h->answer.verdict = v;
	h->answer.outcome = o;
	h->answer.n = 0;
	finish(h);
}

static struct span textf(struct hosts *h, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
static struct span textf(struct hosts *h, const char *fmt, ...)
{
	char t[700];
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(t, sizeof t, fmt, ap);
	va_end(ap);
	return arena_span(
		&h->arena, span(t, n < 0               ? 0
				   : n < (int)sizeof t ? (size_t)n
						       : sizeof t - 1));
}

/* Nothing is known: to be tried again, never a bounce. */
static void defer(
	struct hosts *h, const char *what, struct span name, const char *why)
{
	struct outcome o = {.code = 451, .enh = {4, 4, 3}};

	o.text = textf(h, "DNS trouble with %s of %.*s: %s", what,
		SPAN_ARG(name), why && *why ? why : "no answer");
	end_with(h, HOSTS_DEFER, o);
}

/* --- the end: addresses in order ------------------------------------------ */

static void add_addr(struct hosts *h, const struct name *n, unsigned group,
	const struct net_addr *addr)
{
	struct hosts_answer *a = &h->answer;

	if (a->n < HOSTS_MAX)
		a->v[a->n++] = (struct host_addr){
			*addr, n->name, n->rank, (uint16_t)group};
}

/* Whether n is ourselves: by name, or by an address that we listen on. */
static int is_us(const struct hosts *h, const struct name *n)
{
	if (n->self)
		return 1;
	for (unsigned f = 0; f < 2; f++)
		for (unsigned i = 0; i < n->naddr[f]; i++)
			if (net_addr_loopback(&n->addr[f][i]) ||
				(h->o.is_self &&
					h->o.is_self(h->o.arg, &n->addr[f][i])))
				return 1;
	return 0;
}

/* The rank from which on hosts are dropped; above every rank: none. */
static unsigned loop_rank(const struct hosts *h)
{
	unsigned at = UINT16_MAX + 1;

	for (unsigned i = 0; h->mx && i < h->nname; i++)
		if (h->name[i].rank < at && is_us(h, &h->name[i]))
			at = h->name[i].rank;
	return at;
}

static void nothing_found(struct hosts *h, unsigned loop)
{
	struct outcome o = {.code = 550, .enh = {5, 4, 6}};
	struct span who = h->o.domain;
	int trouble = 0;

	for (unsigned i = 0; i < h->nname; i++)
		trouble |= h->name[i].verdict[0] == DNS_TROUBLE ||
			   h->name[i].verdict[1] == DNS_TROUBLE;
	if (!h->mx && h->nname)
		who = h->name[0].name;
	if (trouble) {
		defer(h, "the address", who, h->trouble);
	} else if (loop <= UINT16_MAX) {
		o.text = textf(h, "Mail for %.*s loops back to this host",
			SPAN_ARG(who));
		end_with(h, HOSTS_FAIL, o);
	} else if (!h->mx) { /* our configuration, not the recipient's */
		o = (struct outcome){.code = 451, .enh = {4, 4, 4}};
		o.text = textf(
			h, "Smart host %.*s has no address", SPAN_ARG(who));
		end_with(h, HOSTS_DEFER, o);
	} else {
		o.enh = (struct enhanced){5, 4, 4};
		o.text = textf(h, "No mail host of %.*s has an address",
			SPAN_ARG(who));
		end_with(h, HOSTS_FAIL, o);
	}
}

static void gather(struct hosts *h)
{
	unsigned loop = loop_rank(h);

	for (unsigned g = 0; g < h->nname; g++) {
		const struct name *n = &h->name[g];

		if (n->rank >= loop)
			continue;
		for (unsigned i = 0; i < ADDRS; i++)
			for (unsigned f = 0; f < 2; f++)
				if (i < n->naddr[f])
					add_addr(h, n, g, &n->addr[f][i]);
	}
	if (h->answer.n == 0) {
		nothing_found(h, loop);
		return;
	}
	h->answer.verdict = HOSTS_OK;
	finish(h);
}

/* --- addresses of names --------------------------------------------------- */

static void on_addr(struct name *n, unsigned f, const struct dns_answer *a)
{
	struct hosts *h = n->h;

	check_obj(h, HOSTS_MAGIC);
	n->query[f] = NULL;
	n->verdict[f] = a->verdict;
	if (a->verdict == DNS_TROUBLE)
		(void)snprintf(h->trouble, sizeof h->trouble, "%s",
			a->why ? a->why : "");
	if (a->verdict == DNS_OK && a->ttl < h->ttl)
		h->ttl = a->ttl;
	for (unsigned i = 0; a->verdict == DNS_OK && i < a->n; i++) {
		struct net_addr *to;

		if (n->naddr[f] == ADDRS)
			break;
		to = &n->addr[f][n->naddr[f]++];
		*to = (struct net_addr){.v6 = a->addr[i].v6, .port = n->port};
		memcpy(to->b, a->addr[i].b, sizeof to->b);
	}
	if (--h->waiting == 0)
		gather(h);
}

static void on_a(void *arg, const struct dns_answer *a)
{
	on_addr(arg, 0, a);
}

static void on_aaaa(void *arg, const struct dns_answer *a)
{
	on_addr(arg, 1, a);
}

static void add_name(
	struct hosts *h, struct span name, uint16_t rank, uint16_t port)
{
	struct name *n;

	if (h->nname == HOSTS_NAMES_MAX)
		return;
	n = &h->name[h->nname++];
	n->h = h;
	n->name = arena_span(&h->arena, name);
	n->rank = rank;
	n->port = port;
	n->self = h->mx && span_ieq(name, h->o.node);
	n->verdict[0] = n->verdict[1] = DNS_NODATA;
}

/* "192.0.2.1", "[192.0.2.1]", "[IPv6:2001:db8::1]" */
static int literal(struct span s, uint16_t port, struct net_addr *a_r)
{
	if (s.n > 2 && s.p[0] == '[' && s.p[s.n - 1] == ']')
		s = span(s.p + 1, s.n - 2);
	if (span_istarts(s, SPAN("IPv6:")))
		s = span_skip(s, 5);
	return net_addr_parse(s, port, a_r) == 0;
}

/* Every name that is no address is asked for; answers come later, so the
 * count is complete before the first of them. */
static void ask_all(struct hosts *h)
{
	for (unsigned i = 0; i < h->nname; i++) {
		struct name *n = &h->name[i];
		struct net_addr a;

		if (literal(n->name, n->port, &a)) {
			n->addr[a.v6 != 0][0] = a;
			n->naddr[a.v6 != 0] = 1;
			n->verdict[a.v6 != 0] = DNS_OK;
			continue;
		}
		n->query[0] = dns_lookup(h->o.dns, DNS_A, n->name, on_a, n);
		n->query[1] =
			dns_lookup(h->o.dns, DNS_AAAA, n->name, on_aaaa, n);
		h->waiting += 2;
	}
	if (h->waiting == 0)
		timer_start(&h->timer, 0);
}

static void on_timer(struct timer *t)
{
	gather(container_of(t, struct hosts, timer));
}

/* --- names ---------------------------------------------------------------- */

static void shuffle(struct hosts *h, struct dns_mx *v, unsigned n)
{
	for (unsigned i = n; i > 1; i--) {
		unsigned j = (unsigned)rand_below(loop_rand(h->o.loop), i);
		struct dns_mx t = v[j];

		v[j] = v[i - 1];
		v[i - 1] = t;
	}
}

static int by_preference(const void *a, const void *b)
{
	const struct dns_mx *x = a, *y = b;

	return (x->preference > y->preference) -
	       (x->preference < y->preference);
}

/* Random order inside one preference: shuffled, then sorted by insertion,
 * which keeps the order of equals. */
static void sort_mx(struct hosts *h, struct dns_mx *v, unsigned n)
{
	shuffle(h, v, n);
	for (unsigned i = 1; i < n; i++) {
		struct dns_mx m = v[i];
		unsigned j = i;

		for (; j && by_preference(&v[j - 1], &m) > 0; j--)
			v[j] = v[j - 1];
		v[j] = m;
	}
}

static void use_mx(struct hosts *h, const struct dns_answer *a)
{
	struct dns_mx v[DNS_MX_MAX];
	unsigned n = a->n < DNS_MX_MAX ? a->n : DNS_MX_MAX;

	memcpy(v, a->mx, n * sizeof *v);
	sort_mx(h, v, n);
	for (unsigned i = 0; i < n; i++)
		if (v[i].name.n)
			add_name(
				h, v[i].name, v[i].preference, h->o.conf->port);
	ask_all(h);
}

static int null_mx(const struct dns_answer *a)
{
	for (unsigned i = 0; i < a->n; i++)
		if (a->mx[i].name.n && !span_eq(a->mx[i].name, SPAN(".")))
			return 0;
	return 1;
}

static void on_mx(void *arg, const struct dns_answer *a)
{
	struct hosts *h = arg;
	struct outcome o = {.code = 550, .enh = {5, 1, 2}};
	struct span d = h->o.domain;

	check_obj(h, HOSTS_MAGIC);
	h->query = NULL;
	if (a->ttl < h->ttl && a->verdict != DNS_TROUBLE)
		h->ttl = a->ttl;
	switch (a->verdict) {
	case DNS_TROUBLE:
		defer(h, "MX", d, a->why);
		break;
	case DNS_NXDOMAIN:
		o.text = textf(h, "Domain %.*s does not exist", SPAN_ARG(d));
		end_with(h, HOSTS_FAIL, o);
		break;
	case DNS_NODATA: /* implicit MX: RFC 5321 5.1 */
		add_name(h, d, 0, h->o.conf->port);
		ask_all(h);
		break;
	case DNS_OK:
		if (!null_mx(a)) {
			use_mx(h, a);
			break;
		}
		o.code = 556; /* RFC 7505 4.1 */
		o.enh = (struct enhanced){5, 1, 10};
		o.text = textf(
			h, "Domain %.*s takes no mail (null MX)", SPAN_ARG(d));
		end_with(h, HOSTS_FAIL, o);
		break;
	}
}

static void smart_hosts(struct hosts *h)
{
	const struct conf_send *c = h->o.conf;
	unsigned n = c->nsmart_host, first = 0;

	if (c->order == ORDER_SPREAD && n)
		first = (unsigned)rand_below(loop_rand(h->o.loop), n);
	for (unsigned i = 0; i < n; i++) {
		const struct conf_endpoint *e = &c->smart_host[(first + i) % n];

		add_name(h, e->host, c->order == ORDER_SPREAD ? 0 : (uint16_t)i,
			e->port);
	}
	ask_all(h);
}

struct hosts *hosts_resolve(const struct hosts_options *o,
	void (*done)(void *arg, const struct hosts_answer *a), void *arg)
{
	struct hosts *h = x_calloc(1, sizeof *h);
	struct net_addr a;

	h->magic = HOSTS_MAGIC;
	h->o = *o;
	h->done = done;
	h->arg = arg;
	h->ttl = TTL_MAX;
	h->mx = o->conf->nsmart_host == 0;
	timer_init(&h->timer, o->loop, on_timer);
	if (!h->mx) {
		smart_hosts(h);
	} else if (o->domain.n && o->domain.p[0] == '[' &&
		   literal(o->domain, o->conf->port, &a)) {
		add_name(h, o->domain, 0, o->conf->port);
		ask_all(h);
	} else {
		h->query = dns_lookup(o->dns, DNS_MX, o->domain, on_mx, h);
	}
	return h;
}

void hosts_cancel(struct hosts **hp)
{
	struct hosts *h = *hp;

	if (!h)
		return;
	check_obj(h, HOSTS_MAGIC);
	*hp = NULL;
	timer_stop(&h->timer);
	if (h->query)
		dns_cancel(&h->query);
	for (unsigned i = 0; i < h->nname; i++)
		for (unsigned f = 0; f < 2; f++)
			if (h->name[i].query[f])
				dns_cancel(&h->name[i].query[f]);
	arena_fini(&h->arena);
	h->magic = 0;
	free(h);
}
