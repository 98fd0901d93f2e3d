/* route - from a recipient's domain to a next hop: a pure choice.
 *
 * Exact address spaces and accepted domains are found through a map, patterns
 * by walking up the domain's labels, so the cost does not grow with the
 * number of connectors.
 */
#include "mta/route/route.h"

#include <stdlib.h>

#include "mta/base/check.h"
#include "mta/base/map.h"

enum { NAME_MAX_LEN = 256 };

/* All address spaces with one pattern, over all connectors. */
struct space_entry {
	struct map_node node; /* key: the pattern */
	struct space_ref {
		const struct conf_send *connector;
		const struct conf_address_space *space;
	} * ref;
	unsigned n;
};

struct domain_entry {
	struct map_node node; /* key: the name as configured */
	const struct conf_domain *domain;
};

struct connector_entry {
	struct map_node node; /* key: the name */
	const struct conf_send *connector;
};

struct route_table {
	struct conf *conf;
	struct map spaces, domains, connectors;
	struct domain_entry *domain;
	struct connector_entry *connector;
};

static void add_space(struct route_table *t, const struct conf_send *c,
	const struct conf_address_space *a)
{
	struct map_node *found = map_get(&t->spaces, a->pattern);
	struct space_entry *e;

	if (found) {
		e = container_of(found, struct space_entry, node);
	} else {
		e = x_calloc(1, sizeof *e);
		map_put(&t->spaces, &e->node, a->pattern);
	}
	e->ref = x_realloc(e->ref, (e->n + 1) * sizeof *e->ref);
	e->ref[e->n++] = (struct space_ref){c, a};
}

struct route_table *route_table_create(struct conf *c)
{
	/* The keys come from the configuration, not from a peer. */
	static const uint64_t key[2] = {1, 2};
	struct route_table *t = x_calloc(1, sizeof *t);

	t->conf = conf_ref(c);
	map_init(&t->spaces, key);
	map_init(&t->domains, key);
	map_init(&t->connectors, key);
	t->domain = x_calloc(c->ndomain + 1u, sizeof *t->domain);
	for (unsigned i = 0; i < c->ndomain; i++) {
		t->domain[i].domain = &c->domain[i];
		map_put(&t->domains, &t->domain[i].node, c->domain[i].name);
	}
	t->connector = x_calloc(c->nsend + 1u, sizeof *t->connector);
	for (unsigned i = 0; i < c->nsend; i++) {
		t->connector[i].connector = &c->send[i];
		map_put(&t->connectors, &t->connector[i].node, c->send[i].name);
		for (unsigned j = 0; j < c->send[i].nspace; j++)
			add_space(t, &c->send[i], &c->send[i].space[j]);
	}
	return t;
}

void route_table_destroy(struct route_table **tp)
{
	struct route_table *t = *tp;
	struct map_node *n, *next;

	if (!t)
		return;
	for (n = map_next(&t->spaces, NULL); n; n = next) {
		struct space_entry *e =
			container_of(n, struct space_entry, node);

		next = map_next(&t->spaces, n);
		free(e->ref);
		free(e);
	}
	map_fini(&t->spaces);
	map_fini(&t->domains);
	map_fini(&t->connectors);
	free(t->domain);
	free(t->connector);
	conf_unref(&t->conf);
	free(t);
	*tp = NULL;
}

/* The patterns that cover a domain, most specific first: for "a.b.c" the name
 * itself, then "*.b.c", "*.c" and at last "*". Each is made in room. */
struct walk {
	struct span domain; /* lower case */
	size_t at;          /* 0: the name itself */
	int over;
	char room[NAME_MAX_LEN + 4];
};

static void walk_init(struct walk *w, struct span domain)
{
	*w = (struct walk){.over = domain.n == 0 || domain.n > NAME_MAX_LEN};
	if (w->over)
		return;
	for (size_t i = 0; i < domain.n; i++)
		w->room[i + 2] = ascii_lower(domain.p[i]);
	w->domain = span(w->room + 2, domain.n);
}

/* Patterns are made in place: the label before a dot is overwritten with '*'
 * only in the octet in front of the dot, which is never looked at again. */
static struct span walk_next(struct walk *w)
{
	ptrdiff_t dot;

	if (w->over)
		return span(NULL, 0);
	if (w->at == 0) {
		w->at = 1;
		return w->domain;
	}
	dot = span_chr(span_skip(w->domain, w->at), '.');
	if (dot < 0) {
		w->over = 1;
		return SPAN("*");
	}
	w->at += (size_t)dot;
	w->room[2 + w->at - 1] = '*';
	w->at++;
	return span(w->room + w->at, w->domain.n - w->at + 2);
}

/* U-labels are the same domain as their A-labels (RFC 6531 3.7.4); nearly all
 * names are ASCII and cost nothing here. */
static struct span fold(struct span domain, struct arena *a)
{
	for (size_t i = 0; i < domain.n; i++)
		if ((unsigned char)domain.p[i] >= 0x80)
			return domain_fold(domain, a);
	return domain;
}

static const struct conf_domain *accepted(
	const struct route_table *t, struct span domain)
{
	struct walk w;
	struct span name;

	walk_init(&w, domain);
	while ((name = walk_next(&w)).n && !span_eq(name, SPAN("*"))) {
		struct map_node *n = map_get(&t->domains, name);

		if (n)
			return container_of(n, struct domain_entry, node)
				->domain;
	}
	return NULL;
}

const struct conf_domain *route_accepted(
	const struct route_table *t, struct span domain)
{
	struct arena mem = {0};
	const struct conf_domain *d = accepted(t, fold(domain, &mem));

	arena_fini(&mem);
	return d;
}

static int fits(const struct conf_send *c, uint64_t size)
{
	return !c->limits.message_size || size <= c->limits.message_size;
}

static int better(const struct space_ref *a, const struct space_ref *b)
{
	if (!b->connector || a->space->cost != b->space->cost)
		return !b->connector || a->space->cost < b->space->cost;
	return span_icmp(a->connector->name, b->connector->name) < 0;
}

/* The best of one pattern's connectors; too_large says that size excluded
 * some. */
static struct space_ref best_of(
	const struct space_entry *e, uint64_t size, int *too_large)
{
	struct space_ref best = {NULL, NULL};

	for (unsigned i = 0; i < e->n; i++) {
		if (!e->ref[i].connector->enabled)
			continue;
		if (!fits(e->ref[i].connector, size)) {
			*too_large = 1;
			continue;
		}
		if (better(&e->ref[i], &best))
			best = e->ref[i];
	}
	return best;
}

static struct span make_key(
	struct arena *a, const struct conf_send *c, struct span domain)
{
	char *p;

	if (c->nsmart_host)
		return arena_span(a, c->name);
	p = arena_alloc(a, c->name.n + 1 + domain.n);
	memcpy(p, c->name.p, c->name.n);
	p[c->name.n] = '|';
	for (size_t i = 0; i < domain.n; i++)
		p[c->name.n + 1 + i] = ascii_lower(domain.p[i]);
	return span(p, c->name.n + 1 + domain.n);
}

struct span route_key(
	const struct conf_send *c, struct span domain, struct arena *a)
{
	return make_key(a, c, fold(domain, a));
}

void route_choose(const struct route_table *t, struct span domain,
	uint64_t size, struct arena *a, struct route_choice *r_r)
{
	struct walk w;
	struct span name;
	int too_large = 0;

	*r_r = (struct route_choice){0};
	domain = fold(domain, a);
	walk_init(&w, domain);
	while ((name = walk_next(&w)).n) {
		struct map_node *n = map_get(&t->spaces, name);
		struct space_ref best;

		if (!n)
			continue;
		best = best_of(container_of(n, struct space_entry, node), size,
			&too_large);
		if (!best.connector)
			continue;
		r_r->connector = best.connector;
		r_r->space = best.space;
		r_r->key = make_key(a, best.connector, domain);
		return;
	}
	if (too_large) {
		r_r->fail = OUTCOME(552, 5, 3, 4,
			"message too large for every send connector");
		r_r->key = SPAN("!5.3.4 message too large for every send "
				"connector");
		return;
	}
	r_r->key = SPAN(ROUTE_UNREACHABLE);
}

void route_by(const struct route_table *t, struct span name, struct span domain,
	struct arena *a, struct route_choice *r_r)
{
	struct map_node *n = map_get(&t->connectors, name);
	const struct conf_send *c =
		n ? container_of(n, struct connector_entry, node)->connector
		  : NULL;
	char *p;

	*r_r = (struct route_choice){0};
	if (c && c->enabled) {
		r_r->connector = c;
		r_r->key = route_key(c, domain, a);
		return;
	}
	p = arena_alloc(a, sizeof ROUTE_UNREACHABLE + name.n);
	memcpy(p, ROUTE_UNREACHABLE ":", sizeof ROUTE_UNREACHABLE);
	memcpy(p + sizeof ROUTE_UNREACHABLE, name.p, name.n);
	r_r->key = span(p, sizeof ROUTE_UNREACHABLE + name.n);
}

int route_target(
	const struct route_table *t, struct span key, struct route_target *t_r)
{
	ptrdiff_t bar = span_chr(key, '|');
	struct map_node *n;

	*t_r = (struct route_target){0};
	if (span_eq(key, SPAN(ROUTE_UNREACHABLE)))
		return 0;
	if (key.n && key.p[0] == '!') {
		t_r->fail.code = 550;
		must(enhanced_parse(span_skip(key, 1), &t_r->fail.enh,
			     &t_r->fail.text) == 0);
		return 0;
	}
	n = map_get(
		&t->connectors, bar < 0 ? key : span_head(key, (size_t)bar));
	if (!n)
		return -1;
	t_r->connector =
		container_of(n, struct connector_entry, node)->connector;
	if (bar >= 0)
		t_r->domain = span_skip(key, (size_t)bar + 1);
	return (bar < 0) == (t_r->connector->nsmart_host > 0) ? 0 : -1;
}
