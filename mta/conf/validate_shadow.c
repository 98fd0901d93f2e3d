/* validate_shadow - shadow redundancy: peers that cannot be reached or cannot
 * prove who they are, and promises that need a peer. */
#include "mta/base/check.h"
#include "mta/conf/validate.h"

/* missing - the key of the section is not there, and nobody has complained
 * about it, its section or what was surely meant for it. */
static int missing(const struct check *k, const char *key, struct span value)
{
	struct ynode *s = yaml_find(k->root, "shadow");

	return value.n == 0 && s && !s->bad && s->kind == NODE_MAP &&
	       check_usable(s, key) && !yaml_meant(s, span_str(key));
}

/* check_parts - who listens or connects must be able to say who it is. */
static void check_parts(const struct check *k)
{
	const struct conf *c = k->c;
	const struct {
		const char *key, *example;
		struct span value;
	} parts[] = {
		{"listen", "\"10.1.0.1:2526\"", c->shadow.listen.text},
		{"cert", "/path.pem", c->shadow.cert},
		{"key", "/path.key", c->shadow.key},
	};
	const char *who = c->shadow.npeer ? "shadow.peers" : "shadow.listen";

	if (c->shadow.npeer == 0 && c->shadow.listen.text.n == 0)
		return;
	for (unsigned i = 0; i < countof(parts); i++)
		if (missing(k, parts[i].key, parts[i].value))
			report_error(k->report, check_at(k->root, who),
				"%s: needs shadow.%s (write %s: %s in shadow)",
				who, parts[i].key, parts[i].key,
				parts[i].example);
}

/* same_place - an earlier peer with the address of peer i, or -1. */
static int same_place(const struct check *k, unsigned i)
{
	const struct conf_peer *p = k->c->shadow.peer;

	for (unsigned j = 0; j < i; j++)
		if (check_same_endpoint(&p[i].address, &p[j].address))
			return (int)j;
	return -1;
}

static int is_any(const struct conf_endpoint *e)
{
	static const uint8_t any[16];
	uint8_t addr[16];
	int v6;

	return ip_read(e->host, &v6, addr) == 0 && memcmp(addr, any, 16) == 0;
}

static void check_address(const struct check *k, unsigned i, struct ynode *it)
{
	const struct conf_endpoint *e = &k->c->shadow.peer[i].address;
	struct ymark at = check_at(it, "address");
	int other = same_place(k, i);

	if (e->text.n == 0 || !check_usable(it, "address"))
		return;
	if (other >= 0)
		report_error(k->report, at,
			"shadow.peers[%u].address: \"%.*s\" is the address of "
			"shadow.peers[%d] already",
			it->index, SPAN_ARG(e->text), other);
	else if (is_any(e))
		report_error(k->report, at,
			"shadow.peers[%u].address: \"%.*s\" is the address of "
			"no machine (write the one that the peer listens on, "
			"for example \"10.1.0.2:2526\")",
			it->index, SPAN_ARG(e->text));
	else if (check_same_endpoint(e, &k->c->shadow.listen))
		report_error(k->report, at,
			"shadow.peers[%u].address: this node itself listens on "
			"\"%.*s\" (shadow.listen)",
			it->index, SPAN_ARG(e->text));
}

static void check_peers(const struct check *k)
{
	const struct conf *c = k->c;
	struct ynode *it = check_items(k, "shadow.peers");

	check_unique(k, "shadow.peers", c->shadow.peer, c->shadow.npeer,
		sizeof *c->shadow.peer);
	for (unsigned i = 0; it; i++, it = it->next) {
		const struct conf_peer *p = &c->shadow.peer[i];

		if (p->name.n && span_eq(p->name, c->node.name))
			report_error(k->report, check_at(it, "name"),
				"shadow.peers[%u].name: \"%.*s\" is this node "
				"itself (node.name); name only the others",
				it->index, SPAN_ARG(p->name));
		check_address(k, i, it);
		if (p->pin.n == 0 && check_usable(it, "pin") &&
			missing(k, "ca", c->shadow.ca))
			report_error(k->report, it->at,
				"shadow.peers[%u]: needs shadow.ca or a pin to "
				"know the peer by (write ca: /path.pem in "
				"shadow, or pin: \"sha256:...\" here)",
				it->index);
	}
}

/* check_listen - one address and port, one listener. */
static void check_listen(const struct check *k)
{
	struct ynode *it = check_items(k, "receive_connectors");
	const struct conf_endpoint *e = &k->c->shadow.listen;

	for (unsigned i = 0; it && e->text.n; i++, it = it->next) {
		const struct conf_receive *r = &k->c->receive[i];

		for (unsigned j = 0; j < r->nbind; j++)
			if (check_usable(it, "bind") &&
				check_same_endpoint(e, &r->bind[j]))
				report_error(k->report,
					check_at(k->root, "shadow.listen"),
					"shadow.listen: "
					"receive_connectors[%u] listens on "
					"\"%.*s\"; take another port, for "
					"example %d",
					it->index, SPAN_ARG(r->bind[j].text),
					SHADOW_PORT);
	}
}

static void check_times(const struct check *k)
{
	const struct conf *c = k->c;
	struct ynode *after = yaml_find(k->root, "shadow.takeover_after");
	struct buf least;

	if (c->shadow.takeover_after / 4 >= c->shadow.heartbeat ||
		!check_usable(k->root, "shadow.takeover_after") ||
		!check_usable(k->root, "shadow.heartbeat"))
		return;
	buf_init(&least, 64);
	duration_print(4 * c->shadow.heartbeat, &least);
	report_error(k->report,
		after ? after->at : check_at(k->root, "shadow.heartbeat"),
		"shadow.takeover_after: must be at least 4 times "
		"shadow.heartbeat, which is %s",
		buf_str(&least));
	buf_fini(&least);
}

/* check_require - a promise that nobody could keep: every message would get
 * 451. */
static void check_require(const struct check *k)
{
	struct ynode *it = check_items(k, "receive_connectors");
	const struct conf *c = k->c;

	if (!check_usable(k->root, "shadow") ||
		!check_usable(k->root, "shadow.peers"))
		return;
	for (unsigned i = 0; i < c->shadow.npeer; i++)
		if (!c->shadow.peer[i].witness)
			return;
	for (unsigned i = 0; it; i++, it = it->next)
		if (c->receive[i].shadow == SHADOW_REQUIRE)
			report_error(k->report, check_at(it, "shadow"),
				"receive_connectors[%u].shadow: require needs "
				"a peer that is no witness (write it in "
				"shadow.peers, or write shadow: prefer here)",
				it->index);
}

void check_shadow(struct check *k)
{
	check_parts(k);
	check_peers(k);
	check_listen(k);
	check_times(k);
	check_require(k);
	if (k->report->errors == 0 && k->c->shadow.listen.text.n &&
		k->c->shadow.npeer == 0)
		report_warning(k->report, check_at(k->root, "shadow.listen"),
			"shadow.listen: there are no shadow.peers, so nobody "
			"may connect and no copies are made");
}
