/* sim_net - the links and listeners of the simulated network. */
#include <stdlib.h>

#include "mta/base/check.h"
#include "tests/sim/sim_net_private.h"

struct sim_net *sim_net_of(struct loop *l)
{
	struct sim_net *n = sim_loop_user(l, SIM_USER_NET);

	check_obj(n, NET_MAGIC);
	return n;
}

struct sim_net *sim_net_create(struct loop *l)
{
	struct sim_net *n = x_calloc(1, sizeof *n);

	n->magic = NET_MAGIC;
	n->loop = l;
	n->port = FIRST_PORT;
	n->post.fn = sim_stream_flush;
	list_init(&n->streams);
	list_init(&n->listeners);
	list_init(&n->links);
	sim_loop_set_user(l, SIM_USER_NET, n);
	return n;
}

void sim_net_destroy(struct sim_net **np)
{
	struct sim_net *n = *np;

	if (!n)
		return;
	check_obj(n, NET_MAGIC);
	must(list_empty(&n->streams) && list_empty(&n->listeners));
	must(!n->posted);
	list_each_safe (it, &n->links)
		free(list_item(it, struct net_link, node));
	sim_loop_set_user(n->loop, SIM_USER_NET, NULL);
	free(n);
	*np = NULL;
}

/* --- links ---------------------------------------------------------------- */

/* from NULL: the link of an address, else a pair's. */
static struct net_link *find_link(struct sim_net *n,
	const struct net_addr *from, const struct net_addr *to)
{
	list_each (it, &n->links) {
		struct net_link *k = list_item(it, struct net_link, node);

		if (k->pair == (from != NULL) && net_addr_eq(&k->to, to) &&
			(!from || net_addr_eq(&k->from, from)))
			return k;
	}
	return NULL;
}

static struct net_link *add_link(struct sim_net *n, const struct net_addr *to)
{
	struct net_link *k = x_calloc(1, sizeof *k);

	k->to = *to;
	k->link = n->fallback;
	list_append(&n->links, &k->node);
	return k;
}

struct sim_link *sim_net_link(struct sim_net *n, struct span ip)
{
	struct net_addr a;
	struct net_link *k;

	check_obj(n, NET_MAGIC);
	if (ip.n == 0)
		return &n->fallback;
	must(net_addr_parse(ip, 0, &a) == 0);
	k = find_link(n, NULL, &a);
	if (!k)
		k = add_link(n, &a);
	return &k->link;
}

struct sim_link *sim_net_pair(
	struct sim_net *n, struct span from, struct span to)
{
	struct net_addr a, b;
	struct net_link *k;

	check_obj(n, NET_MAGIC);
	must(net_addr_parse(from, 0, &a) == 0);
	must(net_addr_parse(to, 0, &b) == 0);
	k = find_link(n, &a, &b);
	if (!k) {
		k = add_link(n, &b);
		k->from = a;
		k->pair = 1;
	}
	return &k->link;
}

const struct sim_link *sim_net_way(struct sim_net *n,
	const struct net_addr *from, const struct net_addr *to,
	const struct net_addr *server)
{
	struct net_link *k = find_link(n, from, to);

	if (!k)
		k = find_link(n, NULL, server);
	return k ? &k->link : &n->fallback;
}

void sim_net_tried(struct sim_net *n, const struct net_addr *from,
	const struct net_addr *to)
{
	struct net_link *k = find_link(n, NULL, to);

	if (k)
		k->link.tried++;
	k = find_link(n, from, to);
	if (k)
		k->link.tried++;
}

void sim_net_calm(struct sim_net *n)
{
	list_each (it, &n->links) {
		struct sim_link *k =
			&list_item(it, struct net_link, node)->link;

		*k = (struct sim_link){
			.latency = k->latency, .tried = k->tried};
	}
	sim_net_heal(n);
}

/* --- what tests see ------------------------------------------------------- */

unsigned sim_net_streams(const struct sim_net *n)
{
	return n->nstreams;
}

uint64_t sim_net_bytes(const struct sim_net *n)
{
	return n->bytes;
}

void sim_net_tap(
	struct sim_net *n, void (*tap)(const struct net_addr *from,
				   const struct net_addr *to, struct span data))
{
	n->tap = tap;
}

uint64_t sim_net_hash(const struct sim_net *n)
{
	return n->hash;
}

/* FNV-1a */
static void digest(struct sim_net *n, struct span data)
{
	uint64_t h = n->hash ^ loop_now(n->loop);

	for (size_t i = 0; i < data.n; i++)
		h = (h ^ (unsigned char)data.p[i]) * 0x100000001b3;
	n->hash = h;
}

void sim_net_arrived(struct sim_net *n, const struct net_addr *from,
	const struct net_addr *to, struct span data)
{
	n->bytes += data.n;
	digest(n, data);
	if (n->tap)
		n->tap(from, to, data);
}

/* --- listeners ------------------------------------------------------------ */

struct listener *sim_net_listener(struct sim_net *n, const struct net_addr *to)
{
	static const uint8_t any[16];

	list_each (it, &n->listeners) {
		struct listener *l = list_item(it, struct listener, node);

		if (l->at.port == to->port &&
			(net_addr_eq(&l->at, to) ||
				memcmp(l->at.b, any, sizeof any) == 0))
			return l;
	}
	return NULL;
}

enum err listener_open(struct listener **l_r, struct loop *loop,
	const struct net_addr *at, int backlog,
	void (*accepted)(void *arg, struct stream *s), void *arg,
	struct buf *why)
{
	struct sim_net *n = sim_net_of(loop);
	struct listener *l;

	(void)backlog;
	if (sim_net_listener(n, at)) {
		buf_adds(why, "the address is in use");
		return ERR_EXISTS;
	}
	l = x_calloc(1, sizeof *l);
	l->magic = LISTEN_MAGIC;
	l->net = n;
	l->at = *at;
	if (l->at.port == 0)
		l->at.port = ++n->port;
	l->accepted = accepted;
	l->arg = arg;
	list_append(&n->listeners, &l->node);
	*l_r = l;
	return ERR_OK;
}

struct net_addr listener_addr(const struct listener *l)
{
	return l->at;
}

void listener_close(struct listener **lp)
{
	struct listener *l = *lp;

	if (!l)
		return;
	check_obj(l, LISTEN_MAGIC);
	list_del(&l->node);
	free(l);
	*lp = NULL;
}

void listener_retire(struct listener **l)
{
	listener_close(l); /* nobody waits in the simulated kernel */
}

/* Nothing can take the address of a simulated node meanwhile. */
enum err listener_reserve(
	struct loop *l, const struct net_addr *at, int backlog, struct buf *why)
{
	(void)l;
	(void)at;
	(void)backlog;
	(void)why;
	return ERR_OK;
}

enum err listener_reserve_local(
	struct loop *l, const char *path, unsigned mode, struct buf *why)
{
	(void)l;
	(void)path;
	(void)mode;
	(void)why;
	return ERR_OK;
}

void listener_unreserve(struct loop *l)
{
	(void)l;
}

int net_addr_ours(const struct net_addr *a)
{
	(void)a; /* simulated machines have no interfaces */
	return 0;
}
