/* validate_receive - receive connectors: open relays, TLS without a
 * certificate, connectors that a client could not be told apart by. */
#include <stdlib.h>

#include "mta/base/check.h"
#include "mta/conf/validate.h"

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

	if (!(r->permissions & PERM_RELAY) || !check_usable(it, "remote") ||
		!check_usable(it, "permissions"))
		return;
	for (unsigned i = 0; i < countof(all); i++) {
		if (!covered(r, &all[i]))
			continue;
		report_error(k->report, check_at(it, "permissions"),
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
		report_warning(k->report, check_at(it, "remote"),
			"receive_connectors[%u].remote[%u]: relay for so many "
			"clients is nearly an open relay",
			it->index, i);
	}
}

static void check_receive_tls(
	const struct check *k, const struct conf_receive *r, struct ynode *it)
{
	static const char *const mode[] = {
		"off", "offer", "require", "implicit"};

	if (r->tls.mode == TLS_OFF || !check_usable(it, "tls.mode") ||
		!check_usable(it, "tls.cert") || !check_usable(it, "tls.key") ||
		!check_usable(it, "tls"))
		return;
	if (r->tls.cert.n == 0 && r->tls.key.n == 0)
		report_error(k->report, check_at(it, "tls.mode"),
			"receive_connectors[%u].tls.mode: %s needs a "
			"certificate (write cert: /path.pem and key: "
			"/path.key beside it)",
			it->index, mode[r->tls.mode]);
}

/* A connector with its ranges in order, so that a file of 1 MiB full of them
 * is compared in no time. */
struct ranged {
	const struct conf_receive *r;
	struct ynode *node;
	struct range {
		struct conf_cidr c;
		unsigned i; /* in r->remote */
	} * v;
	unsigned n;
};

static int compare_cidr(const struct conf_cidr *a, const struct conf_cidr *b)
{
	if (a->v6 != b->v6)
		return a->v6 ? 1 : -1;
	if (a->bits != b->bits)
		return a->bits < b->bits ? -1 : 1;
	return memcmp(a->addr, b->addr, 16);
}

static int compare_range(const void *pa, const void *pb)
{
	const struct range *a = pa, *b = pb;
	int d = compare_cidr(&a->c, &b->c);

	if (d)
		return d;
	return a->i < b->i ? -1 : a->i > b->i;
}

static void sort_ranges(struct arena *a, struct ranged *g)
{
	g->n = check_usable(g->node, "remote") ? g->r->nremote : 0;
	g->v = arena_alloc(a, g->n * sizeof *g->v);
	for (unsigned i = 0; i < g->n; i++) {
		g->v[i].c = g->r->remote[i];
		g->v[i].i = i;
	}
	if (g->n)
		qsort(g->v, g->n, sizeof *g->v, compare_range);
}

/* check_doubles - the same address or range twice in one connector. */
static void check_doubles(const struct check *k, const struct ranged *g)
{
	const struct conf_receive *r = g->r;
	struct ynode *it = g->node, *list = yaml_find(it, "bind");

	for (unsigned i = 1; i < r->nbind && check_usable(it, "bind"); i++)
		for (unsigned j = 0; j < i; j++)
			if (check_same_endpoint(&r->bind[i], &r->bind[j]))
				report_error(k->report, check_nth(list, i)->at,
					"receive_connectors[%u].bind[%u]: "
					"\"%.*s\" stands there twice",
					it->index, i,
					SPAN_ARG(r->bind[i].text));
	list = yaml_find(it, "remote");
	for (unsigned i = 1; i < g->n; i++)
		if (compare_cidr(&g->v[i].c, &g->v[i - 1].c) == 0)
			report_error(k->report, check_nth(list, g->v[i].i)->at,
				"receive_connectors[%u].remote[%u]: this "
				"range stands there twice",
				it->index, g->v[i].i);
}

static const struct conf_endpoint *shared_bind(
	const struct conf_receive *a, const struct conf_receive *b)
{
	for (unsigned i = 0; i < a->nbind; i++)
		for (unsigned j = 0; j < b->nbind; j++)
			if (check_same_endpoint(&a->bind[i], &b->bind[j]))
				return &a->bind[i];
	return NULL;
}

/* common - a range of b that a has as well, or NULL. */
static const struct range *common(
	const struct ranged *a, const struct ranged *b)
{
	unsigned i = 0, j = 0;

	while (i < a->n && j < b->n) {
		int d = compare_cidr(&a->v[i].c, &b->v[j].c);

		if (d == 0)
			return &b->v[j];
		if (d < 0)
			i++;
		else
			j++;
	}
	return NULL;
}

/* check_shared - b comes after a; who connects must be able to tell them
 * apart by the most specific range, so no range may be in both. */
static void check_shared(
	const struct check *k, const struct ranged *a, const struct ranged *b)
{
	const struct conf_endpoint *at = shared_bind(a->r, b->r);
	const struct range *both = at ? common(a, b) : NULL;
	struct ynode *n;
	struct buf range;

	if (!both)
		return;
	n = check_nth(yaml_find(b->node, "remote"), both->i);
	buf_init(&range, 64);
	cidr_print(&both->c, &range);
	report_error(k->report, n ? n->at : b->node->at,
		"receive_connectors[%u].remote: \"%.*s\" and \"%.*s\" "
		"(%.*s:%u:%u) both listen on %.*s for %s; give one of them a "
		"more specific range",
		b->node->index, SPAN_ARG(b->r->name), SPAN_ARG(a->r->name),
		SPAN_ARG(a->node->at.file->name), a->node->at.line,
		a->node->at.col, SPAN_ARG(at->text), buf_str(&range));
	buf_fini(&range);
}

/* no_connector - and nothing that was surely meant for one. With
 * shadow.listen that is fine: the node is there for its peers; and with local
 * submission or a directory, for this machine. */
static int no_connector(const struct check *k, const struct ynode *list)
{
	const struct conf *c = k->c;

	if (c->shadow.listen.text.n || c->submission.socket.n ||
		c->pickup.directory.n || c->replay.directory.n)
		return 0;
	if (!list)
		return !yaml_meant(k->root, SPAN("receive_connectors"));
	return ynode_null(list) || (list->kind == NODE_LIST && list->n == 0);
}

void check_receive(struct check *k)
{
	struct ynode *list = yaml_find(k->root, "receive_connectors");
	struct ynode *it = check_items(k, "receive_connectors");
	struct ranged *g = arena_alloc(&k->arena, k->c->nreceive * sizeof *g);

	if (no_connector(k, list))
		report_error(k->report, list ? list->key_at : k->root->at,
			"receive_connectors: must have at least one (write "
			"for example - { name: inbound, bind: "
			"[\"0.0.0.0:25\"] })");
	for (unsigned i = 0; it; i++, it = it->next) {
		const struct conf_receive *r = &k->c->receive[i];

		g[i] = (struct ranged){.r = r, .node = it};
		sort_ranges(&k->arena, &g[i]);
		check_relay(k, r, it);
		check_receive_tls(k, r, it);
		check_pair(
			k, "receive_connectors", it, r->tls.cert, r->tls.key);
		check_doubles(k, &g[i]);
		for (unsigned j = 0; j < i; j++)
			if (check_usable(it, "bind") &&
				check_usable(g[j].node, "bind"))
				check_shared(k, &g[j], &g[i]);
	}
}
