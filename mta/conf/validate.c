/* validate - what no single key can tell: names used twice, open relays,
 * connectors that cannot be told apart, numbers that contradict each other.
 *
 * struct conf has the values, the tree the places. A node that has a fault
 * already is not blamed again. */
#include <stdlib.h>

#include "mta/base/check.h"
#include "mta/conf/conf_private.h"

struct check {
	struct conf *c;
	struct ynode *root;
	struct report *report;
};

/* value_at - where the value of path in map stands, or the map itself. */
static struct ymark value_at(struct ynode *map, const char *path)
{
	struct ynode *n = yaml_find(map, path);

	return n ? n->at : map->at;
}

/* usable - 0 when the key at path has been complained about. */
static int usable(struct ynode *map, const char *path)
{
	struct ynode *n = yaml_find(map, path);

	return !n || !n->bad;
}

/* items - the members of a list at the top, in step with the array in struct
 * conf; NULL when there are none. */
static struct ynode *items(const struct check *k, const char *name)
{
	struct ynode *n = yaml_find(k->root, name);

	return n && n->kind == NODE_LIST && !n->bad ? n->first : NULL;
}

static struct ynode *nth(struct ynode *list, unsigned i)
{
	struct ynode *n = list && list->kind == NODE_LIST ? list->first : NULL;

	for (; n && i; i--)
		n = n->next;
	return n;
}

struct named {
	struct span name;
	struct ynode *node;
	unsigned seq;
};

static int compare_named(const void *pa, const void *pb)
{
	const struct named *a = pa, *b = pb;
	int d = span_icmp(a->name, b->name);

	if (d)
		return d;
	return a->seq < b->seq ? -1 : a->seq > b->seq;
}

/* check_unique - sorted, because there may be thousands of domains. */
static void check_unique(const struct check *k, const char *list,
	const void *first, unsigned n, size_t size)
{
	struct ynode *it = items(k, list);
	struct named *v;
	unsigned used = 0, same = 0;

	if (!it || n == 0)
		return;
	v = x_calloc(n, sizeof *v);
	for (unsigned i = 0; i < n; i++, it = it->next) {
		must(it);
		/* The name is the first member of each of these structs. */
		v[used].name = *(
			const struct span *)(const void *)((const char *)first +
							   i * size);
		v[used].node = yaml_find(it, "name");
		v[used].seq = i;
		used += v[used].name.n && v[used].node;
	}
	qsort(v, used, sizeof *v, compare_named);
	for (unsigned i = 1; i < used; i++) {
		struct ymark at = v[i].node->at, was;

		if (!span_ieq(v[i].name, v[same].name)) {
			same = i;
			continue;
		}
		was = v[same].node->at;
		report_error(k->report, at,
			"%s: the name \"%.*s\" is used already in %.*s:%u:%u",
			list, SPAN_ARG(v[i].name), SPAN_ARG(was.file->name),
			was.line, was.col);
	}
	free(v);
}

static int cidr_eq(const struct conf_cidr *a, const struct conf_cidr *b)
{
	return a->v6 == b->v6 && a->bits == b->bits &&
	       memcmp(a->addr, b->addr, 16) == 0;
}

static int bind_eq(const struct conf_endpoint *a, const struct conf_endpoint *b)
{
	uint8_t x[16], y[16];
	int v6a, v6b;

	return a->port == b->port && ip_read(a->host, &v6a, x) == 0 &&
	       ip_read(b->host, &v6b, y) == 0 && v6a == v6b &&
	       memcmp(x, y, 16) == 0;
}

/* covered - 1 when the ranges of r together hold all of at. */
static int covered(const struct conf_receive *r, const struct conf_cidr *at)
{
	struct conf_cidr half = *at;
	int inside = 0;

	for (unsigned i = 0; i < r->nremote; i++) {
		const struct conf_cidr *c = &r->remote[i];

		if (c->v6 != at->v6)
			continue;
		if (c->bits <= at->bits && cidr_match(c, at->v6, at->addr))
			return 1;
		inside |= c->bits > at->bits && cidr_match(at, c->v6, c->addr);
	}
	if (!inside)
		return 0;
	half.bits++;
	if (!covered(r, &half))
		return 0;
	half.addr[at->bits / 8] |= (uint8_t)(0x80 >> at->bits % 8);
	return covered(r, &half);
}

static const char *const bound_words[] = {"0.0.0.0/0", "::/0"};

/* check_relay - RFC 5321 says nothing; two decades of blocklists do. */
static void check_relay(
	const struct check *k, const struct conf_receive *r, struct ynode *it)
{
	struct conf_cidr all[2] = {{.v6 = 0}, {.v6 = 1}};

	if (!(r->permissions & PERM_RELAY) || !usable(it, "remote") ||
		!usable(it, "permissions"))
		return;
	for (unsigned i = 0; i < countof(all); i++) {
		if (!covered(r, &all[i]))
			continue;
		report_error(k->report, value_at(it, "permissions"),
			"receive_connectors[%u].permissions: relay for "
			"everybody (remote holds all of %s) is an open relay; "
			"name the clients in remote, for example "
			"remote: [\"10.0.0.0/24\"], or leave relay out",
			it->index, bound_words[i]);
		return;
	}
	for (unsigned i = 0; i < r->nremote; i++) {
		if (r->remote[i].bits >= (r->remote[i].v6 ? 16 : 8))
			continue;
		report_warning(k->report, value_at(it, "remote"),
			"receive_connectors[%u].remote[%u]: relay for so many "
			"clients is nearly an open relay",
			it->index, i);
	}
}

/* check_pair - a certificate is no use without its key. */
static void check_pair(const struct check *k, const char *list,
	struct ynode *it, struct span cert, struct span key)
{
	const char *have = cert.n ? "tls.cert" : "tls.key";
	const char *want = cert.n ? "tls.key" : "tls.cert";

	if ((cert.n == 0) == (key.n == 0) || !usable(it, want))
		return;
	report_error(k->report, value_at(it, have),
		"%s[%u].%s: needs %s beside it", list, it->index, have, want);
}

static void check_receive_tls(
	const struct check *k, const struct conf_receive *r, struct ynode *it)
{
	static const char *const mode[] = {
		"off", "offer", "require", "implicit"};

	if (r->tls.mode == TLS_OFF || !usable(it, "tls.mode") ||
		!usable(it, "tls.cert") || !usable(it, "tls.key") ||
		!usable(it, "tls"))
		return;
	if (r->tls.cert.n == 0 && r->tls.key.n == 0)
		report_error(k->report, value_at(it, "tls.mode"),
			"receive_connectors[%u].tls.mode: %s needs a "
			"certificate (write cert: /path.pem and key: "
			"/path.key beside it)",
			it->index, mode[r->tls.mode]);
}

/* check_doubles - the same address or range twice in one connector. */
static void check_doubles(
	const struct check *k, const struct conf_receive *r, struct ynode *it)
{
	for (unsigned i = 1; i < r->nbind && usable(it, "bind"); i++)
		for (unsigned j = 0; j < i; j++)
			if (bind_eq(&r->bind[i], &r->bind[j]))
				report_error(k->report,
					nth(yaml_find(it, "bind"), i)->at,
					"receive_connectors[%u].bind[%u]: "
					"\"%.*s\" stands there twice",
					it->index, i,
					SPAN_ARG(r->bind[i].text));
	if (!yaml_find(it, "remote") || !usable(it, "remote"))
		return;
	for (unsigned i = 1; i < r->nremote; i++)
		for (unsigned j = 0; j < i; j++)
			if (cidr_eq(&r->remote[i], &r->remote[j]))
				report_error(k->report,
					nth(yaml_find(it, "remote"), i)->at,
					"receive_connectors[%u].remote[%u]: "
					"this range stands there twice",
					it->index, i);
}

static const struct conf_endpoint *shared_bind(
	const struct conf_receive *a, const struct conf_receive *b)
{
	for (unsigned i = 0; i < a->nbind; i++)
		for (unsigned j = 0; j < b->nbind; j++)
			if (bind_eq(&a->bind[i], &b->bind[j]))
				return &a->bind[i];
	return NULL;
}

/* check_shared - b comes after a; who connects must be able to tell them
 * apart by the most specific range, so no range may be in both. */
static void check_shared(const struct check *k, const struct conf_receive *a,
	struct ynode *ia, const struct conf_receive *b, struct ynode *ib)
{
	const struct conf_endpoint *at = shared_bind(a, b);
	struct ynode *list = yaml_find(ib, "remote"), *n;
	struct buf range;

	if (!at || !usable(ia, "remote") || !usable(ib, "remote"))
		return;
	for (unsigned i = 0; i < b->nremote; i++) {
		unsigned j = 0;

		while (j < a->nremote && !cidr_eq(&b->remote[i], &a->remote[j]))
			j++;
		if (j == a->nremote)
			continue;
		n = nth(list, i);
		buf_init(&range, 64);
		cidr_print(&b->remote[i], &range);
		report_error(k->report, n ? n->at : ib->at,
			"receive_connectors[%u].remote: \"%.*s\" and \"%.*s\" "
			"(%.*s:%u:%u) both listen on %.*s for %s; give one of "
			"them a more specific range",
			ib->index, SPAN_ARG(b->name), SPAN_ARG(a->name),
			SPAN_ARG(ia->at.file->name), ia->at.line, ia->at.col,
			SPAN_ARG(at->text), buf_str(&range));
		buf_fini(&range);
		return;
	}
}

static void check_receive(const struct check *k)
{
	const struct conf *c = k->c;
	struct ynode *first = items(k, "receive_connectors"), *it = first, *b;
	struct ynode *list = yaml_find(k->root, "receive_connectors");

	if (list ? ynode_null(list) || (list->kind == NODE_LIST && list->n == 0)
		 : !yaml_meant(k->root, SPAN("receive_connectors")))
		report_error(k->report, list ? list->key_at : k->root->at,
			"receive_connectors: must have at least one (write "
			"for example - { name: inbound, bind: "
			"[\"0.0.0.0:25\"] })");
	for (unsigned i = 0; it; i++, it = it->next) {
		const struct conf_receive *r = &c->receive[i];

		check_relay(k, r, it);
		check_receive_tls(k, r, it);
		check_pair(
			k, "receive_connectors", it, r->tls.cert, r->tls.key);
		check_doubles(k, r, it);
		b = first;
		for (unsigned j = 0; j < i; j++, b = b->next)
			if (usable(it, "bind") && usable(b, "bind"))
				check_shared(k, &c->receive[j], b, r, it);
	}
}

static void check_spaces(
	const struct check *k, const struct conf_send *s, struct ynode *it)
{
	struct ynode *list = yaml_find(it, "address_spaces");

	if (!usable(it, "address_spaces"))
		return;
	for (unsigned i = 1; i < s->nspace; i++)
		for (unsigned j = 0; j < i; j++)
			if (span_eq(s->space[i].pattern, s->space[j].pattern))
				report_error(k->report, nth(list, i)->at,
					"send_connectors[%u].address_spaces"
					"[%u]: \"%.*s\" stands there twice",
					it->index, i,
					SPAN_ARG(s->space[i].pattern));
}

/* check_send - also gives smart hosts without a port theirs: 24 for LMTP,
 * which must not run on port 25 (RFC 2033 5). */
static void check_send(const struct check *k)
{
	struct ynode *it = items(k, "send_connectors"), *hosts;
	struct conf_send *s = k->c->send;

	for (; it; it = it->next, s++) {
		int lmtp = s->protocol == SEND_LMTP;

		hosts = yaml_find(it, "smart_hosts");
		if (lmtp && s->nsmart_host == 0 && usable(it, "smart_hosts"))
			report_error(k->report, value_at(it, "protocol"),
				"send_connectors[%u].protocol: lmtp needs "
				"smart_hosts",
				it->index);
		for (unsigned i = 0; i < s->nsmart_host; i++) {
			if (s->smart_host[i].port == 0)
				s->smart_host[i].port = lmtp ? 24 : 25;
			if (lmtp && s->smart_host[i].port == 25)
				report_error(k->report, nth(hosts, i)->at,
					"send_connectors[%u].smart_hosts[%u]: "
					"LMTP must not use port 25 (RFC 2033 "
					"section 5)",
					it->index, i);
		}
		check_pair(k, "send_connectors", it, s->tls.cert, s->tls.key);
		check_spaces(k, s, it);
	}
}

static void check_queue(const struct check *k)
{
	const struct conf *c = k->c;

	if (c->queue.delay_notice_after >= c->queue.expire_after &&
		usable(k->root, "queue.delay_notice_after") &&
		usable(k->root, "queue.expire_after"))
		report_error(k->report,
			yaml_find(k->root, "queue.delay_notice_after")
				? value_at(k->root, "queue.delay_notice_after")
				: value_at(k->root, "queue.expire_after"),
			"queue.delay_notice_after: must be less than "
			"queue.expire_after (or 0 for none)");
	if (c->queue.memory < 2 * c->queue.large_body &&
		usable(k->root, "queue.memory") &&
		usable(k->root, "queue.large_body"))
		report_error(k->report,
			yaml_find(k->root, "queue.memory")
				? value_at(k->root, "queue.memory")
				: value_at(k->root, "queue.large_body"),
			"queue.memory: must be at least twice "
			"queue.large_body");
	if (c->node.workers > 1)
		report_error(k->report, value_at(k->root, "node.workers"),
			"node.workers: more than 1 is not available in this "
			"version");
}

/* check_use - what is legal and of no use. */
static void check_use(const struct check *k)
{
	struct ynode *it = items(k, "receive_connectors");

	if (k->c->nsend == 0 && !items(k, "send_connectors"))
		report_warning(k->report, k->root->at,
			"send_connectors: there are none, so no mail leaves "
			"the queue");
	if (k->c->ndomain)
		return;
	for (unsigned i = 0; it; i++, it = it->next)
		if (!(k->c->receive[i].permissions & PERM_RELAY)) {
			report_warning(k->report, it->at,
				"receive_connectors[%u]: takes no mail, since "
				"there are no accepted_domains and it has no "
				"permission relay",
				it->index);
			return;
		}
}

void validate(struct conf *c, struct ynode *root, struct report *report)
{
	struct check k = {c, root, report};

	check_unique(&k, "accepted_domains", c->domain, c->ndomain,
		sizeof *c->domain);
	check_unique(&k, "receive_connectors", c->receive, c->nreceive,
		sizeof *c->receive);
	check_unique(&k, "send_connectors", c->send, c->nsend, sizeof *c->send);
	check_receive(&k);
	check_send(&k);
	check_queue(&k);
	if (report->errors == 0)
		check_use(&k);
}
