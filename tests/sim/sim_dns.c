/* sim_dns - names in a table, answers after a while. */
#include "tests/sim/sim_dns.h"

#include <stdlib.h>

#include "mta/base/check.h"
#include "mta/net/stream.h"
#include "tests/sim/sim_loop.h"

enum { ZONE_MAGIC = 0x2011e, DNS_MAGIC = 0xd115, CHAIN = 10 };

enum row_kind { ROW_MX, ROW_ADDR, ROW_CNAME, ROW_EMPTY, ROW_TROUBLE };

struct zone_row {
	struct list node;
	enum row_kind kind;
	char *name, *text;
	uint16_t preference;
	struct dns_addr addr;
	int type;
};

struct sim_zone {
	unsigned magic;
	struct loop *loop;
	struct list rows;
	uint64_t latency;
	uint32_t ttl;
	unsigned asked;
};

struct dns {
	unsigned magic;
	struct sim_zone *zone;
	struct loop *loop;
	struct list queries;
};

struct dns_query {
	struct list node;
	struct dns *dns;
	struct timer timer;
	enum dns_type type;
	char *name;
	int canceled; /* by dns_destroy */
	void (*cb)(void *arg, const struct dns_answer *a);
	void *arg;
};

struct sim_zone *sim_zone_create(struct loop *l)
{
	struct sim_zone *z = x_calloc(1, sizeof *z);

	z->magic = ZONE_MAGIC;
	z->loop = l;
	z->ttl = 300;
	list_init(&z->rows);
	sim_loop_set_user(l, SIM_USER_DNS, z);
	return z;
}

static void free_row(struct zone_row *r)
{
	list_del(&r->node);
	free(r->name);
	free(r->text);
	free(r);
}

void sim_zone_destroy(struct sim_zone **zp)
{
	struct sim_zone *z = *zp;

	if (!z)
		return;
	check_obj(z, ZONE_MAGIC);
	list_each_safe (it, &z->rows)
		free_row(list_item(it, struct zone_row, node));
	sim_loop_set_user(z->loop, SIM_USER_DNS, NULL);
	free(z);
	*zp = NULL;
}

static struct zone_row *add(struct sim_zone *z, enum row_kind kind,
	const char *name, const char *text)
{
	struct zone_row *r = x_calloc(1, sizeof *r);

	check_obj(z, ZONE_MAGIC);
	r->kind = kind;
	r->name = x_strdup(name);
	r->text = x_strdup(text);
	list_append(&z->rows, &r->node);
	return r;
}

void sim_zone_mx(struct sim_zone *z, const char *name, uint16_t preference,
	const char *host)
{
	add(z, ROW_MX, name, host)->preference = preference;
}

void sim_zone_addr(struct sim_zone *z, const char *name, const char *ip)
{
	struct zone_row *r = add(z, ROW_ADDR, name, ip);
	struct net_addr a;

	must(net_addr_parse(span_str(ip), 0, &a) == 0);
	r->addr.v6 = a.v6;
	memcpy(r->addr.b, a.b, sizeof a.b);
}

void sim_zone_cname(struct sim_zone *z, const char *name, const char *to)
{
	add(z, ROW_CNAME, name, to);
}

void sim_zone_empty(struct sim_zone *z, const char *name)
{
	add(z, ROW_EMPTY, name, "");
}

void sim_zone_trouble(
	struct sim_zone *z, const char *name, int type, const char *why)
{
	add(z, ROW_TROUBLE, name, why)->type = type;
}

void sim_zone_remove(struct sim_zone *z, const char *name)
{
	list_each_safe (it, &z->rows) {
		struct zone_row *r = list_item(it, struct zone_row, node);

		if (span_ieq(span_str(r->name), span_str(name)))
			free_row(r);
	}
}

void sim_zone_latency(struct sim_zone *z, uint64_t ms)
{
	z->latency = ms;
}

void sim_zone_ttl(struct sim_zone *z, uint32_t seconds)
{
	z->ttl = seconds;
}

unsigned sim_zone_asked(const struct sim_zone *z)
{
	return z->asked;
}

/* --- answers -------------------------------------------------------------- */

struct found {
	struct dns_answer a;
	struct dns_mx mx[DNS_MX_MAX];
	struct dns_addr addr[DNS_ADDR_MAX];
	const char *cname;
};

static void found_row(
	struct found *f, enum dns_type type, const struct zone_row *r)
{
	f->a.verdict = f->a.verdict == DNS_NXDOMAIN ? DNS_NODATA : f->a.verdict;
	if (r->kind == ROW_TROUBLE && (r->type < 0 || r->type == (int)type)) {
		f->a.verdict = DNS_TROUBLE;
		f->a.why = r->text;
	} else if (r->kind == ROW_CNAME) {
		f->cname = r->text;
	} else if (f->a.verdict == DNS_TROUBLE) {
		return;
	} else if (r->kind == ROW_MX && type == DNS_MX && f->a.n < DNS_MX_MAX) {
		f->mx[f->a.n++] =
			(struct dns_mx){r->preference, span_str(r->text)};
		f->a.verdict = DNS_OK;
	} else if (r->kind == ROW_ADDR && f->a.n < DNS_ADDR_MAX &&
		   type == (r->addr.v6 ? DNS_AAAA : DNS_A)) {
		f->addr[f->a.n++] = r->addr;
		f->a.verdict = DNS_OK;
	}
}

static void answer(struct dns_query *q, struct found *f)
{
	const char *name = q->name;

	for (int i = 0; name && i < CHAIN; i++) {
		f->cname = NULL;
		f->a.verdict = DNS_NXDOMAIN;
		list_each (it, &q->dns->zone->rows) {
			struct zone_row *r =
				list_item(it, struct zone_row, node);

			if (span_ieq(span_str(r->name), span_str(name)))
				found_row(f, q->type, r);
		}
		name = f->cname;
	}
	f->a.ttl = q->dns->zone->ttl;
	f->a.mx = f->mx;
	f->a.addr = f->addr;
}

static void free_query(struct dns_query *q)
{
	timer_stop(&q->timer);
	list_del(&q->node);
	free(q->name);
	free(q);
}

static void on_timer(struct timer *t)
{
	struct dns_query *q = container_of(t, struct dns_query, timer);
	void (*cb)(void *, const struct dns_answer *) = q->cb;
	void *arg = q->arg;
	struct found *f = x_calloc(1, sizeof *f);

	if (q->canceled) {
		f->a.verdict = DNS_TROUBLE;
		f->a.why = "canceled";
	} else {
		answer(q, f);
	}
	free_query(q);
	cb(arg, &f->a);
	free(f);
}

enum err dns_create(
	struct dns **d_r, struct loop *l, const struct dns_options *o)
{
	struct dns *d = x_calloc(1, sizeof *d);

	(void)o;
	d->magic = DNS_MAGIC;
	d->loop = l;
	d->zone = sim_loop_user(l, SIM_USER_DNS);
	check_obj(d->zone, ZONE_MAGIC);
	list_init(&d->queries);
	*d_r = d;
	return ERR_OK;
}

void dns_destroy(struct dns **dp)
{
	struct dns *d = *dp;

	if (!d)
		return;
	check_obj(d, DNS_MAGIC);
	list_each_safe (it, &d->queries) {
		struct dns_query *q = list_item(it, struct dns_query, node);

		list_del(&q->node); /* they answer "canceled" by themselves */
		q->canceled = 1;
		timer_start(&q->timer, 0);
	}
	free(d);
	*dp = NULL;
}

struct dns_query *dns_lookup(struct dns *d, enum dns_type type,
	struct span name, void (*cb)(void *arg, const struct dns_answer *a),
	void *arg)
{
	struct dns_query *q = x_calloc(1, sizeof *q);

	check_obj(d, DNS_MAGIC);
	q->dns = d;
	q->type = type;
	q->name = x_calloc(1, name.n + 1);
	memcpy(q->name, name.p, name.n);
	q->cb = cb;
	q->arg = arg;
	d->zone->asked++;
	list_append(&d->queries, &q->node);
	timer_init(&q->timer, d->loop, on_timer);
	timer_start(&q->timer, d->zone->latency);
	return q;
}

void dns_cancel(struct dns_query **q)
{
	if (*q)
		free_query(*q);
	*q = NULL;
}

enum err dns_configure(struct dns *d, const struct dns_options *o)
{
	(void)d;
	(void)o;
	return ERR_OK;
}

void dns_flush_cache(struct dns *d)
{
	(void)d;
}
