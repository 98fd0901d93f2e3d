/* validate - what no single key can tell: names used twice, open relays,
 * connectors that cannot be told apart, numbers that contradict each other.
 * struct conf has the values, the tree the places. */
#include <stdlib.h>

#include "mta/base/check.h"
#include "mta/conf/validate.h"

/* check_at - where the value of path in map stands, or the map itself. */
struct ymark check_at(struct ynode *map, const char *path)
{
	struct ynode *n = yaml_find(map, path);

	return n ? n->at : map->at;
}

/* check_usable - 0 when the key at path has been complained about. */
int check_usable(struct ynode *map, const char *path)
{
	struct ynode *n = yaml_find(map, path);

	return !n || !n->bad;
}

/* check_items - the members of a list at the top, in step with the array in
 * struct conf; NULL when there are none. */
struct ynode *check_items(const struct check *k, const char *name)
{
	struct ynode *n = yaml_find(k->root, name);

	return n && n->kind == NODE_LIST && !n->bad ? n->first : NULL;
}

struct ynode *check_nth(struct ynode *list, unsigned i)
{
	struct ynode *n = list && list->kind == NODE_LIST ? list->first : NULL;

	for (; n && i; i--)
		n = n->next;
	return n;
}

int check_same_endpoint(
	const struct conf_endpoint *a, const struct conf_endpoint *b)
{
	uint8_t x[16], y[16];
	int v6a, v6b;

	return a->port == b->port && ip_read(a->host, &v6a, x) == 0 &&
	       ip_read(b->host, &v6b, y) == 0 && v6a == v6b &&
	       memcmp(x, y, 16) == 0;
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
void check_unique(const struct check *k, const char *list, const void *first,
	unsigned n, size_t size)
{
	struct ynode *it = check_items(k, list);
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

/* check_pair - a certificate is no use without its key. */
void check_pair(const struct check *k, const char *list, struct ynode *it,
	struct span cert, struct span key)
{
	const char *have = cert.n ? "tls.cert" : "tls.key";
	const char *want = cert.n ? "tls.key" : "tls.cert";

	if ((cert.n == 0) == (key.n == 0) || !check_usable(it, want))
		return;
	report_error(k->report, check_at(it, have),
		"%s[%u].%s: needs %s beside it", list, it->index, have, want);
}

static void check_spaces(
	const struct check *k, const struct conf_send *s, struct ynode *it)
{
	struct ynode *list = yaml_find(it, "address_spaces");

	if (!check_usable(it, "address_spaces"))
		return;
	for (unsigned i = 1; i < s->nspace; i++)
		for (unsigned j = 0; j < i; j++)
			if (span_eq(s->space[i].pattern, s->space[j].pattern))
				report_error(k->report, check_nth(list, i)->at,
					"send_connectors[%u].address_spaces"
					"[%u]: \"%.*s\" stands there twice",
					it->index, i,
					SPAN_ARG(s->space[i].pattern));
}

/* check_send - also gives smart hosts without a port theirs: 24 for LMTP,
 * which must not run on port 25 (RFC 2033 5). */
static void check_send(const struct check *k)
{
	struct ynode *it = check_items(k, "send_connectors"), *hosts;
	struct conf_send *s = k->c->send;

	for (; it; it = it->next, s++) {
		int lmtp = s->protocol == SEND_LMTP;

		hosts = yaml_find(it, "smart_hosts");
		if (lmtp && s->nsmart_host == 0 &&
			check_usable(it, "smart_hosts"))
			report_error(k->report, check_at(it, "protocol"),
				"send_connectors[%u].protocol: lmtp needs "
				"smart_hosts",
				it->index);
		for (unsigned i = 0; i < s->nsmart_host; i++) {
			if (s->smart_host[i].port == 0)
				s->smart_host[i].port = lmtp ? 24 : 25;
			if (lmtp && s->smart_host[i].port == 25)
				report_error(k->report, check_nth(hosts, i)->at,
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
		check_usable(k->root, "queue.delay_notice_after") &&
		check_usable(k->root, "queue.expire_after"))
		report_error(k->report,
			yaml_find(k->root, "queue.delay_notice_after")
				? check_at(k->root, "queue.delay_notice_after")
				: check_at(k->root, "queue.expire_after"),
			"queue.delay_notice_after: must be less than "
			"queue.expire_after (or 0 for none)");
	if (c->queue.memory < 2 * c->queue.large_body &&
		check_usable(k->root, "queue.memory") &&
		check_usable(k->root, "queue.large_body"))
		report_error(k->report,
			yaml_find(k->root, "queue.memory")
				? check_at(k->root, "queue.memory")
				: check_at(k->root, "queue.large_body"),
			"queue.memory: must be at least twice "
			"queue.large_body");
	if (c->node.workers > 1)
		report_error(k->report, check_at(k->root, "node.workers"),
			"node.workers: more than 1 is not available in this "
			"version");
}

/* check_http - an address of its own, and who can reach it. */
static void check_http(const struct check *k)
{
	const struct conf_endpoint *e = &k->c->http.bind;
	struct ynode *it = check_items(k, "receive_connectors");
	struct ymark at = check_at(k->root, "http.bind");
	uint8_t addr[16];
	int v6, taken = 0;

	if (!e->text.n)
		return;
	for (unsigned i = 0; it; i++, it = it->next)
		for (unsigned j = 0; j < k->c->receive[i].nbind; j++)
			taken |= check_same_endpoint(
				e, &k->c->receive[i].bind[j]);
	if (taken || check_same_endpoint(e, &k->c->shadow.listen))
		report_error(k->report, at,
			"http.bind: something else listens on \"%.*s\" "
			"already; take another port, for example %d",
			SPAN_ARG(e->text), HTTP_PORT);
	else if (ip_read(e->host, &v6, addr) == 0 &&
		 (v6 ? memcmp(addr, "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1", 16) != 0
		     : addr[0] != 127))
		report_warning(k->report, at,
			"http.bind: \"%.*s\" can be reached from other "
			"machines, and nobody is asked for a password",
			SPAN_ARG(e->text));
}

/* check_use - what is legal and of no use. */
static void check_use(const struct check *k)
{
	struct ynode *it = check_items(k, "receive_connectors");

	int witness = k->c->shadow.listen.text.n && k->c->nreceive == 0;

	if (!witness && k->c->nsend == 0 && !check_items(k, "send_connectors"))
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
	struct check k = {.c = c, .root = root, .report = report};

	check_unique(&k, "accepted_domains", c->domain, c->ndomain,
		sizeof *c->domain);
	check_unique(&k, "receive_connectors", c->receive, c->nreceive,
		sizeof *c->receive);
	check_unique(&k, "send_connectors", c->send, c->nsend, sizeof *c->send);
	check_receive(&k);
	check_send(&k);
	check_queue(&k);
	check_shadow(&k);
	check_http(&k);
	check_pressure(&k);
	check_local(&k);
	if (report->errors == 0)
		check_use(&k);
	arena_fini(&k.arena);
}
